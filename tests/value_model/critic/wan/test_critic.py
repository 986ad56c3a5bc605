"""Labelling through Wan's encoders; all models are random and small."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import nnx

from envs.errors import UserError
from envs.store import Store
from tests.value_model.synthetic import slide, slides
from tests.value_model.wan_models import ENCODED as CONFIG
from tests.value_model.wan_models import save_all, save_encoders
from value_model.critic.network import estimate
from value_model.critic.wan.critic import WanCritic, load_wan_critic
from value_model.critic.wan.network import load_wan_network
from value_model.video.frames import resize
from value_model.video.wan.encoders import TextEncoder, VideoEncoder, fill_up

LENGTHS = (40, 23)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_all(tmp_path_factory.mktemp("weights"), CONFIG)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return slides(tmp_path_factory.mktemp("data") / "store", LENGTHS)


@pytest.fixture(scope="module")
def critic(weights: Path) -> WanCritic:
    """Its value stream is random; the parts that start at zero are moved, so that values depend on what is seen."""
    network = load_wan_network(weights, CONFIG, seed=0)
    head = network.value.head.kernel
    head[...] = head[...] + 0.3
    network.value.time.project.kernel[...] = network.value.time.project.kernel[...] + 0.02
    return WanCritic(CONFIG, network, weights)


def test_values_of_windows_encoded_alone(critic: WanCritic, weights: Path) -> None:
    """A video of four frames at the model's rate is one window."""
    frames, instruction = slide(0).images["workspace"][:16:4], slide(0).instruction
    values = critic.values(frames, instruction, fps=5.0)
    small = resize(frames, 32, 32)
    latents = VideoEncoder(weights, CONFIG)(small[None, [0, 0, 1, 2, 3]])[:, 1:]
    words = fill_up([TextEncoder(weights, CONFIG)(instruction)], 20)
    noise = jax.random.normal(jax.random.key(0), latents.shape[1:])[None]
    zeros = np.zeros((1, 4), np.float32)
    expected = nnx.jit(estimate)(critic.network, latents, zeros[:, 0], words, zeros, noise)[0]
    assert np.ptp(values) > 1e-3
    np.testing.assert_allclose(values, expected, atol=1e-5)


def test_labelling_a_store_saved_and_loaded(
    critic: WanCritic, store: Store, weights: Path, tmp_path: Path
) -> None:
    labels = list(critic.label(store))
    assert [len(values) for values in labels] == list(LENGTHS)
    alone = critic.values(store.frames(1, "workspace"), store.episode_info(1).instruction, fps=20.0)
    np.testing.assert_allclose(labels[1], alone, atol=1e-5)
    critic.save(tmp_path / "critic")
    loaded = load_wan_critic(tmp_path / "critic", weights)
    np.testing.assert_allclose(next(loaded.label(store)), labels[0], atol=1e-6)
    other = save_encoders(tmp_path / "other", CONFIG, seed=9)
    with pytest.raises(UserError, match="was trained with other encoders"):
        load_wan_critic(tmp_path / "critic", other)
    index = tmp_path / "critic" / "model.safetensors.index.json"
    content = json.loads(index.read_text())
    del content["weight_map"]["network.position"]
    index.write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"does not fit its own config\.json at network\.position"):
        load_wan_critic(tmp_path / "critic", weights)
