"""Which of several chunks is done."""

import numpy as np
import pytest

from envs.recording import Rollout
from envs.types import Observation
from experiments.stages.best_of_n import BestOfN, Proposed, candidate_seeds

SEEN = Observation(
    {"front": np.arange(2, dtype=np.uint8).reshape(2, 1, 1, 1) * np.ones((2, 4, 4, 3), np.uint8)},
    np.array([[0.0], [10.0]], np.float32),
    ("go left", "go right"),
)
SEEDS = np.array([7, 8], np.int64)


class Drawer:
    """Acts by what it draws, around its proprioception."""

    def act(self, observation, seeds):
        drawn = [np.random.default_rng(seed).normal(size=(3, 1)) for seed in seeds.tolist()]
        return (observation.proprio[:, None] + np.stack(drawn)).astype(np.float32)


class Worlds:
    """Ends where the chunk's last action says, and remembers from where it was asked to begin."""

    def __init__(self):
        self.starts = []

    def rollout(self, actor, starts, record, film):
        self.starts, chunks = starts, actor.act(None, None)
        return [
            Rollout(start.seed, 0, None, 3, float(chunk[-1, 0]))
            for start, chunk in zip(starts, chunks, strict=True)
        ]


class Likes:
    """A judge that likes what ends high, and has no verdict where it ends in `unseen`."""

    film = 2

    def __init__(self, unseen=()):
        self.unseen = unseen

    def rewards(self, rollouts):
        found = np.array([rollout.reward for rollout in rollouts], np.float32)
        found[list(self.unseen)] = np.nan
        return found


def act(count, judge, worlds=None):
    worlds = worlds or Worlds()
    return BestOfN(Drawer(), count, lambda rows: worlds, judge).act(SEEN, SEEDS)


def candidates(row, count):
    seeds = candidate_seeds(SEEDS, count).reshape(2, count)[row]
    return Drawer().act(SEEN[np.full(count, row)], seeds)


def test_one_candidate_is_the_policy():
    np.testing.assert_array_equal(act(1, Likes()), Drawer().act(SEEN, SEEDS))


def test_the_best_ending_is_done_in_every_row():
    chosen = act(5, Likes())
    for row in range(2):
        drawn = candidates(row, 5)
        assert len(np.unique(drawn)) == drawn.size
        np.testing.assert_array_equal(chosen[row], drawn[drawn[:, -1, 0].argmax()])


@pytest.mark.parametrize("unseen", [range(3), range(6)])
def test_without_a_verdict_it_does_what_the_policy_draws(unseen):
    chosen, plain = act(3, Likes(unseen)), Drawer().act(SEEN, SEEDS)
    np.testing.assert_array_equal(chosen[0], plain[0])
    assert (chosen[1] == plain[1]).all() == (len(unseen) == 6)


def test_a_candidate_without_a_verdict_is_never_done():
    drawn = candidates(0, 3)
    best = int(drawn[:, -1, 0].argmax())
    assert not (act(3, Likes([best]))[0] == drawn[best]).all()


def test_every_candidate_begins_from_what_its_row_sees():
    worlds = Worlds()
    act(2, Likes(), worlds)
    assert [start.instruction for start in worlds.starts] == ["go left"] * 2 + ["go right"] * 2
    assert [start.seed for start in worlds.starts] == [7, 7, 8, 8]  # the same noise for a row's candidates
    assert [int(start.images["front"].max()) for start in worlds.starts] == [0, 0, 1, 1]
    assert [float(start.proprio[0]) for start in worlds.starts] == [0, 0, 10, 10]


def test_candidates_repeat_and_differ():
    drawn = candidate_seeds(SEEDS, 4).reshape(2, 4)
    np.testing.assert_array_equal(drawn, candidate_seeds(SEEDS, 4).reshape(2, 4))
    np.testing.assert_array_equal(drawn[:, 0], SEEDS)
    assert len(np.unique(drawn)) == 8 and drawn.max() < 2**31


def test_what_is_proposed_is_done():
    chunks = np.ones((2, 3, 1), np.float32)
    np.testing.assert_array_equal(Proposed(chunks).act(SEEN, SEEDS), chunks)
