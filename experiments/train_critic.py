"""Train a critic on recordings of your own, or on the whole mixture of tasks, robots and styles; measured on held-out ones.

    python -m experiments.train_critic data=store data.path=[A,B] [folder=outputs/critic] [data.assume_success=true]
    python -m experiments.train_critic data=store data.path=A critic.init=FOLDER        goes on from a trained one
    python -m experiments.train_critic [folder=outputs/critic] [critic.model.optim.updates=…] [critic.seed=…]
    python -m experiments.train_critic critic.model.clip.marked=false       from experts alone, as published
    python -m experiments.train_critic critic=my_lab:Critic                 yours, with train(episodes, folder, progress)

data=store reads LeRobot folders. Their successes are the experts, unless a table says otherwise (data.outcomes=). What is
chosen for them (cameras, rate, length of clips) is said, and holds unless it is set. split.* says which episodes are held
out. The folder gets a report.html, and is used as critic=wvm critic.path=FOLDER; beside=[single_frame] trains a baseline.

The critic that ships was made of the mixture, with folder=value_model/critic/shipped. Collection and training resume; a
killed command is continued by the same command. The last line is JSON: the metrics.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import MISSING

from envs.files import atomic_file, copy_files
from envs.store import Store
from envs.types import Episode
from experiments.choices.critics import CriticSource, require_training
from experiments.lab.artifacts import Artifacts, canonical
from experiments.lab.progress import announce, bar
from experiments.lab.provenance import made_by
from experiments.lab.tracking import tracked
from experiments.own_critic.split import SplitConfig
from experiments.own_critic.train import refuse_groups, train_own
from experiments.reports.run_report import table
from experiments.settings.chosen import Chosen
from experiments.settings.cli import answer, prepare_one
from experiments.settings.cluster import HOSTS
from experiments.settings.command import command
from experiments.settings.compose import store_command
from experiments.settings.config import HeldOutConfig, StoreData, TaskConfig, WandbConfig, require
from experiments.stages.critic import examples, train_on
from experiments.stages.data import Data, collect_data
from experiments.stages.label import VERSION
from experiments.stages.mixture import CriticMixture, mixture_data
from value_model.critic.metrics.episodes import measure_critic

CARD = "MODEL_CARD.md"
SHOWN = ("expert_voc", "hesitation_rmse", "retry_voc", "static_voc", "static_drift")


@dataclass(frozen=True)
class TrainCriticConfig:
    """A critic, what it learns from (recordings of one's own, or else the mixture), and where it goes."""

    critic: Any = MISSING
    data: Any = None
    split: SplitConfig = field(default_factory=SplitConfig)  # of one's own recordings
    beside: tuple[str, ...] = ()  # baselines, trained and measured on one's own recordings too
    mixture: CriticMixture = field(default_factory=CriticMixture)
    held_out: HeldOutConfig = field(default_factory=lambda: HeldOutConfig(clean=4, hesitation=6, retry=6))
    folder: str = "outputs/critic"
    wandb: WandbConfig = field(default_factory=WandbConfig)
    outputs: str = "outputs"


def train_critic(arguments: Sequence[str]) -> None:
    """Collect or read, train, measure, and write the folder."""
    store_command("train_critic", TrainCriticConfig, [{"critic": "train"}, {"data": None}])
    chosen = prepare_one("train_critic", arguments)
    config: TrainCriticConfig = chosen.config
    choice = require_training(config.critic, f"critic={chosen.names['critic']}")
    _require_fitting_settings(config, arguments)
    if config.data is not None:
        print(json.dumps(train_own(chosen, choice, arguments)))
        return
    mixture = config.mixture
    choice.check(examples(TaskConfig(mixture.tasks[0], mixture.robots[0], mixture.image_size)))
    artifacts = Artifacts(Path(config.outputs) / "artifacts")
    data = mixture_data(artifacts, config.mixture)
    with tracked(config.wandb, "train_critic", Path(config.outputs), canonical(config)) as tracker:
        source = train_on(artifacts, choice, data, tracker)
        held_out = held_out_data(artifacts, config.mixture, config.held_out)
        found = measure(artifacts, source, held_out)
        tracker.summary(found)
    assert source.folder is not None, "a trained critic is in a folder"
    copy_files(source.folder, Path(config.folder))
    with atomic_file(Path(config.folder) / CARD) as temporary:
        temporary.write_text(_card(chosen, choice.about, data, held_out, found, arguments))
    print(metrics_table(found))
    print(json.dumps({"folder": config.folder, **found}))


def _require_fitting_settings(config: TrainCriticConfig, arguments: Sequence[str]) -> None:
    """Refuse settings that would change nothing."""
    own = config.data is not None
    require(
        not own or isinstance(config.data, StoreData),
        "a critic learns from data=store data.path=/a/dataset, or without data= from the scripted mixture",
    )
    if own:
        refuse_groups(arguments, ("mixture", "held_out"), "the mixture; with data=store use split.*")
    else:
        refuse_groups(arguments, ("split", "beside"), "data=store; the mixture has held_out.*")


def held_out_data(artifacts: Artifacts, mixture: CriticMixture, styles: HeldOutConfig) -> list[Data]:
    """Episodes of the mixture's tasks, with its first robot, that nothing is trained on."""
    robot = mixture.robots[0]
    tasks = [TaskConfig(name, robot, mixture.image_size) for name in mixture.tasks]
    return [collect_data(artifacts, task, styles.styles, "held_out", mixture.seed) for task in tasks]


@dataclass(frozen=True)
class Chain:
    """The episodes of several stores, as often as they are asked for."""

    stores: Sequence[Store]

    def __iter__(self) -> Iterator[Episode]:
        return itertools.chain.from_iterable(self.stores)


def measure(artifacts: Artifacts, source: CriticSource, data: Sequence[Data]) -> Mapping[str, float]:
    """The critic's metrics over all the episodes."""

    def build(folder: Path) -> None:
        stores = [part.open() for part in data]
        with bar("metrics", sum(map(len, stores)), "episodes") as shown:
            found = measure_critic(source.load(), Chain(stores), shown.update)
        with atomic_file(folder / "metrics.json") as temporary:
            temporary.write_text(json.dumps(found, indent=1))

    inputs = {"critic": source.digest} | {str(number): part.digest for number, part in enumerate(data)}
    made = announce(artifacts.make("metrics", VERSION, None, inputs, build))
    return json.loads((made.folder / "metrics.json").read_text())


def metrics_table(found: Mapping[str, float]) -> str:
    """A row a metric of a critic."""
    return table(["metric", "held out"], [[name, f"{value:.3f}"] for name, value in found.items()])


def _card(
    chosen: Chosen,
    about: str,
    data: Sequence[Data],
    held_out: Sequence[Data],
    found: Mapping[str, float],
    arguments: Sequence[str],
) -> str:
    """What it is, what it was trained on, how good it is, what it is not for."""
    config: TrainCriticConfig = chosen.config
    episodes = sum(sum(part.report["episodes"].values()) for part in data)
    tested = sum(sum(part.report["episodes"].values()) for part in held_out)
    frames = sum(part.report["frames"] for part in data)
    size = f"{episodes} scripted robosuite demonstrations ({frames:,} frames)"
    styles = [
        [robot, ", ".join(f"{count} {style}" for style, count in config.mixture.counts(robot).items())]
        for robot in config.mixture.robots
    ]
    return f"""# Critic `{chosen.names["critic"]}`

Episodes in, task progress in [0, 1] out, frame by frame. {about}

**Made by** `python -m experiments.train_critic {" ".join(arguments)}`; all settings are below.

**Data.** {size}: {", ".join(config.mixture.tasks)}; of each task

{table(["robot", "demonstrations"], styles)}

Its seeds are used for no policy's data, no benchmark and no evaluation; UR5e, door and nut_square were never seen.

**Held-out episodes** ({tested}, {config.mixture.robots[0]}, all tasks):

{table(["metric", "value"], [[name, f"{found[name]:.3f}"] for name in SHOWN if name in found])}

The benchmark's figures, with intervals and the zero-shot parts, are in docs/results/critic.md.

**Not for** real robots, other cameras or other tasks without training on them.

```json
{json.dumps({**canonical(config), "made_by": made_by()}, indent=1)}
```
"""


@command
def main() -> None:
    """The command line."""
    answer(train_critic, __doc__, over=(HOSTS,))


if __name__ == "__main__":
    main()
