"""How a world model is fitted to recordings: its cameras, rate, stride, and what its actions and the robot's state are.

A step of the world lasts about .2 s, as the published model's does: the data's rate over a whole number.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np

from envs.errors import UserError
from envs.store import Store
from experiments.own_critic.fit import common_cameras
from experiments.own_critic.split import Part
from experiments.settings.config import require
from experiments.stages.recorded import ends
from value_model.imagination.config import ImaginationConfig

FEW = "; few pictures: the tokenizer sees them turned and recoloured, too"
RATE = 5.0  # steps of the world a second


def fit_world(model: ImaginationConfig, parts: Sequence[Part], given: Collection[str]) -> ImaginationConfig:
    """The model with what follows from the recordings, except where the command line says otherwise.

    Args:
        given: keys of the settings on the command line.

    Raises:
        UserError: the data sets have no camera in common, actions or states of different sizes, or no actions.
    """
    stores = [part.store for part in parts]
    rate = stores[0].fps
    cameras = model.cameras if "model.cameras" in given else common_cameras(stores)
    for store in stores:
        missing = [name for name in cameras if name not in store.cameras]
        require(
            not missing,
            f"model.cameras: {store.folder} has no {', '.join(missing)}; it has {', '.join(store.cameras) or 'none'}",
        )
    action, state = (_width(stores, name) for name in ("action", "state"))
    require(
        action > 0,
        f"{stores[0].folder} tells no actions, and a world model imagines what they bring about; name the feature that "
        "has them: data.action=…",
    )
    low, high = ends(_actions(parts), "range")
    lengths = [part.store.episode_info(index).length for part in parts for index in part.trained]
    stride = model.stride if "model.stride" in given else max(1, round(rate / RATE))
    token = model.tokenizer
    few = len(cameras) * sum(lengths) < token.frames
    told = {text for store in stores for text in _instructions(store)}
    return replace(
        model,
        cameras=tuple(cameras),
        control_rate=rate,
        stride=stride,
        tokenizer=token if "model.tokenizer.augment" in given else replace(token, augment=few),
        horizon=max(stride, max(lengths) // stride * stride),
        action_dim=action,
        proprio_dim=state,
        action_low=low,
        action_high=high,
        solved=replace(model.solved, told=len(told) > 1),
    )


def said(model: ImaginationConfig) -> str:
    """What was chosen, in words."""
    rate, size = model.control_rate / model.stride, model.tokenizer.image_size
    return (
        f"a step of the world is {model.stride} of the data's ({rate:.3g} a second), seen through "
        f"{', '.join(model.cameras)} at {size}×{size} pixels; {model.action_dim} numbers an action, "
        f"{model.proprio_dim or 'no'} of the state{FEW if model.tokenizer.augment else ''}"
    )


def _width(stores: Sequence[Store], name: str) -> int:
    """Numbers an action, or a state, of all data sets.

    Raises:
        UserError: they differ.
    """
    widths = {str(store.folder): len(getattr(store.spec, name)) for store in stores}
    if len(set(widths.values())) > 1:
        told = ", ".join(f"{folder} {width}" for folder, width in widths.items())
        raise UserError(
            f"the data sets have different numbers in their {name} ({told}); name the same one in all: data.{name}=…, "
            "or train on those that agree"
        )
    return next(iter(widths.values()))


def _actions(parts: Sequence[Part]) -> np.ndarray:
    """All that are learnt from, float64 [N, A]."""
    found = [part.store.episode(index, cameras=()).actions for part in parts for index in part.trained]
    return np.concatenate(found).astype(np.float64)


def _instructions(store: Store) -> set[str]:
    return {store.episode_info(index).instruction for index in range(len(store))}
