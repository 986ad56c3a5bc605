"""What repeats an evaluation, and what does not."""

import os
from dataclasses import fields, replace

import av
import numpy as np
import pytest

from envs.rollout import Rollout
from experiments.choices.environments import RobosuiteChoice
from experiments.lab.artifacts import Artifacts, digest
from experiments.lab.context import Context
from experiments.lab.seeds import seeds
from experiments.lab.simulators import Simulators
from experiments.lab.tracking import Tracker
from experiments.settings.config import EvaluateConfig, TaskConfig
from experiments.stages.acting import Acting
from experiments.stages.evaluate import Evaluation, Trial, _solved, evaluate
from experiments.stages.film import film

TASK = TaskConfig("lift")
CONFIG = EvaluateConfig(episodes=2, horizon=16, workers=2, videos=1)


class Wandering:
    """Does something else at each decision."""

    def act(self, observation, seeds):
        return np.stack([np.random.default_rng(seed).uniform(-1, 1, (10, 7)) for seed in seeds]).astype(
            np.float32
        )


def refuse():
    raise AssertionError("must not be evaluated again")


def trial(config, make_actor=refuse):
    acting = Acting(
        RobosuiteChoice(), TASK, round(config.stretch * config.horizon), config.workers, config.execute
    )
    return Trial(acting, config.horizon, config, 0, {}, {"policy": "abc"}, make_actor)


def recipe(config):
    return digest(trial(config).recipe(config.episodes))


def check_replay(context, folder, seed):
    """The film is large, and of what was done: in small it is what the policy saw."""
    pool = trial(CONFIG).acting.pool(context.simulators)
    (rollout,) = pool.rollout(Wandering(), [int(seed)], record=True, film=1)
    seen = rollout.recording.film.side_by_side()
    with av.open(str(next(folder.iterdir()))) as container:
        shown = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
    assert shown.shape == (len(seen), 256, 512, 3)
    small = shown.reshape(len(seen), 64, 4, 128, 4, 3).mean((2, 4))
    assert np.abs(small - seen).mean() < 6 < np.abs(small[1:] - seen[:1]).mean()


def test_films_and_workers_do_not_repeat_a_finished_evaluation(tmp_path):
    more = replace(CONFIG, videos=5)
    with Simulators() as simulators:
        context = Context(Artifacts(tmp_path), Tracker(None), simulators)
        first = evaluate(context, trial(CONFIG, Wandering), "before")
        folder = film(context, trial(CONFIG, Wandering))
        assert folder is not None and [file.suffix for file in folder.iterdir()] == [".mp4"]
        assert f"seed{first.seed[0]}_" in next(folder.iterdir()).name
        check_replay(context, folder, first.seed[0])
        again = evaluate(context, trial(more), "before")
        np.testing.assert_array_equal(first.steps, again.steps)
        assert (
            sum(first.failures.values()) == (~first.success()).sum() > 0 and again.failures == first.failures
        )
        assert film(context, trial(CONFIG)) == folder
        assert film(context, trial(replace(CONFIG, videos=0))) is None


def test_a_worker_for_each_core_is_the_default():
    explicit = replace(CONFIG, workers=os.cpu_count() or 1)
    assert recipe(explicit) == recipe(replace(CONFIG, workers=0))


@pytest.mark.parametrize("name", [field.name for field in fields(EvaluateConfig)])
def test_every_other_setting_repeats_it(name):
    value = getattr(CONFIG, name)
    changed = replace(CONFIG, **{name: not value if isinstance(value, bool) else value + 1})
    assert (recipe(changed) == recipe(CONFIG)) == (name == "videos")


def test_all_episodes_of_a_test_scene_begin_alike():
    assert trial(replace(CONFIG, scene=3)).starts(4) == [int(seeds("test_scene", 0, 4)[3])] * 4
    assert trial(CONFIG).starts(2) == seeds("evaluation", 0, 2).tolist()


def test_an_episode_that_goes_on_counts_if_it_ends_solved():
    for stop, last, expected in ((True, 0.0, True), (False, 0.0, False), (False, 1.0, True)):
        assert _solved(Rollout(0, 0, True, 9, 1.0, last_reward=last), stop) is expected
    assert _solved(Rollout(0, 0, None, 9, 1.0, last_reward=1.0), False) is None
    assert _solved(Rollout(0, 0, False, 9, 1.0, last_reward=0.0), False) is False


def test_success_counts_up_to_the_horizon_and_may_be_unknown():
    steps = np.array([10.0, 20.0, 21.0, np.inf])
    found = Evaluation(20, np.arange(4), steps, np.zeros(4))
    assert found.known and found.success().tolist() == [True, True, False, False]
    assert found.success(21).sum() == 3 and found.median_length() == 15
    rate = found.rate()
    assert rate is not None and rate.mean == 0.5
    unknown = Evaluation(20, np.arange(2), np.array([np.nan, np.nan]), np.array([1.0, 2.0]))
    assert not unknown.known and unknown.rate() is None and unknown.median_length() is None
