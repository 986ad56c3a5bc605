"""The critics of the value benchmark: those of `critic=`, as far as they know more than one task."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from envs.collect import collect
from envs.errors import UserError
from envs.types import Episode
from experiments.choices.critics import OracleChoice, TrainableChoice
from experiments.choices.oracle import Oracle
from experiments.lab.artifacts import Artifacts, digest
from experiments.lab.progress import announce, bar
from experiments.lab.seeds import first_seed
from experiments.lab.tracking import Tracker
from experiments.settings.config import TaskConfig
from experiments.stages.critic import CriticSource, get_critic
from experiments.stages.data import Data
from experiments.value_benchmark.episodes import BY_NAME, COMBINATIONS, PUBLISHED_TASKS, SEED_STRIDE
from value_model.critic.metrics.episodes import EXPERT_STYLES

VERSION = 1


def bench_critic(artifacts: Artifacts, choice: Any, worlds: Collection[str]) -> CriticSource:
    """The critic of a choice of `critic=`.

    Args:
        worlds: the combinations of task and robot that it will be shown, such as lift-Panda.

    Raises:
        UserError: it cannot be had, or knows one task only.
    """
    if isinstance(choice, TrainableChoice) and choice.untrained:
        raise UserError(
            "this critic learns a single task; train one for all with `python -m experiments.train_critic critic=…` "
            "and give its folder: critic.path=… (critic=wvm for world value models)"
        )
    if isinstance(choice, OracleChoice):
        return oracle(artifacts, choice, worlds)
    return get_critic(artifacts, TaskConfig(name=PUBLISHED_TASKS[0]), choice, Tracker(None))


@dataclass(frozen=True)
class StateCritics:
    """An oracle for each combination of task and robot."""

    oracles: Mapping[str, Oracle]

    def label(self, episodes: Iterable[Episode]) -> Iterator[np.ndarray]:
        """Values float32 [T] of every episode, from the simulator's state."""
        return (self.oracles[f"{episode.task}-{episode.robot}"].values(episode) for episode in episodes)


def oracle(artifacts: Artifacts, choice: OracleChoice, worlds: Collection[str]) -> CriticSource:
    """True progress from the simulator's state: what a perfect eye could give.

    It knows undisturbed demonstrations of every task and robot, with seeds of their own, without pictures.

    Raises:
        UserError: a combination that is none of the benchmark's.
    """
    unknown = sorted(set(worlds) - set(BY_NAME))
    if unknown:
        raise UserError(f"critic=oracle has no demonstrations of {unknown[0]}; choose another critic")
    styles = {style: count for style, count in choice.data.styles.items() if style in EXPERT_STYLES}
    references = {world: _reference(artifacts, world, styles, choice.data.seed) for world in sorted(worlds)}

    def load() -> StateCritics:
        return StateCritics({world: Oracle.fit(data.numbers()) for world, data in references.items()})

    return CriticSource(
        digest(["oracle", VERSION, *(data.digest for data in references.values())]),
        load,
    )


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
