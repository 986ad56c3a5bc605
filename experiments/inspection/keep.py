"""Which episodes and segments of a data set to keep, and how to say so to other tools."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.inspection.episodes import Quality
from experiments.settings.config import require


@dataclass(frozen=True)
class Keep:
    """What is good enough; by default everything is. What is unknown of an episode does not speak against it."""

    final: float = 0.0  # the least last value
    lapses: int = -1  # the most lapses; −1: any number
    stall: float = 0.0  # the most seconds of the longest lapse; 0: any
    failures: bool = True  # keep what is known to have failed
    cut: bool = False  # leave the lapses out of what is kept
    file: str = ""  # where to write what is kept, as JSON; empty: nowhere

    def __post_init__(self) -> None:
        require(0 <= self.final <= 1, f"keep.final={self.final} must lie in [0, 1]")
        require(self.lapses >= -1, f"keep.lapses={self.lapses} must be at least 0, or -1 for any number")
        require(self.stall >= 0, f"keep.stall={self.stall} must not be negative")

    def takes(self, quality: Quality) -> bool:
        """Whether an episode is good enough."""
        return not (
            quality.final < self.final
            or 0 <= self.lapses < len(quality.lapses)
            or 0 < self.stall < quality.stall
            or (quality.info.success is False and not self.failures)
        )

    def segments(self, quality: Quality) -> list[dict[str, int]]:
        """The stretches of an episode to keep: inclusive frames."""
        number, first = quality.info.number, 0
        found = []
        for lapse in quality.lapses if self.cut else ():
            found.append({"episode": number, "start": first, "end": lapse.start - 1})
            first = lapse.end + 1
        found.append({"episode": number, "start": first, "end": quality.info.length - 1})
        return [part for part in found if part["start"] <= part["end"]]


@dataclass(frozen=True)
class Commands:
    """How other tools are told which episodes to leave out; the list of their numbers stands between two texts."""

    ours: tuple[str, str]
    lerobot: tuple[str, str]

    def lines(self, exclude: list[int]) -> dict[str, str]:
        """The words for these tools; empty where nothing is to be left out."""
        if not exclude:
            return {"data.exclude": "", "lerobot-edit-dataset": ""}
        return {
            "data.exclude": f"{self.ours[0]}{','.join(map(str, exclude))}{self.ours[1]}",
            "lerobot-edit-dataset": f"{self.lerobot[0]}{', '.join(map(str, exclude))}{self.lerobot[1]}",
        }


def commands(folder: Path) -> Commands:
    """The words for a data set in `folder`; LeRobot writes what is kept beside it."""
    place = folder.resolve()
    name, kept = place.name, place.with_name(f"{place.name}_kept")
    edit = (
        f"lerobot-edit-dataset --repo_id {shlex.quote(f'local/{name}')} --root {shlex.quote(str(place))} "
        f"--new_repo_id {shlex.quote(f'local/{kept.name}')} --new_root {shlex.quote(str(kept))} "
        '--operation.type delete_episodes --operation.episode_indices "['
    )
    return Commands(("data.exclude=[", "]"), (edit, ']"'))


def kept_json(folder: Path, qualities: Sequence[Quality], keep: Keep) -> dict[str, Any]:
    """What is kept of a data set: the numbers of episodes, those to leave out, the segments, and the words for tools."""
    kept = [quality for quality in qualities if keep.takes(quality)]
    exclude = [quality.info.number for quality in qualities if not keep.takes(quality)]
    return {
        "data_set": str(folder.resolve()),
        "keep": [quality.info.number for quality in kept],
        "exclude": exclude,
        "segments": [part for quality in kept for part in keep.segments(quality)],
        **commands(folder).lines(exclude),
    }
