"""The pictures of a report, from plain arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # no screen
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from envs.files import atomic_file
from envs.store.video import CODECS, VideoWriter
from envs.types import Segment
from experiments.lab.statistics import Interval

INK, MUTED, GRID = "#1f2933", "#7b8794", "#e4e7eb"
BEFORE, AFTER, TRUTH, FAULT = "#9aa5b1", "#1d6fb8", "#d9822b", "#fbe3c4"
STRIP_FRAMES = 8  # of square pictures
STYLE = {
    "figure.dpi": 130,
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "text.color": INK,
    "legend.frameon": False,
}


@dataclass(frozen=True)
class ValueCurve:
    """One episode for the picture of the critic.

    frames: uint8 [T, H, W, 3]; values: float32 [T]; truth: float32 [T], or None where it is not known.
    """

    title: str
    frames: np.ndarray
    values: np.ndarray
    truth: np.ndarray | None
    segments: tuple[Segment, ...]


def save(figure: Figure, path: Path) -> None:
    """Write a PNG atomically and free the figure."""
    with atomic_file(path) as temporary:
        figure.savefig(temporary, format="png", bbox_inches="tight", facecolor="white")
    plt.close(figure)


def draw_values(curves: Sequence[ValueCurve], critic: str, path: Path) -> None:
    """The critic's values under a film strip, an episode a row; suboptimal stretches are shaded."""
    with plt.rc_context(STYLE):
        figure = plt.figure(figsize=(8.4, 2.95 * len(curves)))
        grid = figure.add_gridspec(len(curves), hspace=0.38)
        for row, curve in enumerate(curves):
            cell = grid[row]
            upper, lower = cell.subgridspec(2, 1, height_ratios=[1.2, 1.4], hspace=0.1)
            _draw_strip(figure.add_subplot(upper), curve)
            _draw_curve(figure.add_subplot(lower), curve, critic, last=row == len(curves) - 1)
        save(figure, path)


def draw_film(curve: ValueCurve, critic: str, path: Path, fps: float) -> None:
    """An mp4 of the frames with the value growing beside them, at `fps` frames a second."""
    with plt.rc_context(STYLE | {"figure.dpi": 100}):
        aspect = curve.frames.shape[2] / curve.frames.shape[1]
        figure = plt.figure(figsize=(5.2 + 2.4 * aspect, 2.8))
        picture, axes = figure.subplots(1, 2, width_ratios=(2.4 * aspect, 4.6))
        shown = picture.imshow(curve.frames[0], interpolation="bilinear")
        picture.set_axis_off()
        _draw_curve(axes, curve, critic, last=True)
        axes.set_title(curve.title)
        grown, (dot,) = axes.lines[-1], axes.plot([], [], "o", color=AFTER, ms=5)
        figure.tight_layout()
        canvas = FigureCanvasAgg(figure)
        width, height = (size // 2 * 2 for size in canvas.get_width_height())
        with atomic_file(path) as temporary:
            writer = VideoWriter(temporary, CODECS["h264"], fps, height, width)
            for time, frame in enumerate(curve.frames):
                shown.set_data(frame)
                grown.set_data(np.arange(time + 1), curve.values[: time + 1])
                dot.set_data([time], [curve.values[time]])
                canvas.draw()
                writer.add(np.asarray(canvas.buffer_rgba())[None, :height, :width, :3])
            writer.close()
        plt.close(figure)


def _draw_strip(axes: Axes, curve: ValueCurve) -> None:
    length, height, width = curve.frames.shape[:3]
    edges = np.linspace(0, length, max(2, round(STRIP_FRAMES * height / width)) + 1)
    middles = ((edges[:-1] + edges[1:]) / 2).astype(int)
    for left, right, frame in zip(edges[:-1], edges[1:], curve.frames[middles], strict=True):
        gap = 0.03 * (right - left)
        axes.imshow(frame, extent=(left + gap, right - gap, 0, 1), aspect="auto", interpolation="bilinear")
    axes.set(xlim=(0, length), ylim=(0, 1), title=curve.title)
    axes.set_axis_off()


def _draw_curve(axes: Axes, curve: ValueCurve, critic: str, last: bool) -> None:
    for number, segment in enumerate(curve.segments):
        label = segment.kind if number == 0 else None
        axes.axvspan(segment.start, segment.end, color=FAULT, lw=0, label=label)
    if curve.truth is not None:
        axes.plot(curve.truth, color=TRUTH, lw=1.4, ls=(0, (4, 2)), label="true progress")
    axes.plot(curve.values, color=AFTER, lw=1.8, label=f"value ({critic})")
    axes.set(xlim=(0, len(curve.values)), ylim=(-0.03, 1.03), ylabel="value")
    axes.set_yticks([0, 0.5, 1])
    axes.legend(loc="upper left", fontsize=7.5, ncols=3, borderaxespad=0.2)
    if last:
        axes.set_xlabel("frame")


def draw_weights(weights: Mapping[str, np.ndarray], advantages: Mapping[str, np.ndarray], path: Path) -> None:
    """What the method made of the styles: distribution of weights and of advantages, {style: float32 [n]}."""
    with plt.rc_context(STYLE):
        figure, (left, right) = plt.subplots(1, 2, figsize=(8.4, 0.42 * len(weights) + 1.3), sharey=True)
        _draw_boxes(left, advantages, "Advantage of a chunk")
        _draw_boxes(right, weights, "Weight in the loss (mean in figures)")
        limit = max(1.15 * right.get_xlim()[1], 0.1)
        for row, values in enumerate(weights.values()):
            right.text(limit, row, f"{values.mean():.2f}", ha="right", va="center", fontsize=8.5)
        right.set_xlim(min(0.0, right.get_xlim()[0]), limit)
        left.axvline(0, color=MUTED, lw=0.8)
        left.invert_yaxis()
        save(figure, path)


def _draw_boxes(axes: Axes, groups: Mapping[str, np.ndarray], title: str) -> None:
    axes.boxplot(
        [np.asarray(values, float) for values in groups.values()],
        positions=range(len(groups)),
        orientation="horizontal",
        widths=0.55,
        whis=(5, 95),
        showfliers=False,
        showmeans=True,
        patch_artist=True,
        boxprops={"facecolor": "#cfe3f5", "edgecolor": AFTER},
        medianprops={"color": AFTER, "lw": 1.8},
        whiskerprops={"color": AFTER},
        capprops={"color": AFTER},
        meanprops={"marker": "o", "markersize": 4, "markerfacecolor": TRUTH, "markeredgecolor": "white"},
    )
    axes.set_yticks(range(len(groups)), list(groups))
    axes.set_title(title)
    axes.grid(axis="y", visible=False)


def draw_success(
    rates: Mapping[str, Interval], lengths: Mapping[str, np.ndarray], horizon: int, path: Path
) -> None:
    """Success before and after, and how soon it comes.

    Args:
        rates: {label: success within the horizon}.
        lengths: {label: control steps to success [E], infinite for failures}.
        horizon: control steps at which success is counted.
    """
    colours = [BEFORE, AFTER, TRUTH, "#3c9d6b", "#8a5fb5", "#c4504f", "#4a4a8a", "#8c7a3d"]
    with plt.rc_context(STYLE):
        figure, (left, right) = plt.subplots(1, 2, figsize=(8.4, 3.0), gridspec_kw={"width_ratios": [1, 1.7]})
        for column, (rate, colour) in enumerate(zip(rates.values(), colours, strict=False)):
            errors = [[max(rate.mean - rate.low, 0)], [max(rate.high - rate.mean, 0)]]
            left.bar(column, rate.mean, width=0.6, color=colour)
            left.errorbar(column, rate.mean, errors, color=INK, capsize=4, lw=1.2)
            left.text(column + 0.06, rate.mean + 0.015, f" {100 * rate.mean:.0f} %", va="bottom", fontsize=9)
        left.set_xticks(range(len(rates)), list(rates))
        left.set(ylim=(0, 1.08), title=f"Success within {horizon} steps")
        left.grid(axis="x", visible=False)
        for (label, steps), colour in zip(lengths.items(), colours, strict=False):
            finite = np.sort(steps[np.isfinite(steps)])
            share = np.arange(len(finite) + 1) / len(steps)
            end = max(horizon, int(finite[-1]) if len(finite) else 0)
            right.step(
                [0, *finite, end], [*share, share[-1]], where="post", color=colour, lw=1.8, label=label
            )
        right.axvline(horizon, color=MUTED, lw=0.9, ls=":")
        right.set(ylim=(0, 1.08), xlim=(0, None), xlabel="control steps", title="Share solved by then")
        right.legend(loc="upper left")
        save(figure, path)


def draw_foretold(panels: Mapping[str, Mapping[str, np.ndarray]], names: Sequence[str], path: Path) -> None:
    """The action error on held-out episodes.

    Args:
        panels: {which chunks: {"before", "after", "usual": shares of the actions' range, float [E], NaN for none}}.
        names: of the E episodes.
    """
    with plt.rc_context(STYLE):
        figure, drawn = plt.subplots(1, len(panels), figsize=(8.4, 2.8), squeeze=False, sharey=True)
        place = np.arange(len(names))
        for axes, (title, errors) in zip(drawn[0], panels.items(), strict=True):
            ends = 100 * np.stack([errors["before"], errors["after"]])
            axes.vlines(place, ends.min(axis=0), ends.max(axis=0), color=GRID, lw=3, zorder=1)
            axes.plot(place, 100 * errors["usual"], "_", color=TRUTH, ms=12, label="median action")
            axes.plot(place, ends[0], "o", color=BEFORE, ms=5, label="before")
            axes.plot(place, ends[1], "o", color=AFTER, ms=5, label="after")
            axes.set(title=f"Action error, {title} chunks", xlabel="held-out episode", ylim=(0, None))
            shown = place[:: max(1, len(names) // 8)]
            axes.set_xticks(shown, [names[at] for at in shown])
        drawn[0, 0].set_ylabel("% of the range")
        drawn[0, -1].legend(fontsize=7.5, loc="center left", bbox_to_anchor=(1, 0.5))
        save(figure, path)


def draw_training(updates: np.ndarray, curves: Mapping[str, np.ndarray], path: Path) -> None:
    """The learning curve: {metric: float [n]} at the numbers of updates [n]; one panel a metric."""
    with plt.rc_context(STYLE):
        figure, panels = plt.subplots(1, len(curves), figsize=(8.4, 2.4), squeeze=False)
        for axes, (name, values) in zip(panels[0], curves.items(), strict=True):
            axes.plot(updates, values, color=AFTER, lw=1.5, marker="o" if len(values) < 20 else None, ms=3)
            axes.set(title=name, xlabel="updates")
        figure.tight_layout()
        save(figure, path)


def draw_comparison(rates: Mapping[str, Interval], path: Path) -> None:
    """Success of every row of a comparison with its interval."""
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(7.2, 0.42 * len(rates) + 1.0))
        for row, rate in enumerate(rates.values()):
            axes.barh(row, rate.mean, height=0.6, color=AFTER, alpha=0.85)
            errors = [[max(rate.mean - rate.low, 0)], [max(rate.high - rate.mean, 0)]]
            axes.errorbar(rate.mean, row, xerr=errors, color=INK, capsize=3, lw=1.2)
            axes.text(1.02, row, f"{100 * rate.mean:.0f} %", va="center")
        axes.set_yticks(range(len(rates)), list(rates))
        axes.set(xlim=(0, 1.0), title="Success")
        axes.grid(axis="y", visible=False)
        axes.invert_yaxis()
        save(figure, path)
