"""Recordings in place of an environment: what a policy sees and does in them, in which units, and which are held out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from envs.contract import EnvSpec
from envs.errors import UserError
from envs.store import Store
from experiments.choices.critics import CriticData, CriticSource, TrainableChoice
from experiments.choices.environments import SameEnv
from experiments.choices.no_env import NoEnv
from experiments.lab.artifacts import digest
from experiments.settings.config import RunConfig, StoreData, require
from experiments.stages.data import Data
from policy_extraction.advantages import Advantage
from policy_extraction.dataset import Dataset, build_dataset
from policy_extraction.scaling import SCALING_FILE, ScaledPolicy, Scaling, read_scaling
from policy_extraction.types import Policy, learns_from_data

LARGEST = 96  # pixels, square, that pictures are brought to where the policy does not say
CONSTANT = 1e-6  # a number that spans less does not change


@dataclass(frozen=True)
class Recorded:
    """A data set as what a policy is made for.

    spec: what it shows and takes, in the data's own units, as an environment says it; scaling: what the policy reads
    and gives of that; usual: float [A], the median action; training, held_out: int64, indices of episodes, rising.
    """

    spec: EnvSpec
    scaling: Scaling
    usual: np.ndarray
    training: np.ndarray
    held_out: np.ndarray

    @property
    def span(self) -> np.ndarray:
        """float64 [A]: from what an action of −1 to what one of 1 stands for; 0 of a number that never changes."""
        moves = np.greater(self.scaling.action_most, np.add(self.scaling.action_least, CONSTANT))
        return np.where(moves, np.subtract(self.spec.action_high, self.spec.action_low), 0.0)

    @cached_property
    def digest(self) -> str:
        """Stands for the units and for which episodes are trained on."""
        return digest([self.scaling, self.training])

    def policy(self, policy: Policy) -> ScaledPolicy:
        """A policy that has been made for `spec`, in the data's units."""
        return ScaledPolicy(policy, self.scaling, asdict(self.spec))


def read_recorded(choice: NoEnv, store: Store, as_recorded: bool) -> Recorded:
    """Read the numbers of a data set, and split its episodes.

    Args:
        as_recorded: leave the numbers as they are: the policy has statistics of its own.

    Raises:
        UserError: there are too few episodes.
    """
    held_out = np.sort(np.random.default_rng(choice.seed).permutation(len(store))[: choice.count(len(store))])
    training = np.setdiff1d(np.arange(len(store)), held_out)
    episodes = [store.episode(int(index), cameras=()) for index in training]
    states = np.concatenate([episode.proprio for episode in episodes]).astype(np.float64)
    actions = np.concatenate([episode.actions for episode in episodes]).astype(np.float64)
    scale = "none" if as_recorded else choice.scale
    scaling = Scaling(
        *ends(states, scale),
        *ends(actions, scale),
        *(_plain(end) for end in (actions.min(0), actions.max(0))),
    )
    low, high = ends(actions, "quantiles")
    known = store.spec
    side = min([LARGEST, *(min(size) for size in known.cameras.values())])
    told = Counter(text for episode in episodes for text in episode.told)
    spec = EnvSpec(
        cameras={name: (side, side) for name in known.cameras},
        proprio_dim=states.shape[1],
        action_low=low,
        action_high=high,
        control_rate=known.rate,
        horizon=max(len(episode) for episode in episodes),
        instruction=told.most_common(1)[0][0],
    )
    return Recorded(spec, scaling, np.median(actions, axis=0), training, held_out)


def samples_of(
    data: Data, values: Sequence[np.ndarray], advantage: Advantage, horizon: int, episodes: np.ndarray
) -> Dataset:
    """The action chunks of some episodes, as if there were no others.

    Args:
        values: of all episodes; episodes: int64, rising, those that are meant.
    """
    store = data.open()
    chosen = (store.episode(int(index), cameras=()) for index in episodes)
    samples = build_dataset(chosen, [values[index] for index in episodes], advantage, horizon)
    return replace(samples, episode=episodes[samples.episode])


def recorded_spec(folder: Path) -> EnvSpec:
    """What a policy that was trained on recordings was made for, from the folder that it was saved in.

    Raises:
        UserError: it was trained for an environment.
    """
    try:
        _, about = read_scaling(folder)
        cameras = {name: (size[0], size[1]) for name, size in about["cameras"].items()}
        low, high = tuple(about["action_low"]), tuple(about["action_high"])
        return EnvSpec(**{**about, "cameras": cameras, "action_low": low, "action_high": high})
    except (UserError, LookupError, TypeError) as error:
        raise UserError(
            f"{folder} holds no policy that was trained with env=none; name the environment that it was trained for: env=…"
        ) from error


def saved_policy(make: Callable[[EnvSpec], Policy], world: EnvSpec, folder: Path) -> Policy:
    """A policy as `save` wrote it in `folder`; one that was trained on recordings for what they showed, in their units.

    Args:
        make: the policy before training, for what it sees and does; world: that, of one trained for an environment.

    Raises:
        UserError: as `Policy.restore`.
    """
    if not (folder / SCALING_FILE).is_file():
        policy = make(world)
    else:
        scaling, about = read_scaling(folder)
        policy = ScaledPolicy(make(recorded_spec(folder)), scaling, about)
    policy.restore(folder)
    return policy


def check_offline(config: RunConfig) -> None:
    """Refuse, for `env=none`, what has to act or to collect something.

    Raises:
        UserError: the first such setting.
    """
    require(
        learns_from_data(config.method),
        "this method learns from its own rollouts, and with env=none there is nowhere to act; choose one that learns "
        "from data, such as method=awr, or an environment: env=robosuite",
    )
    require(
        isinstance(config.data, StoreData),
        "env=none collects nothing; give it recordings: data=store data.path=/path/to/a/LeRobot/folder",
    )
    require(
        isinstance(config.evaluate_env, SameEnv),
        "env=none measures on held-out episodes, not in evaluate_env=; leave that out, or say env= instead",
    )
    config.critic.source(_NoWorkshop())


class _NoWorkshop:
    """A `Workshop` in which nothing is made."""

    def trained(self, choice: TrainableChoice) -> CriticSource:
        """See `Workshop`."""
        raise self._refused()

    def demonstrations(self, data: CriticData) -> Mapping[str, Any]:
        """See `Workshop`."""
        raise self._refused()

    def _refused(self) -> UserError:
        return UserError(
            "this critic learns from the simulator's demonstrations, and env=none collects nothing; choose one that is "
            "there: critic=wvm (critic.path=…, of your own), critic=sidecar or critic=time_index"
        )


def ends(values: np.ndarray, scale: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """What −1 and 1 stand for, of each column of values [N, D]; a column that does not change is 0."""
    least, most = values.min(axis=0), values.max(axis=0)
    if scale == "none":
        low, high = -np.ones_like(least), np.ones_like(least)
    elif scale == "mean_std":
        mean, std = values.mean(axis=0), values.std(axis=0)
        low, high = mean - std, mean + std
    elif scale == "range":
        low, high = least, most
    else:
        low, high = np.quantile(values, (0.01, 0.99), axis=0)
        rare = high - low < CONSTANT  # a number that is nearly always the same
        low, high = np.where(rare, least, low), np.where(rare, most, high)
    still = high - low < CONSTANT
    middle = (low + high) / 2
    return _plain(np.where(still, middle - 1, low)), _plain(np.where(still, middle + 1, high))


def _plain(values: np.ndarray) -> tuple[float, ...]:
    return tuple(float(value) for value in values)
