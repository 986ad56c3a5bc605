"""Data sets as the world writes them: what LeRobot's reader needs is believed, not what one writer happened to write."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from envs.errors import UserError
from envs.store import Reading, StoreWriter, merge_stores, open_store, write_store
from envs.store.video import CODECS, VideoWriter
from tests.envs.episodes import assert_same, make_episode

DATA = "data/chunk-000/file-000.parquet"
EPISODES = "meta/episodes/chunk-000/file-000.parquet"
VIDEO = "videos/observation.images.wrist/chunk-000/file-000.mp4"
RECORDED = [make_episode(seed, length=8 + seed, segments=(), style="unknown") for seed in range(3)]


@pytest.fixture
def folder(tmp_path):
    return write_store(tmp_path / "store", RECORDED)


def rewrite(path, change):
    pq.write_table(change(pq.read_table(path)), path)


def edit_info(folder, change):
    path = folder / "meta/info.json"
    info = json.loads(path.read_text())
    change(info)
    path.write_text(json.dumps(info))


def with_column(table, name, values):
    return table.set_column(table.column_names.index(name), name, pa.array(values))


def all_read(folder):
    for found, expected in zip(open_store(folder), RECORDED, strict=True):
        assert_same(found, expected)


def test_instructions_come_from_the_frames(folder):
    rewrite(folder / EPISODES, lambda table: table.drop_columns("tasks"))
    all_read(folder)


def test_stale_and_scrambled_places(folder):
    """Rows are found by their episode, whatever meta/episodes says of files and frames."""
    rows = pq.read_table(folder / DATA)
    pq.write_table(rows.slice(0, 8), folder / DATA)
    pq.write_table(rows.slice(8), folder / "data/chunk-000/file-001.parquet")
    rewrite(folder / EPISODES, lambda table: with_column(table, "dataset_from_index", [0, 0, 0]))
    all_read(folder)
    assert [open_store(folder).episode_info(index).start for index in range(3)] == [0, 8, 17]


def test_lengths_that_are_stale(folder):
    rewrite(folder / EPISODES, lambda table: with_column(table, "length", [8, 8, 11]))
    assert [len(episode) for episode in open_store(folder)] == [8, 9, 10]


def test_rows_in_any_order(folder):
    rewrite(folder / DATA, lambda table: table.take([*range(8), *range(16, 7, -1), *range(17, 27)]))
    all_read(folder)


def test_frames_are_the_nearest_to_their_time(folder):
    """A film with three frames for each of the data's, a little late."""
    wrist = np.concatenate([episode.images["wrist"] for episode in RECORDED])
    writer = VideoWriter(folder / VIDEO, CODECS["h264_lossless"], 60.0, 16, 16)
    writer.add(np.stack([frame for pixels in wrist for frame in (pixels, 255 - pixels, pixels // 2)]))
    writer.close()
    all_read(folder)


def test_frames_far_from_their_time_are_refused(folder):
    rewrite(
        folder / DATA,
        lambda table: with_column(
            table, "timestamp", pq.read_table(folder / DATA)["timestamp"].to_numpy() * np.float32(1.9)
        ),
    )
    with pytest.raises(UserError, match=r"file-000\.mp4 ends after \d+ of the 10 frames"):
        open_store(folder).frames(2, "wrist")


@pytest.mark.parametrize(
    "change",
    [
        {"info": {"is_depth_map": True}},
        {"info": {"video.is_depth_map": True}},
        {"video_info": {"video.is_depth_map": True}, "info": None},
        {"info": {"video.pix_fmt": "gray16le"}},
    ],
)
def test_every_spelling_of_depth(folder, change):
    edit_info(folder, lambda info: info["features"]["observation.images.wrist"].update(change))
    assert open_store(folder).cameras == ("workspace",)


def test_numbers_that_are_not_consecutive(folder):
    """An episode was deleted and nobody renumbered the others."""
    for path in (DATA, EPISODES):
        rewrite(
            folder / path,
            lambda table: with_column(
                table, "episode_index", np.array([0, 5, 7])[table["episode_index"].to_numpy()]
            ),
        )
    all_read(folder)
    store = open_store(folder, Reading(episodes=(5, 7), exclude=(7,)))
    assert [store.episode_info(0).number, store.episode_info(0).start, len(store)] == [5, 8, 1]
    assert_same(store.episode(0), RECORDED[1])
    assert (store.total_frames, store.recorded_frames) == (9, 27)
    with pytest.raises(
        UserError, match=r"data\.exclude names episode 1, which .* its 3 episodes go from 0 to 7"
    ):
        open_store(folder, Reading(exclude=(1,)))
    with pytest.raises(UserError, match="leave no episode"):
        open_store(folder, Reading(episodes=(5,), exclude=(5,)))


def test_several_tasks_in_an_episode(tmp_path):
    episode = make_episode(length=6, later=((2, "open the lid"), (4, "pour")))
    store = open_store(write_store(tmp_path / "store", [episode, make_episode(1)]))
    assert_same(store.episode(0), episode)
    assert store.episode(0).told == ("stack the cubes, way 0",) * 2 + ("open the lid",) * 2 + ("pour",) * 2
    merged = open_store(merge_stores([store.folder], tmp_path / "merged", [(0, 1), (0, 0)]))
    assert merged.episode(1).told == episode.told
    assert merged.row(1)["tasks"] == ["stack the cubes, way 0", "open the lid", "pour"]


def test_names_of_ones_own(folder):
    """`actions`, `state`, `image`: as a user's script may have written them."""
    names = {"action": "actions", "observation.state": "state"}
    edit_info(
        folder,
        lambda info: info["features"].update({new: info["features"].pop(old) for old, new in names.items()}),
    )
    rewrite(
        folder / DATA,
        lambda table: table.rename_columns([names.get(name, name) for name in table.column_names]),
    )
    plain = open_store(folder)
    assert plain.episode(0).actions.shape == (8, 0) and plain.episode(0).proprio.shape == (8, 0)
    assert len(plain.episode(0)) == 8 and plain.spec.numbers["actions"] == 7
    reading = Reading(
        action="actions", state="state", cameras={"hand": "wrist", "again": "observation.images.wrist"}
    )
    store = open_store(folder, reading)
    assert store.cameras == ("again", "hand", "workspace") and store.spec.cameras["hand"] == (16, 16)
    np.testing.assert_array_equal(store.episode(1).actions, RECORDED[1].actions)
    np.testing.assert_array_equal(store.episode(1).proprio, RECORDED[1].proprio)
    np.testing.assert_array_equal(store.frames(1, "hand"), RECORDED[1].images["wrist"])
    with pytest.raises(UserError, match=r"unknown feature for data\.action: 'action'; did you mean actions"):
        open_store(folder, Reading(action="action"))
    with pytest.raises(
        UserError, match=r"unknown camera for data\.cameras\.hand: 'wirst'; did you mean wrist"
    ):
        open_store(folder, Reading(cameras={"hand": "wirst"}))


def test_videos_that_are_missing_can_be_left_out(tmp_path):
    with StoreWriter(tmp_path / "store", video_files_mb=0) as writer:
        for episode in RECORDED:
            writer.add(episode)
    (tmp_path / "store" / VIDEO.replace("file-000", "file-001")).unlink()
    with pytest.raises(UserError, match=r"missing video .*file-001\.mp4; .* data\.exclude=\[1\]"):
        open_store(tmp_path / "store")
    store = open_store(tmp_path / "store", Reading(exclude=(1,)))
    assert_same(store.episode(1), RECORDED[2])


def test_what_the_robot_was_told(folder):
    store = open_store(folder, Reading(instruction="press the green button"))
    assert {store.episode_info(index).instruction for index in range(3)} == {"press the green button"}


def as_version_2(folder, version):
    """The store as LeRobot 0.3 laid it out: a data file and a video an episode, tables as JSON lines."""
    store, meta = open_store(folder), folder / "meta"
    info = json.loads((meta / "info.json").read_text())
    rows, text = pq.read_table(folder / DATA), {n: store.row(n)["tasks"] for n in range(len(store))}
    for number in range(len(store)):
        start, length = store.episode_info(number).start, store.episode_info(number).length
        pq.write_table(rows.slice(start, length), folder / f"data/chunk-000/episode_{number:06d}.parquet")
        for camera in store.cameras:
            path = folder / f"videos/chunk-000/observation.images.{camera}/episode_{number:06d}.mp4"
            path.parent.mkdir(parents=True, exist_ok=True)
            writer = VideoWriter(path, CODECS["h264_lossless"], store.fps, 16, 16)
            writer.add(store.frames(number, camera))
            writer.close()
    lines = [{"episode_index": n, "tasks": text[n], "length": len(RECORDED[n])} for n in text]
    (meta / "episodes.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n")
    tasks = [{"task_index": n, "task": task} for n, task in store.tasks.items()]
    (meta / "tasks.jsonl").write_text("\n".join(map(json.dumps, tasks)))
    info |= {"codebase_version": version, "total_chunks": 1}
    info["data_path"] = "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet"
    info["video_path"] = "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4"
    (meta / "info.json").write_text(json.dumps(info))
    for path in (DATA, EPISODES, VIDEO, "meta/tasks.parquet"):
        (folder / path).unlink()
    return folder


@pytest.mark.parametrize("version", ["v2.0", "v2.1"])
def test_version_2(folder, version):
    store = open_store(as_version_2(folder, version))
    for number, expected in enumerate(RECORDED):
        found = store.episode(number)
        np.testing.assert_array_equal(found.actions, expected.actions)
        np.testing.assert_array_equal(found.images["wrist"], expected.images["wrist"])
        assert (found.instruction, found.fps, found.success) == (expected.instruction, 20, True)
    video = folder / "videos/chunk-000/observation.images.wrist/episode_000001.mp4"
    video.write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"episode_000001\.mp4 is not a whole video"):
        store.frames(1, "wrist")
    video.unlink()
    with pytest.raises(UserError, match=r"missing video .*episode_000001\.mp4; .* data\.exclude=\[1\]"):
        open_store(folder)
