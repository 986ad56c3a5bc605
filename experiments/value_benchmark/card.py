"""The data card of the value benchmark: what is in the folder, for people who do not have this project."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from envs.store import EpisodeInfo, Store
from experiments.value_benchmark.episodes import (
    EXTRA,
    HELD_OUT_ROBOTS,
    HELD_OUT_TASKS,
    SUBOPTIMAL,
    BenchData,
    Combination,
    in_group,
)

TEMPLATE = Path(__file__).with_name("card.md")


def card(data: BenchData, store: Store, infos: Sequence[EpisodeInfo], redraws: int) -> str:
    """The text of README.md.

    Args:
        infos: of all trajectories; redraws: how many were drawn anew because they did not end as meant.
    """
    styles = Counter(info.style for info in infos)
    what = (
        "The benchmark."
        if data.is_benchmark
        else "**A smaller or other set than the benchmark**, for trying things out."
    )
    names = [*SUBOPTIMAL, *EXTRA]
    counts = Counter((info.task, info.robot, info.style) for info in infos)
    rows = [
        [one.task, one.robot, *(str(counts[one.task, one.robot, style]) for style in names)]
        for one in data.chosen
    ]
    return TEMPLATE.read_text().format(
        name=data.name,
        what=what,
        episodes=len(infos),
        frames=store.total_frames,
        combinations=len(data.chosen),
        suboptimal=sum(styles[style] for style in SUBOPTIMAL),
        hesitation=styles["hesitation"],
        retry=styles["retry"],
        fps=store.fps,
        size=data.image_size,
        held_out_robots=", ".join(HELD_OUT_ROBOTS),
        held_out_tasks=", ".join(HELD_OUT_TASKS),
        **{group: _names(data.chosen, group) for group in ("robosuite", "seen", "zero_shot")},
        styles=" | ".join(names),
        rule="---|" * len(names),
        rows="\n".join("| " + " | ".join(row) + " |" for row in rows),
        redraws=redraws,
        command=data.command,
    )


def _names(combinations: Sequence[Combination], group: str) -> str:
    return ", ".join(one.name for one in combinations if in_group(group, one.task, one.robot)) or "none here"
