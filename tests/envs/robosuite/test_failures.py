"""What became of attempts, on paths of an object that are made up."""

import numpy as np
import pytest

from envs.robosuite.failures import FAILURES, failure_of


def states(*heights: float, sideways: float = 0.0) -> np.ndarray:
    """An object that is dropped from .02 m at the reset, then at these heights above where it lies, and drifts sideways."""
    state = np.zeros((len(heights) + 2, 8), np.float32)
    state[:, 2] = [0.82, 0.8, *(0.8 + height for height in heights)]
    state[:, 0] = np.linspace(0, sideways, len(state))
    return state


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (states(0, 0.001, 0), "untouched"),
        (states(0, 0.01, 0, sideways=0.05), "moved"),
        (states(0, 0.1, 0.005), "dropped"),
        (states(0, 0.1, 0.08), "underway"),
        (states()[:1], "untouched"),
    ],
)
def test_what_became_of_it(state: np.ndarray, expected: str) -> None:
    assert failure_of(state) == expected and expected in FAILURES
