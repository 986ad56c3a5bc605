"""Stage `improve`: rollouts in groups from the same start, the better of each group made likelier."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from envs.errors import UserError
from envs.rollout import Recording, Rollout, RolloutPool
from experiments.choices.judges import Costly, Judge
from experiments.lab.artifacts import Artifact
from experiments.lab.context import Context
from experiments.lab.progress import announce, bar
from experiments.lab.seeds import seeds
from experiments.lab.stopwatch import Stopwatch, TimedActor
from experiments.stages.acting import Acting
from experiments.stages.extract import Checkpoint, finish_training, load_checkpoint, save_checkpoint
from policy_extraction.acting import ActingPolicy
from policy_extraction.batch import make_batch
from policy_extraction.dataset import Dataset
from policy_extraction.types import Method, Policy, Rollouts, Training, needs_base
from value_model.video.meter import peak_bytes

VERSION = 3
MOST_DRAWS = 4  # times the wanted number of groups that are drawn before an iteration makes do with fewer
BLOCK = 256  # samples whose log-probability is computed together


@dataclass(frozen=True)
class Improvement:
    """How a policy is improved by its own rollouts.

    acting: where; online: how many rollouts, in which groups; batch: chunks in a batch; seed: of rollouts and batches.
    """

    acting: Acting
    method: Method
    online: Rollouts
    training: Training
    batch: int
    seed: int


def improve(
    context: Context,
    plan: Improvement,
    inputs: Mapping[str, str],
    make_policy: Callable[[], Policy],
    make_judge: Callable[[], Judge],
    judged: Mapping[str, Any],
) -> Artifact:
    """The policy after `online.iterations` iterations: groups of rollouts -> rewards -> filter -> updates.

    It ends earlier where `online.budget` rollouts have been made, or with an iteration whose rollouts, at their whole
    length, succeed as often as `online.stop` says.

    Args:
        inputs: {role: digest} of the policy's origin, the method's source and the judge's.
        make_judge: who gives every rollout its reward; called only if there is work to do.
        judged: the judge's settings.

    Raises:
        UserError: the judge had no verdict on any rollout, or `online.stop` or `online.horizon` waits for a success that
            nobody tells.
    """
    whole = plan.acting.spec.horizon

    def build(folder: Path) -> None:
        policy, judge = make_policy(), make_judge()
        base = make_policy() if needs_base(plan.method) else None
        checkpoint = load_checkpoint(folder, policy)
        history = checkpoint.history
        with bar("improve", plan.online.iterations, "iterations") as shown:
            shown.update(checkpoint.done)
            for iteration in range(checkpoint.done, plan.online.iterations):
                drawn = history[-1]["groups_drawn_in_all"] if history else 0
                if plan.online.left(drawn) == 0:
                    break
                steps = plan.online.lasts(whole, [entry.get("success", 0.0) for entry in history])
                pool = replace(plan.acting, horizon=steps).pool(context.simulators)
                entry = _iterate(pool, policy, base, plan, judge, iteration, drawn)
                if plan.online.horizon:
                    entry["horizon"] = steps
                history.append(entry)
                context.tracker.log(
                    {f"train/{name}": value for name, value in entry.items() if name != "seconds"}
                )
                shown.update(1)
                shown.set_postfix(
                    {name: f"{entry[name]:.2f}" for name in ("reward", "success") if name in entry}
                )
                if _saturated(plan.online, iteration, entry, steps == whole):
                    break
                if iteration + 1 < plan.online.iterations:
                    save_checkpoint(folder, policy, Checkpoint(iteration + 1, history))
        finish_training(folder, policy, history)

    recipe = {
        **plan.acting.recipe(),
        "method": plan.method,
        "training": plan.training,
        "batch": plan.batch,
        "seed": plan.seed,
        "judge": judged,
    }
    return announce(context.artifacts.make("improve", VERSION, recipe, inputs, build))


def _iterate(
    pool: RolloutPool,
    policy: Policy,
    base: Policy | None,
    plan: Improvement,
    judge: Judge,
    iteration: int,
    drawn: int,
) -> dict[str, Any]:
    """One iteration: draw until enough groups pass the method's filter, then update.

    Args:
        base: the policy before training, where the method compares with it.

    Raises:
        UserError: the judge had no verdict on any group.
    """
    method, online = plan.method, plan.online
    actor = ActingPolicy(policy, method, online.temperature)
    watch = Stopwatch()
    timed = TimedActor(actor, watch)
    parts, rewards, successes, kept, steps, first = [], [], [], 0, 0, drawn
    spent, last = _cost(judge), drawn + MOST_DRAWS * online.groups
    if (left := online.left(drawn)) is not None:
        last = min(last, drawn + left)
    while kept < online.groups and drawn < last:
        count = min(online.groups - kept, last - drawn)
        chosen = seeds("rollouts", plan.seed, drawn + count)[drawn:].tolist()
        jobs = [start for start in plan.acting.starts(chosen) for _ in range(online.group_size)]
        with watch.spent("environment"):
            rollouts = pool.rollout(timed, jobs, act_seed=plan.seed, record=True, film=judge.film)
        with watch.spent("judge"):
            reward = judge.rewards(rollouts)
        rewards.append(reward)
        successes += [rollout.success for rollout in rollouts if rollout.success is not None]
        steps += sum(rollout.length for rollout in rollouts)
        drawn += count
        rollouts, reward = judged_groups(rollouts, reward, online.group_size)
        if not rollouts:
            continue
        samples, observations = online_dataset(rollouts, reward, online.group_size)
        selected = method.select(samples)
        if len(selected):
            with watch.spent("update"):
                parts.append(_inputs(actor, base, selected, observations))
            kept += len(np.unique(selected.group))
    given = np.concatenate(rewards)
    if np.isnan(given).all():
        raise UserError(f"the judge had no verdict on any of {len(given)} rollouts; choose another reward=")
    entry = {
        "updates": (iteration + 1) * online.updates,
        "reward": float(np.nanmean(given)),
        "no_verdict": int(np.isnan(given).sum()),
        "groups_kept": kept,
        "groups_drawn": drawn - first,
        "groups_drawn_in_all": drawn,
        "control_steps": steps,
        "groups_alike": _alike(given, online.group_size),
        **{what: count - spent[what] for what, count in _cost(judge).items()},
    }
    if successes:
        entry["success"] = float(np.mean(successes))
    if not parts:
        _say_nothing_learned(iteration, entry)
    else:
        with watch.spent("update"):
            shape = (online.updates, plan.batch)
            entry |= _update(policy, method, shape, parts, (plan.seed, iteration))
    return entry | {"seconds": watch.seconds, "peak_gb": peak_bytes() / 2**30}


def _saturated(online: Rollouts, iteration: int, entry: Mapping[str, Any], whole: bool) -> bool:
    """Whether the rollouts of this iteration, if they are as long as they get, succeeded so often that the training ends;
    said on the console.

    Raises:
        UserError: nobody tells whether a rollout is solved, and somebody waits for it.
    """
    if "success" not in entry and (online.stop is not None or online.horizon):
        raise UserError(
            "method.online.stop and method.online.horizon wait for a share of solved rollouts, and this environment does "
            "not say whether one is solved; leave them out"
        )
    if online.stop is None or not whole or entry["success"] < online.stop:
        return False
    tqdm.write(
        f"  iteration {iteration + 1} of {online.iterations} is the last: {entry['success']:.1%} of its rollouts succeeded "
        f"(method.online.stop={online.stop:g})",
        file=sys.stderr,
    )
    return True


def _cost(judge: Judge) -> Mapping[str, int]:
    """What the judge has asked for so far, if it has to be paid."""
    return judge.cost if isinstance(judge, Costly) else {}


def _alike(rewards: np.ndarray, group_size: int) -> int:
    """How many groups, of `group_size` neighbours, had one and the same reward for all."""
    return int((np.ptp(rewards.reshape(-1, group_size), axis=1) == 0).sum())


def _say_nothing_learned(iteration: int, entry: Mapping[str, Any]) -> None:
    tqdm.write(
        f"  iteration {iteration + 1} learned nothing: the method kept none of {entry['groups_drawn']} groups; in "
        f"{entry['groups_alike']} all rollouts had the same reward (mean reward {entry['reward']:.3g}, "
        f"{entry['no_verdict']} rollouts without a verdict)",
        file=sys.stderr,
    )


def judged_groups(
    rollouts: Sequence[Rollout], rewards: np.ndarray, group_size: int
) -> tuple[list[Rollout], np.ndarray]:
    """The groups, of `group_size` neighbours, in which every rollout has a verdict, with their rewards."""
    whole = ~np.isnan(rewards).reshape(-1, group_size).any(axis=1)
    mask = np.repeat(whole, group_size)
    return [rollout for rollout, kept in zip(rollouts, mask, strict=True) if kept], rewards[mask]


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


def _inputs(
    actor: ActingPolicy, base: Policy | None, selected: Dataset, recordings: list[Recording]
) -> dict[str, Any]:
    """All selected samples as one batch, with their log-probability under the policy that acted, and under the base."""
    observation: dict[str, list[np.ndarray]] = {}
    for index in np.unique(selected.episode):
        frames = selected.frame[selected.episode == index]
        for name, values in actor.preprocess(recordings[index].observation[frames]).items():
            observation.setdefault(name, []).append(values)
    inputs = {name: np.concatenate(parts) for name, parts in observation.items()}
    known = [
        None if policy is None else _log_prob(policy, make_batch(selected, inputs), len(selected))
        for policy in (actor.policy, base)
    ]
    return make_batch(replace(selected, behavior_log_prob=known[0], base_log_prob=known[1]), inputs)


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
