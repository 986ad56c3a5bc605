"""Annotations are checked while tests run."""

from typing import Any

import pytest
from beartype.roar import BeartypeCallHintViolation

from envs.text import word_ids
from value_model.imagination.flops import FrameCost


def test_a_wrong_argument_is_caught():
    wrong: Any = 3
    with pytest.raises(BeartypeCallHintViolation, match="instruction"):
        word_ids(wrong)


def test_a_named_tuple_holds_anything():
    anything: Any = object()
    assert set(FrameCost(*[anything] * len(FrameCost._fields))) == {anything}
