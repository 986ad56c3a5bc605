"""What stands for an episode's content, wherever it lies: a data set may grow, be cut and be renumbered."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import av
import pyarrow as pa
from av.error import FFmpegError

from envs.films import broken_video
from envs.store.reader import Store

PLACES = ("index", "episode_index", "task_index")  # where a frame stands, not what it shows


def fingerprint(store: Store, index: int, cameras: Sequence[str]) -> str:
    """A digest (32 hexadecimal digits) of episode `index`: what is said of it, its numbers, and what `cameras` recorded.

    Videos are not decoded: their packets count. So what was encoded again is another episode.

    Raises:
        UserError: its files are damaged.
    """
    info = store.episode_info(index)
    told = (
        info.instructions,
        store.fps,
        info.length,
        info.task,
        info.robot,
        info.style,
        info.success,
        info.segments,
    )
    found = hashlib.sha256(repr(told).encode())
    features = store.info["features"]
    keys = {key: feature["dtype"] for key, feature in features.items()}
    numbers = [key for key, kind in keys.items() if kind not in ("video", "image") and key not in PLACES]
    found.update(_bytes(store.table(index, sorted(numbers))))
    for camera in sorted(cameras):
        key = store.camera_key(camera)
        found.update(key.encode())
        if keys[key] == "image":
            found.update(_bytes(store.table(index, [key])))
        else:
            for packet in _packets(store, index, key):
                found.update(packet)
    return found.hexdigest()[:32]


def _bytes(table: pa.Table) -> bytes:
    """The rows as they would be written, whatever larger table they are a part of."""
    sink = io.BytesIO()
    rows = pa.array(range(len(table)), pa.int64())  # takes a copy, which begins at its own first byte
    whole = table.replace_schema_metadata(None).take(rows).combine_chunks()
    with pa.ipc.new_stream(sink, whole.schema) as writer:
        writer.write_table(whole)
    return sink.getvalue()


def _packets(store: Store, index: int, key: str) -> Iterator[bytes]:
    """The encoded frames of an episode, in the order of the file."""
    footage, half = store.layout.footage(store.position(index), key), 0.5 / store.fps
    try:
        yield from _between(footage.path, footage.start - half, footage.end - half)
    except (FFmpegError, OSError) as error:
        raise broken_video(footage.path, error) from error


def _between(path: Path, start: float, end: float) -> Iterator[bytes]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.time_base is not None
        if start > 0:
            container.seek(int(start / stream.time_base), stream=stream, backward=True)
        for packet in container.demux(stream):
            if packet.pts is None or packet.dts is None:
                continue
            if packet.dts * stream.time_base >= end:
                return
            if start <= packet.pts * stream.time_base < end:
                yield bytes(packet)
