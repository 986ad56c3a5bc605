"""How a user wants a data set to be read: which of its episodes, and what its features are called here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from envs.errors import UserError, check_choice
from envs.store import layout

INTEGERS = tuple(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))
NUMBERS = ("float16", "float32", "float64", "bool", *INTEGERS)


@dataclass(frozen=True)
class Reading:
    """What to read of a data set, and under which names; empty: all, as it is.

    cameras: {name here: camera or feature there}, beside the cameras that keep their names; action, state, success:
    features there; assume_success: whether episodes solved their task of which nothing says how they ended; masks:
    subsets (columns `masks` of meta/episodes) of which an episode has to be in one; episodes, exclude: numbers of the
    data set's episodes; outcomes: a CSV or parquet file of the user's (`envs.store.outcomes`); instruction: what the
    robot was told, instead of what is recorded.
    """

    cameras: Mapping[str, str] = field(default_factory=dict)
    action: str = ""
    state: str = ""
    success: str = ""
    assume_success: bool = False
    masks: tuple[str, ...] = ()
    episodes: tuple[int, ...] = ()
    exclude: tuple[int, ...] = ()
    outcomes: str = ""
    instruction: str = ""


EVERYTHING = Reading()


def chosen_episodes(
    numbers: np.ndarray, masks: Sequence[Sequence[str] | None] | None, reading: Reading, folder: object
) -> np.ndarray:
    """Positions, rising, of the episodes to read among those with these numbers [E].

    Args:
        masks: the subsets that each episode belongs to, where the data set names them.

    Raises:
        UserError: a number or subset is not among them, or nothing is left.
    """
    for setting, wanted in (("episodes", reading.episodes), ("exclude", reading.exclude)):
        unknown = sorted(set(wanted) - set(numbers.tolist()))
        if unknown:
            raise UserError(
                f"data.{setting} names episode {unknown[0]}, which {folder} does not have; "
                f"its {len(numbers)} episodes go from {numbers.min()} to {numbers.max()}"
            )
    keep = ~np.isin(numbers, reading.exclude)
    if reading.episodes:
        keep &= np.isin(numbers, reading.episodes)
    if reading.masks:
        known = sorted({mask for part in masks or () for mask in part or ()})
        for mask in reading.masks:
            check_choice("subset for data.masks:", mask, known or ["none"])
        keep &= np.array([bool(set(reading.masks) & set(part or ())) for part in masks or ()])
    if not keep.any():
        raise UserError(
            f"data.episodes, data.exclude and data.masks leave no episode of {folder}; name some that are kept"
        )
    return np.flatnonzero(keep)


def named_cameras(cameras: Mapping[str, str], reading: Reading) -> dict[str, str]:
    """{name here: feature} of all cameras, from {name there: feature}.

    Raises:
        UserError: a camera that the data set does not have.
    """
    renamed = {}
    for ours, theirs in reading.cameras.items():
        by_feature = {feature: feature for feature in cameras.values()}
        known = {**by_feature, **cameras}
        if theirs not in known:
            check_choice(f"camera for data.cameras.{ours}:", theirs, cameras)
        renamed[ours] = known[theirs]
    kept = {
        name: feature
        for name, feature in cameras.items()
        if name not in renamed and feature not in renamed.values()
    }
    return kept | renamed


def named_feature(features: Mapping[str, Any], setting: str, wanted: str, default: str) -> str | None:
    """The feature that stands for the action or the state; None where there is none.

    Raises:
        UserError: the wanted one is not there, or holds no numbers.
    """
    if not wanted:
        return default if default in features else None
    check_choice(f"feature for data.{setting}:", wanted, number_features(features))
    return wanted


def number_features(features: Mapping[str, Any]) -> list[str]:
    """The features that hold numbers and are no bookkeeping."""
    return [
        name
        for name, of in features.items()
        if of["dtype"] in NUMBERS and name not in layout.INDEX_FEATURES and not name.startswith("next.")
    ]


def width(feature: Mapping[str, Any]) -> int:
    """How many numbers a frame has of a feature."""
    return int(np.prod(feature["shape"], dtype=np.int64)) if feature.get("shape") else 1


def column_names(feature: Mapping[str, Any]) -> tuple[str, ...]:
    """What the numbers of a feature are called; by their place where it does not say."""
    names = feature.get("names")
    if isinstance(names, Mapping):
        names = [name for part in names.values() for name in (part if isinstance(part, list) else [part])]
    count = width(feature)
    if not isinstance(names, Sequence) or isinstance(names, str) or len(names) != count:
        return tuple(f"[{place}]" for place in range(count))
    return tuple(str(name) for name in names)
