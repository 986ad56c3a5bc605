"""What a run really uses of its settings: one place, before anything is run, printed or digested."""

from __future__ import annotations

from dataclasses import replace

from experiments.choices.imagination import ImaginationChoice
from experiments.choices.imagined_data import ImaginedData
from experiments.settings.config import RunConfig
from policy_extraction.types import Training, foresight_of, online_rollouts

ONLINE_RATE = 1e-4  # learning rate; at the offline one a policy soon leaves what its own attempts told
AHEAD = 8  # control steps that a method with a foresight looks ahead: where the world model is still accurate


def resolved(config: RunConfig) -> RunConfig:
    """The configuration with what its method decides itself.

    A learning rate of 0 stands for the method's own; whoever clones what it imagined itself takes the online one. An online
    method makes `iterations · updates` gradient steps, at a
    constant rate once it is warm, and trains the very weights that act: without an average of them. So does one with a
    foresight, which looks 8 control steps ahead unless `env.horizon` says otherwise.
    """
    online, train = online_rollouts(config.method), config.train
    foresight = foresight_of(config.method)
    if foresight is not None:
        env = config.env
        if isinstance(env, ImaginationChoice):
            env = replace(env, horizon=env.horizon or AHEAD)
        own = {"updates": foresight.updates, "final_fraction": 1.0, "ema": 0.0}
        train = replace(train, learning_rate=train.learning_rate or ONLINE_RATE, **own)
        return replace(config, env=env, train=train)
    if online is None:
        rate = ONLINE_RATE if isinstance(config.data, ImaginedData) else Training.learning_rate
        return replace(config, train=replace(train, learning_rate=train.learning_rate or rate))
    own = {"updates": online.iterations * online.updates, "final_fraction": 1.0, "ema": 0.0}
    return replace(config, train=replace(train, learning_rate=train.learning_rate or ONLINE_RATE, **own))
