"""Video files by their time stamps and upright."""

import struct

import numpy as np
import pytest

from envs.errors import UserError
from envs.films import film_info, film_rate, film_times, frames_at
from envs.store.video import CODECS, VideoWriter

FRAMES = np.random.default_rng(0).integers(0, 256, (10, 6, 8, 3), np.uint8)


@pytest.fixture
def path(tmp_path):
    writer = VideoWriter(tmp_path / "film.mp4", CODECS["h264_lossless"], 20.0, 6, 8)
    writer.add(FRAMES)
    writer.close()
    return tmp_path / "film.mp4"


def with_matrix(path, a, b, c, d):
    """Write the display matrix [[a, b], [c, d]] into the track's header."""
    content = bytearray(path.read_bytes())
    at = content.index(b"tkhd") + 4 + 40
    content[at : at + 36] = struct.pack(">9i", a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
    path.write_bytes(content)


def read(path, times, tolerance=0.02):
    return np.stack(list(frames_at(path, np.array(times), tolerance)))


def test_times_without_decoding(path):
    np.testing.assert_allclose(film_times(path), np.arange(10) / 20)
    assert film_rate(film_times(path)) == pytest.approx(20)
    assert film_info(path).size == (6, 8) and not film_info(path).depth


def test_the_nearest_frame(path):
    np.testing.assert_array_equal(read(path, [0.0, 0.0, 0.12, 0.13, 0.46]), FRAMES[[0, 0, 2, 3, 9]])
    np.testing.assert_array_equal(read(path, [0.3, 0.35]), FRAMES[[6, 7]])
    np.testing.assert_array_equal(read(path, [0.3, 9.0], np.inf), FRAMES[[6, 9]])


def test_times_without_a_frame_are_refused(path):
    with pytest.raises(UserError, match=r"ends after 1 of the 2 frames from 0\.400 s on"):
        read(path, [0.4, 0.5])
    with pytest.raises(UserError, match=r"the frame due at 0\.075 s stands at"):
        read(path, [0.075], 0.02)


@pytest.mark.parametrize(
    ("matrix", "upright"),
    [
        ((1, 0, 0, 1), lambda frame: frame),
        ((0, 1, -1, 0), lambda frame: np.rot90(frame, -1)),
        ((-1, 0, 0, -1), lambda frame: np.rot90(frame, 2)),
        ((0, -1, 1, 0), lambda frame: np.rot90(frame, 1)),
        ((-1, 0, 0, 1), lambda frame: frame[:, ::-1]),
        ((1, 0, 0, -1), lambda frame: frame[::-1]),
    ],
)
def test_pictures_are_upright(path, matrix, upright):
    with_matrix(path, *matrix)
    np.testing.assert_array_equal(read(path, [0.2])[0], upright(FRAMES[4]))
