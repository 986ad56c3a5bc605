"""The page to look at a data set, in a real browser: sorted, searched, scrubbed, cut and exported."""

from __future__ import annotations

import importlib.util
import json
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from envs.errors import UserError
from envs.store import open_store, write_store
from envs.types import Segment
from experiments.inspect import inspect
from experiments.inspection.pictures import LEVELS, Sheets, draw_sheet
from tests.experiments.chromium import PROGRAM, Chromium
from tests.value_model.synthetic import slide
from value_model.critic.progress import SIDECAR, write_progress

browser_needed = pytest.mark.skipif(PROGRAM is None, reason="Chromium is not installed")
HOSTILE = 'push </script><script>document.title="taken"</script> & "pull" {{data}}'


def curves() -> list[np.ndarray]:
    """Steady; with a pause of 20 frames; falling back; unknown."""
    frames = np.arange(40)
    return [
        (frames / 39).astype(np.float32),
        np.interp(frames, [0, 10, 30, 39], [0, 0.5, 0.5, 0.9]).astype(np.float32),
        np.interp(frames, [0, 20, 39], [0, 0.6, 0.1]).astype(np.float32),
        np.full(40, np.nan, np.float32),
    ]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four episodes of two cameras of different sizes."""
    folder = tmp_path_factory.mktemp("inspect") / "my data"
    episodes = [slide(0), slide(1, segments=(Segment("hesitation", 11, 29),)), slide(2), slide(3)]
    texts = ["slide the red square", "slide the green square", HOSTILE, "open the drawer"]
    outcomes = [True, True, False, None]
    made = [
        replace(
            episode,
            images={**episode.images, "hand eye": episode.images["workspace"][:, 10:58]},
            instruction=text,
            success=outcome,
            rewards=episode.rewards * np.nan,
        )
        for episode, text, outcome in zip(episodes, texts, outcomes, strict=True)
    ]
    write_store(folder, made)
    write_progress(folder / SIDECAR, open_store(folder), curves())
    return folder


def look(data: Path, out: Path, *arguments: str) -> Path:
    inspect([str(data), f"out='{out}'", f"outputs={out.parent}", *arguments])
    return out


@pytest.fixture(scope="module")
def downloads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("downloads")


@pytest.fixture(scope="module")
def chromium(downloads: Path) -> Iterator[Chromium]:
    with Chromium(downloads=downloads) as browser:
        yield browser


@pytest.fixture(scope="module")
def made(data: Path) -> Path:
    return look(data, data.parent / "page.html")


@pytest.fixture
def page(made: Path, chromium: Chromium) -> Iterator[Chromium]:
    chromium.errors.clear()
    chromium.open(made)
    yield chromium
    assert chromium.errors == []


def order(page: Chromium) -> list[str]:
    return page.run(
        "[...document.querySelectorAll('tbody.episode')].filter(b => !b.hidden).map(b => b.dataset.number)"
    )


@browser_needed
def test_sorted_by_quality_with_the_unknown_last(page: Chromium) -> None:
    assert page.run("document.title") == "my data: episodes"
    assert order(page) == ["0", "1", "2", "3"]
    page.click("th[data-key=final]")
    assert order(page) == ["2", "1", "0", "3"]
    page.click("th[data-key=final]")
    assert order(page) == ["0", "1", "2", "3"]
    page.click("th[data-key=lapses]")
    page.click("th[data-key=lapses]")
    assert order(page)[:2] == ["1", "2"] and order(page)[2:] == ["0", "3"]
    cells = "[...document.querySelector('[data-number=\"1\"]').rows[0].cells].map(c => c.textContent)"
    assert page.run(cells)[1:] == [
        "1",
        "slide the green square",
        "clean",
        "success",
        "0.90",
        "1",
        "1.1 s",
        "2.0 s",
    ]
    assert page.run(cells.replace('\\"1', '\\"3').replace('"1', '"3'))[5] == "unknown"


@browser_needed
def test_search_by_instruction(page: Chromium) -> None:
    page.click("#search")
    page.call("Input.insertText", text="square green")
    assert order(page) == ["1"] and page.run("document.getElementById('count').textContent").startswith(
        "1 of 4"
    )


@browser_needed
def test_no_text_of_the_data_is_code(page: Chromium) -> None:
    assert page.run("document.querySelector('[data-number=\"2\"]').rows[0].cells[2].textContent") == HOSTILE
    assert (
        page.run("performance.getEntriesByType('resource').filter(e => !e.name.startsWith('data:')).length")
        == 0
    )


@browser_needed
def test_the_cursor_goes_through_film_and_curve(page: Chromium) -> None:
    page.until("films[0].picture && films[0].picture.naturalWidth > 0")
    page.move(*page.place("[data-number='1'] .curve", 20.5 / 40))
    assert (
        page.run("document.querySelector('[data-number=\"1\"] .cursor span').textContent") == "1.0 s · 0.50"
    )
    assert "episode 1, frame 20 of 40" in page.run("document.getElementById('caption').textContent")
    names = "[...document.querySelectorAll('#views figcaption')].map(c => c.textContent)"
    assert sorted(page.run(names)) == ["hand eye", "workspace"]
    page.key("ArrowRight")
    assert page.run("current.frame") == 21
    page.key("ArrowDown")
    assert page.run("current.data.number") == 2
    page.click("#play")
    page.until("current.frame > 3")


@browser_needed
def test_the_films_are_drawn(page: Chromium, data: Path) -> None:
    """What is on the strip is the episode: its middle tile has the colours of the recorded frame."""
    page.until("films[0].picture && films[0].picture.naturalWidth > 0")
    page.run("document.getElementById('camera').value = 'workspace'")
    page.run("document.getElementById('camera').dispatchEvent(new Event('change'))")
    page.move(*page.place("[data-number='0'] .strip", 20.5 / 40))
    corner = (
        "[...document.querySelector('#views .large canvas').getContext('2d').getImageData(2, 2, 1, 1).data]"
    )
    np.testing.assert_allclose(page.run(corner)[:3], [60, 60, 60], atol=6)
    strip = "document.querySelector('[data-number=\"0\"] .strip')"
    reds = f"[...{strip}.getContext('2d').getImageData(0, 0, {strip}.width, {strip}.height).data]"
    pixels = np.array(page.run(reds)).reshape(-1, 4)
    assert ((pixels[:, 0] > 180) & (pixels[:, 1] < 80)).any() and (
        (pixels[:, 1] > 160) & (pixels[:, 0] < 80)
    ).any()


@browser_needed
def test_export_by_rule_is_the_commands(page: Chromium, data: Path, tmp_path: Path, downloads: Path) -> None:
    """The browser and the command line say the same."""
    page.run("document.getElementById('least').value = 0.5")
    page.click("#cut")
    page.click("#tools [type=submit]")
    assert page.run("document.getElementById('count').textContent") == "4 of 4 shown, 3 kept"
    page.click("#export")
    page.click("#download")
    saved = downloads / "keep.json"
    end = time.monotonic() + 10
    while not (saved.exists() and saved.stat().st_size) and time.monotonic() < end:
        time.sleep(0.02)
    words = ["keep.final=.5", "keep.cut=true", f"keep.file={tmp_path / 'keep.json'}"]
    look(data, tmp_path / "again.html", *words)
    found = json.loads((tmp_path / "keep.json").read_text())
    assert json.loads(saved.read_text()) == found
    assert found["keep"] == [0, 1, 3] and found["exclude"] == [2]
    assert found["data.exclude"] == "data.exclude=[2]"
    assert re.search(
        r"--root '.*/my data' .*--operation.episode_indices \"\[2\]\"$", found["lerobot-edit-dataset"]
    )
    pause = [part for part in found["segments"] if part["episode"] == 1]
    assert len(pause) == 2 and pause[0]["start"] == 0 and pause[1]["end"] == 39
    assert 8 <= pause[0]["end"] <= 11 and 29 <= pause[1]["start"] <= 33


@browser_needed
def test_kept_and_cut_by_hand(page: Chromium) -> None:
    page.click("[data-number='0'] input")
    page.click("[data-number='1'] .curve", 20 / 40)
    found = page.run("kept(about, films.map(film => film.data))")
    assert found["exclude"] == [0] and found["keep"] == [1, 2, 3]
    assert sum(part["episode"] == 1 for part in found["segments"]) == 2
    page.click("[data-number='1'] .curve", 20 / 40)
    again = page.run("kept(about, films.map(film => film.data))")
    assert sum(part["episode"] == 1 for part in again["segments"]) == 1


def test_a_page_without_values(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    look(data, tmp_path / "films.html", "values=false", "episodes=[3,1]", "keep.failures=false")
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["episodes"] == 2 and found["lapses"] == 0 and found["exclude"] == []


def test_a_recording_for_rerun(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "data.rrd"
    if importlib.util.find_spec("rerun") is None:
        with pytest.raises(UserError, match=r"policy-extraction\[rerun\]"):
            look(data, tmp_path / "page.html", f"rerun={path}")
        assert not path.exists()
        return
    look(data, tmp_path / "page.html", f"rerun={path}")
    assert path.read_bytes()[:3] == b"RRF" and path.stat().st_size > 10_000


def test_pictures_take_no_more_than_they_may() -> None:
    images = {"front": np.random.default_rng(0).integers(0, 255, (50, 60, 80, 3), np.uint8)}
    sheets = Sheets(30_000, 4)
    drawn = [sheets.draw(images) for _ in range(4)]
    assert all(drawn) and sum(len(one.uri) for one in drawn if one) <= 30_000
    assert Sheets(100, 1).draw(images) is None and Sheets(100, 1).draw({}) is None


def test_a_sheet_has_a_row_for_each_camera() -> None:
    images = {"a": np.zeros((9, 480, 640, 3), np.uint8), "b": np.zeros((9, 32, 16, 3), np.uint8)}
    sheet = draw_sheet(images, LEVELS[4])
    assert sheet.cameras == [("a", 85, 64), ("b", 16, 32)]
    assert sheet.frames == list(range(9))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["episodes=[7]"], "no episode 7; its episodes go from 0 to 3"),
        (["keep.final=2"], "keep.final=2.0 must lie"),
        (["keep.lapses=-3"], "keep.lapses=-3 must be"),
        (["megabytes=-1"], "megabytes=-1"),
        (["critic=sidecar", "critic.path=none.parquet"], "no progress file"),
    ],
)
def test_mistakes_are_one_line(data: Path, tmp_path: Path, arguments: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        look(data, tmp_path / "page.html", *arguments)
    assert not (tmp_path / "page.html").exists()
