"""Stages `fidelity_real`, `_imagined`, `_replay`, `_again`: one policy from the same first states in both places."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from envs.contract import Start
from envs.errors import UserError
from envs.files import atomic_file, load_arrays, save_arrays
from envs.replay import replay
from envs.rollout import Actor, Rollout
from envs.types import Observation
from experiments.choices.imagination import ImaginationChoice
from experiments.lab.artifacts import Artifact
from experiments.lab.context import Context
from experiments.lab.progress import announce, bar
from experiments.lab.seeds import seeds
from experiments.stages.acting import Acting

VERSION = 1
STARTS, ACTIONS, OUTCOMES = "starts.safetensors", "actions.safetensors", "outcomes.json"


@dataclass(frozen=True)
class Player:
    """Who acts: a policy of digest `digest` at a sampling temperature, with noise of this deviation on its actions."""

    digest: str
    temperature: float
    noise: float

    def recipe(self) -> Mapping[str, Any]:
        """All that it does beside the policy."""
        return {"temperature": self.temperature, "noise": self.noise}


@dataclass(frozen=True)
class Noisy:
    """An `Actor` whose actions are disturbed, each row by its own seed."""

    actor: Actor
    noise: float

    def act(self, observation: Observation, seeds: np.ndarray) -> np.ndarray:
        """See `Actor`."""
        chunks = self.actor.act(observation, seeds)
        if not self.noise:
            return chunks
        drawn = [np.random.default_rng(seed).normal(size=chunks.shape[1:]) for seed in seeds.tolist()]
        return np.clip(chunks + self.noise * np.stack(drawn), -1, 1).astype(np.float32)


def roll_out_really(
    context: Context,
    acting: Acting,
    player: Player,
    make_actor: Callable[[], Actor],
    episodes: int,
    seed: int,
) -> Artifact:
    """Rollouts in the real environment: how they ended, and what they began with.

    Raises:
        UserError: it does not say whether the task is solved.
    """

    def build(folder: Path) -> None:
        chosen = seeds("fidelity", seed, episodes).tolist()
        rollouts = _roll_out(context, acting, make_actor(), player, chosen, "really")
        films = [rollout.filmed for rollout in rollouts]
        arrays = {"seed": np.array(chosen, np.int64)}
        arrays["proprio"] = np.stack([film.proprio[0] for film in films])
        for camera in acting.spec.cameras:
            arrays[f"images.{camera}"] = np.stack([film.images[camera][0] for film in films])
        save_arrays(folder / STARTS, arrays)
        _write_success(folder, rollouts, "the real environment")

    recipe = {**acting.recipe(), **player.recipe(), "episodes": episodes, "seed": seed}
    inputs = {"policy": player.digest}
    return announce(context.artifacts.make("fidelity_real", VERSION, recipe, inputs, build))


def roll_out_imagined(
    context: Context, acting: Acting, player: Player, make_actor: Callable[[], Actor], real: Artifact
) -> Artifact:
    """Imagined rollouts from what the real ones began with: how they ended, and what was done in them.

    Raises:
        UserError: the world model does not say whether the task is solved.
    """

    def build(folder: Path) -> None:
        arrays, _ = load_arrays(real.folder / STARTS)
        cameras = acting.spec.cameras
        starts = [
            Start(
                int(seed),
                images={camera: arrays[f"images.{camera}"][row] for camera in cameras},
                proprio=arrays["proprio"][row],
            )
            for row, seed in enumerate(arrays["seed"])
        ]
        rollouts = _roll_out(context, acting, make_actor(), player, starts, "in imagination")
        done = {f"{row:05d}": rollout.recorded.actions() for row, rollout in enumerate(rollouts)}
        save_arrays(folder / ACTIONS, done)
        _write_success(folder, rollouts, "the world model")

    recipe = {**acting.recipe(), **player.recipe()}
    inputs = {"policy": player.digest, "starts": real.digest}
    return announce(context.artifacts.make("fidelity_imagined", VERSION, recipe, inputs, build))


def replay_really(context: Context, acting: Acting, real: Artifact, imagined: Artifact) -> Artifact:
    """What was done in imagination, done in the real environment from the same first states: how that ended."""

    def build(folder: Path) -> None:
        chosen = load_arrays(real.folder / STARTS)[0]["seed"].tolist()
        done = load_arrays(imagined.folder / ACTIONS)[0]
        actions = [done[name] for name in sorted(done)]
        again = replay(acting.pool(context.simulators).envs, chosen, actions)
        _write(folder, [bool(one) for one in again])

    inputs = {"starts": real.digest, "imagined": imagined.digest}
    return announce(context.artifacts.make("fidelity_replay", VERSION, acting.recipe(), inputs, build))


def imagine_again(
    context: Context,
    second: ImaginationChoice,
    minimum: int,
    instruction: str,
    real: Artifact,
    imagined: Artifact,
) -> Artifact:
    """What was done in imagination, imagined by another world model from the same first pictures: whether it looks solved.

    Args:
        minimum: control steps before which nothing counts.
    """

    def build(folder: Path) -> None:
        from value_model.imagination.verdicts import Attempt, look_solved

        world, (starts, _) = second.world, load_arrays(real.folder / STARTS)
        done = load_arrays(imagined.folder / ACTIONS)[0]
        views = [starts[f"images.{camera}"] for camera in world.config.cameras]
        attempts = (
            Attempt(
                np.concatenate([view[row] for view in views], axis=1),
                starts["proprio"][row],
                done[name],
                instruction,
            )
            for row, name in enumerate(sorted(done))
        )
        _write(folder, look_solved(world, attempts, minimum).tolist())

    recipe = {"minimum": minimum, "instruction": instruction}
    inputs = {"starts": real.digest, "imagined": imagined.digest, "second": second.origin()}
    return announce(context.artifacts.make("fidelity_again", VERSION, recipe, inputs, build))


def outcomes(made: Artifact) -> np.ndarray:
    """Whether each episode was solved, bool [E]."""
    return np.array(json.loads((made.folder / OUTCOMES).read_text()), bool)


def _roll_out(
    context: Context, acting: Acting, actor: Actor, player: Player, starts: list[Any], where: str
) -> list[Rollout]:
    pool = acting.pool(context.simulators)
    with bar(f"roll out {where}", len(starts), "episodes") as shown:
        return pool.rollout(
            Noisy(actor, player.noise), starts, record=True, film=acting.spec.horizon, progress=shown.update
        )


def _write_success(folder: Path, rollouts: list[Rollout], where: str) -> None:
    success = [rollout.success for rollout in rollouts]
    if None in success:
        raise UserError(f"{where} does not say whether the task is solved: nothing can be compared")
    _write(folder, [bool(one) for one in success])


def _write(folder: Path, success: list[bool]) -> None:
    with atomic_file(folder / OUTCOMES) as temporary:
        temporary.write_text(json.dumps(success))
