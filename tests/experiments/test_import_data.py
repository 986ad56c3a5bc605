"""Recordings of other forms become LeRobot data sets; HDF5 as robosuite and robomimic write it."""

from __future__ import annotations

import datetime
import json
import os
from glob import glob
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from envs.errors import UserError
from envs.robosuite.restore import Restored
from envs.robosuite.world import numpy_seed, quiet_robosuite
from envs.store import Reading, Store, open_store
from envs.store.video import CODECS, VideoWriter
from experiments.import_data import ImportConfig, import_data, recordings, write

STEPS = 5
RANDOM = np.random.default_rng(0)


def film(path: Path, length: int = 8, fps: float = 10.0, seed: int = 0) -> np.ndarray:
    frames = np.random.default_rng(seed).integers(0, 256, (length, 32, 40, 3), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = VideoWriter(path, CODECS["h264_lossless"], fps, 32, 40)
    writer.add(frames)
    writer.close()
    return frames


def imported(tmp_path: Path, path: Path, **settings: Any) -> Store:
    config = ImportConfig(out=str(tmp_path / "out"), codec="h264_lossless", **settings)
    return write([recordings(path, config)], tmp_path / "out", config.codec)


def test_films_with_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As BridgeData V2: numbers beside a film, and a rate that the file does not know."""
    frames = [film(tmp_path / f"films/{name}.mp4", 8 + seed, seed=seed) for seed, name in enumerate("abc")]
    actions = RANDOM.normal(size=(9, 10)).astype(np.float32)
    for name, length in zip("abc", (8, 9, 10), strict=True):
        np.savez(tmp_path / f"films/{name}.npz", arr_0=np.resize(actions, (length, 10)))
    table = tmp_path / "said.csv"
    table.write_text("file,instruction,success,style\na,open the box,yes,neat\nc.mp4,,no,\n")
    arguments = [f"table={table}", "instruction=fold", "fps=5", "cameras=[top]", "codec=h264_lossless"]
    import_data([str(tmp_path / "films"), f"out={tmp_path / 'out'}", *arguments])
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (said["episodes"], said["solved"], said["unknown"], said["action"]) == (3, 1, 1, 10)
    store = open_store(tmp_path / "out")
    infos = [store.episode_info(index) for index in range(3)]
    assert [info.instruction for info in infos] == ["open the box", "fold", "fold"]
    assert [info.success for info in infos] == [True, None, False] and infos[0].style == "neat"
    assert store.fps == 5 and store.cameras == ("top",)
    np.testing.assert_array_equal(store.frames(2, "top"), frames[2])
    np.testing.assert_array_equal(store.episode(1, ()).actions, actions)
    assert store.episode(1, ()).proprio.shape == (9, 0) and np.isnan(store.episode(1, ()).rewards).all()


def test_folders_of_views(tmp_path: Path) -> None:
    """As DROID: an annotation beside three views, and a frame after the last state."""
    frames = [film(tmp_path / f"d/0001/{view}.mp4", 9, fps=4.0, seed=view) for view in range(2)]
    states = RANDOM.normal(size=(8, 7)).round(3)
    notes = {"texts": ["fold the towel"], "success": 1, "video_length": 8, "states": states.tolist()}
    (tmp_path / "d/0001/annotation.json").write_text(json.dumps(notes))
    store = imported(tmp_path, tmp_path / "d")
    episode = store.episode(0)
    assert (episode.instruction, episode.success, episode.fps, store.cameras) == (
        "fold the towel",
        True,
        4,
        ("view0", "view1"),
    )
    np.testing.assert_array_equal(episode.images["view1"], frames[1][:8])
    np.testing.assert_allclose(episode.proprio, states, atol=1e-6)
    assert episode.actions.shape == (8, 0)
    moved = imported(tmp_path / "moved", tmp_path / "d", action="next_state").episode(0)
    np.testing.assert_allclose(moved.actions, [*states[1:], states[-1]], atol=1e-6)
    named = imported(tmp_path / "named", tmp_path / "d", action="states").episode(0)
    np.testing.assert_array_equal(named.actions, episode.proprio)
    with pytest.raises(UserError, match="number in 0001 for action="):
        imported(tmp_path / "wrong", tmp_path / "d", action="joints")


@pytest.mark.parametrize(
    ("path", "settings", "message"),
    [
        ("films", {}, "does not say what the robot was told"),
        ("films", {"instruction": "fold", "cameras": ("a", "b")}, "names 2 views, an episode has 1"),
        ("films", {"instruction": "fold", "table": "none.csv"}, r"no such table: none\.csv"),
        ("films", {"instruction": "fold", "table": "said.csv"}, r"row 2: there is no film 'z\.mp4'"),
        ("nothing", {}, "no such file or folder: nothing"),
        ("empty", {}, "has no films"),
        ("said.csv", {}, "neither a folder of films nor an HDF5 file"),
        ("broken", {"instruction": "fold"}, r"a\.mp4 is not a whole video"),
        ("short", {"instruction": "fold"}, r"a\.npz has 3 rows for 8 frames"),
    ],
)
def test_mistakes_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, settings: dict[str, Any], message: str
) -> None:
    film(tmp_path / "films/a.mp4")
    film(tmp_path / "short/a.mp4")
    np.savez(tmp_path / "short/a.npz", actions=np.zeros((3, 2)))
    for name in ("broken", "empty"):
        (tmp_path / name).mkdir()
    (tmp_path / "broken/a.mp4").write_bytes(b"nothing")
    (tmp_path / "said.csv").write_text("file,success\na.mp4,true\nz.mp4,false\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message) as error:
        imported(Path(), Path(path), **settings)
    assert "\n" not in str(error.value) and not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def demonstrations(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    """What robosuite's own wrapper records and its script gathers, and the hand's places that it saw, [2, STEPS, 3]."""
    h5py = pytest.importorskip("h5py", reason="h5py is not installed (the extra hdf5)")
    folder = tmp_path_factory.mktemp("robosuite")
    suite = quiet_robosuite()
    from robosuite.wrappers import DataCollectionWrapper

    config = {"env_name": "Lift", "robots": "Panda"}
    quiet = {"has_renderer": False, "has_offscreen_renderer": False, "use_camera_obs": False}
    world = DataCollectionWrapper(suite.make(**config, **quiet, control_freq=20), str(folder / "raw"))
    places = []
    for seed in range(2):
        with numpy_seed(seed):
            world.reset()
        for _ in range(STEPS):
            data, model = world.env.sim.data, world.env.sim.model
            base = data.body_xpos[model.body_name2id(world.env.robots[0].robot_model.root_body)]
            places.append(data.site_xpos[world.env.robots[0].eef_site_id["right"]] - base)
            world.step(RANDOM.uniform(-1, 1, 7))
        world.successful = True  # the script gathers nothing else
    world.close()
    script = (Path(suite.__path__[0]) / "scripts/collect_human_demonstrations.py").read_text()
    names = {"os": os, "glob": glob, "np": np, "h5py": h5py, "datetime": datetime, "suite": suite}
    exec(
        script[script.index("def gather_demonstrations") : script.index("if __name__")], names
    )  # the rest wants a keyboard
    names["gather_demonstrations_as_hdf5"](str(folder / "raw"), str(folder), json.dumps(config))
    return folder / "demo.hdf5", np.array(places).reshape(2, STEPS, 3)


def test_robosuite_states_are_drawn(tmp_path: Path, demonstrations: tuple[Path, np.ndarray]) -> None:
    store = imported(tmp_path, demonstrations[0], image_size=32)
    assert (store.cameras, store.fps, len(store)) == (("workspace", "wrist"), 20, 2)
    found = [store.episode(index) for index in range(2)]
    places = np.stack([episode.proprio[:, :3] for episode in found])
    order = (
        [0, 1] if np.allclose(places[0], demonstrations[1][0], atol=5e-3) else [1, 0]
    )  # as the disk lists them
    np.testing.assert_allclose(
        places, demonstrations[1][order], atol=5e-3
    )  # poses right after a step are a substep old
    assert found[0].actions.shape == (STEPS, 7) and found[0].images["wrist"].shape == (STEPS, 32, 32, 3)
    assert found[0].instruction == "lift the red cube" and found[0].robot == "Panda"
    assert found[0].success is None and np.isnan(found[0].rewards).all()


def robomimic(path: Path, source: Path, pictures: bool) -> Path:
    """The gathered file in robomimic's documented layout: env_args, rewards, dones, obs and masks."""
    import h5py

    with h5py.File(source) as old, h5py.File(path, "w") as new:
        new.copy(old["data"], "data")
        data = new["data"]
        arguments = {"env_name": "Lift", "type": 1, "env_kwargs": {"robots": ["Panda"], "control_freq": 20}}
        data.attrs["env_args"] = json.dumps(arguments)
        for number, demo in enumerate(("demo_1", "demo_2")):
            data[demo]["rewards"] = np.eye(STEPS)[-1] * number
            data[demo]["dones"] = np.eye(STEPS, dtype=int)[-1]
            if pictures:
                data[f"{demo}/obs/agentview_image"] = np.full((STEPS, 24, 24, 3), number, np.uint8)
                data[f"{demo}/obs/agentview_depth"] = np.zeros((STEPS, 24, 24, 1), np.float32)
                data[f"{demo}/obs/robot0_eef_pos"] = np.full((STEPS, 3), number, np.float64)
                data[f"{demo}/obs/robot0_gripper_qpos"] = np.ones((STEPS, 2))
                data[f"{demo}/obs/object"] = np.full((STEPS, 10), 7.0)
        new["mask/better"] = np.array([b"demo_2"])
        new["mask/worse"] = np.array([b"demo_1"])
        new["mask/train"] = np.array([b"demo_1", b"demo_2"])
    return path


def test_robomimic_pictures_and_masks(tmp_path: Path, demonstrations: tuple[Path, np.ndarray]) -> None:
    store = imported(tmp_path, robomimic(tmp_path / "image.hdf5", demonstrations[0], True))
    first, second = (store.episode(index) for index in range(2))
    assert store.cameras == ("agentview",) and (second.images["agentview"] == 1).all()
    np.testing.assert_array_equal(second.proprio, np.tile(np.float32([1, 1, 1, 1, 1]), (STEPS, 1)))
    assert (first.environment_state == 7).all() and second.rewards.tolist() == [0, 0, 0, 0, 1]
    assert [(one.success, one.style, one.masks) for one in (first, second)] == [
        (False, "worse", ("train", "worse")),
        (True, "better", ("better", "train")),
    ]
    better = open_store(store.folder, Reading(masks=("better",)))
    assert [better.episode_info(index).number for index in range(len(better))] == [1]
    with pytest.raises(UserError, match=r"unknown subset for data\.masks: 'best'"):
        open_store(store.folder, Reading(masks=("best",)))


def test_demonstrations_of_one_mask(tmp_path: Path, demonstrations: tuple[Path, np.ndarray]) -> None:
    path = robomimic(tmp_path / "image.hdf5", demonstrations[0], True)
    store = imported(tmp_path, path, mask="better", state=("object",))
    assert len(store) == 1 and store.episode_info(0).success and (store.episode(0).proprio == 7).all()


def test_states_of_another_scene() -> None:
    scene = Restored("lift", "Panda", (), 32)
    with pytest.raises(
        UserError, match=r"recorded states have 9 numbers, lift with Panda has \d+; they are of another"
    ):
        next(scene.observe(np.zeros((4, 9))))
    with pytest.raises(UserError, match="the recorded model is no XML"):
        scene.arrange("<mujoco>")


def test_hdf5_that_cannot_be_used(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py", reason="h5py is not installed (the extra hdf5)")
    path, demo = tmp_path / "file.hdf5", "data/demo_0"

    def refused(**settings: Any) -> str:
        with pytest.raises(UserError) as error:
            imported(tmp_path, path, **settings)
        assert "\n" not in str(error.value) and not (tmp_path / "out").exists()
        return str(error.value)

    path.write_bytes(b"nothing")
    assert "is no whole HDF5 file" in refused()
    with h5py.File(path, "w") as file:
        file["other"] = 1
    assert "has no data/demo_" in refused()
    with h5py.File(path, "w") as file:
        file[f"{demo}/actions"] = np.zeros((4, 7))
    assert "neither pictures (obs/…_image) nor simulator states" in refused()
    with h5py.File(path, "a") as file:
        file[f"{demo}/states"] = np.zeros((4, 9))
        file["data"].attrs["env"] = "TwoArmLift"
    assert "has states of TwoArmLift without pictures; only those of Lift, Stack" in refused()
    assert "unknown mask 'train'" in refused(mask="train")
