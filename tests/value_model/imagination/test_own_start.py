"""Pictures of one's own: what is mended quietly, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from envs.errors import UserError
from tests.experiments.imagined import random_world
from value_model.imagination.own_start import own_scenes, own_start, read_picture

LEFT_RED = np.zeros((80, 80, 3), np.uint8)
LEFT_RED[:, :40, 0] = 255


def saved(tmp_path, picture: Image.Image, name: str = "a.png", **options):
    picture.save(tmp_path / name, **options)
    return tmp_path / name


def test_it_is_upright_in_colour_and_of_the_size(tmp_path):
    shown = read_picture(saved(tmp_path, Image.fromarray(LEFT_RED)), 40)
    assert shown.shape == (40, 40, 3) and shown.dtype == np.uint8
    assert (shown[:, :20] == (255, 0, 0)).all() and not shown[:, 20:].any()
    grey = read_picture(saved(tmp_path, Image.fromarray(LEFT_RED[..., 0])), 40)
    assert (grey[:, :20] == 255).all() and not grey[:, 20:].any()
    opaque = Image.fromarray(np.dstack([LEFT_RED, np.full((80, 80), 255, np.uint8)]))
    np.testing.assert_array_equal(read_picture(saved(tmp_path, opaque), 40), shown)
    turned = Image.Exif()
    turned[0x0112] = 6  # to be turned clockwise by a quarter: what was left is then above
    upright = read_picture(saved(tmp_path, Image.fromarray(LEFT_RED), "a.png", exif=turned), 40)
    np.testing.assert_array_equal(upright, shown.transpose(1, 0, 2))


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        (np.zeros((80, 60, 3), np.uint8), "60×80 pixels; the world model sees squares"),
        (np.zeros((20, 20, 3), np.uint8), "needs 40×40 or more"),
        (np.zeros((80, 80, 4), np.uint8), "transparent parts"),
        (np.zeros((80, 80), np.uint16), "eight bits"),
    ],
    ids=["aspect", "small", "transparent", "deep"],
)
def test_what_cannot_be_shown_is_one_line(tmp_path, picture, message):
    with pytest.raises(UserError, match=message):
        read_picture(saved(tmp_path, Image.fromarray(picture)), 40)


def test_a_folder_of_scenes_is_a_start_of_each(tmp_path):
    world = random_world()
    for number, colour in enumerate((0, 120)):
        (tmp_path / "scenes" / f"{number}").mkdir(parents=True)
        for camera in world.config.cameras:
            shade = Image.fromarray(np.full((64, 64, 3), colour, np.uint8))
            shade.save(tmp_path / "scenes" / f"{number}" / f"{camera}.png")
    bank = own_scenes(world, tmp_path / "scenes", "fly")
    assert bank.instruction == ("fly", "fly") and np.abs(bank.latents[0] - bank.latents[1]).max() > 0
    one = [tmp_path / "scenes/1" / f"{camera}.png" for camera in world.config.cameras]
    np.testing.assert_array_equal(own_start(world, one, "fly").latents[0], bank.latents[1])
    one[0].unlink()
    with pytest.raises(UserError, match=f"has no {world.config.cameras[0]}.png; a scene needs"):
        own_scenes(world, tmp_path / "scenes", "fly")
    with pytest.raises(UserError, match="has no folder of a scene"):
        own_scenes(world, tmp_path / "nowhere", "fly")


def test_unreadable_files_are_one_line(tmp_path):
    whole = saved(tmp_path, Image.fromarray(LEFT_RED)).read_bytes()
    for name, content in (("text", b"no picture"), ("short", whole[: len(whole) // 2]), ("empty", b"")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match="not a picture that can be read") as caught:
            read_picture(tmp_path / name, 40)
        assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="not a picture"):
        read_picture(tmp_path / "nowhere.png", 40)
