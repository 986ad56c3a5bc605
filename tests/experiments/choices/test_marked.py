"""The perfect mask: exactly the chunks that touch a marked lapse gain less than nothing."""

import dataclasses

import numpy as np
import pytest

from envs.errors import UserError
from envs.types import Segment
from experiments.choices.marked import Marked, MarkedChoice
from policy_extraction.advantages import ChunkDifference, Track
from tests.value_model.synthetic import slide

HORIZON = 5


def masked(episode, before=0, after=0) -> np.ndarray:
    """Which chunks [T] are left out."""
    [values] = Marked(before, after).label([episode])
    track = Track(values, np.zeros(len(episode), np.float32))
    return ChunkDifference().estimate([track], HORIZON)[0] < 0


def touching(length: int, first: int, last: int) -> np.ndarray:
    begin = np.arange(length)
    return (begin <= last) & (begin + HORIZON - 1 >= first)


@pytest.mark.parametrize(("before", "after"), [(0, 0), (3, 0), (0, 2)])
def test_chunks_that_touch_a_lapse_are_left_out(before, after):
    lapse = Segment("retry", 12, 17)
    episode = dataclasses.replace(slide(0, length=40), segments=(lapse,), success=True)
    np.testing.assert_array_equal(masked(episode, before, after), touching(40, 12 - before, 17 + after))


def test_failures_are_left_out_and_clean_ones_stay():
    clean = dataclasses.replace(slide(0, length=40), segments=(), success=True)
    assert not masked(clean).any()
    assert masked(dataclasses.replace(clean, success=False))[:-1].all()
    assert not masked(dataclasses.replace(clean, success=None)).any()  # how it ended is not known


def test_margins_are_not_negative():
    with pytest.raises(UserError, match=r"critic\.before and critic\.after"):
        MarkedChoice(before=-1)
