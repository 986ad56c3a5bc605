"""The cheap picture against robosuite's meshes and textures, and how the simplified scene is kept."""

import numpy as np
import pytest

from envs.robosuite.camera import Camera
from envs.robosuite.env import RobosuiteEnv
from envs.robosuite.frustum import hidden
from envs.robosuite.headless import mujoco
from envs.robosuite.simplify import decimate


@pytest.mark.parametrize("size", [64, 128])
def test_simplified_scene_looks_the_same(size):
    simple = RobosuiteEnv("stack", "Panda", cameras=("workspace", "agentview"), image_size=size)
    images = simple.reset(seed=1)[0]["images"]
    whole = RobosuiteEnv("stack", "Panda", cameras=(), fast=False)
    whole.reset(seed=1)
    camera = Camera(whole.model, size, plain=True)
    for name, expected in zip(images, camera.render(whole.data, tuple(images)), strict=True):
        difference = np.abs(images[name].astype(int) - expected)
        assert images[name].shape == (size, size, 3)
        assert difference.mean() < 2 and (difference.max(axis=2) > 32).mean() < 0.02
    camera.close()
    simple.close()


def test_simplified_scene_has_the_same_physics():
    simple = RobosuiteEnv("can", "Sawyer", cameras=())
    whole = RobosuiteEnv("can", "Sawyer", cameras=(), fast=False)
    for name in (
        "body_mass",
        "body_inertia",
        "body_ipos",
        "body_pos",
        "dof_damping",
        "dof_invweight0",
        "jnt_range",
    ):
        np.testing.assert_array_equal(getattr(simple.model, name), getattr(whole.model, name), err_msg=name)
    collides = simple.model.geom_contype != 0
    for name in ("geom_pos", "geom_size", "geom_friction", "geom_solref"):
        np.testing.assert_array_equal(
            getattr(simple.model, name)[collides], getattr(whole.model, name)[collides], err_msg=name
        )


def test_cache_gives_the_same_picture_as_a_fresh_scene(tmp_path, monkeypatch):
    cached = RobosuiteEnv("lift", "Panda", image_size=32)
    first = cached.reset(seed=2)[0]["images"]
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    fresh = RobosuiteEnv("lift", "Panda", image_size=32)
    for name, image in fresh.reset(seed=2)[0]["images"].items():
        np.testing.assert_array_equal(image, first[name])
    assert len(list((tmp_path / "policy-extraction" / "scenes").iterdir())) == 1
    cached.close()
    fresh.close()


def test_decimation_keeps_the_box_of_a_fine_sphere():
    theta, phi = np.meshgrid(np.linspace(0, np.pi, 40), np.linspace(0, 2 * np.pi, 81), indexing="ij")
    vertices = np.stack(
        [np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta)], -1
    ).reshape(-1, 3)
    corner = (np.arange(39)[:, None] * 81 + np.arange(80)).ravel()
    faces = np.concatenate(
        [np.stack([corner, corner + 81, corner + 1], 1), np.stack([corner + 1, corner + 81, corner + 82], 1)]
    )
    fewer, triangles = decimate(vertices, faces.astype(np.int32))
    assert len(faces) == 6240 and len(triangles) < 1000
    np.testing.assert_allclose([fewer.min(0), fewer.max(0)], [[-1] * 3, [1] * 3], atol=0.05)


@pytest.mark.parametrize(("task", "robot"), [("stack", "Panda"), ("can", "Sawyer"), ("door", "Panda")])
def test_what_is_outside_the_picture_changes_nothing(task, robot, monkeypatch):
    env = RobosuiteEnv(task, robot, image_size=64)
    env.reset(seed=0)
    assert (env.model.site_rgba[:, 3] <= 0).all()  # robosuite's marks, which are not drawn
    actions = np.random.default_rng(0).uniform(-1, 1, (10, 7)).astype(np.float32)
    for action in actions:
        less = env.step(action)[0]["images"]
        with monkeypatch.context() as patched:
            patched.setattr("envs.robosuite.camera.hidden", lambda model, data, camera: [])
            whole = env.observe()["images"]
        for name in less:
            np.testing.assert_array_equal(less[name], whole[name])
    env.close()


def test_hidden_shapes_lie_beside_the_picture():
    """A camera at the origin that looks along -z with 90°: it sees |x| <= -z and |y| <= -z."""
    shapes = {
        "in the middle": ("box", ".1 .1 .1", "0 0 -1", "0", False),
        "on the edge": (
            "box",
            ".1 .1 .1",
            "1.19 0 -1",
            "0",
            False,
        ),  # its far lower corner is at x 1.09, z -1.1
        "just beside": ("box", ".1 .1 .1", "1.21 0 -1", "0", True),  # and here at x 1.11, z -1.1
        "below": ("sphere", ".1", "0 -1.2 -1", "0", True),  # the box of a sphere is a cube
        "behind": ("box", ".1 .1 .1", "0 0 1", "0", True),
        "long, turned into it": ("box", "1 .1 .1", "0 1.8 -1", "90", False),
        "long, beside it": ("box", "1 .1 .1", "0 1.8 -1", "0", True),
        "endless": ("plane", "1 1 1", "0 0 5", "0", False),
    }
    geoms = "".join(
        f'<geom name="{name}" type="{kind}" size="{size}" pos="{place}" euler="0 0 {turn}"/>'
        for name, (kind, size, place, turn, _) in shapes.items()
    )
    model = mujoco.MjModel.from_xml_string(
        f'<mujoco><worldbody><camera name="eye" fovy="90"/>{geoms}</worldbody></mujoco>'
    )
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    found = hidden(model, data, 0)
    assert {name: bool(found[model.geom(name).id]) for name in shapes} == {
        name: shape[-1] for name, shape in shapes.items()
    }
