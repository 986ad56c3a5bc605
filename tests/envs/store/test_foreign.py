"""Data sets in LeRobot's format that others wrote: other cameras, rates and sizes, without our columns."""

import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from envs.errors import UserError
from envs.store import merge_stores, open_store, write_store
from tests.envs.episodes import make_episode

LENGTHS = (5, 7)
RANDOM = np.random.default_rng(0)
FRAMES = RANDOM.integers(0, 256, (12, 9, 11, 3), np.uint8)
STATE = RANDOM.normal(size=(12, 6))
ACTION = RANDOM.normal(size=(12, 1))


def png(frame):
    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, "png")
    return buffer.getvalue()


def write_with_images(folder, embedded=True, success=True):
    """A v3.0 folder of two episodes with pictures in the parquet file, all rows in one row group."""
    features = {
        "observation.images.front": {"dtype": "image", "shape": [9, 11, 3], "names": None},
        "observation.state": {"dtype": "float64", "shape": [6], "names": None},
        "action": {"dtype": "float64", "shape": [1], "names": None},
    }
    images = [{"bytes": png(frame), "path": f"frame-{n}.png"} for n, frame in enumerate(FRAMES)]
    if not embedded:
        folder.mkdir()
        for image in images:
            (folder / image["path"]).write_bytes(image["bytes"])
            image["bytes"] = None
    columns = {
        "observation.images.front": pa.array(images),
        "observation.state": pa.array(STATE.tolist()),
        "action": pa.array(ACTION[:, 0]),
        "episode_index": pa.array([0] * 5 + [1] * 7),
        "task_index": pa.array([0] * 5 + [1] * 7),
        "index": pa.array(range(12)),
    }
    if success:
        columns["next.success"] = pa.array([False] * 11 + [True])
        features["next.success"] = {"dtype": "bool", "shape": [1], "names": None}
    for name in ("episode_index", "task_index", "index"):
        features[name] = {"dtype": "int64", "shape": [1], "names": None}
    episodes = {
        "episode_index": [0, 1],
        "tasks": [["fold the towel"], ["pour"]],
        "length": list(LENGTHS),
        "dataset_from_index": [0, 5],
        "dataset_to_index": [5, 12],
        "data/chunk_index": [0, 0],
        "data/file_index": [0, 0],
        "meta/episodes/chunk_index": [0, 0],
        "meta/episodes/file_index": [0, 0],
        "stats/action/count": [[5], [7]],
        "stats/action/mean": [[0.0], [0.0]],
        "stats/action/std": [[1.0], [1.0]],
        "stats/action/min": [[-1.0], [-1.0]],
        "stats/action/max": [[1.0], [1.0]],
    }
    info = {
        "codebase_version": "v3.0",
        "robot_type": "so101",
        "total_episodes": 2,
        "total_frames": 12,
        "fps": 15,
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "video_path": None,
        "features": features,
    }
    for name in ("meta/episodes/chunk-000", "data/chunk-000"):
        (folder / name).mkdir(parents=True)
    pq.write_table(pa.table(columns), folder / "data/chunk-000/file-000.parquet")
    pq.write_table(pa.table(episodes), folder / "meta/episodes/chunk-000/file-000.parquet")
    pq.write_table(
        pa.table({"task_index": [0, 1], "task": ["fold the towel", "pour"]}), folder / "meta/tasks.parquet"
    )
    (folder / "meta/info.json").write_text(json.dumps(info))
    return folder


@pytest.mark.parametrize("embedded", [True, False])
def test_pictures_in_parquet(tmp_path, embedded):
    store = open_store(write_with_images(tmp_path / "store", embedded))
    assert store.cameras == ("front",) and store.fps == 15
    episode = store.episode(1)
    np.testing.assert_array_equal(episode.images["front"], FRAMES[5:])
    np.testing.assert_array_equal(episode.proprio, STATE[5:].astype(np.float32))
    np.testing.assert_array_equal(episode.actions, ACTION[5:].astype(np.float32))
    assert episode.environment_state.shape == (7, 0)
    assert (episode.instruction, episode.task, episode.robot) == ("pour", "unknown", "so101")
    assert (episode.style, episode.seed, episode.segments) == ("unknown", -1, ())


def test_success_is_taken_from_the_frames(tmp_path):
    store = open_store(write_with_images(tmp_path / "store"))
    assert [store.episode_info(index).success for index in range(2)] == [False, True]
    assert store.episode(1).rewards.tolist() == [0, 0, 0, 0, 0, 0, 1]


def test_success_may_be_unknown(tmp_path):
    store = open_store(write_with_images(tmp_path / "store", success=False))
    assert store.episode_info(1).success is None and store.episode(1).success is None
    assert np.isnan(store.episode(1).rewards).all()


def with_rewards(folder, rewards):
    """A store without marked successes, with these rewards of its twelve frames."""
    write_with_images(folder, success=False)
    path = folder / "data/chunk-000/file-000.parquet"
    column = pa.array(rewards, pa.float32(), from_pandas=False)
    pq.write_table(pq.read_table(path).append_column("next.reward", column), path)
    info = json.loads((folder / "meta/info.json").read_text())
    info["features"]["next.reward"] = {"dtype": "float32", "shape": [1], "names": None}
    (folder / "meta/info.json").write_text(json.dumps(info))
    return open_store(folder)


@pytest.mark.parametrize(
    ("rewards", "outcomes"),
    [
        ([0] * 11 + [1], [False, True]),  # the solved task is paid
        ([0] * 10 + [10, 10], [False, True]),
        ([0, 1, 0, 0, 0] + [0] * 6 + [1], [None, True]),  # solved on the way, and then?
        ([0] * 12, [None, None]),  # nobody is ever paid: a column that nobody filled
        ([np.nan] * 5 + [0] * 6 + [1], [None, True]),
        ([-0.5] * 11 + [0.7], [None, None]),  # a distance, progress: no outcome
        ([0, 0, 0, 0.1, 0.2] + [0] * 6 + [1], [None, None]),
    ],
)
def test_success_is_taken_from_rewards_where_they_tell_it(tmp_path, rewards, outcomes):
    store = with_rewards(tmp_path / "store", rewards)
    assert [store.episode_info(index).success for index in range(2)] == outcomes
    found = np.concatenate([store.episode(index).rewards for index in range(2)])
    np.testing.assert_array_equal(found, np.array(rewards, np.float32))


def test_rewards_that_are_infinite_are_refused(tmp_path):
    store = with_rewards(tmp_path / "store", [0] * 11 + [np.inf])
    with pytest.raises(UserError, match=r"next\.reward of episode 1 .* not finite at frame 6"):
        store.episode_info(1)


@pytest.mark.parametrize(("column", "outcomes"), [([None, 1], [None, True]), ([0.0, np.nan], [False, None])])
def test_a_column_of_outcomes_counts_first(tmp_path, column, outcomes):
    folder = write_with_images(tmp_path / "store")
    path = folder / "meta/episodes/chunk-000/file-000.parquet"
    pq.write_table(pq.read_table(path).append_column("success", pa.array(column)), path)
    store = open_store(folder)
    assert [store.episode_info(index).success for index in range(2)] == outcomes
    pq.write_table(
        pq.read_table(path).drop_columns("success").append_column("success", pa.array(["perhaps"] * 2)), path
    )
    with pytest.raises(UserError, match=r"episode 0: success is 'perhaps'; write true, false or nothing"):
        open_store(folder).episode_info(0)


def test_damaged_picture(tmp_path):
    folder = write_with_images(tmp_path / "store", embedded=False)
    (folder / "frame-6.png").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"an image of observation\.images\.front in .* is damaged"):
        open_store(folder).episode(1)


def test_a_picture_elsewhere(tmp_path):
    folder = write_with_images(tmp_path / "store", embedded=False)
    (folder / "frame-6.png").rename(tmp_path / "frame-6.png")
    (folder / "frame-6.png").symlink_to(tmp_path / "frame-6.png")
    with pytest.raises(UserError, match=r"names a file outside of itself, 'frame-6\.png'"):
        open_store(folder).episode(1)


def test_merging_pictures(tmp_path):
    folder = write_with_images(tmp_path / "store")
    merged = open_store(merge_stores([folder, folder], tmp_path / "merged", [(1, 1), (0, 0)]))
    np.testing.assert_array_equal(merged.frames(0, "front"), FRAMES[5:])
    assert [merged.episode_info(index).instruction for index in range(2)] == ["pour", "fold the towel"]
    assert not merged.episode_info(1).success and merged.episode_info(0).success


def test_videos_without_our_columns(tmp_path):
    """A store whose episodes are known only by LeRobot's own columns, without state and rewards."""
    episodes = [make_episode(seed, length=6, cameras=("top.left", "depth"), fps=30.0) for seed in range(3)]
    folder = write_store(tmp_path / "store", episodes)
    path = folder / "meta/episodes/chunk-000/file-000.parquet"
    own = ["success", "style", "segments", "seed", "robot", "task_name"]
    pq.write_table(pq.read_table(path).drop_columns(own), path)
    info = json.loads((folder / "meta/info.json").read_text())
    unknown = (
        "observation.state",
        "observation.environment_state",
        "next.reward",
        "next.success",
        "next.done",
    )
    for name in unknown:
        del info["features"][name]
    info["features"]["observation.images.depth"]["info"]["video.is_depth_map"] = True
    (folder / "meta/info.json").write_text(json.dumps(info))
    store = open_store(folder)
    assert store.cameras == ("top.left",)
    for found, expected in zip(store, episodes, strict=True):
        np.testing.assert_array_equal(found.images["top.left"], expected.images["top.left"])
        np.testing.assert_array_equal(found.actions, expected.actions)
        assert found.proprio.shape == (6, 0) and found.fps == 30 and found.robot == "Panda"
