"""What training a preset would need, printed: `python -m experiments.bench resources`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from envs.errors import check_choice
from experiments.reports.run_report import table
from experiments.settings.config import require
from value_model.critic.config import PRESETS

PARTS = {"video": "video stream", "value": "value stream", "other": "words, positions"}


@dataclass(frozen=True)
class ResourcesBench:
    """Parameters, operations, memory and time of a training, computed from the shapes; nothing is run."""

    preset: str = "wan2_2_ti2v_5b"
    mfu: float = 0.4  # share of a GPU's peak that model operations are assumed to reach
    most: int = 64  # GPUs

    def __post_init__(self) -> None:
        check_choice("preset", self.preset, PRESETS)
        require(0 < self.mfu <= 1, f"mfu={self.mfu} must lie in (0, 1]")
        require(self.most >= 1, f"most={self.most} must be at least 1")


def bench_resources(config: ResourcesBench) -> Mapping[str, Any]:
    """Print the tables; give the totals."""
    from value_model.critic import resources
    from value_model.critic.flops import forward_flops, hardware_flops, train_flops, window_flops

    model = PRESETS[config.preset]
    optim = model.optim
    parts = resources.parameters(model)
    rows = [[PARTS[part], f"{count / 1e6:,.1f} M"] for part, count in parts.items()]
    print(table(["parameters", ""], [*rows, ["all", f"{sum(parts.values()) / 1e6:,.1f} M"]]) + "\n")
    counts = {
        "a clip, forwards": forward_flops(model),
        "a clip, forwards and backwards": train_flops(model),
        "the same with what is computed again": hardware_flops(model),
        "a window, labelling": window_flops(model),
    }
    print(table(["operations", "TFLOP"], [[name, f"{count / 1e12:.4g}"] for name, count in counts.items()]))
    print(f"\nbatch {optim.batch}, {optim.updates:,} updates, {100 * config.mfu:.0f} % of the peak:\n")
    found: dict[str, Any] = {
        "parameters": sum(parts.values()),
        "train_flops": train_flops(model),
        "window_flops": window_flops(model),
    }
    rows = []
    for gpu in resources.GPUS:
        plans = resources.plans(model, gpu, config.mfu, config.most)
        for plan in plans:
            memory = f"{plan.memory / 1e9:.1f} GB"
            rows.append([plan.devices, gpu.name, plan.clips, memory, f"{plan.hours:,.1f} h"])
        name = gpu.name.split()[0].lower()
        found[f"{name}_least"] = plans[0].devices if plans else None
        found[f"{name}_hours"] = {plan.devices: round(plan.hours, 2) for plan in plans}
    print(table(["GPUs", "", "clips at a time on each", "memory of each", "time"], rows) + "\n")
    least = found[f"{resources.GPUS[0].name.split()[0].lower()}_least"] or config.most
    by_use = resources.memory(model, least, 1)
    rows = [[use, f"{size / 1e9:.2f} GB"] for use, size in by_use.items()]
    print(table([f"memory of each of {least} GPUs, a clip at a time", ""], rows))
    return found
