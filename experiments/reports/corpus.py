"""What a cluster would need for a large corpus, from what was measured here and from the published critic's operations.

Nothing of this size was run. Of the parts that were measured on this machine the model's assumption, that workers add up, is
checked: by the rate of several workers that it foretells from that of one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from experiments.reports.run_report import table
from value_model.critic.config import PRESETS
from value_model.critic.flops import window_flops
from value_model.critic.resources import GPUS, plan

PRESET = "wan2_2_ti2v_5b"
ENCODING = 2.14e12  # operations of Wan2.2's VAE on a clip of 9 frames of 256×256, see docs/resources.md
ENCODING_SHARE = 0.25  # of a GPU's peak that its convolutions reach
SIDE = 256  # pixels of its frames, one view


@dataclass(frozen=True)
class Corpus:
    """The published training set (arXiv 2606.24742), and the machines that shall work on it."""

    trajectories: int = 407_000
    hours: float = 1411.0
    fps: float = 10.0  # of its videos
    label_fps: float = 2.0  # frames a second that are valued; published 2
    gpus: int = 8
    cpus: int = 1000
    mfu: float = 0.4  # share of a GPU's peak that matrix products reach
    network: float = 1.25e9  # bytes a second into the machine of the GPUs: 10 Gbit/s


@dataclass(frozen=True)
class Measured:
    """On this machine. demonstrations: {workers: a second, through the cluster}."""

    demonstrations: Mapping[str, float]
    decoded: float  # pixels a second that one core reads from a store
    episode_bytes: float  # of a stored demonstration


def corpus_hours(corpus: Corpus, measured: Measured) -> dict[str, float]:
    """Hours that each part of the work takes, were it alone."""
    gpu, seconds = GPUS[0], 3600 * corpus.hours
    valued = seconds * corpus.label_fps
    model = PRESETS[PRESET]
    products = window_flops(model) / (gpu.peak * corpus.mfu)
    encoding = ENCODING / (gpu.peak * ENCODING_SHARE)
    trained = plan(model, gpu, corpus.gpus, corpus.mfu)
    hours = {
        "decoding, on the CPUs": seconds * corpus.fps * SIDE**2 / (measured.decoded * corpus.cpus),
        "decoded frames over the network": valued * 3 * SIDE**2 / corpus.network,
        "the VAE's encoder, on the GPUs": valued * encoding / corpus.gpus,
        "values, on the GPUs": valued * products / corpus.gpus,
        "as many demonstrations in simulation, on the CPUs": corpus.trajectories
        / (measured.demonstrations["1"] * corpus.cpus),
        "these over the network": corpus.trajectories * measured.episode_bytes / corpus.network,
    }
    found = {name: spent / 3600 for name, spent in hours.items()}
    return found if trained is None else {**found, "training, 30,000 updates, on the GPUs": trained.hours}


def tell_corpus(corpus: Corpus, measured: Measured) -> Mapping[str, Any]:
    """Print the model's tables and its check; give their numbers."""
    hours = corpus_hours(corpus, measured)
    machines = f"{corpus.gpus} × {GPUS[0].name}, {corpus.cpus:,} CPUs"
    print(f"\n{corpus.trajectories:,} trajectories, {corpus.hours:,.0f} hours, {machines} (computed):\n")
    print(table(["", "hours, alone"], [[name, f"{spent:,.2f}"] for name, spent in hours.items()]))
    labelling = {name: hours[name] for name in list(hours)[:4]}
    slowest = max(labelling, key=lambda name: labelling[name])
    print(f"\nLabelling is bound by: {slowest}")
    rates = measured.demonstrations
    checked = {count: int(count) * rates["1"] / rate - 1 for count, rate in rates.items() if count != "1"}
    for count, off in checked.items():
        foretold = int(count) * rates["1"]
        print(
            f"Checked: {count} workers would do {foretold:.2f} a second, and do {rates[count]:.2f} ({off:+.0%})"
        )
    return {"hours": hours, "bound_by": slowest, "foretold_too_much": checked}
