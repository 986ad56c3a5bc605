"""Rows, batches, and that batches are a function of seed and update alone."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envs.errors import UserError
from policy_extraction.advantages import ChunkDifference, GroupRelative
from policy_extraction.dataset import action_chunks, batch_rows, build_dataset, sample_batches


@dataclass(frozen=True)
class Attempt:
    actions: np.ndarray
    success: bool
    instruction: str


def two_episodes():
    first = Attempt(np.arange(6, dtype=np.float32).reshape(3, 2), True, "stack the cubes")
    second = Attempt(-np.ones((2, 2), np.float32), False, "stack the cubes")
    values = [np.array([0, 0.5, 1], np.float32), np.array([0.2, 0.1], np.float32)]
    return [first, second], values


def test_action_chunks_repeat_the_last_action():
    chunks = action_chunks(np.array([[1], [2], [3]]), 2)
    assert chunks[..., 0].tolist() == [[1, 2], [2, 3], [3, 3]]


def test_build_dataset():
    episodes, values = two_episodes()
    dataset = build_dataset(episodes, values, ChunkDifference(), horizon=2)
    assert dataset.episode.tolist() == [0, 0, 0, 1, 1]
    assert dataset.frame.tolist() == [0, 1, 2, 0, 1]
    assert dataset.action.shape == (5, 2, 2)
    assert dataset.action[1].tolist() == [[2, 3], [4, 5]]
    assert dataset.advantage == pytest.approx([0.5, 0.5, 0, -0.1, 0])
    assert dataset.outcome.tolist() == [1, 1, 1, 0, 0]
    assert set(dataset.instruction) == {"stack the cubes"}
    kept = dataset.rows(dataset.advantage > 0)
    assert kept.frame.tolist() == [0, 1]
    assert kept.behavior_log_prob is None


def test_episodes_of_one_instruction_are_a_group():
    episodes, values = two_episodes()
    dataset = build_dataset(episodes, values, GroupRelative(), horizon=2)
    assert (dataset.advantage > 0).tolist() == [True, True, True, False, False]


def test_bad_values_are_refused():
    episodes, values = two_episodes()
    with pytest.raises(UserError, match="episode 1 has 2 frames but 3 values"):
        build_dataset(episodes, [values[0], values[0]], ChunkDifference(), horizon=2)
    with pytest.raises(UserError, match="no episode"):
        build_dataset([], [], ChunkDifference(), horizon=2)


@settings(deadline=None)
@given(size=st.integers(1, 30), batch=st.integers(1, 20), seed=st.integers(0, 2**32))
def test_a_pass_shows_every_row_once(size, batch, seed):
    rows = np.concatenate([batch_rows(size, batch, update, seed) for update in range(size)])
    for number in range(batch):
        assert sorted(rows[number * size : (number + 1) * size]) == list(range(size))


def test_batches_go_on_where_they_stopped():
    episodes, values = two_episodes()
    dataset = build_dataset(episodes, values, ChunkDifference(), horizon=2)
    inputs = {"features": np.random.default_rng(0).normal(size=(3, 5, 4)).astype(np.float32)}
    whole = sample_batches(dataset, inputs, first=0, updates=6, batch=4, seed=7)
    later = sample_batches(dataset, inputs, first=4, updates=2, batch=4, seed=7)
    assert whole["observation"]["features"].shape == (6, 4, 4)
    assert whole["action"].shape == (6, 4, 2, 2)
    np.testing.assert_array_equal(whole["observation"]["features"][4:], later["observation"]["features"])
    np.testing.assert_array_equal(whole["advantage"][4:], later["advantage"])
    other = sample_batches(dataset, inputs, first=0, updates=6, batch=4, seed=8)
    assert not np.array_equal(whole["observation"]["features"], other["observation"]["features"])


def test_a_batch_draws_row_and_variant_together():
    episodes, values = two_episodes()
    dataset = build_dataset(episodes, values, ChunkDifference(), horizon=2)
    inputs = {
        "row": np.arange(5, dtype=np.float32)[None].repeat(3, 0),
        "variant": np.arange(3)[:, None].repeat(5, 1),
    }
    batches = sample_batches(dataset, inputs, first=0, updates=20, batch=5, seed=0)
    np.testing.assert_array_equal(
        batches["advantage"], dataset.advantage[batches["observation"]["row"].astype(int)]
    )
    assert set(batches["observation"]["variant"].ravel()) == {0, 1, 2}


def test_nothing_left_to_learn_from():
    episodes, values = two_episodes()
    dataset = build_dataset(episodes, values, ChunkDifference(), horizon=2).rows(np.zeros(5, bool))
    with pytest.raises(UserError, match="no sample is left"):
        sample_batches(dataset, {"x": np.zeros((1, 0, 2))}, first=0, updates=1, batch=2, seed=0)
