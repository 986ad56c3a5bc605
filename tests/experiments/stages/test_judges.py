"""Judges that look: a vision-language model on loopback, a classifier trained on rollouts, and mixtures of judges."""

import json
from dataclasses import dataclass, replace

import numpy as np
import pytest

from envs.errors import UserError
from experiments.choices.critic_judge import CriticReward
from experiments.choices.judges import EnvReward, SuccessReward
from experiments.choices.mixed_judges import Judges, MixtureJudge, MixtureReward, narrowed, shared_film
from experiments.choices.seeing_judges import ClassifierReward, VLMReward
from experiments.lab.artifacts import Artifacts
from experiments.lab.context import Context
from experiments.lab.simulators import Simulators
from experiments.lab.tracking import Tracker
from experiments.settings.cli import configurations
from experiments.stages.classifier import rollout_attempt
from experiments.stages.improve import improve
from experiments.stages.judge import RolloutWorkshop
from tests.experiments.stages.test_improve import Bold, acting, plan
from tests.value_model.vlm_server import VLMServer, brightness, chat, failure
from value_model.chat.client import ConnectionConfig
from value_model.success.classifier import ClassifierConfig
from value_model.success.vlm import VLMConfig

SMALL = ClassifierConfig(image_size=8, width=4, hidden=8, updates=60, batch=32, learning_rate=1e-2, shift=0)
LEARNED = ClassifierReward(rollouts=30, film=3, minimum=0, hold=0, linger=0, network=SMALL)
QUICK = ConnectionConfig(connect_timeout=2.0, read_timeout=5.0, deadline=20.0, retries=0)


class Keen(Bold):
    """A policy that solves about half of the episodes."""

    def __init__(self):
        super().__init__()
        self.mean = 0.75


def workshop(context: Context, actor=Keen) -> RolloutWorkshop:
    def critic():
        raise AssertionError("no judge here asks a critic")

    where = acting(horizon=30)
    return RolloutWorkshop(context, where, where, actor, "policy", 0, critic)


@pytest.fixture(scope="module")
def simulators():
    with Simulators() as opened:
        yield opened


@pytest.fixture(scope="module")
def shared(tmp_path_factory, simulators):
    """Where finished stages are found again."""
    return Context(Artifacts(tmp_path_factory.mktemp("shared")), Tracker(None), simulators)


@pytest.fixture
def context(tmp_path, simulators):
    return Context(Artifacts(tmp_path), Tracker(None), simulators)


@pytest.fixture(scope="module")
def rollouts(simulators):
    return acting(horizon=30).pool(simulators).rollout(Keen(), list(range(8)), record=True, film=1)


def seer(base_url: str, folder, **settings) -> VLMReward:
    model = VLMConfig(base_url=base_url, model="seer", votes=3, **settings)
    return VLMReward(model, QUICK, film=3, answers=str(folder))


def bright(request, number):
    return chat(f"Answer: {'yes' if brightness(request)[-1] >= 99 else 'no'}")


def test_the_classifier_learns_from_rollouts_and_agrees_with_their_outcomes(shared):
    shop = workshop(shared)
    source = LEARNED.source(shop)
    assert source.calibration["rollouts"] == 10 and source.calibration["f1"] > 0.7
    judge = source.load()
    pool = shop.acting.pool(shared.simulators)
    fresh = pool.rollout(Keen(), list(range(100, 124)), record=True, film=judge.film)
    truth = np.array([rollout.success for rollout in fresh])
    level = np.array([rollout.recording.last.proprio[0, 0] for rollout in fresh])
    given = judge.rewards(fresh)
    assert truth.any() and not truth.all()
    # a picture shows how high the level is and not that it is blocked: the low ones are told
    assert given[truth].mean() > 0.7 and not given[level < 0.7].any()
    assert source.load().rewards(fresh).tolist() == given.tolist()
    assert LEARNED.source(shop).inputs == source.inputs  # found again


def test_a_killed_classifier_ends_as_one_that_was_not(shared, context):
    made = []

    class Killed(Keen):
        def __init__(self):
            super().__init__()
            made.append(self)

        def act(self, observation, seeds, sampling=None):
            if len(made) == 2:  # one is made for each block of rollouts
                raise KeyboardInterrupt
            return super().act(observation, seeds)

    with pytest.raises(KeyboardInterrupt):
        LEARNED.source(workshop(context, Killed))
    again, straight = LEARNED.source(workshop(context, Killed)), LEARNED.source(workshop(shared))
    assert len(made) == 3 and again.calibration == straight.calibration
    assert again.inputs == straight.inputs


def test_a_trained_classifier_is_taken_from_its_folder(shared, tmp_path):
    shop = workshop(shared)
    trained = shop.classifier(LEARNED)
    given = replace(LEARNED, path=str(trained.folder))
    given.check()
    assert given.source(shop).calibration == LEARNED.source(shop).calibration
    with pytest.raises(UserError, match="no success classifier in"):
        replace(LEARNED, path=str(tmp_path / "nowhere")).check()


def test_what_a_classifier_cannot_learn_from_is_one_line(context, rollouts):
    network = replace(SMALL, cameras=("picture",))
    with pytest.raises(UserError, match="whose outcome is known"):
        rollout_attempt(replace(rollouts[0], success=None), replace(LEARNED, network=network))

    class Still(Bold):
        def act(self, observation, seeds, sampling=None):
            return np.zeros((len(seeds), 3, 1), np.float32)

    with pytest.raises(UserError, match="pictures show failure"):
        LEARNED.source(workshop(context, Still))


def test_a_vlm_judges_what_the_rollouts_showed(context, rollouts, tmp_path):
    with VLMServer(bright) as server:
        reward = seer(server.base_url, tmp_path / "votes")
        judge = reward.source(workshop(context)).load()
        given = judge.rewards(narrowed(rollouts, judge.film))
        assert judge.cost == {"votes_asked": len(server.requests), "votes_failed": 0}
    shown = {tuple(brightness(request)) for request in server.requests}
    films = [rollout.recording.film.every(3).images["picture"][:, 0, 0, 0] for rollout in rollouts]
    levels = [[*film[::3], *film[-1:]][: len(film[::3]) + (len(film) % 3 != 1)] for film in films]
    assert shown == {tuple(int(level) for level in film) for film in levels}
    last = np.array([film[-1] for film in films])
    np.testing.assert_array_equal(given, (last >= 99).astype(np.float32))
    assert "raise it" in server.requests[0]["messages"][0]["content"][0]["text"]
    with pytest.raises(UserError, match="sees the camera 'wrist', the environment shows picture"):
        replace(reward, camera="wrist").source(workshop(context))


def test_rollouts_that_a_vlm_cannot_judge_are_drawn_again_and_what_it_costs_is_counted(context, tmp_path):
    def moody(request, number):
        return chat("Well.") if brightness(request)[-1] % 5 == 0 else bright(request, number)

    with VLMServer(moody) as server:
        source = seer(server.base_url, tmp_path / "votes", attempts=1, give_up=99).source(workshop(context))
        artifact = improve(context, plan(iterations=1), {}, lambda: Bold(), source.load, source.settings)
        asked = len(server.requests)
    [entry] = json.loads((artifact.folder / "history.json").read_text())
    assert entry["no_verdict"] > 0 and entry["votes_asked"] == asked
    assert entry["votes_failed"] >= 2 * entry["no_verdict"]


def test_a_vlm_that_goes_down_stops_the_run_in_one_line_and_finished_work_is_kept(context, tmp_path):
    down = [False]

    def breaks(request, number):
        down[0] = down[0] or number >= 80
        return failure(401, "expired") if down[0] else bright(request, number)

    def go(server, online, policy):
        source = seer(server.base_url, tmp_path / "votes").source(workshop(context))
        return improve(context, online, {}, lambda: policy, source.load, source.settings)

    online = plan(iterations=8, temperature=0.6)
    with VLMServer(breaks) as server:
        with pytest.raises(UserError, match=r"no verdict on any of \d+ rollouts: .*API key"):
            go(server, online, Bold())
        [kept] = tmp_path.glob(".improve-*.partial/scratch")
        assert any(kept.iterdir())
        before = len(server.requests)
        down[0] = True
        with pytest.raises(UserError, match="API key"):
            go(server, online, Bold())
        assert len(server.requests) - before <= 24  # it is given up soon


@dataclass(frozen=True)
class Fixed:
    """A judge whose rewards are known; it checks what it is shown."""

    given: tuple[float, ...]
    film: int

    def rewards(self, rollouts):
        for rollout in rollouts:
            steps = rollout.recording.film.step
            assert self.film == 0 or (steps[:-1] % self.film == 0).all()
        return np.array(self.given, np.float32)


def test_mixtures_are_means_or_the_least_and_unknown_where_a_part_is(rollouts):
    nan = float("nan")
    parts = (Fixed((1, 0, 1, nan), 4), Fixed((1, 1, 0, 1), 6))
    mean = MixtureJudge(parts, "mean", (0.25, 0.75))
    assert mean.film == 2 and shared_film([*parts, Fixed((), 0)]) == 2
    shown = narrowed(rollouts[:4], 2)
    np.testing.assert_allclose(mean.rewards(shown), [1, 0.75, 0.25, nan])
    np.testing.assert_allclose(MixtureJudge(parts, "all", (1, 1)).rewards(shown), [1, 0, 0, nan])
    assert mean.rewards(shown).dtype == np.float32


def test_a_mixture_is_made_of_named_judges(context, rollouts, tmp_path):
    with VLMServer(bright) as server:
        judges = Judges(vlm=seer(server.base_url, tmp_path))
        reward = MixtureReward(("env", "vlm"), weights=(1.0, 3.0), judges=judges)
        assert not reward.asks_critic
        source = reward.source(workshop(context))
        judge = source.load()
        given = judge.rewards(narrowed(rollouts, judge.film))
        assert judge.cost["votes_asked"] == len(server.requests) > 0
    level = EnvReward().rewards(rollouts)
    seen = np.array([r.recording.film.images["picture"][-1].mean() >= 99 for r in rollouts])
    np.testing.assert_allclose(given, (level + 3 * seen) / 4, rtol=1e-6)
    assert source.settings["of"]["env"] == EnvReward()
    assert MixtureReward(("success", "critic")).asks_critic


def test_choices_of_judges_on_the_command_line():
    words = ["reward=mixture", "reward.of=[critic,classifier]", "reward.weights=[.4,.6]"]
    settings = ["reward.judges.critic.threshold=.8", "reward.judges.classifier.network.updates=7"]
    [one] = configurations("run", [*words, *settings])
    reward = one.config.reward
    assert reward.of == ("critic", "classifier") and reward.weights == (0.4, 0.6) and reward.asks_critic
    assert reward.judges.critic == CriticReward(threshold=0.8)
    assert reward.judges.classifier.network.updates == 7 and reward.judges.success == SuccessReward()
    [two] = configurations("run", ["reward=vlm", "reward.vlm.model=seer", "reward.camera=wrist"])
    assert two.config.reward == VLMReward(VLMConfig(model="seer"), camera="wrist")


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("reward.of=[critic,critic]", "names a judge twice"),
        ("reward.of=[critik]", "unknown judge 'critik'; did you mean critic"),
        ("reward.rule=some", "unknown reward.rule 'some'"),
        ("reward.weights=[1]", "1 numbers for the 0 judges"),
    ],
)
def test_wrong_mixtures_are_one_line(setting, message):
    with pytest.raises(UserError, match=message):
        configurations("run", ["reward=mixture", setting])


def test_what_a_judge_lacks_is_said_before_any_work():
    with pytest.raises(UserError, match="reward=vlm needs a model"):
        VLMReward().check()
    with pytest.raises(UserError, match="reward=mixture needs judges"):
        MixtureReward().check()
    with pytest.raises(UserError, match="reward=vlm needs a model"):
        MixtureReward(("success", "vlm")).check()
    with pytest.raises(UserError, match="leave them out with"):
        MixtureReward(("success", "env"), rule="all", weights=(1.0, 1.0))
