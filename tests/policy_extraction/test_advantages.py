"""Advantages against numbers worked out by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envs.errors import UserError
from policy_extraction.advantages import (
    ADVANTAGES,
    GAE,
    ChunkDifference,
    GroupRelative,
    Lasting,
    MonteCarlo,
    NStepTD,
    Track,
    WithinPhase,
    beyond_the_end,
    chunk_difference,
    discounted_return,
    expectile,
    generalized_advantage,
    group_relative,
    lasting_gain,
    less_those_of_its_phase,
    n_step_advantage,
)

VALUES = np.array([0.1, 0.3, 0.2, 0.6], np.float32)
REWARDS = np.array([0, 0, 0, 1], np.float32)


def test_chunk_difference():
    # H = 3: V(2)−V(0), V(3)−V(1), then the end is V(3)
    assert chunk_difference(VALUES, 3) == pytest.approx([0.1, 0.3, 0.4, 0.0])
    assert chunk_difference(VALUES, 1) == pytest.approx([0, 0, 0, 0])


def test_lasting_gain():
    # H = 2 of .1 .3 .2 .6: the least of V(1) … V(3) is .2, of V(2), V(3) .2, of V(3) .6, and the end gains nothing
    assert lasting_gain(VALUES, 2, 0) == pytest.approx([0.1, -0.1, 0.4, 0.0])
    assert lasting_gain(VALUES, 2, 1) == pytest.approx(chunk_difference(VALUES, 2))
    assert lasting_gain(VALUES, 2, 2) == pytest.approx([0.1, -0.1, 0.4, 0.0])
    assert lasting_gain(VALUES, 1, 1) == pytest.approx([0.0, -0.1, 0.0, 0.0])
    # a rise before a fall is charged for it: .5 was reached for nothing
    assert lasting_gain(np.array([0.0, 0.2, 0.5, 0.1, 0.6], np.float32), 2, 0)[1] == pytest.approx(-0.1)
    assert np.isnan(lasting_gain(np.array([0.1, 0.2, np.nan], np.float32), 2, 0)).all()
    with pytest.raises(UserError, match="span is -1"):
        Lasting(-1)


def test_a_solved_episode_goes_on_at_its_pace():
    # .1 .3 .2 .6: .5 in three steps. H = 3, two steps: from frame 2 one is left, from frame 3 both
    solved = Track(VALUES, REWARDS)
    assert beyond_the_end(solved, 3) == pytest.approx([0, 0, 0.5 / 3, 1 / 3])
    assert beyond_the_end(solved, 1).tolist() == [0, 0, 0, 0]
    assert beyond_the_end(Track(VALUES, 0 * REWARDS), 3).tolist() == [0, 0, 0, 0]
    unknown = beyond_the_end(Track(VALUES, np.nan * REWARDS), 3)
    assert unknown[:2].tolist() == [0, 0] and np.isnan(unknown[2:]).all()
    assert beyond_the_end(Track(VALUES[:1], REWARDS[3:]), 3).tolist() == [0]
    (finished,) = Lasting(finish=True).estimate([solved], 3)
    assert finished == pytest.approx(lasting_gain(VALUES, 3, 0) + beyond_the_end(solved, 3))


def test_expectile():
    assert expectile(np.array([1.0, 2.0, 6.0]), 0.5) == pytest.approx(3)
    # level .8 of 0 and 1: .8 (1 − m) = .2 m
    assert expectile(np.array([0.0, 1.0]), 0.8) == pytest.approx(0.8)
    # of 0, 1, 2 at .75 with m in [1, 2]: .75 (2 − m) = .25 (m + m − 1)
    assert expectile(np.array([2.0, 0.0, 1.0]), 0.75) == pytest.approx(1.4)
    assert expectile(np.array([5.0]), 0.9) == pytest.approx(5)


def test_gains_beside_their_like():
    values = np.array([0.1, 0.9, 0.2, 0.8], np.float32)  # two phases: frames 0 and 2, 1 and 3
    gains = np.array([0.0, 0.5, 0.2, 0.7], np.float32)
    assert less_those_of_its_phase(gains, values, 2, 0.5) == pytest.approx([-0.1, -0.1, 0.1, 0.1])
    assert less_those_of_its_phase(gains, values, 1, 0.5) == pytest.approx(gains - 0.35)
    gains[0] = np.nan
    found = less_those_of_its_phase(gains, values, 2, 0.5)
    assert np.isnan(found[0]) and np.isfinite(found[1:]).all()
    tracks = [Track(VALUES, REWARDS), Track(np.array([0.2, 0.4], np.float32), np.zeros(2, np.float32))]
    one, other = WithinPhase(phases=1).estimate(tracks, 3)
    gained = np.array([0.1, 0.3, 0.4, 0.0, 0.2, 0.0])
    assert np.concatenate([one, other]) == pytest.approx(gained - gained.mean(), abs=1e-6)
    kept, _ = WithinPhase(phases=1, lasting=True).estimate(tracks, 2)
    assert kept - kept[0] == pytest.approx([0.0, -0.2, 0.3, -0.1], abs=1e-6)
    with pytest.raises(UserError, match=r"phases must be at least 1"):
        WithinPhase(phases=0)


def test_discounted_return():
    assert discounted_return(REWARDS, 0.0, 0.5) == pytest.approx([0.125, 0.25, 0.5, 1.0])
    # bootstrapped with 2 after the last frame: 1 + .5·2 = 2
    assert discounted_return(REWARDS, 2.0, 0.5) == pytest.approx([0.25, 0.5, 1.0, 2.0])


def test_n_step_advantage():
    # n = 2, γ = .5: .25·V(2) − V(0) = −.05; .25·V(3) − V(1) = −.15; .5·1 − V(2) = .3; 1 − V(3) = .4
    track = Track(VALUES, REWARDS)
    assert n_step_advantage(track, 2, 0.5) == pytest.approx([-0.05, -0.15, 0.3, 0.4])
    # cut off, not ended: the last value follows the last frame: .5·(1 + .5·.6) − .2 = .45; 1 + .3 − .6 = .7
    cut = Track(VALUES, REWARDS, terminated=False)
    assert n_step_advantage(cut, 2, 0.5) == pytest.approx([-0.05, -0.15, 0.45, 0.7])


def test_generalized_advantage():
    # γ = .5, λ = .5: δ = .5·.3 − .1 = .05, .5·.2 − .3 = −.2, .5·.6 − .2 = .1, 1 − .6 = .4
    # A_3 = .4, A_2 = .1 + .25·.4 = .2, A_1 = −.2 + .25·.2 = −.15, A_0 = .05 − .25·.15 = .0125
    track = Track(VALUES, REWARDS)
    assert generalized_advantage(track, 0.5, 0.5) == pytest.approx([0.0125, -0.15, 0.2, 0.4])


def test_group_relative():
    # mean 2/4, sample variance (2·.25 + 2·.25) / 3
    expected = 0.5 / (np.sqrt(1 / 3) + 1e-6)
    assert group_relative(np.array([1, 0, 1, 0.0])) == pytest.approx([expected, -expected] * 2)
    assert group_relative(np.array([1.0, 1.0])) == pytest.approx([0, 0])
    assert group_relative(np.array([1.0])) == pytest.approx([0])
    # an unknown return is no failure: the others are compared without it
    unknown = group_relative(np.array([1, np.nan, 0]))
    assert unknown == pytest.approx([0.5 / np.sqrt(0.5), np.nan, -0.5 / np.sqrt(0.5)], rel=1e-5, nan_ok=True)


def test_estimators_agree_with_their_functions():
    tracks = [Track(VALUES, REWARDS), Track(VALUES[:2], np.zeros(2, np.float32), group=0)]
    assert ChunkDifference().estimate(tracks, 3)[0] == pytest.approx([0.1, 0.3, 0.4, 0.0])
    assert NStepTD(2, 0.5).estimate(tracks, 3)[0] == pytest.approx([-0.05, -0.15, 0.3, 0.4])
    assert GAE(0.5, 0.5).estimate(tracks, 3)[0] == pytest.approx([0.0125, -0.15, 0.2, 0.4])
    assert MonteCarlo(0.5).estimate(tracks, 3)[0] == pytest.approx([0.025, -0.05, 0.3, 0.4])
    assert MonteCarlo(0.5, baseline=False).estimate(tracks, 3)[0] == pytest.approx([0.125, 0.25, 0.5, 1.0])
    # returns 1 and 0: mean .5, std √.5
    better, worse = GroupRelative().estimate(tracks, 3)
    assert better == pytest.approx([0.5 / (np.sqrt(0.5) + 1e-6)] * 4)
    assert worse == pytest.approx([-0.5 / (np.sqrt(0.5) + 1e-6)] * 2)


def test_unknown_rewards_make_unknown_what_follows_from_them():
    cut = Track(VALUES, np.array([0, 0, 0, np.nan], np.float32))
    known = Track(VALUES, REWARDS)
    # n = 2 looks at the last reward from frames 2 and 3 alone, λ-returns and returns from all
    near, _ = NStepTD(2, 0.5).estimate([cut, known], 3)
    assert near == pytest.approx([-0.05, -0.15, np.nan, np.nan], nan_ok=True)
    for advantage in (GAE(), MonteCarlo(), GroupRelative()):
        unknown, other = advantage.estimate([cut, known], 3)
        assert np.isnan(unknown).all() and np.isfinite(other).all()


@pytest.mark.parametrize("name", ["n_step_td", "gae", "monte_carlo", "group_relative"])
def test_what_needs_an_outcome_says_so(name):
    cut = Track(VALUES, np.array([0, 0, 0, np.nan], np.float32))
    with pytest.raises(UserError, match=f"advantage={name} needs to know how episodes ended"):
        ADVANTAGES[name]().estimate([cut, cut], 3)


def test_groups_are_kept_apart():
    rewards = np.array([1], np.float32)
    tracks = [
        Track(np.zeros(1, np.float32), rewards * r, group=g) for r, g in [(1, 0), (1, 0), (1, 1), (0, 1)]
    ]
    estimates = np.concatenate(GroupRelative().estimate(tracks, 10))
    assert estimates[:2] == pytest.approx([0, 0])
    assert estimates[2] == pytest.approx(-estimates[3])
    assert estimates[2] > 0.7


@settings(deadline=None)
@given(
    st.lists(st.floats(0, 1, width=32), min_size=1, max_size=30),
    st.integers(1, 40),
    st.booleans(),
)
def test_limits(values, steps, terminated):
    """λ = 0 is one-step TD, λ = 1 is Monte Carlo, and so is n ≥ T."""
    curve = np.array(values, np.float32)
    track = Track(curve, np.zeros(len(curve), np.float32), terminated)
    assert generalized_advantage(track, 0.9, 0.0) == pytest.approx(n_step_advantage(track, 1, 0.9), abs=1e-5)
    monte_carlo = MonteCarlo(0.9).estimate([track], 1)[0]
    assert generalized_advantage(track, 0.9, 1.0) == pytest.approx(monte_carlo, abs=1e-5)
    assert n_step_advantage(track, len(curve), 0.9) == pytest.approx(monte_carlo, abs=1e-5)
    assert np.abs(chunk_difference(curve, steps)).max() <= 1


@pytest.mark.parametrize("name", ADVANTAGES)
def test_every_estimator_gives_a_number_a_frame(name):
    (estimate,) = ADVANTAGES[name]().estimate([Track(VALUES, REWARDS)], 3)
    assert estimate.shape == (4,)
    assert estimate.dtype == np.float32


def test_values_and_rewards_must_fit():
    with pytest.raises(UserError, match="one of each a frame"):
        Track(VALUES, REWARDS[:2])
