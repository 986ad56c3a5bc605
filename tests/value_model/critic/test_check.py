"""What `check_critic` says of critics from outside, each wrong in one way."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from envs.errors import UserError
from tests.value_model.synthetic import slide
from value_model.critic.check import check_critic, check_kept, example_episodes, first_frames
from value_model.critic.outside import outside_critic


def bright(frames, instruction):
    return frames.mean((1, 2, 3)) / 255


class Ramp:
    cameras = ("workspace", "wrist")

    def values(self, frames, instruction, fps):
        assert frames.shape[2] == 2 * frames.shape[1] and fps == 20.0
        return np.linspace(0, 1, len(frames))


class Height:
    """Reads ahead."""

    def label(self, episodes):
        for episode in list(episodes):
            yield 1 / (1 + np.exp(-episode.environment_state[:, 2]))


@pytest.mark.parametrize("critic", [bright, Ramp, Ramp(), Height, Height()])
def test_good_ones_pass(critic) -> None:
    check_critic(critic)
    if critic is bright:
        check_critic(critic, [slide(0), slide(1, 5)])


class Labels:
    """A critic whose `label` is this function."""

    def __init__(self, label):
        self.label = label


def in_place(episodes):
    for episode in episodes:
        episode.proprio[:] = 0
        yield np.zeros(len(episode))


def backwards(episodes):
    for episode in list(episodes)[::-1]:
        yield bright(episode.images["workspace"], "")


def whole_batch(episodes):
    episodes = list(episodes)
    together = np.mean([bright(episode.images["workspace"], "").mean() for episode in episodes])
    return [np.full(len(episode), together) for episode in episodes]


def first_only(episodes):
    yield np.zeros(len(next(episodes)))


def twice(episodes):
    for episode in episodes:
        yield np.zeros(len(episode))
        yield np.zeros(len(episode))


def broken(episodes):
    for episode in episodes:
        yield episode.progress


def darken(frames, instruction):
    frames[:] //= 2
    return np.zeros(len(frames))


RANDOM = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("critic", "message"),
    [
        (
            lambda frames, instruction: np.zeros(3),
            r"shape \(3,\) for 8 frames in episode 0; give one a frame",
        ),
        (lambda frames, instruction: np.full(len(frames), np.nan), r"outside \[0, 1\] in episode 0"),
        (lambda frames, instruction: RANDOM.uniform(size=len(frames)), "other values for the same episodes"),
        (darken, "darken writes into the arrays"),
        (lambda frames: 0, "failed in episode 0: TypeError"),
        (Labels(in_place), "Labels writes into the arrays"),
        (Labels(backwards), "in another order"),
        (Labels(whole_batch), "depend on the episodes beside it"),
        (Labels(first_only), "gave values for 1 episodes and stopped"),
        (Labels(twice), "more values than it was shown episodes"),
        (Labels(broken), r"failed in episode 0: AttributeError.*test_check.py, line"),
        (Labels(lambda episodes: None), "label gave NoneType; yield one array"),
        (3, "int is no critic: it needs values"),
        (type("Text", (Ramp,), {"cameras": "wrist"}), r"Text.cameras must be names"),
        (type("Front", (Ramp,), {"cameras": ("front",)}), "no camera 'front' for Front"),
        (
            type("Needy", (Ramp,), {"__init__": lambda self, weights: None}),
            "Needy could not be made: TypeError",
        ),
    ],
)
def test_what_is_wrong_is_said_in_one_line(critic, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        check_critic(critic)
    assert "\n" not in str(caught.value)


def test_what_fails_in_reading_the_data_is_not_blamed_on_the_critic() -> None:
    def unreadable():
        yield from example_episodes()[:1]
        raise ValueError("a defect of the reader")

    with pytest.raises(ValueError, match="a defect of the reader") as caught:
        list(outside_critic(Height(), "mine").label(unreadable()))
    assert not isinstance(caught.value, UserError)


class Kept:
    """Keeps its threshold, rounded."""

    def __init__(self, threshold, digits=6):
        self.threshold, self.digits = threshold, digits

    def label(self, episodes):
        for episode in episodes:
            yield np.full(len(episode), self.threshold, np.float32)

    def save(self, folder):
        (folder / "threshold.txt").write_text(str(round(self.threshold, self.digits)))


def test_a_critic_that_forgets_is_found() -> None:
    def load(folder: Path):
        return outside_critic(Kept(float((folder / "threshold.txt").read_text())), "Kept")

    check_kept(outside_critic(Kept(0.123456), "Kept"), load, example_episodes(), "Kept")
    with pytest.raises(UserError, match="other values after save and load"):
        check_kept(outside_critic(Kept(0.123456, digits=1), "Kept"), load, example_episodes(), "Kept")


def test_an_episode_is_cut_everywhere() -> None:
    cut = first_frames(slide(0))
    assert len(cut) == len(cut.images["workspace"]) == len(cut.proprio) == len(cut.environment_state) == 8
