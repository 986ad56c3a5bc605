"""One run: the experiment, its report and the summary."""

from __future__ import annotations

from pathlib import Path

from experiments.artifacts import canonical
from experiments.config import RunConfig
from experiments.pipeline import run_experiment
from experiments.reporting import print_summary, write_report
from experiments.results import run_name, summarize
from experiments.simulators import Simulators
from experiments.tracking import tracked


def run(config: RunConfig) -> None:
    """One experiment and its report under outputs/runs/."""
    name, outputs = run_name(config), Path(config.outputs)
    with tracked(config.wandb, name, outputs, canonical(config)) as tracker, Simulators() as simulators:
        outcome = run_experiment(config, tracker, simulators)
        results = summarize(config, outcome)
        tracker.summary({"before": results["before"], "after": results["after"]})
    folder = outputs / "runs" / name
    write_report(folder, config, outcome, results)
    print_summary(folder, results)
