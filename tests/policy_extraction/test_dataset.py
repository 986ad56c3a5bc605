"""Rows, batches, and that batches are a function of seed and update alone."""

from dataclasses import dataclass, replace

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from envs.errors import UserError
from policy_extraction.advantages import ChunkDifference, GroupRelative, MonteCarlo
from policy_extraction.batch import executed_mean, make_batch, sample_batches
from policy_extraction.dataset import action_chunks, batch_rows, build_dataset, earnings


@dataclass(frozen=True)
class Attempt:
    actions: np.ndarray
    success: bool | None
    instruction: str
    rewards: np.ndarray

    @property
    def told(self):
        return (self.instruction,) * len(self.actions)


def rewards(*numbers):
    return np.array(numbers, np.float32)


def two_episodes():
    first = Attempt(np.arange(6, dtype=np.float32).reshape(3, 2), True, "stack the cubes", rewards(0, 1, 1))
    second = Attempt(-np.ones((2, 2), np.float32), False, "stack the cubes", rewards(0, 0))
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


def test_what_was_earned():
    nan = np.nan
    # who is paid only for the solved task, however often, is paid his outcome once, at the end
    solved = earnings([rewards(0, 1, 1), rewards(0, 0)], [True, False])
    assert [part.tolist() for part in solved] == [[0, 0, 1], [0, 0]]
    # an outcome that nobody recorded is unknown, whatever is known of others
    some = earnings([rewards(nan, nan), rewards(0, 0), rewards(0, 1)], [None, None, True])
    np.testing.assert_array_equal(np.concatenate(some), [0, nan, 0, nan, 0, 1])
    # rewards that say more are used as they are
    dense = [rewards(-0.5, 0.25, 1), rewards(-1, nan)]
    for used, recorded in zip(earnings(dense, [True, None]), dense, strict=True):
        np.testing.assert_array_equal(used, recorded)


@dataclass(frozen=True)
class Errands:
    actions: np.ndarray
    success: bool | None
    rewards: np.ndarray
    told: tuple[str, ...]


def test_what_was_told_on_the_way_is_an_attempt_of_its_own():
    told = ("open the lid",) * 2 + ("pour",) * 3
    episode = Errands(np.arange(5, dtype=np.float32)[:, None], True, rewards(0, 0, 0, 0, 1), told)
    values = [np.array([0, 1, 0, 0.5, 1], np.float32)]
    dataset = build_dataset([episode], values, ChunkDifference(), horizon=3)
    assert dataset.instruction.tolist() == list(told) and dataset.group.tolist() == [0, 0, 1, 1, 1]
    np.testing.assert_allclose(dataset.advantage, [1, 0, 1, 0.5, 0])
    np.testing.assert_array_equal(dataset.outcome, [np.nan, np.nan, 1, 1, 1])
    assert dataset.action[1, :, 0].tolist() == [1, 2, 3] and dataset.frame.tolist() == [0, 1, 2, 3, 4]


def test_unknown_outcomes_stay_unknown():
    """They were failures: advantages of −V, and an outcome of 0."""
    (first, second), values = two_episodes()
    unknown = [replace(first, success=None), replace(second, success=None)]
    dataset = build_dataset(unknown, values, ChunkDifference(), horizon=2)
    assert dataset.advantage == pytest.approx([0.5, 0.5, 0, -0.1, 0])
    assert np.isnan(dataset.outcome).all()
    with pytest.raises(UserError, match=r"advantage=monte_carlo .* none of its 2: .* or use advantage=chunk"):
        build_dataset(unknown, values, MonteCarlo(), horizon=2)
    # with one known, the other's advantages are unknown and the known one's are right: 1 − V
    half = build_dataset([first, unknown[1]], values, MonteCarlo(), horizon=2)
    np.testing.assert_array_equal(half.advantage, np.array([1, 0.5, 0, np.nan, np.nan], np.float32))
    np.testing.assert_array_equal(half.outcome, [1, 1, 1, np.nan, np.nan])


def test_unknown_values_stay_unknown():
    episodes, (first, second) = two_episodes()
    gap = first.copy()
    gap[1] = np.nan
    # chunks of 2 end one frame later: V(1) is an end of chunks 0 and 1
    dataset = build_dataset(episodes, [gap, second], ChunkDifference(), horizon=2)
    np.testing.assert_allclose(dataset.advantage, [np.nan, np.nan, 0, -0.1, 0], atol=1e-7)
    with pytest.raises(UserError, match="no advantage is known"):
        build_dataset(episodes, [first * np.nan, second * np.nan], ChunkDifference(), horizon=2)


def test_a_batch_has_all_that_the_contract_promises():
    episodes, values = two_episodes()
    dataset = build_dataset(episodes, values, ChunkDifference(), horizon=2)
    features = np.arange(5, dtype=np.float32)
    offline = make_batch(dataset, {"features": features})
    assert offline.keys() == {"observation", "action", "value", "advantage", "weight"}
    drawn = replace(
        dataset, behavior_log_prob=-features, executed=np.array([2, 1, 2, 1, 1]), seed=np.arange(5)
    )
    rows = np.array([[1, 0], [4, 2]])
    online = make_batch(drawn, {"features": features[rows]}, rows)
    assert online.keys() == offline.keys() | {"behavior_log_prob", "executed", "seed"}
    assert online["executed"].tolist() == [[[1, 0], [1, 1]], [[1, 0], [1, 1]]]
    assert online["seed"].tolist() == online["observation"]["features"].tolist() == rows.tolist()
    assert online["action"].shape == (2, 2, 2, 2)


@pytest.mark.parametrize("xp", [np, jnp, torch])
def test_the_mean_over_executed_actions(xp):
    # two actions of two tokens: both executed, mean of 1, 2, 3, 6; the first alone, mean of 1, 2
    array = torch.tensor if xp is torch else xp.asarray
    tokens = array([[1.0, 2, 3, 6], [1, 2, 30, 60]])
    executed = array([[1.0, 1], [1, 0]])
    assert executed_mean(xp, tokens, {"executed": executed}).tolist() == [3, 1.5]
    assert executed_mean(xp, tokens, {}).tolist() == [3, 23.25]


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
