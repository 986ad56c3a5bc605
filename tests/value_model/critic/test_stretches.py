"""An episode in which the robot was told one thing after another is several videos to a critic."""

import numpy as np

from envs.store import open_store, write_store
from tests.envs.episodes import make_episode
from value_model.critic.outside import outside_critic
from value_model.critic.stretches import label_stretches

TOLD = []


def ramp(frames, instruction):
    TOLD.append((instruction, len(frames), int(frames[0, 0, 0, 0])))
    return np.linspace(0, 1, len(frames))


def test_every_stretch_is_told_its_own(tmp_path):
    episodes = [
        make_episode(0, length=6),
        make_episode(1, length=7, later=((2, "open the lid"), (5, "pour"))),
    ]
    store = open_store(write_store(tmp_path / "store", episodes))
    TOLD.clear()
    first, second = label_stretches(outside_critic(ramp, "ramp"), store)
    np.testing.assert_allclose(first, np.linspace(0, 1, 6))
    np.testing.assert_allclose(second, [0, 1, 0, 0.5, 1, 0, 1])
    pixels = episodes[1].images["workspace"][:, 0, 0, 0]
    assert [
        ("stack the cubes, way 0", 6, int(episodes[0].images["workspace"][0, 0, 0, 0])),
        ("stack the cubes, way 1", 2, int(pixels[0])),
        ("open the lid", 3, int(pixels[2])),
        ("pour", 2, int(pixels[5])),
    ] == TOLD
