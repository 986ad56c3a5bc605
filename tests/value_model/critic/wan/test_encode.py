"""Encoding a data set with random small models of diffusers and transformers, and labelling through the same encoders."""

import dataclasses
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from envs.errors import UserError
from envs.store import Store, open_store, write_store
from envs.types import Segment
from tests.value_model.synthetic import slide
from tests.value_model.wan_models import ENCODED as CONFIG
from tests.value_model.wan_models import published_pipeline, save_encoders, wan_config
from value_model.critic.config import ClipConfig
from value_model.critic.wan import encode as wan_encode
from value_model.critic.wan.clip_store import ClipStore
from value_model.critic.wan.encode import encode_clips
from value_model.critic.wan.windows import BACKWARD, FORWARD, STILL, Window, draw_windows, window_frames
from value_model.video.frames import resize
from value_model.video.wan.encoders import TextEncoder, VideoEncoder, fill_up

LENGTHS = (40, 23, 31)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_encoders(tmp_path_factory.mktemp("weights"), CONFIG)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """An expert's episode, one whose value is not known, and a marked retry."""
    first, second, third = (slide(seed, length) for seed, length in enumerate(LENGTHS))
    second = dataclasses.replace(second, style="failure", success=False, instruction="pick up  the red one")
    third = dataclasses.replace(third, style="retry", segments=(Segment("retry", 8, 12),))
    return open_store(write_store(tmp_path_factory.mktemp("data") / "store", [first, second, third]))


@pytest.fixture(scope="module")
def clips(weights: Path, store: Store, tmp_path_factory: pytest.TempPathFactory) -> ClipStore:
    made = encode_clips([store], weights, CONFIG, tmp_path_factory.mktemp("clips"), seed=3, variants=3)
    assert made is not None
    return made


def test_frames_of_a_window_by_hand() -> None:
    """h = 2, a frame of three: prefix, two current and two future frames, in an episode of 20."""
    assert window_frames(Window(0, 5, FORWARD), 20, 2, 3).tolist() == [2, 5, 8, 11, 14]
    assert window_frames(Window(0, 0, FORWARD), 20, 2, 3).tolist() == [0, 0, 3, 6, 9]
    assert window_frames(Window(0, 16, FORWARD), 20, 2, 3).tolist() == [13, 16, 19, 19, 19]
    assert window_frames(Window(0, 5, STILL), 20, 2, 3).tolist() == [5] * 5
    assert window_frames(Window(0, 5, BACKWARD), 20, 2, 3).tolist() == [17, 14, 11, 8, 5]
    assert window_frames(Window(0, 5, FORWARD), 20, 2, 3, chunks=1).tolist() == [2, 5, 8]


def test_shares_of_directions() -> None:
    drawn = draw_windows(7, 4000, ClipConfig(), stride=4, every=1, variants=1, seed=0)
    shares = np.bincount([window.mode for window in drawn]) / len(drawn)
    np.testing.assert_allclose(shares, [0.5, 0.1, 0.4], atol=0.03)
    assert drawn[-1].start == 4000 - 3 * 4 - 1  # its last current frame is the last of the episode
    assert drawn == draw_windows(7, 4000, ClipConfig(), stride=4, every=1, variants=1, seed=0)


def test_latents_are_the_vae_s_and_causal(weights: Path) -> None:
    encoder = VideoEncoder(weights, CONFIG)
    frames = np.random.default_rng(0).integers(0, 256, (2, 9, 32, 32, 3)).astype(np.uint8)
    latents = encoder(frames)
    assert latents.shape == (2, 3, *CONFIG.latent_shape)
    vae = published_pipeline(weights).vae
    pixels = torch.from_numpy(frames.transpose(0, 4, 1, 2, 3) / np.float32(127.5) - 1)
    with torch.no_grad():
        raw = vae.encode(pixels).latent_dist.mode().numpy().transpose(0, 2, 3, 4, 1)
    mean, std = np.array(vae.config.latents_mean), np.array(vae.config.latents_std)
    np.testing.assert_allclose(latents, (raw - mean) / std, atol=1e-5)
    np.testing.assert_allclose(encoder(frames[:, :5]), latents[:, :2], atol=1e-5)


def test_text_is_what_wan_s_pipeline_reads(weights: Path) -> None:
    instruction = "slide  the red &amp; green square"
    embedded = TextEncoder(weights, CONFIG)(instruction)
    with torch.no_grad():
        expected = published_pipeline(weights)._get_t5_prompt_embeds(instruction, max_sequence_length=20)
    assert len(embedded) == 7  # six words, one of them unknown, and the end
    filled = fill_up([embedded], 20)
    np.testing.assert_allclose(filled, expected[:, : filled.shape[1]].numpy(), atol=1e-5)
    assert not expected[0, 7:].any()


def test_a_clip_is_its_window_encoded(clips: ClipStore, store: Store, weights: Path) -> None:
    encoder, seen = VideoEncoder(weights, CONFIG), set()
    count = sum(len(range(0, length - 12, 4)) for length in LENGTHS)
    assert len(clips) == 3 * count
    for index in range(0, len(clips), 5):
        clip = clips.clip(index)
        episode = store.episode(int(clip["episode"]), ["workspace"])
        window = Window(int(clip["episode"]), int(clip["start"]), int(clip["mode"]))
        rows = window_frames(window, len(episode), 4, 4)
        latents = encoder(resize(episode.images["workspace"], 32, 32)[None, rows])[0]
        np.testing.assert_allclose(clip["current"], latents[1:2], atol=2e-3)
        np.testing.assert_allclose(clip["future"], latents[2:], atol=2e-3)
        if episode.success and not episode.segments:
            np.testing.assert_allclose(clip["values"], rows[:5] / (len(episode) - 1), atol=1e-6)
        if not episode.success:
            assert np.isnan(clip["values"]).all()
        seen.add(window.mode)
    assert seen == {FORWARD, STILL, BACKWARD}


def test_batches(clips: ClipStore, weights: Path) -> None:
    batch = clips.batch(5, 4, seed=1)
    assert batch.current.shape == batch.future.shape == (4, 1, *CONFIG.latent_shape)
    assert batch.values.shape == (4, 5)
    assert batch.words.shape == (4, 16, CONFIG.video.text_width)
    again, other = clips.batch(5, 4, seed=1), clips.batch(6, 4, seed=1)
    np.testing.assert_array_equal(batch.current, again.current)
    assert not np.array_equal(batch.current, other.current)
    texts = [TextEncoder(weights, CONFIG)(text) for text in ("pick up the red one", slide(0).instruction)]
    np.testing.assert_allclose(clips.text, fill_up(texts, 20), atol=1e-6)
    assert clips.run["instructions"] == ["pick up the red one", slide(0).instruction]


def test_killed_and_shared_work_gives_the_same_files(
    clips: ClipStore, store: Store, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(Exception):
        """Stands for a process that dies."""

    monkeypatch.setattr(wan_encode, "SHARD_CLIPS", 1)

    def encode(folder: Path, **options: object) -> ClipStore | None:
        return encode_clips([store], weights, CONFIG, folder, seed=3, variants=3, **options)  # type: ignore[arg-type]

    def die(done: int, total: int) -> None:
        if done > total // 2:
            raise Killed

    with pytest.raises(Killed):
        encode(tmp_path / "killed", progress=die)
    with pytest.raises(UserError, match=r"manifest\.json is missing"):
        ClipStore(tmp_path / "killed")
    resumed = encode(tmp_path / "killed")
    assert encode(tmp_path / "shared", worker=(1, 2)) is None
    shared = encode(tmp_path / "shared", worker=(0, 2))
    assert resumed is not None and shared is not None
    assert len(resumed) == len(shared) == len(clips)
    manifests = [(store.folder / "manifest.json").read_text() for store in (resumed, shared)]
    assert manifests[0] == manifests[1]
    for index in range(0, len(clips), 7):
        np.testing.assert_array_equal(resumed.clip(index)["current"], clips.clip(index)["current"])


def test_changed_and_foreign_folders(clips: ClipStore, store: Store, weights: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(clips.folder, tmp_path / "copy"))
    with pytest.raises(UserError, match="another configuration or seed"):
        encode_clips([store], weights, CONFIG, folder, seed=4, variants=3)
    shard = folder / "clips-00000.safetensors"
    content = shard.read_bytes()
    shard.write_bytes(content[:-1])
    with pytest.raises(UserError, match="has changed since it was encoded"):
        ClipStore(folder)
    shard.unlink()
    with pytest.raises(UserError, match="is missing; encode the clips again"):
        ClipStore(folder)
    manifest = folder / "manifest.json"
    manifest.write_text(manifest.read_text().replace(shard.name, "../clips-00000.safetensors"))
    with pytest.raises(UserError, match="names a file outside of itself"):
        ClipStore(folder)


def test_encoders_that_do_not_fit(
    weights: Path, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = wan_config(dataclasses.replace(CONFIG.video, text_width=16), channels=6, side=2)
    with pytest.raises(UserError, match="z_dim is 4, this configuration needs 6"):
        VideoEncoder(weights, other)
    with pytest.raises(UserError, match="d_model is 12, this configuration needs 16"):
        TextEncoder(weights, other)
    with pytest.raises(UserError, match=r"incomplete: .*vae/config\.json is missing"):
        VideoEncoder(tmp_path, CONFIG)
    folder = Path(shutil.copytree(weights, tmp_path / "copy"))
    (folder / "vae" / "diffusion_pytorch_model.safetensors").write_bytes(b"cut")
    with pytest.raises(UserError, match="vae cannot be loaded"):
        VideoEncoder(folder, CONFIG)
    shutil.rmtree(folder / "tokenizer")
    with pytest.raises(UserError, match="tokenizer is missing"):
        TextEncoder(folder, CONFIG)
    with pytest.raises(UserError, match="no words"):
        TextEncoder(weights, CONFIG)(" ")
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(UserError, match=r"pip install 'policy-extraction\[wan\]'"):
        encode_clips([store], weights, CONFIG, tmp_path / "clips")
