"""Value curves beside data sets and video files."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

from envs.errors import UserError
from envs.store import write_store
from envs.store.video import CODECS, VideoWriter
from envs.types import Segment
from experiments.reports.figures import ValueCurve
from experiments.reports.video_files import MOST_FPS, side_by_side
from experiments.value_video import value_video
from tests.value_model.synthetic import slide

CRITIC = """
import numpy as np
def values(frames, instruction):
    assert frames.ndim == 4 and instruction
    return np.linspace(0, 1, len(frames), dtype=np.float32)
"""


@pytest.fixture(autouse=True)
def critic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ramp_critic.py").write_text(CRITIC)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))


def film(path: Path, frames: int = 12, fps: float = 40.0, side: int = 64) -> Path:
    writer = VideoWriter(path, CODECS["h264"], fps, side, side)
    writer.add(np.random.default_rng(0).integers(0, 255, (frames, side, side, 3), np.uint8))
    writer.close()
    return path


def written(capsys: pytest.CaptureFixture[str]) -> list[Path]:
    return [Path(path) for path in json.loads(capsys.readouterr().out.splitlines()[-1])["written"]]


def test_a_data_set_gives_a_strip_and_a_film(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lapse = (Segment("retry", 10, 18),)
    store = write_store(tmp_path / "store", [slide(0), slide(1, 50, "retry", lapse)])
    value_video([str(store), "critic=time_index", "episodes=[0,1]", "format=strip"])
    strips = written(capsys)
    assert len(strips) == 2 and all(path.read_bytes()[:4] == b"\x89PNG" for path in strips)
    value_video([str(store), "critic=time_index", "episodes=[1]"])
    (made,) = written(capsys)
    with av.open(str(made)) as container:
        assert len(list(container.decode(video=0))) == 50
        assert float(container.streams.video[0].average_rate) == 20.0


def test_no_true_curve_where_it_is_not_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was drawn for whatever succeeded in an unknown style."""
    episodes = [slide(0), slide(1, style="unknown"), replace(slide(2), success=None)]
    store = write_store(tmp_path / "store", [replace(one, rewards=one.rewards * np.nan) for one in episodes])
    drawn: list[ValueCurve] = []
    monkeypatch.setattr("experiments.value_video.draw_values", lambda curves, *_: drawn.extend(curves))
    value_video([str(store), "critic=time_index", "episodes=[0,1,2]", "format=strip"])
    assert [curve.truth is None for curve in drawn] == [False, True, True]


def test_a_video_file_with_an_instruction(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = film(tmp_path / "film.mp4")
    frames, fps = side_by_side([path])
    assert frames.shape == (6, 128, 128, 3) and fps == pytest.approx(
        MOST_FPS
    )  # every other frame of 40 a second
    value_video([str(path), "critic=ramp_critic:values", "instruction=slide", "format=strip", "output=out"])
    assert written(capsys) == [Path("out/film.png")]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "say what to show"),
        (["nowhere.mp4", "instruction=slide"], "no such video"),
        (["film.mp4"], "needs an instruction"),
        (["one.mp4", "instruction=slide"], "at least two"),
        (["broken.mp4", "instruction=slide"], "is not a whole video"),
        (["film.mp4", "instruction=slide", "critic=time_index"], "counts frames: it cannot judge a film"),
        (["film.mp4", "film.mp4", "instruction=slide"], "sees 1 view"),
        (["film.mp4", "instruction=slide", "format=gif"], "format=gif must be one of"),
        (["film.mp4", "instruction=slide", "output=film.mp4"], "choose another output="),
        (["store", "critic=time_index", "episodes=[7]"], "no episode 7"),
    ],
)
def test_mistakes_are_one_line(tmp_path: Path, arguments: list[str], message: str) -> None:
    film(tmp_path / "film.mp4")
    film(tmp_path / "one.mp4", frames=1)
    (tmp_path / "broken.mp4").write_bytes(b"no video at all")
    write_store(tmp_path / "store", [slide(0)])
    given = (
        [*arguments]
        if any("critic=" in one for one in arguments)
        else [*arguments, "critic=ramp_critic:values"]
    )
    with pytest.raises(UserError, match=message):
        value_video(given if arguments else [])
