"""An experiment's findings as plain numbers: what the report prints and `results.json` holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from experiments.choices.environments import measured_in
from experiments.choices.no_env import NoEnv
from experiments.lab.artifacts import canonical, digest
from experiments.lab.provenance import made_by
from experiments.outcome import Labelled, Outcome
from experiments.reports.held_out import held_out_results
from experiments.settings.chosen import Chosen
from experiments.settings.config import StoreData
from experiments.stages.evaluate import Evaluation
from policy_extraction.dataset import Dataset
from policy_extraction.types import Batch, Method


def run_name(chosen: Chosen) -> str:
    """The folder of a run: what was chosen, and a digest that tells runs with other settings apart."""
    config = chosen.config
    if config.name:
        return config.name
    parts = [chosen.names[group].replace(":", ".") for group in ("method", "policy", "critic")]
    return "-".join([place(chosen), *parts, f"seed{config.seed}", digest(config)[:6]])


def place(chosen: Chosen) -> str:
    """Where success is measured: the task in robosuite, or another environment's name; of recordings alone, theirs."""
    config = chosen.config
    if isinstance(config.env, NoEnv) and isinstance(config.data, StoreData):
        return config.data.folder.resolve().name
    return measured_in(config.env, config.evaluate_env).place(config.task)


def sample_weights(method: Method, samples: Dataset, selected: Dataset, batch: Batch) -> np.ndarray:
    """How much every sample counts in the loss, float32 [N] of `samples`; 0 for those that `select` left out.

    −∂ℓ/∂log π of the method's own loss, over all selected samples as one `batch`.
    """
    ones = np.ones(len(selected), np.float32)
    slope = np.asarray(method.loss(np, -ones, batch)) - np.asarray(method.loss(np, 0 * ones, batch))
    place = {
        key: row for row, key in enumerate(zip(samples.episode.tolist(), samples.frame.tolist(), strict=True))
    }
    rows = [place[key] for key in zip(selected.episode.tolist(), selected.frame.tolist(), strict=True)]
    weights = np.zeros(len(samples), np.float32)
    np.add.at(weights, rows, slope.astype(np.float32))
    return weights


def styles_of(labelled: Labelled) -> np.ndarray:
    """The style of every sample's episode: str [N]."""
    store = labelled.data.open()
    names = np.array([store.episode_info(index).style for index in range(len(store))])
    return names[labelled.samples.episode]


def lapses_of(labelled: Labelled) -> np.ndarray:
    """Whether a sample's chunk starts within a marked lapse: bool [N]."""
    store, samples = labelled.data.open(), labelled.samples
    infos = [store.episode_info(index) for index in range(len(store))]
    first = np.cumsum([0, *(info.length for info in infos)])
    lapse = np.zeros(first[-1], bool)
    for info in infos:
        for part in info.segments:
            lapse[first[info.index] + part.start : first[info.index] + part.end + 1] = True
    return lapse[first[samples.episode] + samples.frame]


def summarize(chosen: Chosen, outcome: Outcome) -> dict[str, Any]:
    """Everything that the report says, as JSON data."""
    config, labelled = chosen.config, outcome.labelled
    return {
        "name": run_name(chosen),
        "place": place(chosen),
        "choices": dict(chosen.names),
        "settings": canonical(config),
        "made_by": made_by(),
        "data": _data(labelled) if labelled else None,
        "critic": {
            "metrics": outcome.critic_metrics,
            "labelling": labelled.labels.report if labelled else None,
        },
        "weights": _weights(config.method, labelled) if labelled else None,
        "training": outcome.history[-1] if outcome.history else {},
        "step": step_cost(outcome.history),
        "before": _evaluation(outcome.before, config.evaluate.stretch),
        "after": _evaluation(outcome.after, config.evaluate.stretch),
        "held_out": held_out_results(outcome.held_out) if outcome.held_out else None,
        "judge": dict(outcome.judge),
        "policy": str(outcome.policy),
        "seconds": round(outcome.seconds, 1),
    }


def step_cost(history: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Median seconds of an iteration by what they went to, and the peak memory in GB; None where nothing was timed."""
    timed = [entry for entry in history if "seconds" in entry]
    if not timed:
        return None
    names = dict.fromkeys(name for entry in timed for name in entry["seconds"])
    medians = {name: float(np.median([entry["seconds"].get(name, 0.0) for entry in timed])) for name in names}
    return {"seconds": medians, "peak_gb": max(entry["peak_gb"] for entry in timed)}


def _data(labelled: Labelled) -> dict[str, Any]:
    """What the data set holds, by style; success: of the episodes whose outcome is known, None where there is none."""
    store = labelled.data.open()
    infos = [store.episode_info(index) for index in range(len(store))]
    by_style = {}
    for style in sorted({info.style for info in infos}):
        mine = [info for info in infos if info.style == style]
        known = [info.success for info in mine if info.success is not None]
        by_style[style] = {
            "episodes": len(mine),
            "frames": sum(info.length for info in mine),
            "mean_length": float(np.mean([info.length for info in mine])),
            "success": float(np.mean(known)) if known else None,
            "unknown": len(mine) - len(known),
        }
    return {
        "folder": str(labelled.data.folder),
        "styles": by_style,
        "redraws": labelled.data.report.get("redraws", {}),
    }


def _weights(method: Method, labelled: Labelled) -> dict[str, Any]:
    """Means and quartiles of known advantages and of weights, by style, and within the lapses of a style; None where
    none is known. unknown: how many samples have an unknown advantage.
    """
    styles, lapses = styles_of(labelled), lapses_of(labelled)
    weights = sample_weights(method, labelled.samples, labelled.selected, labelled.batch())
    advantage = labelled.samples.advantage
    known = ~np.isnan(advantage)
    parts = {str(style): styles == style for style in np.unique(styles)}
    parts |= {f"{style}, lapse": lapses & mine for style, mine in parts.items() if (lapses & mine).any()}
    return {
        name: {
            "advantage": _spread(advantage[mine & known]),
            "weight": _spread(weights[mine]),
            "unknown": int((mine & ~known).sum()),
        }
        for name, mine in parts.items()
    }


def _spread(values: np.ndarray) -> dict[str, float] | None:
    if not len(values):
        return None
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
    return {"mean": float(values.mean()), "low": float(low), "median": float(middle), "high": float(high)}


def _evaluation(evaluation: Evaluation | None, stretch: float) -> Mapping[str, Any] | None:
    if evaluation is None:
        return None
    return {
        "horizon": evaluation.horizon,
        "episodes": len(evaluation.seed),
        "success": _rate(evaluation, evaluation.horizon),
        "horizons": {str(steps): _rate(evaluation, steps) for steps in evaluation.horizons(stretch)},
        "median_length_of_successes": evaluation.median_length(),
        "mean_return": float(evaluation.returns.mean()),
        "resets": evaluation.resets,
        "failures": evaluation.failures,
    }


def _rate(evaluation: Evaluation, steps: int) -> Mapping[str, float] | None:
    """Success within so many control steps, with its interval; None where it is not known."""
    rate = evaluation.rate(steps)
    return asdict(rate) if rate else None
