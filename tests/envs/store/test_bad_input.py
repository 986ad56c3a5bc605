"""What is wrong with a data set, read or to be written, is said in one line; nothing half-written opens."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from envs.errors import UserError
from envs.store import Reading, StoreWriter, open_store, write_store
from tests.envs.episodes import make_episode

DATA = "data/chunk-000/file-000.parquet"
EPISODES = "meta/episodes/chunk-000/file-000.parquet"
VIDEO = "videos/observation.images.wrist/chunk-000/file-000.mp4"


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    return write_store(tmp_path_factory.mktemp("good") / "store", [make_episode(seed) for seed in range(3)])


@pytest.fixture
def folder(good, tmp_path):
    return shutil.copytree(good, tmp_path / "store")


def truncate(path, share):
    os.truncate(path, int(path.stat().st_size * share))


def edit_info(folder, **changes):
    path = folder / "meta/info.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def message(folder):
    with pytest.raises(UserError) as error:
        list(open_store(folder))
    assert "\n" not in str(error.value)
    return str(error.value)


def test_missing_folder(tmp_path):
    assert "no such data set folder" in message(tmp_path / "nothing")


def test_folder_that_is_no_store(tmp_path):
    assert "is not a LeRobot data set" in message(tmp_path)


def test_an_older_version_lacks_its_files(folder):
    edit_info(folder, codebase_version="v2.1")
    assert "missing file" in message(folder) and "meta/episodes.jsonl" in message(folder)


def test_unknown_version(folder):
    edit_info(folder, codebase_version="v4.0")
    assert "is of version v4.0, not v2.0, v2.1 or v3.0" in message(folder)


def test_empty_data_set(folder):
    edit_info(folder, total_episodes=0, total_frames=0)
    assert "is empty" in message(folder)


def test_damaged_info(folder):
    truncate(folder / "meta/info.json", 0.5)
    assert "not valid JSON" in message(folder)


def test_incomplete_info(folder):
    (folder / "meta/info.json").write_text('{"codebase_version": "v3.0", "fps": 20}')
    assert "lacks features, total_episodes, total_frames, data_path" in message(folder)


@pytest.mark.parametrize("name", [DATA, EPISODES])
def test_truncated_parquet(folder, name):
    truncate(folder / name, 0.7)
    assert "is not a whole parquet file" in message(folder)


def test_damaged_pages_inside_a_parquet_file(folder):
    path = folder / DATA
    content = bytearray(path.read_bytes())
    content[4:2000] = b"\xff" * 1996
    path.write_bytes(content)
    assert "is not a whole parquet file" in message(folder)


@pytest.mark.parametrize("name", [DATA, VIDEO])
def test_missing_file(folder, name):
    (folder / name).unlink()
    assert "missing" in message(folder) and name in message(folder)


@pytest.mark.parametrize("template", ["../outside.parquet", "/etc/passwd", "data/../../{chunk_index}"])
def test_a_data_file_elsewhere(folder, template):
    shutil.copy(folder / DATA, folder.parent / "outside.parquet")
    edit_info(folder, data_path=template)
    assert "names a file outside of itself" in message(folder)


def test_a_video_elsewhere(folder):
    shutil.copy(folder / VIDEO, folder.parent / "outside.mp4")
    edit_info(folder, video_path="{video_key}/../../outside.mp4")
    assert "names a file outside of itself, 'observation.images.workspace/../../outside.mp4'" in message(
        folder
    )


@pytest.mark.parametrize("name", [DATA, VIDEO])
def test_a_link_to_elsewhere(folder, name):
    moved = folder.parent / "moved"
    (folder / name).rename(moved)
    (folder / name).symlink_to(moved)
    assert "names a file outside of itself" in message(folder)


def test_links_of_the_hub_s_cache(good, tmp_path):
    """<cache>/datasets--who--what/snapshots/<revision> links to its `blobs`, and to nothing else."""
    home = tmp_path / "datasets--who--what"
    folder = shutil.copytree(good, home / "snapshots/1234")
    for place, opens in ((home / "blobs/a", True), (tmp_path / "datasets--who--other/blobs/a", False)):
        place.parent.mkdir(parents=True)
        (folder / DATA).resolve().rename(place)
        (folder / DATA).unlink(missing_ok=True)
        (folder / DATA).symlink_to(place)
        if opens:
            assert len(open_store(folder)) == 3
        else:
            assert "names a file outside of itself" in message(folder)


@pytest.mark.parametrize(
    "template", ["data/{chunk}.parquet", "data/{chunk_index.x}", "data/{", 7, "data/{file_index:s}"]
)
def test_a_path_that_cannot_be_filled_in(folder, template):
    edit_info(folder, data_path=template)
    assert "that cannot be filled in" in message(folder)


def test_missing_episodes(folder):
    shutil.rmtree(folder / "meta/episodes")
    assert "no parquet file in meta/episodes" in message(folder)


def test_missing_rows(folder):
    table = pq.read_table(folder / DATA)
    pq.write_table(table.slice(0, 30), folder / DATA)
    assert "lack frames of the episodes 2" in message(folder)
    assert len(open_store(folder, Reading(exclude=(2,)))) == 2


def test_missing_episode_row(folder):
    table = pq.read_table(folder / EPISODES)
    pq.write_table(table.slice(0, 2), folder / EPISODES)
    assert "describes 2 episodes, meta/info.json says 3" in message(folder)


def test_rows_in_pieces(folder):
    table = pq.read_table(folder / DATA)
    wrong = pa.array(np.repeat([0, 1, 2, 1], [12, 6, 12, 6]))
    pq.write_table(
        table.set_column(table.column_names.index("episode_index"), "episode_index", wrong), folder / DATA
    )
    assert "lack frames of the episodes 1" in message(folder)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.95])
def test_truncated_video(folder, share):
    truncate(folder / VIDEO, share)
    assert "is not a whole video" in message(folder)


def test_damaged_frames_inside_a_video(folder):
    path = folder / VIDEO
    content = bytearray(path.read_bytes())
    content[2000:12000] = bytes(10000)
    path.write_bytes(content)
    assert VIDEO in message(folder)


def test_video_that_is_too_short(folder, tmp_path):
    short = write_store(tmp_path / "short", [make_episode(length=20)])
    shutil.copyfile(short / VIDEO, folder / VIDEO)
    assert "lasts 1.00 s but its episodes need 1.80 s" in message(folder)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite(folder, value):
    table = pq.read_table(folder / DATA)
    actions = np.zeros((36, 7), np.float32)
    actions[17, 2] = value
    column = pa.FixedSizeListArray.from_arrays(pa.array(actions.ravel(), from_pandas=False), 7)
    pq.write_table(table.set_column(table.column_names.index("action"), "action", column), folder / DATA)
    assert "action of episode 1" in message(folder) and "not finite at frame 5" in message(folder)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"proprio": np.full((12, 8), np.nan, np.float32)}, "NaN or infinite"),
        ({"rewards": np.zeros(5, np.float32)}, "rewards has 5 frames but actions have 12"),
        ({"actions": np.zeros((0, 7), np.float32)}, "without frames"),
        ({"images": {"a": np.zeros((12, 8, 8, 3), np.float32)}}, "must be uint8"),
        ({"images": {"a/b": np.zeros((12, 8, 8, 3), np.uint8)}}, "slash"),
        ({"fps": 30.0}, "fps is 30.0 in this episode but 20.0 in the first"),
        ({"images": {}}, "camera workspace is None in this episode"),
        ({"actions": np.zeros((12, 6), np.float32)}, r"actions is \(6,\) in this episode"),
    ],
)
def test_episodes_that_cannot_be_stored(tmp_path, changes, words):
    episode = make_episode()
    with pytest.raises(UserError, match=words), StoreWriter(tmp_path / "store") as writer:
        writer.add(episode)
        writer.add(replace(episode, **changes))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_the_users_is_not_overwritten(folder, tmp_path):
    with pytest.raises(UserError, match="exists already"):
        StoreWriter(folder)
    with pytest.raises(UserError, match="no episode was written"), StoreWriter(tmp_path / "new"):
        pass
    with pytest.raises(UserError, match="unknown video codec 'gif'; choose one of h264_lossless, h264"):
        StoreWriter(tmp_path / "new", codec="gif")
    with pytest.raises(UserError, match="need an even height and width"):
        write_store(tmp_path / "new", [make_episode(height=15)], codec="h264")
    assert not (tmp_path / "new").exists()


def test_a_full_disk_leaves_nothing(tmp_path):
    """The kernel's limit on the size of a file refuses the write as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, before[1]))
    try:
        with pytest.raises(UserError, match=r"could not write .*free some space"):
            write_store(tmp_path / "store", [make_episode(seed, 30, 64, 64) for seed in range(3)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert list(tmp_path.iterdir()) == []


def test_a_killed_writer_leaves_nothing_that_opens(tmp_path):
    program = (
        "import sys; from pathlib import Path; from envs.store import StoreWriter;"
        "from tests.envs.episodes import make_episode\n"
        "writer = StoreWriter(Path(sys.argv[1]))\n"
        "while True: writer.add(make_episode()); print('added', flush=True)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "store")], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    for _ in range(3):
        assert process.stdout.readline() == "added\n"
    time.sleep(0.05)
    process.kill()
    process.communicate()
    assert not (tmp_path / "store").exists()
    (partial,) = tmp_path.iterdir()
    assert "is not a LeRobot data set" in message(partial)
    write_store(tmp_path / "store", [make_episode()])
    assert len(open_store(tmp_path / "store")) == 1
