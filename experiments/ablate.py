"""The value model's ablations: every variant at equal budget, on the same latents, with several seeds.

    python -m experiments.ablate [seeds=[0,1,2]] [updates=1500] [variants=[full,hl_gauss]]

Prints a table beside the published figures and writes it to outputs/ablate/. Finished trainings are kept: a killed
command is continued by the same command. The last line is JSON.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from envs.files import atomic_file
from experiments.ablation.stage import (
    METRICS,
    measure_variant,
    train_variant,
    training_latents,
    video_latents,
)
from experiments.ablation.variants import VARIANTS, AblateConfig
from experiments.choices.wvm_critics import WVMChoice
from experiments.lab.artifacts import Artifacts, canonical
from experiments.lab.progress import announce
from experiments.lab.provenance import made_by
from experiments.lab.tracking import tracked
from experiments.reports.run_report import table
from experiments.settings.cli import answer, prepare_one
from experiments.settings.command import command
from experiments.settings.compose import store_command
from experiments.stages.mixture import mixture_data
from experiments.value_benchmark.critic import bench_critic
from experiments.value_benchmark.data import get_benchmark
from experiments.value_benchmark.episodes import in_group
from experiments.value_benchmark.measuring import all_infos
from value_model.critic.wvm import WVM


def ablate(arguments: Sequence[str]) -> None:
    """Train what is missing, measure, and show the table.

    Raises:
        UserError: a mistake in the settings, or no trained value model to start from.
    """
    store_command("ablate", AblateConfig)
    config: AblateConfig = prepare_one("ablate", arguments).config
    artifacts = Artifacts(Path(config.outputs) / "artifacts")
    with tracked(config.wandb, "ablate", Path(config.outputs), canonical(config)) as tracker:
        found = run_variants(config, artifacts, tracker)
        tracker.summary({name: {m: float(np.mean(v)) for m, v in f.items()} for name, f in found.items()})
    shown = table(
        ["variant", *METRICS, "published RMSE / retry / expert"],
        [_row(name, scores) for name, scores in found.items()],
    )
    print(shown)
    result = {
        "updates": config.updates,
        "batch": config.batch,
        "seeds": config.seeds,
        "rows": found,
        "made_by": made_by(),
    }
    folder = Path(config.outputs) / "ablate"
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in {"table.md": shown + "\n", "table.json": json.dumps(result, indent=1)}.items():
        with atomic_file(folder / name) as temporary:
            temporary.write_text(text)
    print(json.dumps(result))


def run_variants(
    config: AblateConfig, artifacts: Artifacts, tracker: Any
) -> dict[str, dict[str, list[float]]]:
    """{variant: {metric: its value for every seed}}."""
    source = bench_critic(artifacts, WVMChoice(config.base))
    critic = source.load()
    assert isinstance(critic, WVM)
    bench = get_benchmark(artifacts, config.bench)
    store = bench.open()
    infos = [info for info in all_infos(store) if in_group(config.group, info.task, info.robot)]
    videos = video_latents(artifacts, critic, source.digest, store, bench.digest, infos)
    latents = training_latents(artifacts, critic, source.digest, mixture_data(artifacts, config.mixture))
    found: dict[str, dict[str, list[float]]] = {
        name: {metric: [] for metric in METRICS} for name in config.variants
    }
    for seed in config.seeds:
        for name in config.variants:
            model = config.model(name, critic.config)
            trained = announce(
                train_variant(artifacts, model, critic, latents, seed, tracker), f"{name} {seed}"
            )
            scores = measure_variant(artifacts, trained, model.inference, videos, store.fps, infos)
            for metric in METRICS:
                found[name][metric].append(scores[metric])
    return found


def _row(name: str, scores: Mapping[str, Sequence[float]]) -> list[str]:
    """Mean ± standard deviation over seeds of every metric, and the published figures."""
    published = VARIANTS[name].published
    beside = " / ".join(f"{value:.2f}" for value in published) if published else ""
    return [name.replace("_", " "), *(_spread(scores[metric]) for metric in METRICS), beside]


def _spread(values: Sequence[float]) -> str:
    """`mean ± standard deviation` over seeds."""
    if len(values) < 2:
        return f"{values[0]:.3f}"
    return f"{np.mean(values):.3f} ± {np.std(values, ddof=1):.3f}"


@command
def main() -> None:
    """The command line."""
    answer(ablate, __doc__)


if __name__ == "__main__":
    main()
