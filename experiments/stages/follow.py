"""Stage `follow`: a policy follows the gradient of a critic's value through a world model, resumable to the same result.

Dimension letters: M starts, V draws of a start, U updates, B batch.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from envs.errors import UserError
from envs.text import word_ids
from envs.types import Observation
from experiments.choices.imagination import ImaginationChoice
from experiments.lab.artifacts import Artifact
from experiments.lab.context import Context
from experiments.lab.progress import announce, bar
from experiments.settings.config import BatchConfig, TaskConfig
from experiments.stages.extract import Checkpoint, finish_training, load_checkpoint, save_checkpoint
from experiments.stages.foresee import foresee
from policy_extraction.adapters.jax_policy import JaxPolicy
from policy_extraction.batch import make_batch
from policy_extraction.dataset import Dataset
from policy_extraction.types import Foresight, Method, Policy, Training
from value_model.critic.types import Critic
from value_model.imagination.starts import StartBank
from value_model.imagination.world_model import WorldModel
from value_model.video.meter import peak_bytes

VERSION = 1
DRAWS = 8  # chunks of the policy before training at every start
DISPATCH = 10  # updates whose mean is one entry of the history


@dataclass(frozen=True)
class Following:
    """How a policy follows a value's gradient.

    env: the world model and where it begins; foresight: how far ahead, from how many starts; seed: of starts and draws.
    """

    env: ImaginationChoice
    task: TaskConfig
    method: Method
    foresight: Foresight
    training: Training
    batch: BatchConfig
    seed: int


def require_pathwise(policy: Policy) -> JaxPolicy:
    """The policy as one whose draws JAX differentiates in its weights.

    Raises:
        UserError: they are not.
    """
    if not isinstance(policy, JaxPolicy) or not policy.pathwise:
        raise UserError(
            "this method follows a gradient through the policy's draws, and this policy's cannot be differentiated by JAX: "
            "use policy=vla or vla_token, or a flax nnx module with a method pathwise(observation, key)"
        )
    return policy


def follow(
    context: Context,
    plan: Following,
    inputs: Mapping[str, str],
    make_policy: Callable[[], Policy],
    load_critic: Callable[[], Critic],
) -> Artifact:
    """The policy after `foresight.updates` gradient steps, each from `foresight.starts` recorded states at random.

    Args:
        inputs: {role: digest} of the policy's origin, the method's source and the critic.

    Raises:
        UserError: policy, critic and world model do not fit, or a loss or gradient is not finite; what was trained before is
            kept.
    """
    foresight = plan.foresight

    def build(folder: Path) -> None:
        world, spec = plan.env.world, plan.env.spec(plan.task)
        objective = foresee(world, load_critic(), spec.horizon, foresight.execute)
        policy = require_pathwise(make_policy())
        starts = _Starts(world, plan.env.bank(plan.task, spec), policy, plan.method, plan.seed)
        checkpoint = load_checkpoint(folder, policy)
        done, history, saved = checkpoint.done, checkpoint.history, time.monotonic()
        with bar("follow", foresight.updates, "updates") as shown:
            shown.update(done)
            while done < foresight.updates:
                began, count = time.monotonic(), min(DISPATCH, foresight.updates - done)
                chosen = starts.batches(done, count, foresight.starts)
                metrics = policy.update(chosen, plan.method, objective)
                done += count
                seconds = {"update": (time.monotonic() - began) / count}
                cost = {"seconds": seconds, "peak_gb": peak_bytes() / 2**30}
                history.append({"updates": done, **metrics, **cost})
                context.tracker.log({f"train/{name}": value for name, value in metrics.items()})
                shown.update(count)
                shown.set_postfix({name: f"{metrics[name]:.3g}" for name in ("gain", "grad_norm")})
                if time.monotonic() - saved >= plan.batch.checkpoint_seconds and done < foresight.updates:
                    save_checkpoint(folder, policy, Checkpoint(done, history))
                    saved = time.monotonic()
        finish_training(folder, policy, history)
        _say_what_was_found(history)

    recipe = {
        "env": plan.env,
        "source": plan.env.origin(),
        "task": plan.task,
        "method": plan.method,
        "training": plan.training,
        "seed": plan.seed,
    }
    return announce(context.artifacts.make("follow", VERSION, recipe, inputs, build))


def _say_what_was_found(history: list[dict[str, Any]]) -> None:
    first, last = history[0], history[-1]
    seconds = float(np.median([entry["seconds"]["update"] for entry in history]))
    norms = [entry["grad_norm"] for entry in history]
    tqdm.write(
        f"  the critic's gain in imagination went from {first['gain']:+.4f} to {last['gain']:+.4f}; gradient norm "
        f"{min(norms):.3g} to {max(norms):.3g}; {seconds:.2f} s a step",
        file=sys.stderr,
    )


class _Starts:
    """Where imagined worlds begin, with what the policy reads there and `DRAWS` chunks that it draws before training."""

    def __init__(
        self, world: WorldModel, bank: StartBank, policy: JaxPolicy, method: Method, seed: int
    ) -> None:
        self._seed, self._count = seed, len(bank)
        latents = np.asarray(bank.latents, np.float32)
        observation = Observation(world.views(world.decode(latents)), bank.proprio, bank.instruction)
        words = np.stack([word_ids(text) for text in bank.instruction])
        self._start = {"latents": latents, "proprio": bank.proprio, "words": words}
        self._inputs = policy.preprocess(observation)
        random = np.random.default_rng((seed, len(bank)))
        draws = [policy.act(observation, random.integers(2**31, size=len(bank))) for _ in range(DRAWS)]
        self._samples = method.select(_samples(np.concatenate(draws), bank.instruction))

    def batches(self, first: int, updates: int, batch: int) -> dict[str, Any]:
        """Batches number first … first + updates − 1, leading axes [U, B]; a function of the arguments and the seed."""
        rows = np.stack(
            [
                np.random.default_rng((self._seed, update)).integers(len(self._samples), size=batch)
                for update in range(first, first + updates)
            ]
        )
        start = self._samples.episode[rows]
        observation = {name: array[start] for name, array in self._inputs.items()}
        begun = {name: array[start] for name, array in self._start.items()}
        return make_batch(self._samples, observation, rows) | {"start": begun}


def _samples(chunks: np.ndarray, instruction: tuple[str, ...]) -> Dataset:
    """Chunks [V · M, H, A] of the policy before training; `episode` is the start of each, and nothing is known of values."""
    count, starts = len(chunks), len(instruction)
    unknown = np.full(count, np.nan, np.float32)
    place = np.arange(count) % starts
    return Dataset(
        episode=place,
        frame=np.zeros(count, np.int64),
        action=chunks,
        instruction=np.array(instruction)[place],
        value=unknown,
        advantage=unknown,
        weight=np.ones(count, np.float32),
        outcome=unknown,
        group=place,
    )
