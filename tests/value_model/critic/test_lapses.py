"""Lapses in curves drawn by hand: ten frames a second, episodes of typically 100 frames, so that 10 frames are a lapse."""

import numpy as np
import pytest

from tests.value_model.synthetic import slide
from value_model.critic.metrics.controls import paused, retraced
from value_model.critic.metrics.lapses import (
    Lapse,
    LapseRule,
    Typical,
    covered,
    final_value,
    find_lapses,
    typical,
)

USUAL = Typical(length=100.0, final=1.0)


def through(*points: tuple[int, float]) -> np.ndarray:
    """Straight lines through (frame, value)."""
    frames, values = zip(*points, strict=True)
    return np.interp(np.arange(frames[-1] + 1), frames, values).astype(np.float32)


def found(values: np.ndarray, rule: LapseRule | None = None) -> list[tuple[str, int, int]]:
    return [(one.kind, one.start, one.end) for one in find_lapses(values, 10.0, USUAL, rule)]


def test_steady_progress_has_none() -> None:
    assert found(through((0, 0), (99, 1))) == []


def test_a_pause_is_a_stall() -> None:
    """It grows .01 a frame: the best is within .02 of frame 40's value until frame 61, where it has grown so far."""
    (lapse,) = find_lapses(through((0, 0), (40, 0.4), (60, 0.4), (120, 1)), 10.0, USUAL)
    assert (lapse.kind, lapse.fall) == ("stall", 0)
    assert abs(lapse.start - 40) <= 2 and abs(lapse.end - 61) <= 2


def test_a_fall_is_a_setback_until_it_is_made_good() -> None:
    (lapse,) = find_lapses(through((0, 0), (40, 0.4), (50, 0.2), (60, 0.4), (120, 1)), 10.0, USUAL)
    assert lapse.kind == "setback" and lapse.fall == pytest.approx(0.2, abs=1e-6)
    assert abs(lapse.start - 40) <= 2 and abs(lapse.end - 61) <= 2


def test_what_is_short_or_after_the_end_does_not_count() -> None:
    assert found(through((0, 0), (40, 0.4), (46, 0.4), (100, 1))) == []
    assert found(through((0, 0), (90, 0.97), (200, 1))) == []
    assert found(through((0, 0), (30, 0.5), (99, 0.5))) == [("stall", 29, 99)]  # never done


def test_stalls_with_hardly_a_gap_are_one() -> None:
    steps = through((0, 0), (40, 0.4), (55, 0.4), (57, 0.43), (72, 0.43), (129, 1))
    assert len(found(steps)) == 1
    apart = through((0, 0), (40, 0.4), (55, 0.4), (65, 0.5), (80, 0.5), (130, 1))
    assert len(found(apart)) == 2


def test_a_slow_camera_still_needs_half_a_second() -> None:
    curve = through((0, 0), (4, 0.4), (8, 0.4), (14, 1))
    usual = Typical(15.0, 1.0)
    assert find_lapses(curve, 4.0, usual) and not find_lapses(curve, 30.0, usual)


def test_unknown_values_have_none() -> None:
    assert found(np.full(50, np.nan, np.float32)) == []
    assert np.isnan(final_value(np.full(3, np.nan)))
    assert final_value(np.array([0.1, 0.5, np.nan])) == 0.5


def test_what_is_typical() -> None:
    usual = typical([10, 30, 20], [0.75, np.nan, 1.0])
    assert usual == Typical(20.0, 0.875)
    assert typical([10], [np.nan]) == Typical(10.0, 1.0)


def test_how_much_of_a_stretch_lies_in_lapses() -> None:
    lapses = [Lapse("stall", 0, 11, 0.0), Lapse("setback", 18, 30, 0.1)]
    assert covered(lapses, 10, 19) == pytest.approx(4 / 10)
    assert covered(lapses, 12, 17) == 0 and covered([], 0, 3) == 0


def test_lapses_made_by_hand() -> None:
    episode = slide(0, 6)
    episode.proprio[:, 0] = np.arange(6)
    assert paused(episode, 2, 3).proprio[:, 0].tolist() == [0, 1, 2, 2, 2, 2, 3, 4, 5]
    back = retraced(episode, 3, 2)
    assert back.proprio[:, 0].tolist() == [0, 1, 2, 3, 2, 1, 2, 3, 4, 5]
    assert retraced(episode, 2, 2).proprio[:, 0].tolist() == [0, 1, 2, 1, 0, 1, 2, 3, 4, 5]
    assert (back.images["workspace"][5] == episode.images["workspace"][1]).all()
    with pytest.raises(ValueError, match="4 frames back from frame 3"):
        retraced(episode, 3, 4)
