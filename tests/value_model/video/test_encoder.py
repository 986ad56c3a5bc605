"""Frames to latents: the cameras side by side, and always by the tokenizer as it is now."""

import dataclasses

import jax
import numpy as np
import pytest
from flax import nnx
from jax.sharding import Mesh

from tests.value_model.synthetic import MICRO
from value_model.video.encoder import FrameEncoder
from value_model.video.sharding import AXIS
from value_model.video.tokenizer import Tokenizer

FRAMES = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), np.uint8)


@pytest.fixture
def tokenizer() -> Tokenizer:
    return Tokenizer(MICRO.tokenizer, rngs=nnx.Rngs(0))


def test_the_latents_of_two_cameras_lie_side_by_side(tokenizer: Tokenizer) -> None:
    both = dataclasses.replace(MICRO, cameras=("workspace", "wrist"))
    together = FrameEncoder(both, 5.0, tokenizer).encode(np.concatenate([FRAMES, 255 - FRAMES], axis=2))
    alone = [FrameEncoder(MICRO, 5.0, tokenizer).encode(view) for view in (FRAMES, 255 - FRAMES)]
    assert together.shape == (3, 8, 16, 4)
    np.testing.assert_allclose(together, np.concatenate(alone, axis=2), atol=1e-5)


@pytest.mark.parametrize("mesh", [None, Mesh(np.array(jax.devices()[:1]), (AXIS,))], ids=["alone", "mesh"])
def test_an_updated_tokenizer_is_seen(tokenizer: Tokenizer, mesh: Mesh | None) -> None:
    """On a mesh the encoder computes with a copy of the tokenizer, whole on every device."""
    encoder = FrameEncoder(MICRO, 5.0, tokenizer, mesh)
    before = encoder.encode(FRAMES)
    tokenizer.mean[...] = tokenizer.mean[...] + 1.0
    np.testing.assert_allclose(encoder.encode(FRAMES), before - 1.0, atol=1e-4)
    nnx.update(tokenizer, nnx.state(Tokenizer(MICRO.tokenizer, rngs=nnx.Rngs(1))))
    other = FrameEncoder(MICRO, 5.0, Tokenizer(MICRO.tokenizer, rngs=nnx.Rngs(1))).encode(FRAMES)
    np.testing.assert_allclose(encoder.encode(FRAMES), other, atol=1e-5)


def test_a_stream_of_videos_fills_batches_and_holds_few(tokenizer: Tokenizer, monkeypatch) -> None:
    """Each video's latents are its own, whichever batches its frames fell into; none is read before it is needed."""
    monkeypatch.setattr("value_model.video.encoder.ENCODE_BATCH", 8)
    both = dataclasses.replace(MICRO, cameras=("workspace", "wrist"))
    encoder, read, calls = FrameEncoder(both, 5.0, tokenizer), [], []
    plain = encoder.encode
    monkeypatch.setattr(encoder, "encode", lambda frames: calls.append(len(frames)) or plain(frames))
    lengths = [1, 2, 6, 1, 1, 3]
    random = np.random.default_rng(1)
    videos = [random.integers(0, 256, (length, 64, 128, 3), np.uint8) for length in lengths]

    def reading():
        for number, video in enumerate(videos):
            read.append(number)
            yield video

    given = []
    for latents in encoder.stream(reading()):
        given.append((latents, len(read)))
    assert [count for _, count in given] == [
        3,
        3,
        6,
        6,
        6,
        6,
    ]  # the first whole batches end within the third video
    assert calls == [8, 4, 2]
    for video, (latents, _) in zip(videos, given, strict=True):
        np.testing.assert_allclose(latents, plain(video), atol=1e-5)
    assert list(encoder.stream([])) == []
