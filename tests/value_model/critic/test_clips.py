"""Which frames training clips are made of."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from tests.value_model.synthetic import MICRO
from value_model.critic.clips import LatentData, clip_frames, sample_clips
from value_model.critic.config import ClipConfig

STRIDE = 4


def test_clips_around_a_frame_show_it() -> None:
    around = jnp.arange(40, 160)
    length = jnp.full(len(around), 200)
    frames = np.asarray(clip_frames(jax.random.key(0), length, ClipConfig(), STRIDE, around))
    moving = np.ptp(frames, axis=1) > 0
    shown = (frames[:, 1:5] == np.asarray(around)[:, None]).any(axis=1)
    assert shown[moving].all() and moving.mean() > 0.8
    assert {-STRIDE, STRIDE} == set(np.diff(frames[moving], axis=1).ravel())


def test_clips_around_nothing_are_as_ever() -> None:
    length = jnp.full(50, 80)
    usual = clip_frames(jax.random.key(3), length, ClipConfig(), STRIDE)
    same = clip_frames(jax.random.key(3), length, ClipConfig(), STRIDE, jnp.full(50, -1))
    assert np.array_equal(usual, same)


def test_focus_draws_that_share_of_the_clips() -> None:
    frames, lapses = 1000, jnp.arange(500, 510)
    data = LatentData(
        latents=jnp.zeros((frames, 1, 1, 1)),
        values=jnp.arange(frames, dtype=jnp.float32),  # a clip's values tell its frames
        start=jnp.array([0, 400]),
        length=jnp.array([400, 600]),
        words=jnp.zeros((2, 3), jnp.int32),
        task=jnp.zeros(2, jnp.int32),
        lapses=lapses,
    )
    clip = ClipConfig(rewind=0.0, plateau=0.0, focus=0.5)
    config = dataclasses.replace(MICRO, clip=clip)
    values = np.asarray(sample_clips(data, jax.random.key(0), 4000, config, STRIDE).values[:, 1:])
    share = np.isin(values, np.asarray(lapses)).any(axis=1).mean()
    assert 0.5 < share < 0.56  # half on purpose, and about 13 of 600 starts by chance
    without = data._replace(lapses=lapses[:0])
    values = np.asarray(sample_clips(without, jax.random.key(0), 4000, config, STRIDE).values[:, 1:])
    assert np.isin(values, np.asarray(lapses)).any(axis=1).mean() < 0.08


def test_what_a_clip_holds() -> None:
    """Latents and values that are their frame's number: a prefix value, current frames with theirs, then future ones."""
    clip_config = dataclasses.replace(MICRO.clip, rewind=0.0, plateau=0.0)
    config = dataclasses.replace(MICRO, clip=clip_config)
    numbers = jnp.arange(300, dtype=jnp.float32)
    data = LatentData(
        latents=numbers[:, None, None, None],
        values=numbers,
        start=jnp.array([0, 100]),
        length=jnp.array([100, 200]),
        words=jnp.array([[1], [2]]),
        task=jnp.arange(2),
        lapses=jnp.zeros(0, jnp.int32),
    )
    clip = sample_clips(data, jax.random.key(0), 64, config, STRIDE)
    values, current = np.asarray(clip.values), np.asarray(clip.current)[..., 0, 0, 0]
    first = np.where(values[:, 1] < 100, 0, 100)  # of the clip's episode
    np.testing.assert_array_equal(values[:, 1:], current)
    assert (np.diff(current, axis=1) == STRIDE).all()  # all of them inside the episode
    np.testing.assert_array_equal(values[:, 0], np.maximum(current[:, 0] - STRIDE, first))
    last = np.where(first == 0, 99, 299)[:, None]
    ahead = current[:, -1:] + STRIDE * np.arange(1, 5)
    np.testing.assert_array_equal(np.asarray(clip.future)[..., 0, 0, 0], np.minimum(ahead, last))
    np.testing.assert_array_equal(np.asarray(clip.words)[:, 0], np.where(first == 0, 1, 2))


def clips_of_three_tasks(**settings):
    """Six episodes of 50 frames, two of each task, an instruction each; a clip's latents tell its frames."""
    data = LatentData(
        latents=jnp.arange(300, dtype=jnp.float32)[:, None, None, None],
        values=jnp.tile(jnp.linspace(0.5, 1.0, 50), 6),
        start=jnp.arange(6) * 50,
        length=jnp.full(6, 50),
        words=jnp.arange(6)[:, None],
        lapses=jnp.zeros(0, jnp.int32),
        task=jnp.array([2, 0, 1, 2, 1, 0]),
    )
    clip = sample_clips(
        data, jax.random.key(0), 4000, dataclasses.replace(MICRO, clip=ClipConfig(**settings)), STRIDE
    )
    episode = np.asarray(clip.current)[:, 0, 0, 0, 0].astype(int) // 50
    return np.asarray(data.task), episode, np.asarray(clip.words)[:, 0], np.asarray(clip.values), clip


def test_a_share_of_the_clips_is_told_another_task() -> None:
    task, episode, told, values, clip = clips_of_three_tasks(mismatched=0.3)
    other = told != episode
    assert 0.27 < other.mean() < 0.33
    assert (task[told] != task[episode])[other].all()  # never its own task in other words
    assert {(own, said) for own, said in zip(episode[other], told[other], strict=True)} == {
        (own, said) for own in range(6) for said in range(6) if task[own] != task[said]
    }
    assert (values[other] == 0).all() and (values[~other] >= 0.5).all()
    plain = clips_of_three_tasks()[-1]
    np.testing.assert_array_equal(clip.current, plain.current)
    np.testing.assert_array_equal(values[~other], np.asarray(plain.values)[~other])


def test_its_value_may_be_unknown() -> None:
    _, episode, told, values, _ = clips_of_three_tasks(mismatched=0.3, mismatched_value="unknown")
    np.testing.assert_array_equal(np.isnan(values).all(axis=1), told != episode)


def test_one_task_is_told_nothing_else() -> None:
    data = LatentData(
        latents=jnp.zeros((50, 1, 1, 1)),
        values=jnp.ones(50),
        start=jnp.array([0, 20]),
        length=jnp.array([20, 30]),
        words=jnp.array([[1], [2]]),
        lapses=jnp.zeros(0, jnp.int32),
        task=jnp.zeros(2, jnp.int32),
    )
    config = dataclasses.replace(MICRO, clip=ClipConfig(mismatched=1.0))
    clip = sample_clips(data, jax.random.key(0), 64, config, STRIDE)
    assert np.asarray(clip.values).all() and set(np.asarray(clip.words).ravel().tolist()) == {1, 2}
