"""Stage `classifier`: what success looks like, learned from attempts whose outcome is known."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from envs.errors import UserError
from envs.files import atomic_file
from envs.recording import Rollout
from envs.rollout import Actor
from envs.store import Store
from experiments.choices.critic_judge import best_threshold
from experiments.choices.judges import Learned
from experiments.choices.seeing_judges import FOLDER, QUALITY, ClassifierReward
from experiments.lab.artifacts import SCRATCH
from experiments.lab.context import Context
from experiments.lab.progress import Bars, announce, bar
from experiments.lab.seeds import seeds
from experiments.stages.acting import Acting
from experiments.stages.data import user_data
from value_model.success.classifier import side_by_side, train_classifier
from value_model.success.rule import attempt_score, shown_success

VERSION = 1
BLOCK = 24  # rollouts that are made between two files of what they showed
HELD_OUT = 3  # one rollout in so many measures, and is not learned from


@dataclass(frozen=True)
class Attempt:
    """What a classifier sees of an attempt: pictures uint8 [F, H, W, 3], the step of each int64 [F], and whether it shows
    success, float32 [F] of 1, 0 and NaN for not clear; success of the whole."""

    pictures: np.ndarray
    step: np.ndarray
    solved: np.ndarray
    success: bool


def train_success_classifier(
    context: Context,
    choice: ClassifierReward,
    acting: Acting,
    actor: Callable[[], Actor],
    policy: str,
    seed: int,
) -> Learned:
    """The classifier, with the threshold that has the best F1 on rollouts that it was not trained on, and how good it is.

    Args:
        acting: where outcomes are known; actor: the policy before training, with digest `policy`.

    Raises:
        UserError: outcomes are not known there, or all alike.
    """
    network = replace(choice.network, cameras=choice.network.cameras or tuple(acting.spec.cameras))
    choice = replace(choice, network=network)
    acting = replace(acting, linger=choice.linger)
    data = [user_data(Path(path)) for path in choice.data]

    def build(folder: Path) -> None:
        attempts = _own_attempts(context, choice, acting, actor, seed, folder / SCRATCH)
        held = attempts[::HELD_OUT]
        learned = [attempt for number, attempt in enumerate(attempts) if number % HELD_OUT]
        for part in data:
            learned += recorded_attempts(part.open(), choice)
        with Bars(context.tracker, "classifier") as bars:
            classifier = train_classifier(
                np.concatenate([attempt.pictures for attempt in learned]),
                np.concatenate([attempt.solved for attempt in learned]),
                network,
                folder / SCRATCH / "training",
                seed,
                bars.update,
            )
        scores = [
            attempt_score(
                classifier.probabilities(attempt.pictures), attempt.step, choice.minimum, choice.hold
            )
            for attempt in held
        ]
        success = np.array([attempt.success for attempt in held])
        threshold, quality = best_threshold(np.array(scores, np.float32), success)
        classifier.save(folder / FOLDER)
        with atomic_file(folder / QUALITY) as temporary:
            temporary.write_text(json.dumps({"threshold": threshold, **quality}, indent=1))

    recipe = {**acting.recipe(), "reward": replace(choice, data=()), "seed": seed}
    inputs = {"policy": policy} | {f"data {number}": part.digest for number, part in enumerate(data)}
    made = announce(context.artifacts.make("classifier", VERSION, recipe, inputs, build))
    return Learned(made.folder, made.digest)


def _own_attempts(
    context: Context,
    choice: ClassifierReward,
    acting: Acting,
    actor: Callable[[], Actor],
    seed: int,
    scratch: Path,
) -> list[Attempt]:
    """Rollouts of the policy, of which finished blocks are found again after a kill."""
    chosen = seeds("calibration", seed, choice.rollouts).tolist()
    attempts: list[Attempt] = []
    with bar("attempts", len(chosen), "rollouts") as shown:
        for first in range(0, len(chosen), BLOCK):
            file, starts = scratch / f"attempts{first}.npz", chosen[first : first + BLOCK]
            if not file.is_file():
                pool = acting.pool(context.simulators)
                rollouts = pool.rollout(actor(), starts, record=True, film=choice.film, progress=shown.update)
                _write(file, [rollout_attempt(rollout, choice) for rollout in rollouts])
            attempts += _read(file)
            shown.update(len(attempts) - shown.n)
    return attempts


def rollout_attempt(rollout: Rollout, choice: ClassifierReward) -> Attempt:
    """A rollout as a classifier sees it.

    Raises:
        UserError: its outcome is not known.
    """
    if rollout.success is None:
        raise UserError(
            "reward=classifier learns from rollouts whose outcome is known, and this environment does not say it; "
            "choose evaluate_env= that does"
        )
    film = rollout.filmed
    solved = shown_success(film.step, rollout.recorded.rewards, rollout.success, choice.linger)
    return Attempt(side_by_side(film.images, choice.network), film.step, solved, rollout.success)


def recorded_attempts(store: Store, choice: ClassifierReward) -> list[Attempt]:
    """The episodes of a data set whose outcome is known, every `choice.film`-th frame and the last."""
    attempts = []
    for index in range(len(store)):
        success = store.episode_info(index).success
        if success is None:
            continue
        episode = store.episode(index, choice.network.cameras)
        step = np.unique([*range(0, len(episode), choice.film), len(episode) - 1])
        solved = shown_success(step, episode.rewards, success, choice.linger)
        images = {camera: episode.images[camera][step] for camera in episode.images}
        attempts.append(Attempt(side_by_side(images, choice.network), step, solved, success))
    return attempts


def _write(file: Path, attempts: Sequence[Attempt]) -> None:
    with atomic_file(file) as temporary, open(temporary, "wb") as opened:
        np.savez(
            opened,
            pictures=np.concatenate([attempt.pictures for attempt in attempts]),
            step=np.concatenate([attempt.step for attempt in attempts]),
            solved=np.concatenate([attempt.solved for attempt in attempts]),
            frames=np.array([len(attempt.step) for attempt in attempts]),
            success=np.array([attempt.success for attempt in attempts]),
        )


def _read(file: Path) -> list[Attempt]:
    with np.load(file) as read:
        ends = np.cumsum(read["frames"])[:-1]
        pictures, step, solved = (np.split(read[name], ends) for name in ("pictures", "step", "solved"))
        success = read["success"].tolist()
    return [Attempt(*row) for row in zip(pictures, step, solved, success, strict=True)]
