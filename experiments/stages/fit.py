"""One check before any work: do data, task, policy, critic and environment fit each other?

Everything that does not is said at once, each with its mend.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from envs.contract import EnvSpec
from envs.errors import UserError
from envs.store import DatasetSpec, Store
from envs.text import word_ids
from experiments.choices.critics import CriticChoice
from experiments.choices.plain_critics import SidecarChoice
from policy_extraction.advantages import Advantage, Track
from policy_extraction.dataset import earnings
from policy_extraction.types import PolicySpec
from value_model.critic.progress import read_progress

NEAR_HAND = ("wrist", "hand", "gripper", "eye_in_hand")
RATE_TOLERANCE = 0.02  # share by which two rates may differ
RANGE_TOLERANCE = 1e-3  # by which recorded actions may leave [-1, 1]: they were rounded


def check_data(
    store: Store, policy: PolicySpec, critic: CriticChoice, env: EnvSpec, advantage: Advantage
) -> None:
    """Refuse data that the parts of a run cannot work on, before any work.

    Raises:
        UserError: all that does not fit.
    """
    numbers = _numbers(store.spec, env.action_dim, "environment", policy.proprio_dim)
    _check(store, policy, critic, advantage, [*numbers, *_rate(store.spec, env)], bounded=True)


def check_recorded(
    store: Store, policy: PolicySpec, critic: CriticChoice, advantage: Advantage, bounded: bool
) -> None:
    """The same where there is no environment, but the policy alone to fit.

    Args:
        bounded: the policy learns actions in [-1, 1] as they were recorded.

    Raises:
        UserError: all that does not fit.
    """
    numbers = _numbers(store.spec, policy.action_dim, "policy", policy.proprio_dim)
    _check(store, policy, critic, advantage, [*numbers], bounded)


def _check(
    store: Store,
    policy: PolicySpec,
    critic: CriticChoice,
    advantage: Advantage,
    numbers: Sequence[str],
    bounded: bool,
) -> None:
    """Refuse data for the faults found in its `numbers`, and for all others; see `check_recorded`."""
    spec, needed = store.spec, dict.fromkeys([*critic.views(), *policy.cameras])
    faults = [
        *_cameras(spec, needed, setting="data.cameras.{ours}={theirs}"),
        *numbers,
        *_instructions(store),
    ]
    if not faults:
        faults = [*(_actions(store) if bounded else ()), *_outcomes(store, advantage)]
    _refuse(faults, spec, "run")
    if isinstance(critic, SidecarChoice):
        read_progress(Path(critic.path), store)


def check_watched(store: Store, critic: CriticChoice) -> None:
    """Refuse data that a critic alone cannot label, before any work; actions and states are not asked for.

    Raises:
        UserError: all that does not fit.
    """
    spec, views = store.spec, critic.views()
    mapping = f"critic.cameras=[{','.join(_proposed(spec, views).values())}]"
    faults = [*_cameras(spec, dict.fromkeys(views), mapping), *(_instructions(store) if views else ())]
    _refuse(faults, spec, "critic")


def _refuse(faults: Sequence[str], spec: DatasetSpec, what: str) -> None:
    if faults:
        raise UserError(f"{spec.folder} does not fit the {what}: {'; '.join(faults)}")


def _cameras(spec: DatasetSpec, needed: Iterable[str], setting: str) -> Iterator[str]:
    needed = list(needed)
    missing = [name for name in needed if name not in spec.cameras]
    if not missing:
        return
    has = f"has {_listed(spec.cameras)}" if spec.cameras else "has no camera"
    mend = ""
    if spec.cameras:
        pairs = {ours: theirs for ours, theirs in _proposed(spec, needed).items() if ours in missing}
        words = [setting.format(ours=ours, theirs=theirs) for ours, theirs in pairs.items()]
        mend = f" (say which it is: {' '.join(dict.fromkeys(words))})"
    yield f"the camera {_listed(missing)} is looked through, the data set {has}{mend}"


def _proposed(spec: DatasetSpec, needed: Iterable[str]) -> dict[str, str]:
    """{name looked for: camera of the data set}: itself, or one that is as near to the hand, or any."""
    free = [name for name in spec.cameras if name not in set(needed)]
    pairs: dict[str, str] = {}
    for name in needed:
        if name in spec.cameras:
            pairs[name] = name
            continue
        alike = [camera for camera in free if _at_hand(camera) == _at_hand(name)]
        pairs[name] = (alike or free or list(spec.cameras) or [""])[0]
        free = [camera for camera in free if camera != pairs[name]]
    return pairs


def _at_hand(camera: str) -> bool:
    return any(word in camera.lower() for word in NEAR_HAND)


def _numbers(spec: DatasetSpec, actions: int, taker: str, states: int) -> Iterator[str]:
    for what, setting, names, wanted, by in (
        ("actions", "action", spec.action, actions, taker),
        ("state", "state", spec.state, states, "policy"),
    ):
        if len(names) == wanted and (names or what == "state"):
            continue
        fitting = [name for name, width in spec.numbers.items() if width == wanted]
        if not wanted:
            fitting = list(spec.numbers)  # any will do
        mend = f"name it: data.{setting}={fitting[0]}" if fitting else _elsewhere(setting, by)
        shown = f"{len(names)}{_named(names)}" if names else "no feature for them"
        asked = f"takes {wanted} numbers" if wanted else "is to learn some"
        yield f"{what}: the {by} {asked}, the data set has {shown} ({mend})"


def _elsewhere(setting: str, by: str) -> str:
    if setting == "action" and by == "environment":
        return (
            "train without an environment: env=none policy=vla_scratch; or choose env= of that robot, or record what "
            "this one takes"
        )
    if setting == "action":
        return "choose a policy that gives them: policy=vla_scratch, or one of your own"
    return "choose a policy that reads them: policy=vla_scratch, or one of your own"


def _rate(spec: DatasetSpec, env: EnvSpec) -> Iterator[str]:
    if abs(spec.rate - env.control_rate) > RATE_TOLERANCE * env.control_rate:
        yield (
            f"rate: the data set has {spec.rate:g} actions a second, the environment takes {env.control_rate:g} "
            "(train without an environment: env=none; or choose env= of that rate, or record at this one)"
        )


def _instructions(store: Store) -> Iterator[str]:
    told = {text for index in range(len(store)) for _, text in store.episode_info(index).instructions}
    for text in sorted(told):
        try:
            word_ids(text)
        except UserError:
            yield f'the instruction {text!r} has no words (say what the robot was told: data.instruction="…")'


def _actions(store: Store) -> Iterator[str]:
    """Actions must be in [-1, 1], which stands for the environment's range; a column of 0 and 1 is another's gripper."""
    names = store.spec.action
    low, high = np.full(len(names), np.inf), np.full(len(names), -np.inf)
    binary = np.ones(len(names), bool)
    for index in range(len(store)):
        actions = store.episode(index, cameras=()).actions
        low, high = np.minimum(low, actions.min(axis=0)), np.maximum(high, actions.max(axis=0))
        binary &= np.isin(actions, (0.0, 1.0)).all(axis=0)
    outside = (low < -1 - RANGE_TOLERANCE) | (high > 1 + RANGE_TOLERANCE)
    wrong = [f"{names[at]} {low[at]:.3g}…{high[at]:.3g}" for at in np.flatnonzero(outside)]
    if wrong:
        yield (
            f"actions go beyond -1…1, which stands for the environment's range: {_listed(wrong)} "
            "(scale them, or name another feature: data.action=…; env=none policy=vla_scratch learns any)"
        )
    grippers = [names[at] for at in np.flatnonzero(binary & (high == 1) & (low == 0))]
    if grippers:
        yield (
            f"actions {_listed(grippers)} are only 0 and 1, where the environment takes -1 and 1 "
            "(scale them, or name another feature: data.action=…)"
        )


def _outcomes(store: Store, advantage: Advantage) -> Iterator[str]:
    """Whether the advantage would be known, with values that are known everywhere."""
    episodes = [store.episode(index, cameras=()) for index in range(len(store))]
    rewards = earnings([one.rewards for one in episodes], [one.success for one in episodes])
    told = {text: number for number, text in enumerate(dict.fromkeys(one.instruction for one in episodes))}
    tracks = [
        Track(np.zeros(len(earned), np.float32), earned, group=told[one.instruction])
        for earned, one in zip(rewards, episodes, strict=True)
    ]
    try:
        unknown = all(np.isnan(part).all() for part in advantage.estimate(tracks, 2))
    except UserError:
        unknown = True
    if unknown:
        yield (
            "no outcome is known, and this advantage needs them (say how the episodes ended: data.outcomes=table.csv "
            "with episode,success; or use advantage=chunk_difference)"
        )


def _named(names: Sequence[str]) -> str:
    """The names of columns in brackets, where they have any."""
    return "" if all(name.startswith("[") for name in names) else f" ({_listed(names)})"


def _listed(names: Iterable[str], most: int = 8) -> str:
    names = list(names)
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
