"""What a critic of one's own recordings is, and how good: MODEL_CARD.md, strips.png and report.html in its folder."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from envs.files import atomic_file
from envs.types import Segment
from experiments.inspection.page import write_page
from experiments.lab.artifacts import canonical
from experiments.lab.provenance import made_by
from experiments.own_critic.made_lapses import Made
from experiments.own_critic.measure import Shown
from experiments.own_critic.split import Part
from experiments.reports.figures import ValueCurve, draw_values
from experiments.reports.hypertext import hypertext
from experiments.reports.run_report import table
from value_model.critic.metrics.episodes import Views, voc

CARD, PAGE, STRIPS, SPLIT = "MODEL_CARD.md", "report.html", "strips.png", "split.json"
MEANINGS = {
    "expert_voc": "value-order correlation of experts; 1: the value rises with time",
    "vroc": "the same played backwards; −1: the value falls",
    "static_drift": "change of the value while the first picture stands still; 0 is right",
    "static_voc": "value-order correlation then, its size; 0 is right",
    "expert_rmse": "root mean squared error of experts' values to t / (T − 1)",
    "success_value": "last value of successes",
    "failure_value": "last value of failures",
    "length_correlation": "rank correlation of experts' scores (last value × VOC) with their lengths; near 0 is right",
    "hesitation_rmse": "error in marked hesitations",
    "retry_voc": "value-order correlation with true progress in marked retries; 1: the value falls where it should",
    "pause_found": "share of experts in which a pause made by hand, a seventh of their length, is found in the values",
    "retrace_found": "the same of a seventh of their length undone and done again",
    "lapses_before": "lapses found in an expert as it is, on average",
    "instruction_top1": "share of experts whose last value is highest under their own instruction",
    "instruction_margin": "by how much it is above the mean under the others",
}


@dataclass(frozen=True)
class Outcome:
    """What came of a training.

    name: of the choice of `critic=`; fit: in words; found: {critic: figures}, the trained one's first; told: see
    `measure.confusion`; seconds: {what: how long}; peak: bytes of memory.
    """

    name: str
    about: str
    fit: str
    found: Mapping[str, Mapping[str, float]]
    told: Mapping[str, Mapping[str, float]]
    seconds: Mapping[str, float]
    peak: int


def write_report(
    folder: Path,
    outcome: Outcome,
    parts: Sequence[Part],
    counted: Mapping[str, Mapping[str, int]],
    drawn: Sequence[ValueCurve],
    arguments: Sequence[str],
    config: Any,
) -> None:
    """Write the report beside the critic.

    Args:
        counted: {side: {kind: episodes}}.
        drawn: curves of held-out episodes.
    """
    draw_values(drawn, outcome.name, folder / STRIPS)
    text = _card(outcome, parts, counted, arguments, config)
    with atomic_file(folder / SPLIT) as temporary:
        temporary.write_text(json.dumps(split_json(parts), indent=1) + "\n")
    with atomic_file(folder / CARD) as temporary:
        temporary.write_text(text, encoding="utf-8")
    told = {
        "title": f"Critic {folder.resolve().name}",
        "facts": outcome.fit,
        "data_set": "",
        "commands": {},
        "keep": {},
    }
    write_page(folder / PAGE, told, [], f'<section class="report">{hypertext(text, folder)}</section>')


def split_json(parts: Sequence[Part]) -> list[dict[str, Any]]:
    """Which episodes of each folder, by their numbers in the data set, the critic has learned from and which not."""
    return [
        {
            "path": str(part.store.folder.resolve()),
            "trained": part.numbers(part.trained),
            "held_out": part.numbers(part.held_out),
        }
        for part in parts
    ]


def telling(videos: Sequence[Shown], views: Sequence[Views], count: int) -> list[tuple[Shown, Views]]:
    """Videos to be drawn: experts from the one with the lowest VOC to the one with the highest, then one of each other
    kind.
    """
    pairs = list(zip(videos, views, strict=True))
    experts = sorted(
        (pair for pair in pairs if pair[0].expert), key=lambda pair: np.nan_to_num(voc(pair[1].base), nan=-1)
    )
    places = np.unique(np.linspace(0, len(experts) - 1, min(count, len(experts))).round().astype(int))
    rest = {
        (video.facts.style, video.facts.success): (video, view) for video, view in pairs if not video.expert
    }
    return [*(experts[place] for place in places), *rest.values()]


def episode_curve(video: Shown, views: Views) -> ValueCurve:
    """A held-out episode as it is."""
    episode, info = video.episode(), video.store.episode_info(video.index)
    frames = episode.images[next(iter(episode.images))]
    ending = {True: "success", False: "failure", None: "unknown outcome"}[video.facts.success]
    kinds = ", ".join([ending, *(segment.kind for segment in video.facts.segments)])
    title = f"{video.store.folder.resolve().name} {info.number}: {video.instruction} ({kinds})"
    return ValueCurve(title, frames, views.base, video.truth, video.facts.segments)


def made_curve(one: Made, values: np.ndarray) -> ValueCurve:
    """A held-out episode with a lapse made by hand."""
    frames = next(iter(one.episode().images.values()))
    info = one.video.store.episode_info(one.video.index)
    title = f"{one.video.store.folder.resolve().name} {info.number}, with a {one.kind} made by hand"
    shaded = Segment("hesitation" if one.kind == "pause" else "retry", one.start, one.end)
    return ValueCurve(title, frames, values, None, (shaded,))


def figures_table(found: Mapping[str, Mapping[str, float]]) -> str:
    """The figures of every critic, a metric a row."""
    names = [name for name in MEANINGS if any(name in figures for figures in found.values())]
    rows = [
        [
            name,
            *(f"{figures[name]:.3f}" if name in figures else "–" for figures in found.values()),
            MEANINGS[name],
        ]
        for name in names
    ]
    return table(["metric", *found, ""], rows)


def _card(
    outcome: Outcome,
    parts: Sequence[Part],
    counted: Mapping[str, Mapping[str, int]],
    arguments: Sequence[str],
    config: Any,
) -> str:
    folders = ", ".join(f"`{part.store.folder}`" for part in parts)
    kinds = list(next(iter(counted.values())))
    sides = table(["", *kinds], [[side, *(of[kind] for kind in kinds)] for side, of in counted.items()])
    spent = ", ".join(f"{what} {seconds:.0f} s" for what, seconds in outcome.seconds.items())
    return f"""# Critic `{outcome.name}` of {folders}

Episodes in, task progress in [0, 1] out, frame by frame. {outcome.about}

**Made by** `python -m experiments.train_critic {shlex.join(arguments)}`; all settings are below.

**What follows from the data.** {outcome.fit[0].upper()}{outcome.fit[1:]}.

{sides}

Experts are undisturbed successes, whose true value is t / (T − 1); that of marked lapses is piecewise linear; of others the
critic learns the video alone. Which episodes are held out is in {SPLIT}.

## Held-out episodes

{figures_table(outcome.found)}

![Film strips of held-out episodes, and the critic's values]({STRIPS})

{_instructions(outcome.told)}**Cost.** {spent}; peak memory {outcome.peak / 1e9:.1f} GB.

**Not for** other robots, cameras or tasks without training on them. To use it: `critic=wvm critic.path=` and this folder.

```json
{json.dumps({**canonical(config), "made_by": made_by()}, indent=1)}
```
"""


def _instructions(told: Mapping[str, Mapping[str, float]]) -> str:
    """The mean last value of what was done under what was said."""
    if not told:
        return ""
    said = sorted({text for row in told.values() for text in row})
    letters = {text: f"({number + 1})" for number, text in enumerate(said)}
    rows = [
        [f"{letters[done]} {done}", *(f"{row[text]:.2f}" if text in row else "–" for text in said)]
        for done, row in sorted(told.items())
    ]
    head = ["done, and said:", *letters.values()]
    return (
        f"Mean last value of what was done, under each instruction that was said:\n\n{table(head, rows)}\n\n"
    )
