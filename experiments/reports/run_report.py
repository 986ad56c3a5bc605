"""A run's report: a page, Markdown, JSON and pictures in one folder, and the summary that is printed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from envs.files import atomic_file
from experiments.outcome import Labelled, Outcome
from experiments.reports.figures import ValueCurve, draw_success, draw_training, draw_values, draw_weights
from experiments.reports.held_out import draw_held_out, held_out_headline, held_out_text
from experiments.reports.hypertext import table
from experiments.reports.results import sample_weights, styles_of
from experiments.reports.run_page import write_run_page
from experiments.settings.config import RunConfig
from value_model.critic.metrics.episodes import known_progress

SHOWN_STYLES = ("clean", "hesitation", "retry", "failure")
HEADLINE = (
    "expert_voc",
    "hesitation_rmse",
    "retry_voc",
    "static_voc",
    "static_drift",
)  # of a critic's metrics


def write_report(folder: Path, config: RunConfig, outcome: Outcome, results: Mapping[str, Any]) -> None:
    """Write report.html, report.md, results.json and the pictures into `folder`, over those of an earlier report."""
    folder.mkdir(parents=True, exist_ok=True)
    pictures = _draw(folder, config, outcome, results)
    shutil.rmtree(folder / "videos", ignore_errors=True)
    if outcome.videos is not None:
        shutil.copytree(outcome.videos, folder / "videos")
    text = markdown(results, pictures)
    for name, content in {"results.json": json.dumps(results, indent=1), "report.md": text}.items():
        with atomic_file(folder / name) as temporary:
            temporary.write_text(content + "\n")
    write_run_page(folder, text, outcome.labelled, results["choices"]["critic"])


def _draw(folder: Path, config: RunConfig, outcome: Outcome, results: Mapping[str, Any]) -> list[str]:
    """Draw what there is to draw; the names of the pictures."""
    pictures = ["training.png"]
    sides = {"before": outcome.before, "after": outcome.after}
    rates = {label: rate for label, side in sides.items() if side and (rate := side.rate())}
    steps = {label: side.steps for label, side in sides.items() if side and label in rates}
    if rates and outcome.after:
        draw_success(rates, steps, outcome.after.horizon, folder / "success.png")
        pictures += ["success.png"]
    if outcome.held_out:
        draw_held_out(outcome.held_out, folder / "held_out.png")
        pictures += ["held_out.png"]
    updates = np.array([entry["updates"] for entry in outcome.history])
    names = [n for n in ("loss", "log_prob", "reward", "success") if n in outcome.history[-1]]
    curves = {n: np.array([entry.get(n, np.nan) for entry in outcome.history]) for n in names}
    draw_training(updates, curves, folder / "training.png")
    if outcome.labelled is not None:
        labelled, styles = outcome.labelled, styles_of(outcome.labelled)
        weights = sample_weights(config.method, labelled.samples, labelled.selected, labelled.batch())
        known = ~np.isnan(labelled.samples.advantage)
        by_style = {str(style): styles == style for style in dict.fromkeys(styles.tolist())}
        draw_weights(
            {style: weights[mine] for style, mine in by_style.items()},
            {style: labelled.samples.advantage[mine & known] for style, mine in by_style.items()},
            folder / "weights.png",
        )
        draw_values(_curves(labelled), results["choices"]["critic"], folder / "values.png")
        pictures += ["weights.png", "values.png"]
    return pictures


def _curves(labelled: Labelled) -> list[ValueCurve]:
    """One episode of every style that is shown, the first of each."""
    store = labelled.data.open()
    infos = [store.episode_info(index) for index in range(len(store))]
    first = {info.style: info.index for info in reversed(infos)}
    chosen = [first[style] for style in SHOWN_STYLES if style in first] or [0]
    camera = "workspace" if "workspace" in store.cameras else store.cameras[0]
    curves = []
    for index in chosen:
        episode = store.episode(index, cameras=(camera,))
        values, title = labelled.labels.values[index], f"{episode.style} (episode {index})"
        truth = known_progress(episode)
        curves.append(ValueCurve(title, episode.images[camera], values, truth, episode.segments))
    return curves


def markdown(results: Mapping[str, Any], pictures: Sequence[str]) -> str:
    """The report as text."""
    choices = results["choices"]
    parts = [f"# {results['name']}", _headline(results)]
    picture = "![Success before and after](success.png)" if "success.png" in pictures else ""
    if results["held_out"]:
        parts += ["## Held-out episodes", "![Errors before and after](held_out.png)"]
        parts += held_out_text(results["held_out"])
    else:
        parts += ["## Success", picture, _success_table(results)]
    if results["data"]:
        parts += ["## Data", _data_table(results["data"])]
        parts += [f"## Critic: {choices['critic']}", _critic_text(results["critic"])]
        parts += ["![Values over film strips](values.png)"]
        parts += [
            f"## Weights by {choices['method']}",
            "![Weights](weights.png)",
            _weights_table(results["weights"]),
        ]
    elif results["critic"]["metrics"]:
        parts += [f"## Critic: {choices['critic']}", _critic_text(results["critic"])]
    parts += ["## Training", "![Learning curve](training.png)", _step_table(results["step"])]
    parts += ["## Settings", f"```json\n{json.dumps(results['settings'], indent=1)}\n```"]
    return "\n\n".join(part for part in parts if part)


def _step_table(step: Mapping[str, Any] | None) -> str:
    """What an iteration costs."""
    if step is None:
        return ""
    seconds = step["seconds"]
    rows = [[name, f"{one:.2f}"] for name, one in seconds.items()]
    rows += [["all", f"{sum(seconds.values()):.2f}"], ["peak memory, GB", f"{step['peak_gb']:.2f}"]]
    return table(["an iteration, median", "s"], rows)


def points(difference: Mapping[str, float] | None) -> str:
    """`+12 [+3, +21]`: a difference of rates with its interval; "–" where there is none."""
    if difference is None:
        return "–"
    low, high = 100 * difference["low"], 100 * difference["high"]
    return f"{100 * difference['mean']:+.0f} [{low:+.0f}, {high:+.0f}]"


def percent(rate: Mapping[str, float] | None) -> str:
    """`85 % [73, 92]`: a rate with its interval; "unknown" where there is none."""
    if rate is None:
        return "unknown"
    return f"{100 * rate['mean']:.0f} % [{100 * rate['low']:.0f}, {100 * rate['high']:.0f}]"


def _headline(results: Mapping[str, Any]) -> str:
    choices, after, before = results["choices"], results["after"], results["before"]
    if results["held_out"]:
        return (
            f"{choices['method']} on {results['place']}, policy {choices['policy']}, critic {choices['critic']}, without "
            f"an environment: **success was not measured**. {held_out_headline(results['held_out'])} "
            f"It took {results['seconds']:.0f} s."
        )
    start = f" (before: {percent(before['success'])})" if before else ""
    if after["success"] is None:
        return (
            f"{choices['method']} on {results['place']}, policy {choices['policy']}: the environment does not say whether "
            f"its task is solved. **Mean return {after['mean_return']:.4g}**"
            f"{_return_before(before)} over {after['episodes']} episodes of up to {after['horizon']} control steps. "
            f"It took {results['seconds']:.0f} s."
        )
    return (
        f"{choices['method']} on {results['place']}, policy {choices['policy']}, critic {choices['critic']}: "
        f"**{percent(after['success'])}**{start} of {after['episodes']} episodes solved within "
        f"{after['horizon']} control steps; 95 % intervals (Wilson).{_resets(after)} It took {results['seconds']:.0f} s."
    )


def _resets(found: Mapping[str, Any]) -> str:
    if not found["resets"]:
        return ""
    return " The scene was brought back {by_expert} times by the expert, {by_hand} by hand.".format(
        **found["resets"]
    )


def _return_before(before: Mapping[str, Any] | None) -> str:
    return f" (before: {before['mean_return']:.4g})" if before else ""


def _success_table(results: Mapping[str, Any]) -> str:
    sides = {side: results[side] for side in ("before", "after") if results[side]}
    horizons = list(results["after"]["horizons"])
    rows = [
        [
            side,
            *(percent(found["horizons"][steps]) for steps in horizons),
            _length(found),
            f"{found['mean_return']:.4g}",
            counted(found["failures"]),
        ]
        for side, found in sides.items()
    ]
    head = ["", *(f"within {steps} steps" for steps in horizons), "median length of successes", "mean return"]
    return table([*head, "the object of the others"], rows)


def counted(failures: Mapping[str, int]) -> str:
    """`3 untouched, 1 dropped`; – where nothing is known."""
    return ", ".join(f"{count} {name}" for name, count in failures.items()) or "–"


def _length(found: Mapping[str, Any]) -> str:
    length = found["median_length_of_successes"]
    return "–" if length is None else f"{length:.0f} steps"


def _data_table(data: Mapping[str, Any]) -> str:
    rows = [
        [
            style,
            found["episodes"],
            found["frames"],
            f"{found['mean_length']:.0f}",
            _success(found),
        ]
        for style, found in data["styles"].items()
    ]
    return (
        table(["style", "episodes", "frames", "mean length", "success"], rows) + f"\n\nIn `{data['folder']}`."
    )


def _success(found: Mapping[str, Any]) -> str:
    """The share of solved episodes, among those whose outcome is known."""
    if found["success"] is None:
        return "unknown"
    share = f"{100 * found['success']:.0f} %"
    return f"{share}, {found['unknown']} unknown" if found["unknown"] else share


def _critic_text(critic: Mapping[str, Any]) -> str:
    parts = []
    if labelling := critic["labelling"]:
        parts.append(_labelling_text(labelling))
    if metrics := critic["metrics"]:
        parts.append("On held-out episodes:")
        parts.append(_metrics_table(metrics))
    return "\n\n".join(parts)


def _labelling_text(report: Mapping[str, Any]) -> str:
    if report["frames_per_s"] is None:
        return f"The values of all {report['frames']} frames were known from an earlier labelling."
    return f"Labelled {report['frames']} frames in {report['seconds']:.1f} s ({report['frames_per_s']:.0f} frames/s)."


def _metrics_table(metrics: Mapping[str, float]) -> str:
    """Every metric with its number of episodes and the share of those in which it is undefined."""
    names = [name for name in metrics if not name.endswith(("_count", "_undefined"))]
    rows = [
        [name, _number(metrics[name]), *(_known(metrics, f"{name}_{of}") for of in ("count", "undefined"))]
        for name in names
    ]
    return table(["metric", "value", "episodes", "undefined"], rows)


def _known(metrics: Mapping[str, float], name: str) -> str:
    return _number(metrics[name]) if name in metrics else ""


def _number(value: float) -> str:
    return f"{value:.3f}" if isinstance(value, float) and not value.is_integer() else f"{value:.0f}"


def _weights_table(weights: Mapping[str, Any]) -> str:
    rows = [
        [
            style,
            *(
                "–" if found[kind] is None else f"{found[kind][key]:.3f}"
                for kind in ("advantage", "weight")
                for key in ("mean", "low", "median", "high")
            ),
            found["unknown"],
        ]
        for style, found in weights.items()
    ]
    head = [
        f"{kind}: {key}" for kind in ("advantage", "weight") for key in ("mean", "25 %", "median", "75 %")
    ]
    return table(["style", *head, "advantage unknown"], rows)


def _summary(found: Mapping[str, Any]) -> str:
    if found["success"] is None:
        return f"mean return {found['mean_return']:.4g} of {found['episodes']} episodes; success unknown"
    return f"{percent(found['success'])} of {found['episodes']} episodes within {found['horizon']} steps"


def print_summary(folder: Path, results: Mapping[str, Any]) -> None:
    """The few lines that a run ends with, on stdout."""
    after, before = results["after"], results["before"]
    if results["critic"]["metrics"]:
        metrics = results["critic"]["metrics"]
        shown = ", ".join(f"{name} {_number(metrics[name])}" for name in HEADLINE if name in metrics)
        print(f"critic   {shown}")
    if results["weights"]:
        means = {style: found["weight"]["mean"] for style, found in results["weights"].items()}
        unknown = sum(
            found["unknown"] for style, found in results["weights"].items() if ", lapse" not in style
        )
        if unknown:
            print(f"unknown  the advantages of {unknown} action chunks")
        print("weights  " + ", ".join(f"{style} {mean:.2f}" for style, mean in means.items()))
    if judge := results["judge"]:
        print("judge    " + ", ".join(f"{name} {value:.3g}" for name, value in judge.items()))
    if step := results["step"]:
        spent = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in step["seconds"].items())
        print(f"step     {spent}; {step['peak_gb']:.1f} GB")
    for name, found in (("before", before), ("after", after)):
        if found:
            print(f"{name:8} {_summary(found)}")
    if results["held_out"]:
        print(f"held out {held_out_headline(results['held_out'])} Success was not measured.")
    print(f"report   {folder / 'report.html'}")
