"""The success classifier: what a whole attempt's score is, which pictures are labelled, and a scene that it learns."""

from dataclasses import replace

import numpy as np
import pytest

from envs.errors import UserError
from value_model.success.classifier import (
    ClassifierConfig,
    load_classifier,
    side_by_side,
    train_classifier,
)
from value_model.success.rule import attempt_score, shown_success

SMALL = ClassifierConfig(("front", "hand"), image_size=16, width=8, hidden=16, updates=60, batch=32)
NAN = float("nan")


@pytest.mark.parametrize(
    ("minimum", "hold", "score"),
    [
        (0, 0, 0.9),  # the best picture
        (0, 1, 0.7),  # of min(.1, .9), min(.9, .2), min(.2, .7), and .7 alone at the end
        (9, 2, 0.7),
        (13, 0, 0.0),  # it ended before
    ],
)
def test_an_attempts_score_is_the_best_that_stays(minimum, hold, score):
    probability, step = np.array([0.1, 0.9, 0.2, 0.7]), np.array([0, 4, 8, 12])
    assert attempt_score(probability, step, minimum, hold) == pytest.approx(score)


def test_success_before_the_minimum_does_not_count():
    probability, step = np.array([0.9, 0.9, 0.3]), np.array([0, 4, 8])
    assert attempt_score(probability, step, 0, 1) == pytest.approx(0.9)
    assert attempt_score(probability, step, 4, 0) == pytest.approx(0.9)
    assert attempt_score(probability, step, 4, 1) == pytest.approx(0.3)


def test_pictures_show_success_from_the_first_paid_step_on():
    step = np.array([0, 2, 4, 5])
    paid = np.array([0, 0, 0, 1, 1], np.float32)  # solved after four steps
    assert shown_success(step, paid, True, 9).tolist() == [0, 0, 1, 1]
    assert shown_success(step, paid, False, 9).tolist() == [0, 0, 0, 0]
    at_the_end = np.array([0, 0, 0, 0, 1], np.float32)
    assert shown_success(step[:3], at_the_end, True, 9).tolist() == [0, 0, 1]  # no picture after it: the last
    shaped = np.array([0.1, 0.2, 0.3, 0.4, 0.5], np.float32)  # when it was solved is not said
    np.testing.assert_array_equal(shown_success(step, shaped, True, 2), [0, 0, NAN, 1])


def scene(solved: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """Dark noise; a bright block in the middle of the first camera where the task is solved."""
    pictures = np.random.default_rng(seed).integers(0, 60, (len(solved), 16, 16, 3)).astype(np.uint8)
    front = pictures.copy()
    front[solved == 1, 4:12, 4:12] += 150
    return {"front": front, "hand": pictures}


def test_it_learns_what_success_looks_like_and_comes_back_from_its_folder(tmp_path):
    truth = (np.arange(60) % 6 == 0).astype(np.float32)  # rare
    labels = np.where(np.arange(60) == 1, NAN, truth)
    pictures = side_by_side(scene(truth, 0), SMALL)
    assert pictures.shape == (60, 16, 32, 3)
    made = train_classifier(pictures, labels, SMALL, tmp_path / "training")
    fresh = side_by_side(scene(truth, 1), SMALL)
    probability = made.probabilities(fresh)
    assert probability.dtype == np.float32 and ((probability > 0.5) == (truth == 1)).all()
    made.save(tmp_path / "saved")
    np.testing.assert_array_equal(load_classifier(tmp_path / "saved").probabilities(fresh), probability)
    again = train_classifier(pictures, labels, SMALL, tmp_path / "training")  # from the last checkpoint
    np.testing.assert_array_equal(again.probabilities(fresh), probability)


def test_what_is_wrong_is_one_line(tmp_path):
    pictures = np.zeros((4, 16, 32, 3), np.uint8)
    with pytest.raises(UserError, match="all 4 pictures show failure"):
        train_classifier(pictures, np.zeros(4, np.float32), SMALL, tmp_path)
    with pytest.raises(UserError, match="sees the camera 'hand'"):
        side_by_side({"front": pictures}, SMALL)
    with pytest.raises(UserError, match="no success classifier"):
        load_classifier(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match="not that of a success classifier"):
        load_classifier(tmp_path)
    with pytest.raises(UserError, match="multiple of 8"):
        replace(SMALL, image_size=20)
