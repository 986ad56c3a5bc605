"""Pretrain the base VLA on mixed-quality demonstrations of all tasks, and write it with its model card.

    python -m experiments.pretrain_vla [folder=policy_extraction/vla/base] [train.updates=…] [check.episodes=…]
    python -m experiments.pretrain_vla tasks=[open_drawer,close_drawer,eggplant_sink,eggplant_basket] folder=…

Its seeds are its own: no episode of an experiment's data or evaluation is among them. A killed run is
continued by the same command.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from envs.files import atomic_file, copy_files
from envs.robosuite.tasks import task_spec
from envs.robosuite.views import visible_state
from envs.types import Episode
from experiments.choices.environments import RobosuiteChoice
from experiments.choices.policies import BASE_VLA, VLAChoice
from experiments.lab.artifacts import SCRATCH, Artifact, Artifacts, canonical
from experiments.lab.progress import announce, bar
from experiments.lab.provenance import made_by
from experiments.lab.seeds import seeds
from experiments.lab.simulators import Simulators
from experiments.lab.statistics import wilson
from experiments.lab.tracking import Tracker, tracked
from experiments.reports.run_report import percent, table
from experiments.settings.cli import answer, prepare_one
from experiments.settings.command import command
from experiments.settings.compose import store_command
from experiments.settings.config import EvaluateConfig, MixtureData, TaskConfig, WandbConfig, require
from experiments.stages.acting import Acting
from experiments.stages.data import Data, collect_data
from policy_extraction.acting import ActingPolicy
from policy_extraction.methods.bc import BC
from policy_extraction.types import Training
from policy_extraction.vla.encoder import VLAConfig

VERSION = 2
CARD = "MODEL_CARD.md"


@dataclass(frozen=True)
class PretrainConfig:
    """How the base VLA is made."""

    folder: str = str(BASE_VLA)
    tasks: tuple[str, ...] = ("stack", "lift", "can", "milk", "cereal", "bread", "door", "nut_square")
    robot: str = "Panda"
    data: MixtureData = field(
        default_factory=lambda: MixtureData(
            clean=15, noisy=25, slow=10, hesitation=25, retry=25, detour=20, failure=20
        )
    )
    vla: VLAConfig = field(default_factory=VLAConfig)
    train: Training = field(default_factory=lambda: Training(updates=9600))
    batch: int = 128
    state_weight: float = 5.0  # of the auxiliary loss: where are the objects?
    check: EvaluateConfig = field(default_factory=lambda: EvaluateConfig(episodes=40, videos=0))
    wandb: WandbConfig = field(default_factory=WandbConfig)
    seed: int = 0
    outputs: str = "outputs"

    def __post_init__(self) -> None:
        for name in self.tasks:
            task_spec(name)
        require(bool(self.tasks), "tasks must name at least one task")
        require(self.train.updates >= 1, "train.updates must be at least 1")


def pretrain_base(arguments: Sequence[str]) -> None:
    """Collect, train, check, and write the folder."""
    store_command("pretrain_vla", PretrainConfig)
    config: PretrainConfig = prepare_one("pretrain_vla", arguments).config
    artifacts = Artifacts(Path(config.outputs) / "artifacts")
    tasks = {name: TaskConfig(name, config.robot, config.vla.spec.image_size) for name in config.tasks}
    data = {
        name: collect_data(artifacts, task, config.data.styles, "pretraining", config.data.seed)
        for name, task in tasks.items()
    }
    with tracked(config.wandb, "pretrain_vla", Path(config.outputs), canonical(config)) as tracker:
        made = _train(artifacts, config, data, tracker)
    found = _check(artifacts, config, tasks, made)
    _publish(config, data, made, found, arguments)


def _train(
    artifacts: Artifacts, config: PretrainConfig, data: Mapping[str, Data], tracker: Tracker
) -> Artifact:
    """The VLA with the averaged weights of the training."""

    def build(folder: Path) -> None:
        from policy_extraction.vla.model import save_vla
        from policy_extraction.vla.pretrain import Pretraining, gather_frames, pretrain

        paraphrases = {task_spec(name).instructions[0]: task_spec(name).instructions[1:] for name in data}
        frames = gather_frames(_episodes(data), config.vla.spec, paraphrases, config.seed, visible_state)
        settings = Pretraining(config.train, config.batch, config.state_weight)
        with bar("pretrain", config.train.updates, "updates") as shown:

            def progress(done: int, metrics: Mapping[str, float]) -> None:
                shown.update(done - shown.n)
                shown.set_postfix(loss=f"{metrics['loss']:.3g}", refresh=False)
                tracker.log({f"pretrain/{name}": value for name, value in metrics.items()})

            scratch = folder / SCRATCH / "pretrain"
            vla = pretrain(frames, config.vla, settings, seed=config.seed, folder=scratch, progress=progress)
        save_vla(vla, folder / "vla")

    recipe = {k: getattr(config, k) for k in ("vla", "train", "batch", "state_weight", "seed")}
    inputs = {name: one.digest for name, one in data.items()}
    return announce(artifacts.make("pretrain", VERSION, recipe, inputs, build))


def _episodes(data: Mapping[str, Data]) -> Iterator[Episode]:
    for one in data.values():
        yield from one.open()


def _check(
    artifacts: Artifacts, config: PretrainConfig, tasks: Mapping[str, TaskConfig], made: Artifact
) -> dict[str, Any]:
    """Success on every task, with seeds that nothing else uses: {task: [solved, episodes]}."""

    def build(folder: Path) -> None:
        vla, found = VLAChoice(base=str(made.folder / "vla")), {}
        with Simulators() as simulators:
            for name, acting in places.items():
                policy = vla.make(acting.spec, config.train, config.seed)
                chosen = seeds("pretraining_check", config.seed, config.check.episodes).tolist()
                pool = acting.pool(simulators)
                with bar(f"check {name}", len(chosen), "episodes") as shown:
                    results = pool.rollout(ActingPolicy(policy, BC()), chosen, progress=shown.update)
                found[name] = [sum(bool(result.success) for result in results), len(results)]
        with atomic_file(folder / "success.json") as temporary:
            temporary.write_text(json.dumps(found, indent=1))

    places = {name: _acting(task, config.check) for name, task in tasks.items()}
    recipe = {"episodes": config.check.episodes} | {name: one.recipe() for name, one in places.items()}
    checked = announce(artifacts.make("check", VERSION, recipe, {"vla": made.digest}, build))
    return json.loads((checked.folder / "success.json").read_text())


def _acting(task: TaskConfig, check: EvaluateConfig) -> Acting:
    return Acting(RobosuiteChoice(), task, check.horizon, check.workers, check.execute)


def _publish(
    config: PretrainConfig,
    data: Mapping[str, Data],
    made: Artifact,
    found: Mapping[str, Any],
    arguments: Sequence[str],
) -> None:
    """Copy the weights to their folder, beside a model card."""
    folder = Path(config.folder)
    copy_files(made.folder / "vla", folder)
    with atomic_file(folder / CARD) as temporary:
        temporary.write_text(_card(config, data, found, arguments))
    rates = {name: asdict(wilson(solved / count, count)) for name, (solved, count) in found.items()}
    print(table(["task", "success"], [[name, percent(rate)] for name, rate in rates.items()]))
    print(json.dumps({"folder": str(folder), "success": rates}))


def _card(
    config: PretrainConfig, data: Mapping[str, Data], found: Mapping[str, Any], arguments: Sequence[str]
) -> str:
    """What it is, what it was trained on, how good it is, what it is not for."""
    rows = []
    for name, (solved, count) in found.items():
        frames = data[name].report["frames"]
        rows.append(
            [
                name,
                frames,
                percent(asdict(wilson(solved / count, count))),
                _acting(TaskConfig(name), config.check).spec.horizon,
            ]
        )
    styles = ", ".join(f"{count} {style}" for style, count in config.data.styles.items())
    spec = config.vla.spec
    return f"""# Base VLA

A small vision-language-action policy: cameras ({", ".join(spec.cameras)}; {spec.image_size} pixels square),
an instruction and proprioception in, a chunk of {spec.action_horizon} actions out; one encoder, a
flow-matching head and a token head. Weights are in half precision, `model.safetensors`.

**Made by** `{" ".join(["python -m experiments.pretrain_vla", *arguments])}`, nothing else; all settings are below.

**Data.** Scripted demonstrations in robosuite with the {config.robot}, per task: {styles}.
It imitates the bad ones as faithfully as the good ones: it is a starting point for policy extraction, not a
good policy. Its seeds are used for no experiment's data and no evaluation. An auxiliary loss taught the
encoder where the objects are, from the simulator.

**Success** of the flow head before any extraction, {config.check.execute} actions of each chunk executed,
{config.check.episodes} episodes a task, 95 % intervals:

{table(["task", "frames", "success", "control steps"], rows)}

**Not for** real robots, other cameras, other arms or other tasks.

```json
{json.dumps({**canonical(config), "made_by": made_by()}, indent=1)}
```
"""


@command
def main() -> None:
    """The command line."""
    answer(pretrain_base, __doc__)


if __name__ == "__main__":
    main()
