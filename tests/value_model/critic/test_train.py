"""Training to the end on episodes whose progress is plain to see; interrupted, resumed, saved, misused."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from envs.errors import UserError
from envs.types import Segment
from tests.value_model.synthetic import MICRO, slide
from value_model.critic.config import WVMConfig
from value_model.critic.metrics.controls import paused, retraced
from value_model.critic.metrics.episodes import voc
from value_model.critic.metrics.lapses import Typical, covered, find_lapses
from value_model.critic.train import is_known, train_wvm
from value_model.critic.wvm import WVM, load_wvm

EPISODES = [slide(seed) for seed in range(6)]


class Killed(Exception):
    """Stands for a process that dies."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("wvm")


@pytest.fixture(scope="module")
def critic(folder: Path) -> WVM:
    return train_wvm(EPISODES, MICRO, folder)


def test_a_killed_training_ends_with_the_same_weights(critic: WVM, tmp_path: Path) -> None:
    def die(stage: str, done: int, total: int, metrics: dict[str, float]) -> None:
        if stage == "value model" and done == 30:
            raise Killed

    with pytest.raises(Killed):
        train_wvm(EPISODES, MICRO, tmp_path, progress=die)
    resumed = train_wvm(EPISODES, MICRO, tmp_path)
    frames = EPISODES[0].images["workspace"]
    straight = critic.values(frames, EPISODES[0].instruction)
    np.testing.assert_array_equal(resumed.values(frames, EPISODES[0].instruction), straight)


def test_saved_and_loaded(critic: WVM, folder: Path) -> None:
    loaded = load_wvm(folder)
    frames = EPISODES[1].images["workspace"]
    np.testing.assert_array_equal(loaded.values(frames, "slide"), critic.values(frames, "slide"))
    assert loaded.config == MICRO


def test_a_longer_training_learns_progress(tmp_path: Path) -> None:
    optim = dataclasses.replace(MICRO.optim, updates=300, batch=32, learning_rate=3e-3)
    tokenizer = dataclasses.replace(MICRO.tokenizer, updates=150)
    config = dataclasses.replace(MICRO, optim=optim, tokenizer=tokenizer)
    trained = train_wvm([slide(seed) for seed in range(20)], config, tmp_path)
    held_out = slide(99)
    values = trained.values(held_out.images["workspace"], held_out.instruction)
    assert voc(values) > 0.9
    backwards = trained.values(held_out.images["workspace"][::-1].copy(), held_out.instruction)
    assert voc(backwards) < 0  # it watches the square, and does not count frames
    usual = Typical(40.0, float(values[-1]))
    lapses = [  # made by hand, longer than a clip of .8 s; the rule was chosen on other data
        (paused(held_out, 16, 30), "stall", 16, 46),
        (retraced(held_out, 26, 12), "setback", 26, 50),
    ]
    for changed, kind, start, end in lapses:
        seen = trained.values(changed.images["workspace"], changed.instruction)
        found = find_lapses(seen, held_out.fps, usual)
        assert covered(found, start, end) > 0.5 and found[0].kind == kind


def test_values_of_short_and_still_videos(critic: WVM) -> None:
    for length in (1, 2, 5, 33):
        values = critic.values(np.zeros((length, 64, 64, 3), np.uint8), "slide")
        assert values.shape == (length,) and values.dtype == np.float32
        assert ((values >= 0) & (values <= 1)).all()


def test_labelling_in_groups_equals_one_by_one(critic: WVM) -> None:
    episodes = [slide(seed, length) for seed, length in ((1, 40), (2, 23), (3, 31))]
    together = list(critic.label(episodes))
    alone = [critic.values(episode.images["workspace"], episode.instruction) for episode in episodes]
    for one, other in zip(together, alone, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


@pytest.mark.parametrize(
    ("frames", "instruction", "message"),
    [
        (np.zeros((3, 64, 64, 3), np.float32), "slide", "uint8"),
        (np.zeros((3, 64, 64), np.uint8), "slide", "shape"),
        (np.zeros((0, 64, 64, 3), np.uint8), "slide", "T ≥ 1"),
        (np.zeros((3, 64, 64, 3), np.uint8), " ", "no words"),
    ],
)
def test_what_a_critic_cannot_read(critic: WVM, frames: np.ndarray, instruction: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        critic.values(frames, instruction)


def test_which_episodes_have_known_values() -> None:
    marked = slide(0, style="retry", segments=(Segment("retry", 10, 15),))
    assert is_known(EPISODES[0]) and is_known(marked)
    assert not is_known(dataclasses.replace(marked, segments=()))
    assert not is_known(slide(0, style="detour"))
    assert not is_known(dataclasses.replace(EPISODES[0], success=False))
    foreign = dataclasses.replace(EPISODES[0], style="unknown")
    assert is_known(foreign) and not is_known(dataclasses.replace(foreign, success=None))
    assert not is_known(dataclasses.replace(marked, style="unknown"))


def test_mistakes(folder: Path, critic: WVM, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no expert episode"):
        train_wvm([slide(0, style="failure")], MICRO, tmp_path / "none")
    with pytest.raises(UserError, match="another configuration or seed"):
        train_wvm(EPISODES, MICRO, folder, seed=1)
    with pytest.raises(UserError, match="no world value model"):
        load_wvm(tmp_path)
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    (tmp_path / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:1000])
    with pytest.raises(UserError, match="not a whole safetensors file"):
        load_wvm(tmp_path)


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_checkpoint(tmp_path: Path) -> None:
    wild: WVMConfig = dataclasses.replace(
        MICRO, optim=dataclasses.replace(MICRO.optim, learning_rate=1e30, clip_norm=1e30)
    )
    with pytest.raises(UserError, match=r"non-finite at update .* last good checkpoint"):
        train_wvm(EPISODES, wild, tmp_path)
