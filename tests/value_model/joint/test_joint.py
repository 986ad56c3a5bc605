"""One backbone, two readings: a world model and a critic trained together, saved, loaded, resumed, gone on from.

The short ones draw their frames from the mean, too (`refine`).
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from envs.errors import UserError
from tests.value_model.imagination.scene import BARE, SPEED, drawn, push
from tests.value_model.imagination.test_flow_model import FLOW
from tests.value_model.imagination.test_world_model import SHORT as WORLD
from value_model.critic.config import ClipConfig, ValueConfig
from value_model.critic.metrics.episodes import voc
from value_model.imagination.config import HandConfig
from value_model.imagination.quality import imagine, quality, record
from value_model.imagination.refine import Refined
from value_model.imagination.refine_config import RefineConfig
from value_model.imagination.train import train_world_model
from value_model.imagination.world_model import load_world_model
from value_model.joint.config import JointConfig
from value_model.joint.critic import load_joint_critic
from value_model.joint.train import train_joint
from value_model.video.weights import flat_arrays

TINY = ValueConfig(width=16, heads=2, feedforward=32)
JOINT = JointConfig(joint=True, batch=16, value=TINY, clip=ClipConfig(future=False, horizon=4))
SHORT = dataclasses.replace(
    WORLD,
    tokenizer=dataclasses.replace(WORLD.tokenizer, image_size=16),
    video=BARE.video,
    hand=HandConfig(width=32, layers=2),
    refine=RefineConfig(steps=1, layers=1, updates=4),
)


def goes_right(seed: int, length: int = 40):
    """The square moves from the left to the right at a steady pace: what is done can be seen."""
    random = np.random.default_rng(seed)
    row, column = random.uniform(6, 26), random.uniform(4, 7)
    pace = (27 - column) / (length * SPEED / 2)
    actions = np.tile(np.array([0.0, pace], np.float32), (length, 1))
    places = [np.array([row, column + t * pace * SPEED / 2]) for t in range(length)]
    return dataclasses.replace(
        push(seed, length),
        images={"workspace": np.stack([drawn(place) for place in places])},
        proprio=np.array(places, np.float32),
        actions=actions,
        success=True,
    )


def weights(world):
    return flat_arrays(world.parts)


@pytest.fixture(scope="module")
def short(tmp_path_factory):
    episodes, folder = [goes_right(0), *map(push, range(1, 5))], tmp_path_factory.mktemp("joint")
    return episodes, folder, train_joint(episodes, SHORT, JOINT, folder, seed=3)


def test_both_readings_learn(tmp_path):
    episodes = [goes_right(seed) if seed % 2 else push(seed) for seed in range(40)]
    told = [dataclasses.replace(one, success=None) if n % 2 == 0 else one for n, one in enumerate(episodes)]
    world = train_joint(told, BARE, JOINT, tmp_path)
    critic = load_joint_critic(tmp_path)
    for seed in (101, 103):
        shown = goes_right(seed)
        [values] = critic.label([shown])
        still = dataclasses.replace(shown, images={"workspace": shown.images["workspace"][:1].repeat(40, 0)})
        [stands] = critic.label([still])
        assert voc(values) > 0.85 and values[-1] - values[0] > 0.4
        assert abs(stands[-1] - stands[0]) < 0.3
    clips = record(world, [push(seed) for seed in range(100, 110)], steps=4, count=32)
    found = quality(world, clips, horizons=(1, 4))
    assert found["latent"][4] < 0.6 * found["latent_copy"][4]


def test_killed_and_resumed_gives_the_same_weights(short, tmp_path):
    episodes, folder, straight = short

    def kill(part: str, done: int, total: int, metrics: dict[str, float]) -> None:
        assert part != "world model, 2 steps" or np.isfinite(metrics["value"])
        if stops and (part, done) == stops[0]:
            stops.pop(0)
            raise KeyboardInterrupt

    stops = [("world model, 2 steps", 4), ("refine", 2)]
    while stops:
        with pytest.raises(KeyboardInterrupt):
            train_joint(episodes, SHORT, JOINT, tmp_path, seed=3, progress=kill)
    again = train_joint(episodes, SHORT, JOINT, tmp_path, seed=3)
    for name, array in weights(straight).items():
        np.testing.assert_array_equal(array, weights(again)[name], err_msg=name)
    assert (tmp_path / "critic.safetensors").read_bytes() == (folder / "critic.safetensors").read_bytes()
    with pytest.raises(UserError, match="another configuration"):
        train_world_model(episodes, SHORT, tmp_path, seed=3)


def test_frames_drawn_from_the_mean_are_measured_as_others(short):
    episodes, folder, world = short
    assert isinstance(world.dynamics, Refined)
    clips = record(world, episodes, steps=4, count=6)
    assert quality(world, clips, horizons=(1, 4))["latent"][4] > 0
    one = imagine(load_world_model(folder), clips, seed=0)
    np.testing.assert_array_equal(one.latents, imagine(world, clips, seed=0).latents)
    assert (one.latents != imagine(world, clips, seed=1).latents).any()


def test_the_critic_teaches_the_shared_weights(short, tmp_path):
    episodes, _, joint = short
    alone = train_world_model(episodes, SHORT, tmp_path, seed=3)
    name = "dynamics.mean.stream.blocks.up.kernel"
    assert np.abs(np.asarray(weights(joint)[name]) - np.asarray(weights(alone)[name])).max() > 1e-4
    assert weights(joint).keys() == weights(alone).keys()
    with pytest.raises(UserError, match=r"has no critic; train it with one: .*critic\.joint=true"):
        load_joint_critic(tmp_path)


def test_it_is_gone_on_from_with_its_critic(short, tmp_path):
    episodes, folder, _ = short
    train_joint(episodes, SHORT.going_on(0), JOINT, tmp_path / "still", refresh=folder)
    train_joint(episodes, SHORT.going_on(2), JOINT, tmp_path / "on", refresh=folder)
    before, still, on = (
        load_joint_critic(one).label([push(9)]) for one in (folder, tmp_path / "still", tmp_path / "on")
    )
    before, still, on = (next(values) for values in (before, still, on))
    np.testing.assert_allclose(still, before, atol=2e-3)  # kept in half precision
    assert np.abs(on - before).max() > 1e-4


def test_a_flow_has_one_too(short, tmp_path):
    episodes, _, _ = short
    train_joint(episodes, FLOW, JOINT, tmp_path)
    [values] = load_joint_critic(tmp_path).label([push(9)])
    assert values.shape == (40,) and ((values >= 0) & (values <= 1)).all()
    load_world_model(tmp_path)


def test_what_does_not_fit_is_one_line(short, tmp_path):
    with pytest.raises(UserError, match=r"set critic\.clip\.future=false"):
        JointConfig(clip=ClipConfig())
    with pytest.raises(UserError, match=r"critic\.weight"):
        JointConfig(weight=0.0)
    with pytest.raises(
        UserError, match=r"critic\.clip\.fps=2: the critic sees the world's frames, 5 a second"
    ):
        JointConfig(clip=ClipConfig(future=False, fps=2.0)).critic(SHORT)
    failed = [dataclasses.replace(one, success=False) for one in short[0]]
    with pytest.raises(UserError, match="no expert episode to train on"):
        train_joint(failed, SHORT, JOINT, tmp_path)
    assert not list(tmp_path.iterdir())  # said before anything is trained
