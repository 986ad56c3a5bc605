"""Learning from rollouts: what the judge saw, which groups were kept, and what was learned from."""

import json
import time
from dataclasses import dataclass, replace

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box

from envs.errors import UserError
from envs.rollout import RolloutPool
from envs.types import Observation
from experiments.choices.critic_judge import CriticJudge, CriticReward, best_threshold
from experiments.choices.environments import GymChoice
from experiments.choices.judges import EnvReward, PluginReward, SuccessReward
from experiments.lab.artifacts import Artifacts
from experiments.lab.context import Context
from experiments.lab.simulators import Simulators
from experiments.lab.stopwatch import Stopwatch
from experiments.lab.tracking import Tracker
from experiments.reports.results import step_cost
from experiments.settings.config import TaskConfig
from experiments.stages.acting import Acting, check_fit
from experiments.stages.improve import Improvement, improve, judged_groups, online_dataset
from policy_extraction.methods.grpo import GRPO
from policy_extraction.types import PLAIN, PolicySpec, Rollouts, Training

PLACE = "tests.experiments.stages.test_improve:Level"
SPEC = PolicySpec(cameras=("picture",), image_size=8, proprio_dim=1, action_dim=1, action_horizon=3)


class Level(gymnasium.Env):
    """A level that actions raise, painted as the picture's brightness; solved above 1, never on seeds 3 modulo 4."""

    metadata = {"render_modes": [], "render_fps": 10}  # noqa: RUF012
    instruction = "raise it"
    observation_space = gymnasium.spaces.Dict(
        {"picture": Box(0, 255, (8, 8, 3), np.uint8), "level": Box(-99, 99, (1,), np.float32)}
    )
    action_space = Box(-1, 1, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.level, self.blocked = 0.0, seed % 4 == 3
        return self._observe(), {}

    def step(self, action):
        self.level += 0.1 * float(action[0])
        solved = self.level > 1 - 1e-6 and not self.blocked
        return self._observe(), 0.1 * float(action[0]), solved, False, {"success": solved}

    def _observe(self):
        brightness = int(np.clip(100 * self.level, 0, 255))
        return {
            "picture": np.full((8, 8, 3), brightness, np.uint8),
            "level": np.array([self.level], np.float32),
        }


class Bold:
    """A policy whose only weight is the mean of its actions; it keeps what it was updated on."""

    spec = SPEC

    def __init__(self):
        self.mean, self.batches = 0.5, []

    def act(self, observation, seeds, sampling=PLAIN):
        draws = [np.random.default_rng(seed).normal(self.mean, sampling.temperature) for seed in seeds]
        return np.clip(np.repeat(np.array(draws, np.float32)[:, None, None], 3, axis=1), -1, 1)

    def preprocess(self, observation: Observation, sampling=PLAIN):
        return {"proprio": observation.proprio}

    def log_prob(self, batch):
        return -((batch["action"] - self.mean) ** 2).sum((1, 2))

    def update(self, batches, method):
        self.batches.append(batches)
        step = np.mean(batches["advantage"][..., None, None] * (batches["action"] - self.mean))
        self.mean += float(step)
        return {"loss": 0.0, "log_prob": 0.0, "grad_norm": 1.0}

    def save(self, folder):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "mean.json").write_text(json.dumps(self.mean))

    def restore(self, folder):
        self.mean = json.loads((folder / "mean.json").read_text())


@dataclass
class Watching:
    """A judge that keeps what it was shown: the brightness of the last picture."""

    film: int = 4
    silent_on: int = -1  # a seed on which it has no verdict

    def __post_init__(self):
        self.seen = []

    def rewards(self, rollouts):
        self.seen += rollouts
        last = [rollout.recording.film.images["picture"][-1, 0, 0, 0] for rollout in rollouts]
        silent = [rollout.seed == self.silent_on for rollout in rollouts]
        return np.where(silent, np.nan, np.array(last, np.float32) / 100).astype(np.float32)


def acting(**changes):
    return replace(Acting(GymChoice(id=PLACE, horizon=12), TaskConfig("lift"), 0, 2, 3), **changes)


def plan(whole=12, **online):
    rollouts = replace(
        Rollouts(groups=2, group_size=3, iterations=2, updates=2, execute=3, temperature=0.3), **online
    )
    place = acting(env=GymChoice(id=PLACE, horizon=whole))
    return Improvement(place, GRPO(online=rollouts), rollouts, Training(), 4, 0)


def run(tmp_path, judge, policy=None, **online):
    made = policy or Bold()
    with Simulators() as simulators:
        context = Context(Artifacts(tmp_path), Tracker(None), simulators)
        artifact = improve(context, plan(**online), {}, lambda: made, lambda: judge, {"judge": "test"})
    return made, json.loads((artifact.folder / "history.json").read_text())


def test_a_method_may_compare_with_the_policy_before_training(tmp_path):
    made = []

    def make():
        made.append(Bold())
        return made[-1]

    wanted = replace(plan(), method=GRPO(online=plan().online, kl=0.1))
    with Simulators() as simulators:
        context = Context(Artifacts(tmp_path), Tracker(None), simulators)
        improve(context, wanted, {}, make, Watching, {"judge": "test"})
    policy, base = made
    assert base.mean == 0.5 and not base.batches and policy.mean != 0.5
    first, second = policy.batches
    np.testing.assert_array_equal(first["base_log_prob"], first["behavior_log_prob"])
    actions = second["action"].reshape(-1, 3, 1)
    np.testing.assert_allclose(second["base_log_prob"].ravel(), base.log_prob({"action": actions}))
    assert not np.allclose(second["base_log_prob"], second["behavior_log_prob"])


@pytest.fixture(scope="module")
def rollouts():
    with RolloutPool(acting().env.make(TaskConfig("lift"), acting().spec, 2, 3)) as pool:
        return pool.rollout(Bold(), [0, 0, 3, 3], record=True, film=4)


def test_it_learns_and_the_judge_sees_the_end(tmp_path):
    judge = Watching()
    policy, history = run(tmp_path, judge)
    assert [entry["updates"] for entry in history] == [2, 4] and policy.mean > 0.5
    assert [entry["groups_drawn_in_all"] for entry in history] == [2, 4]
    assert len(judge.seen) == 2 * 2 * 3
    for rollout in judge.seen:
        film = rollout.recording.film
        assert film.step[-1] == rollout.length
        np.testing.assert_array_equal(film.images["picture"][-1], rollout.recording.last.images["picture"][0])
    for batch in policy.batches:
        assert batch["action"].shape == (2, 4, 3, 1) and batch["observation"]["proprio"].shape == (2, 4, 1)


def test_groups_are_neighbours_and_advantages_are_relative_to_them(rollouts):
    rewards = np.array([1.0, 0.0, 0.0, 0.0], np.float32)
    dataset, recordings = online_dataset(rollouts, rewards, 2)
    decisions = [len(recording.chunks) for recording in recordings]
    assert dataset.group.tolist() == np.repeat([0, 0, 1, 1], decisions).tolist()
    assert dataset.episode.tolist() == np.repeat([0, 1, 2, 3], decisions).tolist()
    assert dataset.executed.tolist() == np.concatenate([r.executed for r in recordings]).tolist()
    kept = GRPO().select(dataset)
    assert set(kept.group) == {0}  # all of group 1 failed
    std = np.std([1.0, 0.0], ddof=1)
    expected = np.repeat([0.5 / (std + 1e-6), -0.5 / (std + 1e-6)], decisions[:2])
    np.testing.assert_allclose(kept.advantage, expected, rtol=1e-6)


def test_no_verdict_is_drawn_again_and_counted(tmp_path):
    first = 1_600_000_000  # of the range of rollouts
    _, history = run(tmp_path, Watching(silent_on=first), iterations=1)
    assert (
        history[0]["no_verdict"] == 3 and history[0]["groups_kept"] == 2 and history[0]["groups_drawn"] == 3
    )
    with pytest.raises(UserError, match="no verdict on any of 24 rollouts"):
        run(tmp_path / "none", PluginReward(f"{__name__}:silent", film=0))


def test_a_budget_of_rollouts_is_kept_and_control_steps_are_counted(tmp_path):
    judge = Watching(silent_on=1_600_000_000)  # one group is drawn for nothing
    policy, history = run(tmp_path, judge, budget=14, iterations=9)
    assert len(judge.seen) == 12 and [entry["groups_drawn"] for entry in history] == [3, 1]
    assert [entry["groups_kept"] for entry in history] == [2, 1] and len(policy.batches) == 2
    assert sum(entry["control_steps"] for entry in history) == sum(one.length for one in judge.seen)
    with pytest.raises(UserError, match="2 rollouts, less than a group of 3"):
        plan(budget=2)


def silent(rollouts):
    return [np.nan] * len(rollouts)


def short(rollouts):
    return [0.0]


def test_only_groups_with_all_verdicts_are_learned_from(rollouts):
    kept, rewards = judged_groups(rollouts, np.array([1.0, np.nan, 0.5, 0.25], np.float32), 2)
    assert kept == rollouts[2:] and rewards.tolist() == [0.5, 0.25]


def test_an_iteration_that_learns_nothing_says_so(tmp_path, capsys):
    policy, history = run(tmp_path, PluginReward(f"{__name__}:alike", film=0), iterations=1)
    assert history[0]["groups_kept"] == 0 and history[0]["groups_drawn"] == 8 and not policy.batches
    assert (
        "iteration 1 learned nothing: the method kept none of 8 groups; in 8 all rollouts had the same reward "
        "(mean reward 1, 0 rollouts without a verdict)"
    ) in capsys.readouterr().err


def test_it_ends_once_enough_rollouts_succeed(tmp_path, capsys):
    bold = Bold()
    bold.mean = 3.0  # all the way up, which solves three seeds of four
    _, history = run(tmp_path, Watching(), bold, stop=0.7)
    assert [entry["success"] for entry in history] == [0.75]
    assert "iteration 1 of 2 is the last: 75.0% of its rollouts succeeded" in capsys.readouterr().err
    _, history = run(tmp_path / "timid", Watching(), stop=0.7)
    assert len(history) == 2 and max(entry["success"] for entry in history) < 0.7
    with pytest.raises(UserError, match="a share of rollouts"):
        Rollouts(stop=95.0)


def test_rollouts_grow_with_success(tmp_path):
    """Those of a policy that goes up as fast as it can: ten steps, in three seeds of four."""
    bold = Bold()
    bold.mean = 3.0
    settings = {"whole": 24, "grow": 0.7, "stop": 0.7, "iterations": 5}
    _, history = run(tmp_path / "short", Watching(), bold, horizon=4, **settings)
    assert [entry["horizon"] for entry in history] == [
        6
    ] * 5  # a multiple of `execute`; nothing is solved within it
    _, history = run(tmp_path / "grows", Watching(), bold, horizon=12, **settings)
    assert [(entry["horizon"], entry["success"]) for entry in history] == [(12, 0.75), (18, 0.75), (24, 0.75)]
    growing = Rollouts(horizon=8, grow=0.5, execute=4)
    assert [growing.lasts(40, [0.5] * count) for count in range(6)] == [8, 12, 20, 28, 40, 40]
    assert growing.lasts(40, [0.4, 0.6]) == 12 and Rollouts().lasts(41, [1.0]) == 41
    for words in ({"horizon": -1}, {"grow": 0.0}, {"grow": 1.5}):
        with pytest.raises(UserError, match=r"online\."):
            Rollouts(**words)


def alike(rollouts):
    return [1.0] * len(rollouts)


def test_a_killed_improvement_ends_as_one_that_was_not(tmp_path):
    straight, history = run(tmp_path / "straight", Watching())

    class Killed(Watching):
        def rewards(self, rollouts):
            if len(self.seen) >= 6:
                raise KeyboardInterrupt
            return super().rewards(rollouts)

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "killed", Killed())
    resumed, again = run(tmp_path / "killed", Watching())
    assert [_drawn(entry) for entry in again] == [_drawn(entry) for entry in history]
    assert resumed.mean == straight.mean
    assert len(resumed.batches) == 1  # the first iteration was not done again


def _drawn(entry):
    """What follows from the seeds alone."""
    return {name: value for name, value in entry.items() if name not in ("seconds", "peak_gb")}


def test_where_the_time_goes(tmp_path):
    class Slow(Watching):
        def rewards(self, rollouts):
            time.sleep(0.2)
            return super().rewards(rollouts)

    began = time.perf_counter()
    _, history = run(tmp_path, Slow(), iterations=1)
    seconds = history[0]["seconds"]
    assert set(seconds) == {"policy", "environment", "judge", "update"}
    assert min(seconds.values()) > 0 and 0.2 <= seconds["judge"] < 1
    assert sum(seconds.values()) < time.perf_counter() - began
    assert history[0]["peak_gb"] > 0.1
    assert step_cost(history) == {"seconds": seconds, "peak_gb": history[0]["peak_gb"]}
    assert step_cost([{"updates": 8}]) is None
    assert step_cost([{"updates": 8}, *history]) == step_cost(history)  # resumed from before times were kept


def test_time_within_time_is_counted_once():
    watch = Stopwatch()
    with watch.spent("outer"):
        time.sleep(0.02)
        with watch.spent("inner"):
            time.sleep(0.05)
    assert watch.seconds["inner"] >= 0.05 and 0.02 <= watch.seconds["outer"] < 0.05


def test_judges(rollouts):
    assert SuccessReward().rewards(rollouts).tolist() == [float(bool(r.success)) for r in rollouts]
    unknown = [replace(rollouts[0], success=None)]
    assert np.isnan(SuccessReward().rewards(unknown)).all()
    levels = [r.recording.last.proprio[0, 0] for r in rollouts]
    np.testing.assert_allclose(EnvReward().rewards(rollouts), levels, atol=1e-6)
    with pytest.raises(UserError, match="give each one finite number"):
        PluginReward(f"{__name__}:short").rewards(rollouts)


class Brightness:
    """A critic: the mean brightness of the picture."""

    def label(self, episodes):
        for episode in episodes:
            assert episode.fps == 2.5 and episode.instruction == "raise it"
            yield (episode.images["picture"].mean((1, 2, 3)) / 200).astype(np.float32)


def test_the_critic_as_judge_values_the_last_picture(rollouts):
    judge = CriticJudge(CriticReward(), Brightness(), acting().spec, "level", "none")
    last = [r.recording.last.images["picture"].mean() / 200 for r in rollouts]
    np.testing.assert_allclose(judge.rewards(rollouts), last, rtol=1e-6)
    gain = replace(judge, reward=CriticReward(of="gain"))
    np.testing.assert_allclose(gain.rewards(rollouts), last, rtol=1e-6)  # all begin dark
    cut = replace(judge, reward=CriticReward(threshold=float(np.median(last))))
    assert cut.rewards(rollouts).tolist() == [float(value >= np.median(last)) for value in last]


def test_the_threshold_is_calibrated_for_f1():
    values = np.array([0.1, 0.4, 0.5, 0.7, 0.9])
    threshold, quality = best_threshold(values, np.array([False, False, True, False, True]))
    assert threshold == pytest.approx(0.45)  # 2 hits of 3, none missed: F1 .8
    assert quality == pytest.approx({"f1": 0.8, "precision": 2 / 3, "recall": 1.0, "rollouts": 5})
    with pytest.raises(UserError, match="all 2 rollouts ended in failure"):
        best_threshold(values[:2], np.array([False, False]))


def test_what_does_not_fit_is_said_in_one_line():
    check_fit(SPEC, acting().spec, 3)
    other = PolicySpec(
        cameras=("picture", "wrist"), image_size=16, proprio_dim=8, action_dim=7, action_horizon=2
    )
    with pytest.raises(UserError) as error:
        check_fit(other, acting().spec, 3)
    text = str(error.value)
    for words in (
        "picture, wrist",
        "16×16",
        "8×8",
        "8 numbers of proprio",
        "7 numbers an action",
        "2 actions, 3 are",
    ):
        assert words in text
    assert "\n" not in text
