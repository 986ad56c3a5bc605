"""The critics of the value benchmark: those of `critic=`, as far as they know more than one task."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from envs.collect import collect
from envs.errors import UserError
from experiments.choices.critics import CriticChoice, CriticData, CriticSource, TrainableChoice
from experiments.lab.artifacts import Artifacts
from experiments.lab.progress import announce, bar
from experiments.lab.seeds import first_seed
from experiments.stages.data import Data
from experiments.value_benchmark.episodes import BY_NAME, COMBINATIONS, SEED_STRIDE
from value_model.critic.metrics.episodes import EXPERT_STYLES

VERSION = 1  # of the demonstrations


def bench_critic(artifacts: Artifacts, choice: CriticChoice, worlds: Collection[str] = ()) -> CriticSource:
    """The critic of a choice of `critic=`.

    Args:
        worlds: the combinations of task and robot that it will be shown, such as lift-Panda.

    Raises:
        UserError: it cannot be had, or knows one task only.
    """
    return choice.source(BenchWorkshop(artifacts, worlds))


@dataclass(frozen=True)
class BenchWorkshop:
    """Makes critics that know more than one task; trains none."""

    artifacts: Artifacts
    worlds: Collection[str]

    def trained(self, choice: TrainableChoice) -> CriticSource:
        """See `Workshop`.

        Raises:
            UserError: always.
        """
        raise UserError(
            "this critic learns a single task; train one for all with `python -m experiments.train_critic critic=…` "
            "and give its folder: critic.path=… (critic=wvm for world value models)"
        )

    def demonstrations(self, data: CriticData) -> Mapping[str, Data]:
        """See `Workshop`: undisturbed ones, with seeds of their own, without pictures.

        Raises:
            UserError: a combination that is none of the benchmark's.
        """
        unknown = sorted(set(self.worlds) - set(BY_NAME))
        if unknown:
            raise UserError(f"critic=oracle has no demonstrations of {unknown[0]}; choose another critic")
        styles = {style: count for style, count in data.styles.items() if style in EXPERT_STYLES}
        return {world: _reference(self.artifacts, world, styles, data.seed) for world in sorted(self.worlds)}


def _reference(artifacts: Artifacts, world: str, styles: Mapping[str, int], seed: int) -> Data:
    """Demonstrations of one combination, without pictures."""
    combination = BY_NAME[world]
    run_seed = SEED_STRIDE * seed + COMBINATIONS.index(combination)

    def build(folder: Path) -> None:
        with bar(f"demonstrate {world}", sum(styles.values()), "episodes") as shown:
            collect(
                folder / "data",
                combination.task,
                combination.robot,
                styles=styles,
                seed=first_seed("critic_data", run_seed),
                cameras=(),
                progress=shown.update,
            )

    recipe = {"world": world, "styles": dict(sorted(styles.items())), "seed": run_seed}
    made = announce(artifacts.make("value_bench_oracle", VERSION, recipe, {}, build), world)
    return Data(made.folder / "data", made.digest, {})
