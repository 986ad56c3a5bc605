"""Stage `extract`, online: rollouts in groups from the same seed, the better of each group made likelier."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from envs.rollout import Recording, Rollout, RolloutPool
from experiments.lab.artifacts import Artifact
from experiments.lab.context import Context
from experiments.lab.progress import announce, bar
from experiments.lab.seeds import seeds
from experiments.lab.simulators import horizon_of, worker_count
from experiments.settings.config import EvaluateConfig, TaskConfig
from experiments.stages.extract import Checkpoint, finish_training, load_checkpoint, save_checkpoint
from policy_extraction.acting import ActingPolicy
from policy_extraction.batch import make_batch
from policy_extraction.dataset import Dataset
from policy_extraction.types import Method, Policy, Rollouts, Training

VERSION = 2
MOST_DRAWS = 4  # times the wanted number of groups that are drawn before an iteration makes do with fewer
BLOCK = 256  # samples whose log-probability is computed together
FRAME_EVERY = 4  # control steps between the pictures that a critic judges a rollout by

Judge = Callable[[Sequence[Rollout]], np.ndarray]
"""Rewards float32 [R] of rollouts."""


def judge_success(rollouts: Sequence[Rollout]) -> np.ndarray:
    """1 for a solved task, else 0."""
    return np.array([rollout.success for rollout in rollouts], np.float32)


def extract_online(
    context: Context,
    task: TaskConfig,
    method: Method,
    online: Rollouts,
    training: Training,
    evaluate: EvaluateConfig,
    batch_size: int,
    seed: int,
    inputs: Mapping[str, str],
    make_policy: Callable[[], Policy],
    judge: Judge,
) -> Artifact:
    """The policy after `online.iterations` iterations: groups of rollouts -> rewards -> filter -> updates.

    Args:
        inputs: {role: digest} of the policy's origin, the method's source and the judge.
        judge: gives every rollout its reward.
    """
    horizon, workers = horizon_of(task, evaluate), worker_count(evaluate)
    frame_every = 0 if online.reward == "success" else FRAME_EVERY

    def build(folder: Path) -> None:
        policy = make_policy()
        checkpoint = load_checkpoint(folder, policy)
        history = checkpoint.history
        pool = context.simulators.pool(task, workers, online.execute, horizon, frame_every)
        with bar("extract", online.iterations, "iterations") as shown:
            shown.update(checkpoint.done)
            for iteration in range(checkpoint.done, online.iterations):
                drawn = history[-1]["groups_drawn_in_all"] if history else 0
                entry = _iterate(pool, policy, method, online, judge, batch_size, seed, iteration, drawn)
                history.append(entry)
                context.tracker.log({f"train/{name}": value for name, value in entry.items()})
                shown.update(1)
                shown.set_postfix(reward=f"{entry['reward']:.2f}", success=f"{entry['success']:.2f}")
                if iteration + 1 < online.iterations:
                    save_checkpoint(folder, policy, Checkpoint(iteration + 1, history))
        finish_training(folder, policy, history)

    resolved = {"workers": workers, "horizon": horizon}
    recipe = {
        "task": task,
        "method": method,
        "training": training,
        "batch": batch_size,
        "seed": seed,
        **resolved,
    }
    return announce(context.artifacts.make("extract", VERSION, recipe, inputs, build))


def _iterate(
    pool: RolloutPool,
    policy: Policy,
    method: Method,
    online: Rollouts,
    judge: Judge,
    size: int,
    seed: int,
    iteration: int,
    drawn: int,
) -> dict[str, Any]:
    """One iteration: draw until enough groups pass the method's filter, then update."""
    actor = ActingPolicy(policy, method, online.temperature)
    parts, rewards, successes, kept, first = [], [], [], 0, drawn
    while kept < online.groups and drawn < first + MOST_DRAWS * online.groups:
        count = min(online.groups - kept, first + MOST_DRAWS * online.groups - drawn)
        chosen = seeds("rollouts", seed, drawn + count)[drawn:]
        jobs = np.repeat(chosen, online.group_size).tolist()
        rollouts = pool.rollout(actor, jobs, act_seed=seed, record=True)
        reward = judge(rollouts)
        samples, observations = online_dataset(rollouts, reward, online.group_size)
        selected = method.select(samples)
        if len(selected):
            parts.append(_inputs(actor, selected, observations))
            kept += len(np.unique(selected.group))
        rewards.append(reward)
        successes.extend(rollout.success for rollout in rollouts)
        drawn += count
    entry = {
        "updates": (iteration + 1) * online.updates,
        "reward": float(np.mean(np.concatenate(rewards))),
        "success": float(np.mean(successes)),
        "groups_kept": kept,
        "groups_drawn": drawn - first,
        "groups_drawn_in_all": drawn,
    }
    return entry | (
        _update(policy, method, (online.updates, size), parts, (seed, iteration)) if parts else {}
    )


def online_dataset(
    rollouts: Sequence[Rollout], rewards: np.ndarray, group_size: int
) -> tuple[Dataset, list[Recording]]:
    """One sample a decision of every rollout; groups are `group_size` neighbours. And the recordings."""
    recordings = [rollout.recording for rollout in rollouts if rollout.recording is not None]
    assert len(recordings) == len(rollouts), "rollouts must be recorded"
    decisions = [len(recording.chunks) for recording in recordings]
    zeros = np.zeros(sum(decisions), np.float32)
    dataset = Dataset(
        episode=np.repeat(np.arange(len(rollouts)), decisions),
        frame=np.concatenate([np.arange(count) for count in decisions]),
        action=np.concatenate([recording.chunks for recording in recordings]),
        instruction=np.concatenate([recording.observation.instruction for recording in recordings]),
        value=zeros,
        advantage=zeros,
        weight=zeros + 1,
        outcome=np.repeat(rewards.astype(np.float32), decisions),
        group=np.repeat(np.arange(len(rollouts)) // group_size, decisions),
        executed=np.concatenate([recording.executed for recording in recordings]),
        seed=np.concatenate([recording.act_seeds for recording in recordings]).astype(np.uint32),
    )
    return dataset, recordings


def _inputs(actor: ActingPolicy, selected: Dataset, recordings: list[Recording]) -> dict[str, Any]:
    """All selected samples as one batch, with their log-probability under the policy that acted."""
    observation: dict[str, list[np.ndarray]] = {}
    for index in np.unique(selected.episode):
        frames = selected.frame[selected.episode == index]
        for name, values in actor.preprocess(recordings[index].observation[frames]).items():
            observation.setdefault(name, []).append(values)
    inputs = {name: np.concatenate(parts) for name, parts in observation.items()}
    behavior = _log_prob(actor.policy, make_batch(selected, inputs), len(selected))
    return make_batch(replace(selected, behavior_log_prob=behavior), inputs)


def _log_prob(policy: Policy, whole: Mapping[str, Any], count: int) -> np.ndarray:
    """In blocks of equal size, so that the policy's function is compiled once."""
    blocks = []
    for start in range(0, count, BLOCK):
        rows = np.minimum(np.arange(start, start + BLOCK), count - 1)
        blocks.append(policy.log_prob(_rows(whole, rows)))
    return np.concatenate(blocks)[:count]


def _update(
    policy: Policy,
    method: Method,
    shape: tuple[int, int],
    parts: Sequence[dict[str, Any]],
    seed: tuple[int, int],
) -> dict[str, float]:
    """U updates on batches of B, `shape` = (U, B): shuffled passes over all samples."""
    whole = _concatenate(parts)
    order = np.random.default_rng(seed).permutation(len(whole["action"]))
    return policy.update(_rows(whole, np.resize(order, shape)), method)


def _concatenate(parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    first = parts[0]
    return {
        name: _concatenate([part[name] for part in parts])
        if isinstance(first[name], dict)
        else np.concatenate([part[name] for part in parts])
        for name in first
    }


def _rows(whole: Mapping[str, Any], rows: np.ndarray) -> dict[str, Any]:
    return {n: _rows(value, rows) if isinstance(value, dict) else value[rows] for n, value in whole.items()}
