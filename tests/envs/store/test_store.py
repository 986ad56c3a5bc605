"""The store: what is written comes back bit by bit, in LeRobot's layout."""

import json
import pickle
import tracemalloc

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from envs.errors import UserError
from envs.store import StoreWriter, merge_stores, open_store, write_store
from envs.store.stats import combine, image_statistics, number_statistics
from tests.envs.episodes import assert_same, make_episode

EPISODES = [make_episode(seed, length=10 + seed) for seed in range(5)]


@pytest.fixture
def folder(tmp_path):
    return write_store(tmp_path / "store", EPISODES)


def test_round_trip_is_exact(folder):
    store = open_store(folder)
    assert len(store) == 5 and store.total_frames == 10 + 11 + 12 + 13 + 14 and store.fps == 20
    assert store.cameras == ("workspace", "wrist")
    for found, expected in zip(store, EPISODES, strict=True):
        assert_same(found, expected)


def test_any_order_of_reading(folder):
    store = open_store(folder)
    for index in (4, 0, 2, 2, 1, 3):
        assert_same(store.episode(index), EPISODES[index])
    np.testing.assert_array_equal(store.frames(3, "wrist"), EPISODES[3].images["wrist"])
    assert store.episode(1, cameras=("wrist",)).images.keys() == {"wrist"}
    assert store.episode(1, cameras=()).images == {}
    with pytest.raises(IndexError):
        store.episode(5)
    with pytest.raises(UserError, match="no camera 'front'; it has workspace, wrist"):
        store.frames(0, "front")


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=4),
    height=st.integers(2, 40),
    width=st.integers(2, 40),
    fps=st.sampled_from([5.0, 20.0, 29.97, 30.0]),
    megabytes=st.sampled_from([0, 200]),
)
def test_any_shape_comes_back(tmp_path_factory, lengths, height, width, fps, megabytes):
    episodes = [
        make_episode(seed, length, height, width, fps=fps, segments=()) for seed, length in enumerate(lengths)
    ]
    folder = tmp_path_factory.mktemp("any") / "store"
    with StoreWriter(folder, data_files_mb=megabytes, video_files_mb=megabytes) as writer:
        for episode in episodes:
            writer.add(episode)
    files = list(folder.glob("videos/*/*/*.mp4"))
    assert len(files) == 2 * (1 if megabytes else len(lengths))
    for found, expected in zip(open_store(folder), episodes, strict=True):
        assert_same(found, expected)


def test_no_cameras_and_no_environment_state(tmp_path):
    episode = make_episode(cameras=(), environment_state=np.zeros((12, 0), np.float32))
    assert_same(open_store(write_store(tmp_path / "store", [episode])).episode(0), episode)


def test_unknown_outcomes_stay_unknown(tmp_path):
    nothing = np.full(12, np.nan, np.float32)
    dense = np.linspace(-1, 0.5, 12).astype(np.float32)
    episodes = [
        make_episode(0, success=None, rewards=nothing),
        make_episode(1),
        make_episode(2, success=False, rewards=np.zeros(12, np.float32)),
        make_episode(3, success=None, rewards=dense),
    ]
    folder = write_store(tmp_path / "store", episodes)
    for found, expected in zip(open_store(folder), episodes, strict=True):
        assert_same(found, expected)
    merged = open_store(merge_stores([folder], tmp_path / "merged"))
    assert [merged.episode_info(n).success for n in range(4)] == [None, True, False, None]
    # the statistics are of what is known: one paid frame of 24, and the dense ones
    reward = json.loads((folder / "meta/stats.json").read_text())["next.reward"]
    assert reward["count"] == [36] and reward["min"] == [-1] and reward["max"] == [1]
    assert reward["mean"] == pytest.approx([(1 + dense.sum()) / 36])
    rows = pq.read_table(folder / "meta/episodes/chunk-000/file-000.parquet").column("success")
    assert rows.to_pylist() == [None, True, False, None]


def test_episode_info(folder):
    info = open_store(folder).episode_info(2)
    assert (info.start, info.length, info.task, info.robot, info.seed) == (21, 12, "stack", "Panda", 2)
    assert (info.instruction, info.style, info.success) == ("stack the cubes, way 0", "retry", True)
    assert info.segments == EPISODES[2].segments


def test_layout_is_lerobots(folder):
    info = json.loads((folder / "meta/info.json").read_text())
    assert info["codebase_version"] == "v3.0" and info["fps"] == 20 and info["robot_type"] == "Panda"
    assert (info["total_episodes"], info["total_frames"], info["total_tasks"]) == (5, 60, 2)
    assert info["splits"] == {"train": "0:5"} and info["chunks_size"] == 1000
    assert info["data_path"] == "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
    assert info["video_path"] == "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
    assert info["features"]["action"] == {"dtype": "float32", "shape": [7], "names": None}
    camera = info["features"]["observation.images.wrist"]
    assert camera["dtype"] == "video" and camera["shape"] == [16, 16, 3]
    assert camera["info"]["video.codec"] == "h264" and camera["info"]["video.pix_fmt"] == "gbrp"

    data = pq.read_table(folder / "data/chunk-000/file-000.parquet")
    assert data.column("index").to_pylist() == list(range(60))
    assert data.column("episode_index").to_pylist()[9:12] == [0, 1, 1]
    assert data.column("timestamp").to_pylist()[10:12] == [0.0, pytest.approx(0.05)]
    assert data.column("task_index").to_pylist()[9:12] == [0, 1, 1]
    assert data.column("next.done").to_pylist()[8:11] == [False, True, False]
    assert data.schema.field("action").type == pa.list_(pa.float32(), 7)

    tasks = pq.read_table(folder / "meta/tasks.parquet")
    assert tasks.column("task_index").to_pylist() == [0, 1]
    assert json.loads(tasks.schema.metadata[b"pandas"])["index_columns"] == ["__index_level_0__"]

    episode = pq.read_table(folder / "meta/episodes/chunk-000/file-000.parquet").to_pylist()[1]
    assert (episode["episode_index"], episode["dataset_from_index"], episode["dataset_to_index"]) == (
        1,
        10,
        21,
    )
    assert episode["tasks"] == ["stack the cubes, way 1"]
    assert episode["videos/observation.images.wrist/from_timestamp"] == pytest.approx(0.5)
    assert episode["videos/observation.images.wrist/to_timestamp"] == pytest.approx(1.05)
    assert episode["meta/episodes/chunk_index"] == episode["data/file_index"] == 0
    assert np.shape(episode["stats/observation.images.wrist/mean"]) == (3, 1, 1)
    assert episode["stats/action/count"] == [11]


def test_statistics_by_hand():
    one = number_statistics(np.array([[0.0, 1.0], [2.0, 1.0]]))
    other = number_statistics(np.array([[4.0, 1.0]]))
    both = combine(combine(None, {"x": one}), {"x": other})["x"]
    np.testing.assert_allclose(both["mean"], [2.0, 1.0])
    np.testing.assert_allclose(both["std"], [np.sqrt(8 / 3), 0.0])
    np.testing.assert_allclose(both["min"], [0.0, 1.0])
    np.testing.assert_allclose(both["max"], [4.0, 1.0])
    np.testing.assert_allclose(both["q50"], [(2 * 1.0 + 1 * 4.0) / 3, 1.0])
    assert both["count"].tolist() == [3]

    frames = np.zeros((2, 1, 2, 3), np.uint8)
    frames[..., 1] = 255
    frames[1, 0, :, 2] = 51
    image = image_statistics(frames)
    np.testing.assert_allclose(image["mean"].ravel(), [0.0, 1.0, 0.1])
    np.testing.assert_allclose(image["std"].ravel(), [0.0, 0.0, 0.1], atol=1e-12)
    np.testing.assert_allclose(image["max"].ravel(), [0.0, 1.0, 0.2])
    np.testing.assert_allclose(image["q50"].ravel(), [0.0, 1.0, 0.0])
    assert image["mean"].shape == (3, 1, 1) and image["count"].tolist() == [2]


def test_statistics_of_the_store_are_of_all_frames(folder):
    statistics = json.loads((folder / "meta/stats.json").read_text())
    actions = np.concatenate([episode.actions for episode in EPISODES])
    pixels = np.concatenate([episode.images["wrist"] for episode in EPISODES]) / 255
    np.testing.assert_allclose(statistics["action"]["mean"], actions.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(statistics["action"]["std"], actions.std(axis=0), rtol=1e-5)
    wrist = statistics["observation.images.wrist"]
    np.testing.assert_allclose(np.ravel(wrist["mean"]), pixels.mean(axis=(0, 1, 2)), rtol=1e-9)
    np.testing.assert_allclose(np.ravel(wrist["std"]), pixels.std(axis=(0, 1, 2)), rtol=1e-9)
    assert wrist["count"] == [60]


def test_a_lossy_codec_comes_close(tmp_path):
    y, x = np.mgrid[:64, :64]
    frames = np.stack([np.stack([x * 2 + t, y * 3, x + y], axis=-1) for t in range(9)]).astype(np.uint8)
    episode = make_episode(length=9, images={"front": frames})
    store = open_store(write_store(tmp_path / "store", [episode, episode], "h264"))
    error = np.abs(store.frames(1, "front").astype(int) - frames).mean()
    assert 0 < error < 6


def test_merge_renumbers_and_keeps_the_videos(tmp_path):
    parts = [write_store(tmp_path / "a", EPISODES[:2]), write_store(tmp_path / "b", EPISODES[2:])]
    merged = open_store(merge_stores(parts, tmp_path / "all"))
    for found, expected in zip(merged, EPISODES, strict=True):
        assert_same(found, expected)
    whole = write_store(tmp_path / "whole", EPISODES)
    for name in ("info.json", "tasks.parquet"):
        assert (merged.folder / "meta" / name).read_bytes() == (whole / "meta" / name).read_bytes()
    ours, theirs = (json.loads((one / "meta/stats.json").read_text()) for one in (merged.folder, whole))
    np.testing.assert_allclose(ours["action"]["std"], theirs["action"]["std"])

    order = [(1, 2), (0, 1), (1, 0)]
    chosen = open_store(merge_stores(parts, tmp_path / "chosen", order))
    for found, index in zip(chosen, (4, 1, 2), strict=True):
        assert_same(found, EPISODES[index])
    assert [chosen.episode_info(index).start for index in range(3)] == [0, 14, 25]
    assert_same(open_store(parts[0]).episode(0), EPISODES[0])


def test_merge_refuses_what_does_not_fit(tmp_path):
    first = write_store(tmp_path / "a", EPISODES[:1])
    other = write_store(tmp_path / "b", [make_episode(fps=10.0)])
    with pytest.raises(UserError, match="10 frames a second"):
        merge_stores([first, other], tmp_path / "all")
    wide = write_store(tmp_path / "c", [make_episode(width=20)])
    with pytest.raises(UserError, match=r"differ in the features observation\.images\.workspace"):
        merge_stores([first, wide], tmp_path / "all")
    with pytest.raises(UserError, match="nothing to merge"):
        merge_stores([], tmp_path / "all")
    assert not (tmp_path / "all").exists()


def test_memory_does_not_grow_with_the_number_of_episodes(tmp_path):
    episode = make_episode(length=10, height=32, width=32)
    peaks = []
    for count in (22, 44):
        tracemalloc.start()
        write_store(tmp_path / str(count), (episode for _ in range(count)))
        for _ in open_store(tmp_path / str(count)):
            pass
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.25 * peaks[0]
    assert pa.total_allocated_bytes() < 20e6


def test_a_store_can_go_to_another_process(folder):
    store = open_store(folder)
    assert_same(store.episode(1), EPISODES[1])
    assert_same(pickle.loads(pickle.dumps(store)).episode(3), EPISODES[3])
