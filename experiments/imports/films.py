"""Films of robots: a folder of video files, one an episode, or a folder an episode with several views.

    1.mp4  2.mp4 …      one view; numbers beside a film, 1.npz (BridgeData V2 has its actions so)
    0001/0.mp4 0001/1.mp4 … 0001/annotation.json        several views; `texts`, `success`, `states` (DROID)

A table, CSV or parquet, says what the files do not: columns file (the film's or folder's name, with or without its
suffix), instruction, success or outcome (true, false, or nothing: unknown), style.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from envs.errors import UserError, check_choice
from envs.films import film_rate, film_times, frames_at
from envs.store.outcomes import outcome, read_table
from envs.types import Episode
from experiments.imports.source import Numbers, Wanted, episode, require_instruction, rows

FILMS = (".mp4", ".mkv", ".mov", ".avi", ".webm", ".m4v")
NOTES = "annotation.json"
COLUMNS = ("file", "instruction", "success", "outcome", "style")
ACTIONS = ("actions", "action", "arr_0")  # what a table of numbers beside a film may be called
NEXT = "next_state"  # in place of a name: where the state comes to by the next frame


@dataclass(frozen=True)
class Take:
    """One episode: its views, and where its numbers and what is said of it lie, if anywhere."""

    name: str
    views: tuple[Path, ...]
    numbers: Path | None = None
    notes: Path | None = None


class FilmRecordings:
    """The films of a folder. Raises a UserError if there are none, or the table does not fit them."""

    def __init__(self, folder: Path, wanted: Wanted) -> None:
        self._folder, self._wanted = folder, wanted
        self._takes = _takes(folder)
        self._said = _read_said(Path(wanted.table), self._takes) if wanted.table else {}
        for take in self._takes:
            if len(take.views) != len(self._takes[0].views):
                raise UserError(
                    f"{take.name} has {len(take.views)} films, {self._takes[0].name} {len(self._takes[0].views)}; "
                    "put episodes with other views into another folder"
                )
        if wanted.cameras and len(wanted.cameras) != len(self._takes[0].views):
            raise UserError(
                f"cameras= names {len(wanted.cameras)} views, an episode has {len(self._takes[0].views)}; name each"
            )
        for take in self._takes:
            self._told(take, _notes(take))

    def __len__(self) -> int:
        return len(self._takes)

    def __iter__(self) -> Iterator[Episode]:
        for take in self._takes:
            yield self._episode(take)

    def _episode(self, take: Take) -> Episode:
        notes, said = _notes(take), self._said.get(take.name, {})
        times = [film_times(path) for path in take.views]
        short = [path for path, one in zip(take.views, times, strict=True) if len(one) < 2]
        if short:
            raise UserError(f"{short[0]} has fewer than two frames; leave it out")
        rate = self._wanted.fps or _round(film_rate(times[0]))
        images = {
            name: self._frames(path, one, times[0], rate)
            for name, path, one in zip(self._cameras(take), take.views, times, strict=True)
        }
        length = min(len(frames) for frames in images.values())
        if isinstance(
            counted := notes.get("video_length"), int
        ):  # DROID's films go on one frame after the last state
            length = min(length, counted)
        images = {name: frames[:length] for name, frames in images.items()}
        where = f"the row of {take.name} in {self._wanted.table}"
        success = outcome(_first(said, "success", "outcome"), where)
        if success is None:
            success = outcome(notes.get("success"), str(take.notes))
        style = str(said.get("style") or "").strip() or "unknown"
        told = ("unknown", self._told(take, notes), self._wanted.robot or "unknown")
        return episode(images, self._numbers(take, notes, length), success, told, rate, style)

    def _frames(self, path: Path, times: np.ndarray, first: np.ndarray, rate: float) -> np.ndarray:
        """The pictures at a steady rate: all of them where the user says the rate, else by their time stamps."""
        steady = times[0] + np.arange(1 + int((first[-1] - first[0]) * rate + 0.5)) / rate
        due = times if self._wanted.fps else steady
        return np.stack(list(frames_at(path, due, np.inf)))

    def _cameras(self, take: Take) -> tuple[str, ...]:
        several = tuple(f"view{number}" for number in range(len(take.views)))
        return self._wanted.cameras or (several if len(take.views) > 1 else ("front",))

    def _told(self, take: Take, notes: Mapping[str, Any]) -> str:
        texts = notes.get("texts") or [notes.get("instruction") or ""]
        text = str(self._said.get(take.name, {}).get("instruction") or "") or self._wanted.instruction
        return require_instruction(text or str(texts[0]), take.name)

    def _numbers(self, take: Take, notes: Mapping[str, Any], length: int) -> Numbers:
        nothing = np.zeros((length, 0), np.float32)
        keys = self._wanted.state or (("states",) if "states" in notes else ())
        for key in keys:
            check_choice(f"number in {take.name} for state=", key, notes)
        felt = [rows(notes[key], length, f"{key} of {take.notes}") for key in keys]
        state = np.concatenate(felt, axis=1) if felt else nothing
        if named := self._wanted.action:
            return Numbers(state, self._named_actions(named, take, notes, state))
        if take.numbers is not None:
            return Numbers(state, rows(_array(take.numbers), length, str(take.numbers)))
        return Numbers(
            state, rows(notes["actions"], length, str(take.notes)) if "actions" in notes else nothing
        )

    def _named_actions(
        self, name: str, take: Take, notes: Mapping[str, Any], state: np.ndarray
    ) -> np.ndarray:
        """Those that the user names, or the next state of every frame; at the last it stays."""
        if name != NEXT:
            check_choice(f"number in {take.name} for action=", name, (*notes, NEXT))
            return rows(notes[name], len(state), f"{name} of {take.notes}")
        if not state.shape[1]:
            raise UserError(
                f"{take.name} tells no state, so action={NEXT} has nothing to go by; leave it out"
            )
        return np.concatenate([state[1:], state[-1:]])


def _takes(folder: Path) -> list[Take]:
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in FILMS)
    parts = sorted(part for part in folder.iterdir() if part.is_dir())
    takes = [
        Take(path.stem, (path,), numbers if (numbers := path.with_suffix(".npz")).is_file() else None)
        for path in files
    ]
    for part in parts:
        views = tuple(sorted(path for path in part.iterdir() if path.suffix.lower() in FILMS))
        if views:
            takes.append(Take(part.name, views, notes=notes if (notes := part / NOTES).is_file() else None))
    if not takes:
        raise UserError(
            f"{folder} has no films: it needs video files ({', '.join(FILMS)}), or folders of them, one an episode"
        )
    return takes


def _read_said(path: Path, takes: list[Take]) -> dict[str, dict[str, Any]]:
    """{take: its row} of the user's table."""
    table = read_table(path)
    unknown = sorted(set(table.column_names) - set(COLUMNS))
    if unknown or "file" not in table.column_names:
        what = f"a column {unknown[0]!r}" if unknown else "no column 'file'"
        raise UserError(f"{path} has {what}; its columns are {', '.join(COLUMNS)}")
    names = {take.name: take.name for take in takes}
    names |= {view.name: take.name for take in takes for view in take.views if len(take.views) == 1}
    said: dict[str, dict[str, Any]] = {}
    for line, row in enumerate(table.to_pylist(), start=1):
        file = str(row["file"])
        if isinstance(row["file"], int):  # 0001 is read as a number
            file = next((name for name in names if name.isdigit() and int(name) == row["file"]), file)
        if file not in names:
            raise UserError(
                f"{path}, row {line}: there is no film {file!r}; there are {', '.join(list(names)[:5])} …"
            )
        if names[file] in said:
            raise UserError(f"{path}, row {line}: {file} stands there twice; write it once")
        outcome(_first(row, "success", "outcome"), f"{path}, row {line}")
        said[names[file]] = row
    return said


def _notes(take: Take) -> dict[str, Any]:
    if take.notes is None:
        return {}
    try:
        content = json.loads(take.notes.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(
            f"{take.notes} is not valid JSON ({error}); download it again or leave it out"
        ) from error
    if not isinstance(content, dict):
        raise UserError(f"{take.notes} is no JSON object; download it again or leave it out")
    return content


def _array(path: Path) -> np.ndarray:
    try:
        with np.load(path, allow_pickle=False) as content:
            name = next((name for name in ACTIONS if name in content.files), None)
            if name is None:
                raise UserError(
                    f"{path} has no array {' or '.join(ACTIONS)}; it has {', '.join(content.files)}"
                )
            return content[name]
    except (OSError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(
            f"{path} is no whole npz file ({error}); leave it out or download it again"
        ) from error


def _first(row: Mapping[str, Any], *names: str) -> Any:
    return next((row[name] for name in names if row.get(name) is not None), None)


def _round(rate: float) -> float:
    """A whole rate where the time stamps, which are rounded, mean one."""
    return float(round(rate)) if abs(rate - round(rate)) < 0.005 * rate else rate
