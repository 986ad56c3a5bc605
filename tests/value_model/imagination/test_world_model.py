"""A world model of a scene whose dynamics are known, trained for seconds."""

from __future__ import annotations

import dataclasses
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from envs.errors import UserError
from envs.text import word_ids
from envs.types import Episode
from tests.value_model.imagination.scene import MICRO, drawn, moved, push
from value_model.imagination.config import ImaginationConfig, SolvedConfig, UnrollConfig, from_json, to_json
from value_model.imagination.distil import distil_eyes
from value_model.imagination.eyes import EyesConfig
from value_model.imagination.objects import object_probe
from value_model.imagination.quality import eyes_quality, imagine, quality, record, strip
from value_model.imagination.regression import Regression
from value_model.imagination.train import train_world_model
from value_model.imagination.verdicts import attempt, look_solved
from value_model.imagination.world_model import load_world_model
from value_model.video.config import OptimConfig, TokenizerConfig, VideoConfig
from value_model.video.weights import flat_arrays

WORDS = jnp.asarray(word_ids("push the red square to the right"))[None]
SHORT = dataclasses.replace(
    MICRO,
    tokenizer=dataclasses.replace(MICRO.tokenizer, updates=4, width=8),
    hand=dataclasses.replace(MICRO.hand, memory=True, leads=True, updates=4, batch=8),
    unroll=UnrollConfig(steps=2, updates=6),
    solved=SolvedConfig(width=8, updates=6, batch=8),
    optim=dataclasses.replace(MICRO.optim, updates=6, updates_per_dispatch=2, checkpoint_every=2, batch=8),
)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return train_world_model([push(seed) for seed in range(60)], MICRO, tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def short(tmp_path_factory):
    """A short training: its episodes, its folder and the model."""
    episodes, folder = [push(seed) for seed in range(4)], tmp_path_factory.mktemp("short")
    return episodes, folder, train_world_model(episodes, SHORT, folder, seed=3)


@pytest.fixture(scope="module")
def clips(world):
    return record(world, [push(seed) for seed in range(100, 116)], steps=8, count=64)


def place_of(picture: np.ndarray) -> np.ndarray:
    """Row and column of the middle of what is red."""
    red = np.clip(picture[..., 0].astype(float) - picture[..., 1] - 60.0, 0, None)
    rows, columns = np.indices(red.shape) + 0.5
    return np.array([(red * rows).sum(), (red * columns).sum()]) / red.sum()


def test_it_foretells_held_out_pushes_and_listens_to_the_actions(world, clips):
    found = quality(world, clips, horizons=(1, 4, 8, 99))
    assert list(found["latent"]) == [1, 4, 8]  # none is 99 steps long
    assert found["latent"][1] < 0.6 * found["latent_copy"][1]
    assert found["latent"][4] < 0.6 * found["latent_copy"][4]
    assert found["latent_shuffled"][4] > 1.5 * found["latent"][4]
    assert found["hand_cm"][1] < found["hand_cm_copy"][1]


def test_a_probe_reads_the_object_off_imagined_pictures(world, clips):
    locate = object_probe(world, [located(seed) for seed in range(60)])
    told = record(world, [located(seed) for seed in range(100, 116)], steps=8, count=64)
    found = quality(world, told, horizons=(1, 4), locate=locate)
    seen, imagined, still = (found[f"object_cm{what}"][4] for what in ("_seen", "", "_copy"))
    assert seen < 0.25 * still and seen < imagined < 0.7 * still
    first, later = told.places[:, 0], told.places[:, 4]
    by_hand = 100 * np.linalg.norm((first - later)[told.there[:, 4]], axis=-1).mean()
    np.testing.assert_allclose(still, by_hand, rtol=1e-6)
    assert object_probe(world, [push(0)]) is None and np.isnan(clips.places).all()
    assert "object_cm" not in quality(world, clips, horizons=(1,))


def located(seed: int) -> Episode:
    """A push whose square's place is told, a pixel a centimetre."""
    episode = push(seed)
    place = np.pad(episode.proprio / 100, ((0, 0), (0, 1)))
    return dataclasses.replace(episode, environment_state=place)


def test_what_is_imagined_again_looks_solved_where_it_was(world):
    episodes = [push(seed) for seed in range(200, 270)]  # more than one block
    solved = np.array([episode.rewards[7:].any() for episode in episodes])
    attempts = [attempt(episode, world.config) for episode in episodes]
    assert 0.2 < solved.mean() < 0.9 and np.mean(look_solved(world, attempts) == solved) > 0.85
    assert not look_solved(world, attempts, minimum=41).any()


@pytest.mark.parametrize("action", [(0.0, 1.0), (0.0, -1.0), (1.0, 0.0), (-1.0, 0.0)])
def test_the_square_goes_where_it_is_pushed(world, action):
    place = np.array([16.0, 16.0])
    start = world.encoder.encode(drawn(place)[None])
    state = world.dynamics.init(jnp.asarray(start), jnp.asarray(place[None], jnp.float32), WORDS)
    push_it = jnp.tile(jnp.asarray(action, jnp.float32), (1, MICRO.stride, 1))
    state = world.dynamics.step(state, push_it, jax.random.split(jax.random.key(0), 1))
    expected = place
    for _ in range(MICRO.stride):
        expected = moved(expected, np.array(action))
    seen, felt = place_of(world.decode(np.asarray(state.latents))[0]), np.asarray(state.proprio)[0]
    assert np.dot(seen - place, action) > 2.0  # of 6 pixels
    assert np.linalg.norm(felt - expected) < np.linalg.norm(place - expected)


def test_gradients_run_through_a_rollout(world):
    """The directional derivative of a picture's distance, by the actions of three steps, against central differences."""
    start = jnp.asarray(world.encoder.encode(drawn(np.array([16.0, 16.0]))[None]))
    goal = jnp.asarray(world.encoder.encode(drawn(np.array([16.0, 24.0]))[None]))
    keys = jax.random.split(jax.random.key(0), (3, 1))

    @jax.jit
    def distance(actions):
        state = world.dynamics.init(start, jnp.full((1, 2), 16.0), WORDS)
        state = jax.lax.scan(lambda s, now: (world.dynamics.step(s, *now), None), state, (actions, keys))[0]
        return jnp.mean((state.latents - goal) ** 2)

    actions = 0.3 * jax.random.normal(jax.random.key(1), (3, 1, MICRO.stride, 2))
    slope = jax.grad(distance)(actions)
    along = slope / jnp.linalg.norm(slope)
    step = 1e-2
    central = (distance(actions + step * along) - distance(actions - step * along)) / (2 * step)
    np.testing.assert_allclose(float(central), float(jnp.sum(slope * along)), rtol=0.02)
    better = distance(actions - 0.5 * along)
    assert better < distance(actions)


def test_eyes_are_true_to_imagined_frames(world, clips, tmp_path):
    """They say where the red square is, which is what `look` says of the real picture of that moment."""

    def look(images):
        return np.stack([place_of(picture) / 16 - 1 for picture in images["workspace"]]).astype(np.float32)

    config = EyesConfig(width=64, updates=200, batch=64, clips=64, steps=6)
    eyes = distil_eyes(world, [push(seed) for seed in range(60)], look, "abc", config, tmp_path / "made")
    world.eyes = eyes
    found = eyes_quality(world, clips, look, steps=(0, 4))
    assert found["copy"][0] == 0.0 and found["clips"][0] == len(clips.frames)
    assert found["distilled"][0] < 0.3 and found["distilled"][4] < 0.5 * found["copy"][4]
    rows = clips.there[:, 4]
    real, first = look({"workspace": clips.frames[rows, 4]}), look({"workspace": clips.frames[rows, 0]})
    unit = np.sqrt(np.var(look({"workspace": clips.frames[clips.there]}), axis=0).mean())
    assert found["copy"][4] == pytest.approx(np.sqrt(np.mean((first - real) ** 2)) / unit, rel=1e-5)
    world.save(tmp_path / "saved")
    again = load_world_model(tmp_path / "saved").eyes
    assert (again.digest, again.size, again.own) == ("abc", 2, config)
    latents, proprio = jnp.asarray(clips.latents[:, 0]), jnp.asarray(clips.proprio[:, 0])
    np.testing.assert_allclose(again(latents, proprio), eyes(latents, proprio), atol=0.02)
    (tmp_path / "saved" / "eyes.safetensors").write_bytes(b"no")
    with pytest.raises(UserError, match="not a whole safetensors file"):
        load_world_model(tmp_path / "saved")
    world.eyes = None


def test_a_fresh_network_copies_the_last_frame(world, clips):
    """Its head is zero: own and shuffled actions give the copy, to the last bit."""
    fresh = nnx.clone(world.dynamics)
    nnx.update(fresh, nnx.state(Regression(MICRO, rngs=nnx.Rngs(0))))
    before = world.dynamics
    world.dynamics = fresh
    found = quality(world, clips, horizons=(2,))
    world.dynamics = before
    assert found["latent"] == found["latent_copy"] == found["latent_shuffled"]
    assert found["hand_cm"] == found["hand_cm_copy"]
    first, later = clips.latents[:, 0], clips.latents[:, 2]
    by_hand = np.sqrt(np.mean((first - later)[clips.there[:, 2]] ** 2))
    np.testing.assert_allclose(found["latent"][2], by_hand, rtol=1e-6)


def test_null_action_hides_the_actions_from_the_picture(world, clips):
    state = world.dynamics.init(
        *map(jnp.asarray, (clips.latents[:4, 0], clips.proprio[:4, 0], clips.words[:4]))
    )
    other = np.roll(clips.actions[:4, 0], 1, axis=0)
    hidden, told = jnp.ones(4, bool), jnp.zeros(4, bool)
    one, two = (
        world.dynamics.step(state, jnp.asarray(a), dropped=hidden) for a in (clips.actions[:4, 0], other)
    )
    np.testing.assert_array_equal(one.latents, two.latents)
    three = world.dynamics.step(state, jnp.asarray(other), dropped=told)
    assert np.abs(np.asarray(three.latents - two.latents)).max() > 0.01


def test_strip_shows_real_over_imagined(world, clips):
    row = int(clips.there.sum(axis=1).argmax())
    shown = strip(world, clips, row, every=2)
    count = len(range(0, int(clips.there[row].sum()), 2))
    assert shown.shape == (64, 32 * count, 3) and shown.dtype == np.uint8
    np.testing.assert_array_equal(shown[:32, :32], clips.frames[row, 0])
    own = imagine(world, clips).latents[row, 1:2]
    assert np.abs(shown[32:, 32:64].astype(int) - world.decode(own)[0]).max() <= 1


@pytest.mark.parametrize(("stage", "at"), [("world model, 2 steps", 4), ("hand", 2)])
def test_killed_and_resumed_gives_the_same_weights(stage, at, short, tmp_path):
    episodes, _, straight = short

    def kill(part: str, done: int, total: int, metrics: object) -> None:
        if part == stage and done == at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_world_model(episodes, SHORT, tmp_path / "killed", seed=3, progress=kill)
    resumed = train_world_model(episodes, SHORT, tmp_path / "killed", seed=3)
    expected, found = flat_arrays(straight.parts), flat_arrays(resumed.parts)
    for name, array in expected.items():
        np.testing.assert_array_equal(array, found[name], err_msg=name)
    with pytest.raises(UserError, match="another configuration or seed"):
        train_world_model(episodes, SHORT, tmp_path / "killed", seed=4)


def test_a_finished_model_is_gone_on_from(short, tmp_path):
    episodes, folder, first = short
    none = dataclasses.replace(SHORT.optim, updates=0), dataclasses.replace(SHORT.unroll, updates=0)
    hand = dataclasses.replace(SHORT.hand, updates=0)
    still = dataclasses.replace(SHORT, optim=none[0], unroll=none[1], hand=hand)
    again = train_world_model(episodes[:2], still, tmp_path / "again", refresh=folder)
    on = train_world_model(episodes[:2], SHORT, tmp_path / "on", refresh=folder)
    before, kept, after = (flat_arrays({"dynamics": world.dynamics}) for world in (first, again, on))
    for name, array in before.items():
        np.testing.assert_array_equal(array, kept[name], err_msg=name)
    assert any((array != after[name]).any() for name, array in before.items())
    for name, array in flat_arrays({"tokenizer": first.tokenizer}).items():
        np.testing.assert_array_equal(array, flat_arrays({"tokenizer": on.tokenizer})[name], err_msg=name)
    assert len(on.starts) < len(first.starts)
    with pytest.raises(UserError, match="other cameras, sizes or layers"):
        wider = dataclasses.replace(SHORT, stride=2)
        train_world_model(episodes, wider, tmp_path / "other", refresh=folder)
    with pytest.raises(UserError, match="another configuration or seed"):
        train_world_model(episodes, SHORT, tmp_path / "on")


def test_saved_and_loaded_imagines_the_same(world, clips, tmp_path):
    world.save(tmp_path)
    loaded = load_world_model(tmp_path)
    np.testing.assert_array_equal(imagine(world, clips).latents, imagine(loaded, clips).latents)
    np.testing.assert_array_equal(world.decode(clips.latents[:2, 0]), loaded.decode(clips.latents[:2, 0]))


def test_damaged_folders_are_one_line(world, tmp_path):
    with pytest.raises(UserError, match=r"config\.json is missing"):
        load_world_model(tmp_path)
    world.save(tmp_path / "whole")
    for name, spoil, message in (
        ("config.json", lambda text: text[:40], "train it again"),
        ("config.json", lambda text: json.dumps({**json.loads(text), "wings": 2}).encode(), "wings"),
        ("model.safetensors", lambda text: text[: len(text) // 2], "not a whole safetensors file"),
        (
            "config.json",
            lambda text: to_json(dataclasses.replace(MICRO, action_dim=3)).encode(),
            "does not fit its own config",
        ),
    ):
        folder = tmp_path / "spoilt"
        shutil.copytree(tmp_path / "whole", folder, dirs_exist_ok=True)
        (folder / name).write_bytes(spoil((folder / name).read_bytes()))
        with pytest.raises(UserError, match=message) as caught:
            load_world_model(folder)
        assert "\n" not in str(caught.value)


def test_mistakes_in_settings_and_data_are_one_line(world, tmp_path):
    assert from_json(to_json(MICRO)) == MICRO
    for change, message in (
        ({"video": VideoConfig(patch=(4, 4, 4))}, "one latent frame at a time"),
        ({"tokenizer": TokenizerConfig(image_size=60)}, "multiple of spatial"),
        ({"cameras": ()}, "at least one camera"),
        ({"optim": OptimConfig(precision="float8")}, "float8"),
        ({"stride": 0}, "stride=0"),
        ({"unroll": UnrollConfig(action_dropout=2.0)}, "action_dropout"),
    ):
        with pytest.raises(UserError, match=message):
            dataclasses.replace(ImaginationConfig(), **change)
    with pytest.raises(UserError, match="numbers an action"):
        train_world_model([push(0)], dataclasses.replace(SHORT, action_dim=3), tmp_path / "a")
    with pytest.raises(UserError, match="is longer than"):
        train_world_model([push(0, length=5)], SHORT, tmp_path / "b")
    with pytest.raises(UserError, match="no held-out episode"):
        record(world, [push(0, length=4)], steps=2)
