"""Value metrics against numbers computed by hand, and against degenerate predictions."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np
import pytest

from envs.errors import UserError
from envs.types import Episode, Segment
from tests.value_model.synthetic import slide
from value_model.critic.metrics.controls import still
from value_model.critic.metrics.episodes import (
    average_ranks,
    hesitation_rmse,
    known_progress,
    measure_critic,
    retry_voc,
    spearman,
    true_progress,
    voc,
)


def test_ties_share_their_mean_rank() -> None:
    # sorted: 1, 3, 3, 5 → ranks 1, 2.5, 2.5, 4
    assert average_ranks(np.array([3, 1, 5, 3])).tolist() == [2.5, 1, 4, 2.5]


def test_spearman_by_hand() -> None:
    # ranks 1 2 3 4 against 1 3 2 4: 1 − 6 Σd² / (n (n² − 1)) = 1 − 6 · 2 / 60 = .8
    assert spearman(np.array([0.1, 0.2, 0.3, 0.4]), np.array([1, 30, 20, 40])) == pytest.approx(0.8)
    # ranks 1 2.5 2.5 4 against 1 2 3 4: centred −1.5 0 0 1.5 and −1.5 −.5 .5 1.5: 4.5 / √(4.5 · 5) = .9487
    assert voc(np.array([0.0, 0.5, 0.5, 1.0])) == pytest.approx(0.9486833)


def test_degenerate_predictions() -> None:
    time = np.arange(10) / 9
    assert voc(time) == pytest.approx(1.0)
    assert voc(time[::-1]) == pytest.approx(-1.0)
    assert np.isnan(voc(np.full(10, 0.3)))
    assert np.isnan(voc(np.full(1, 0.3)))
    assert np.isnan(voc(np.array([0.1, np.nan, 0.3])))


def test_true_progress_of_an_expert() -> None:
    assert true_progress(5).tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert true_progress(1).tolist() == [0]


def test_true_progress_of_a_hesitation() -> None:
    # T = 11, m = 2, n = 4, x = 2: v_m = v_n = 2 / (11 − 1 − 2) = .25, then up to 1 over 6 frames: .125 a frame
    curve = true_progress(11, (Segment("hesitation", 2, 4),))
    np.testing.assert_allclose(
        curve, [0, 0.125, 0.25, 0.25, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1], atol=1e-7
    )


def test_true_progress_of_a_retry() -> None:
    # T = 12, m = 4, n = 6, x = 2: v_m = 4 / (12 − 4) = .5, v_n = (4 − 2) / 8 = .25, then .75 over 5 frames
    curve = true_progress(12, (Segment("retry", 4, 6),))
    np.testing.assert_allclose(
        curve, [0, 0.125, 0.25, 0.375, 0.5, 0.375, 0.25, 0.4, 0.55, 0.7, 0.85, 1], atol=1e-6
    )
    # m = 1 < x = 3: it cannot fall below 0
    assert true_progress(12, (Segment("retry", 1, 4),))[4] == 0


@pytest.mark.parametrize("ends", [(0, 3), (3, 3), (5, 9), (5, 12)])
def test_a_segment_that_does_not_fit(ends: tuple[int, int]) -> None:
    with pytest.raises(UserError, match="does not fit"):
        true_progress(10, (Segment("hesitation", *ends),))


def test_several_segments_are_refused() -> None:
    with pytest.raises(UserError, match="at most one"):
        true_progress(20, (Segment("retry", 4, 6), Segment("hesitation", 9, 12)))


def test_hesitation_rmse_by_hand() -> None:
    # the true value of frames 2, 3, 4 is .25; errors .1, 0, −.2: √((.01 + 0 + .04) / 3) = .1291
    values = np.ones(11)
    values[2:5] = [0.35, 0.25, 0.05]
    assert hesitation_rmse(values, Segment("hesitation", 2, 4)) == pytest.approx(0.1290994)


def test_retry_voc_is_one_where_values_fall() -> None:
    segment = Segment("retry", 4, 8)
    falling = np.concatenate([np.linspace(0, 0.5, 5), np.linspace(0.4, 0.1, 4), np.linspace(0.2, 1, 11)])
    assert retry_voc(falling, segment) == pytest.approx(1.0)
    assert retry_voc(np.arange(20) / 19, segment) == pytest.approx(-1.0)
    assert np.isnan(retry_voc(np.full(20, 0.5), segment))


def test_still_repeats_the_first_frame() -> None:
    video = still(slide(0)).images["workspace"]
    assert (video == video[0]).all() and len(video) == 40


class _Curve:
    """A critic that says a fixed thing of every episode, reading three episodes ahead."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def label(self, episodes: Iterable[Episode]) -> Iterator[np.ndarray]:
        held: list[Episode] = []
        for episode in episodes:
            held.append(episode)
            if len(held) == 3:
                yield from map(self.values, held)
                held = []
        yield from map(self.values, held)

    def values(self, episode: Episode) -> np.ndarray:
        if self.kind == "constant":
            return np.full(len(episode), 0.5, np.float32)
        return np.linspace(0, 1, len(episode), dtype=np.float32)


def _episodes() -> list[Episode]:
    return [
        slide(0),
        slide(1, style="noisy"),
        slide(2, style="hesitation", segments=(Segment("hesitation", 10, 20),)),
        slide(3, style="retry", segments=(Segment("retry", 10, 14),)),
        replace(slide(4, style="failure"), success=False),
    ]


def test_a_critic_that_counts_frames_is_seen_at_once() -> None:
    scores = measure_critic(_Curve("time"), _episodes())
    assert scores["expert_voc"] == pytest.approx(1.0) and scores["expert_voc_count"] == 2
    assert scores["static_voc"] == pytest.approx(1.0) and scores["static_drift"] == pytest.approx(1.0)
    assert scores["retry_voc"] == pytest.approx(-1.0)
    assert scores["failure_value"] == 1.0 and scores["failure_value_count"] == 1


def test_what_is_unknown_is_not_measured() -> None:
    """True progress follows from a success of a known style alone; the last value has no name without an outcome."""
    lapse = (Segment("hesitation", 10, 20),)
    said = [
        replace(slide(0), style="unknown"),
        replace(slide(1, style="hesitation", segments=lapse), style="unknown"),
        replace(slide(2), success=None),
        replace(slide(3, style="retry", segments=(Segment("retry", 10, 14),)), success=None),
    ]
    assert all(known_progress(episode) is None for episode in said)
    assert known_progress(slide(0)).tolist() == true_progress(40).tolist()
    scores = measure_critic(_Curve("time"), said)
    assert scores == {"success_value_count": 2.0, "success_value": 1.0}


def test_values_that_are_unknown_are_no_steady_ones() -> None:
    class Silent(_Curve):
        def values(self, episode: Episode) -> np.ndarray:
            return np.full(len(episode), np.nan, np.float32)

    scores = measure_critic(Silent("time"), _episodes())
    assert "static_voc" not in scores and "success_value" not in scores


def test_a_constant_critic_is_undefined_and_counted() -> None:
    done = []
    scores = measure_critic(_Curve("constant"), _episodes(), done.append)
    assert "expert_voc" not in scores and scores["expert_voc_undefined"] == 1.0
    assert scores["static_voc"] == 0.0 and scores["static_undefined"] == 1.0 and scores["static_drift"] == 0.0
    # the true value of the hesitation is 10 / (40 − 1 − 10) = .3448
    assert scores["hesitation_rmse"] == pytest.approx(0.5 - 10 / 29)
    assert sum(done) == 5
