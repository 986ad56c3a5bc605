"""Checks that tell the author of a critic, in plain words, what is wrong with it."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from envs.errors import UserError
from envs.types import Episode
from value_model.critic.outside import made, outside_critic, side_by_side
from value_model.critic.types import Critic, SeeingCritic, TrainedCritic

FRAMES = 8  # of an episode that a critic is tried on
CLOSE = 1e-3  # values that differ by less are the same: devices round


def check_critic(
    critic: Any, episodes: Sequence[Episode] | None = None, name: str = "", camera: str = "workspace"
) -> None:
    """Try all that labelling, films and rollouts need of a critic; it is asked about ten short videos.

    Args:
        critic: a function (frames, instruction) -> [T], an object with it as `values`, an object with
            `label(episodes)`, or a class that makes one without arguments.
        episodes: some that it could be asked about, the first frames of two are shown; invented if not given.
        name: what it is called in the error; its own name if not given.
        camera: the view that `values` is given, unless the critic has `cameras` of its own.

    Raises:
        UserError: the first thing that is wrong.
    """
    name = name or getattr(critic, "__name__", type(critic).__name__)
    tried = outside_critic(made(critic, name, {}), name, camera)
    shown = [first_frames(episode, tried.cameras) for episode in (episodes or example_episodes())[:2]]
    _check_label(tried, shown, name)
    if isinstance(tried, SeeingCritic):
        _check_values(tried, shown, name)


def check_kept(
    trained: TrainedCritic, load: Callable[[Path], Critic], episodes: Sequence[Episode], name: str
) -> None:
    """Check that a trained critic gives the same values of these episodes after `save` and `load`.

    Raises:
        UserError: it does not.
    """
    shown = [first_frames(episode) for episode in episodes[:2]]
    with tempfile.TemporaryDirectory() as folder:
        trained.save(Path(folder))
        loaded = load(Path(folder))
        if not _close(list(trained.label(shown)), list(loaded.label(shown))):
            raise UserError(f"{name} gives other values after save and load; write all that they depend on")


def example_episodes(
    task: str = "stack",
    robot: str = "Panda",
    instruction: str = "stack the red cube on the green cube",
    image_size: int = 64,
) -> list[Episode]:
    """Two episodes of random pictures and numbers, in the shapes of the simulated tasks."""
    return [_example(seed, (task, robot, instruction), image_size) for seed in range(2)]


def first_frames(episode: Episode, cameras: tuple[str, ...] | None = None) -> Episode:
    """The first `FRAMES` frames of an episode, with the pictures of these cameras as far as it has them (None: all)."""
    end = min(FRAMES, len(episode))
    parts = ("proprio", "actions", "rewards", "environment_state")
    arrays = {part: getattr(episode, part)[:end] for part in parts}
    wanted = [camera for camera in episode.images if cameras is None or camera in cameras]
    images = {camera: episode.images[camera][:end] for camera in wanted}
    return dataclasses.replace(episode, images=images, segments=(), **arrays)


def _example(seed: int, names: tuple[str, str, str], image_size: int) -> Episode:
    rng = np.random.default_rng(seed)
    task, robot, instruction = names
    size = (FRAMES, image_size, image_size, 3)
    return Episode(
        images={camera: rng.integers(0, 256, size, np.uint8) for camera in ("workspace", "wrist")},
        proprio=rng.normal(size=(FRAMES, 8)).astype(np.float32),
        actions=rng.uniform(-1, 1, (FRAMES, 7)).astype(np.float32),
        rewards=np.zeros(FRAMES, np.float32),
        environment_state=rng.normal(size=(FRAMES, 8)).astype(np.float32),
        success=False,
        task=task,
        instruction=instruction,
        robot=robot,
        seed=seed,
        fps=20.0,
    )


def _check_label(critic: Critic, shown: Sequence[Episode], name: str) -> None:
    before = [_copied(episode) for episode in shown]
    together = list(critic.label(iter(shown)))
    if not all(map(_same, shown, before)):
        raise UserError(f"{name} writes into the arrays that it is given; copy what it changes")
    if not _close(list(critic.label(iter(shown))), together):
        raise UserError(f"{name} gives other values for the same episodes; take randomness from a fixed seed")
    alone = [values for episode in shown for values in critic.label(iter([episode]))]
    if _close(together, alone):
        return
    if _close(together, alone[::-1]):
        raise UserError(f"{name} gives the episodes' values in another order; give them as they come")
    raise UserError(f"{name}'s values of an episode depend on the episodes beside it; keep episodes apart")


def _check_values(critic: SeeingCritic, shown: Sequence[Episode], name: str) -> None:
    for episode in shown:
        frames = side_by_side(episode, critic.cameras, name)
        before = frames.copy()
        first, second = (critic.values(frames, episode.instruction, episode.fps) for _ in range(2))
        if not np.array_equal(frames, before):
            raise UserError(f"{name} writes into the pictures that it is given; copy what it changes")
        if not _close([first], [second]):
            raise UserError(
                f"{name} gives other values for the same video; take randomness from a fixed seed"
            )


def _close(some: Sequence[np.ndarray], others: Sequence[np.ndarray]) -> bool:
    return all(
        one.shape == other.shape and np.allclose(one, other, atol=CLOSE)
        for one, other in zip(some, others, strict=True)
    )


def _copied(episode: Episode) -> Episode:
    images = {camera: frames.copy() for camera, frames in episode.images.items()}
    return dataclasses.replace(
        episode,
        images=images,
        proprio=episode.proprio.copy(),
        actions=episode.actions.copy(),
        rewards=episode.rewards.copy(),
        environment_state=episode.environment_state.copy(),
    )


def _same(one: Episode, other: Episode) -> bool:
    parts = ("proprio", "actions", "rewards", "environment_state")
    return all(
        np.array_equal(getattr(one, part), getattr(other, part), equal_nan=True) for part in parts
    ) and all(np.array_equal(one.images[camera], other.images[camera]) for camera in other.images)
