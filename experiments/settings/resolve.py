"""What a run really uses of its settings: one place, before anything is run, printed or digested."""

from __future__ import annotations

from dataclasses import replace

from experiments.settings.config import RunConfig
from policy_extraction.types import online_rollouts


def resolved(config: RunConfig) -> RunConfig:
    """The configuration with what its method decides itself.

    An online method makes `iterations · updates` gradient steps, at a constant rate once it is warm, and trains the very
    weights that act: without an average of them.
    """
    online = online_rollouts(config.method)
    if online is None:
        return config
    updates = online.iterations * online.updates
    return replace(config, train=replace(config.train, updates=updates, final_fraction=1.0, ema=0.0))
