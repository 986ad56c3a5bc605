"""A data set of the user's own is known by what its `meta` says and by which other files lie there."""

import os

from envs.store import write_store
from experiments.stages.data import user_data
from tests.envs.episodes import make_episode


def test_the_digest_covers_the_content_of_meta_and_the_look_of_the_rest(tmp_path):
    folder = write_store(tmp_path / "mine", [make_episode(0), make_episode(1)])
    before = user_data(folder).digest
    info, data = folder / "meta" / "info.json", folder / "data" / "chunk-000" / "file-000.parquet"
    times = info.stat().st_atime_ns, info.stat().st_mtime_ns

    os.utime(info, ns=(0, 0))
    assert user_data(folder).digest == before  # copied anew, the same content

    text = info.read_text()
    info.write_text(text.replace('"robot_type": "Panda"', '"robot_type": "panda"'))
    os.utime(info, ns=times)
    assert info.read_text() != text and len(info.read_text()) == len(text)
    assert user_data(folder).digest != before  # same size and time, other content
    info.write_text(text)
    assert user_data(folder).digest == before

    for beside in ("sarm_progress.parquet", "weights.parquet", ".DS_Store"):
        (folder / beside).write_bytes(b"labels")
    assert user_data(folder).digest == before

    os.utime(data, ns=(0, 0))
    assert user_data(folder).digest != before
