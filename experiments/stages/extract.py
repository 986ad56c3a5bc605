"""Stage `extract`, offline: a method trains a policy on labelled data, resumable to the very same result."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from envs.errors import UserError
from envs.files import atomic_file
from experiments.lab.artifacts import SCRATCH, Artifact, Artifacts
from experiments.lab.hosts import follows, training_hosts
from experiments.lab.progress import announce, bar
from experiments.lab.tracking import Tracker
from experiments.settings.config import BatchConfig
from policy_extraction.batch import sample_batches
from policy_extraction.dataset import Dataset
from policy_extraction.types import Method, Policy, Training, processes_of

VERSION = 1
STATE = "state.json"


@dataclass(frozen=True)
class Checkpoint:
    """Where a training stands: `done` steps, and what it reported on the way."""

    done: int
    history: list[dict[str, Any]]


def extract(
    artifacts: Artifacts,
    method: Method,
    training: Training,
    batch: BatchConfig,
    seed: int,
    inputs: Mapping[str, str],
    make_policy: Callable[[], Policy],
    dataset: Dataset,
    arrays: Mapping[str, np.ndarray],
    tracker: Tracker,
) -> Artifact:
    """The policy after `training.updates` updates by `method`.

    Args:
        inputs: {role: digest} of the policy's origin, the data, its labels and the method's source.
        make_policy: the policy at the start.
        dataset: what `method.select` left; arrays: its inputs, {name: [V, N, ...]}.

    Raises:
        UserError: a loss is not finite; the last good checkpoint is kept.
    """

    def build(folder: Path) -> None:
        policy = make_policy()
        hosts = training_hosts()
        if hosts is not None and processes_of(policy) != hosts.count:
            raise UserError("cluster=torchrun trains torch policies, and policy= is none; leave it out")
        checkpoint = load_checkpoint(folder, policy)
        done, history, saved = checkpoint.done, checkpoint.history, time.monotonic()
        with bar("extract", training.updates, "updates") as shown:
            shown.update(done)
            while done < training.updates:
                count = min(batch.dispatch, training.updates - done)
                chosen = sample_batches(
                    dataset, arrays, first=done, updates=count, batch=batch.size, seed=seed
                )
                metrics = policy.update(chosen, method)
                done += count
                history.append({"updates": done, **metrics})
                tracker.log({f"train/{name}": value for name, value in history[-1].items()})
                shown.update(count)
                shown.set_postfix(loss=f"{metrics['loss']:.3g}")
                due = time.monotonic() - saved >= batch.checkpoint_seconds
                if done < training.updates and (due if hosts is None else hosts.agree("due" if due else "")):
                    save_checkpoint(folder, policy, Checkpoint(done, history))
                    saved = time.monotonic()
        finish_training(folder, policy, history)

    recipe = {"method": method, "training": training, "batch": _recipe(batch), "seed": seed}
    return announce(artifacts.make("extract", VERSION, recipe, inputs, build, over="torch"))


def load_checkpoint(folder: Path, policy: Policy) -> Checkpoint:
    """Restore the policy from the last checkpoint of an interrupted training, if there is one."""
    state = folder / SCRATCH / STATE
    if not state.is_file():
        return Checkpoint(0, [])
    content = json.loads(state.read_text())
    policy.restore(folder / SCRATCH / f"policy-{content['done']}")
    return Checkpoint(content["done"], content["history"])


def save_checkpoint(folder: Path, policy: Policy, checkpoint: Checkpoint) -> None:
    """Write a checkpoint; the one before it is dropped only when this one is whole. Of several processes the first does."""
    scratch = folder / SCRATCH
    policy.save(scratch / f"policy-{checkpoint.done}")
    if follows():
        return
    with atomic_file(scratch / STATE) as temporary:
        temporary.write_text(json.dumps({"done": checkpoint.done, "history": checkpoint.history}))
    for old in scratch.glob("policy-*"):
        if old.name != f"policy-{checkpoint.done}":
            shutil.rmtree(old)


def finish_training(folder: Path, policy: Policy, history: list[dict[str, Any]]) -> None:
    """Write the result of a training: the policy and the learning curve. Of several processes the first does."""
    policy.save(folder / "policy")
    if follows():
        return
    with atomic_file(folder / "history.json") as temporary:
        temporary.write_text(json.dumps(history, indent=1))


def read_history(folder: Path) -> list[dict[str, Any]]:
    """The learning curve of a finished training: one entry a dispatch (offline) or an iteration (online)."""
    return json.loads((folder / "history.json").read_text())


def _recipe(batch: BatchConfig) -> dict[str, Any]:
    """The part of the configuration that the result depends on."""
    return {"size": batch.size, "variants": batch.variants, "dispatch": batch.dispatch}
