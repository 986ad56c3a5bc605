"""RL in a world model against cloning and RL in the simulator, at equal numbers of rollouts in the simulator.

    python -m experiments.world_gymnast                              the four tasks of Bridge, 128 rollouts of each, 3 seeds
    python -m experiments.world_gymnast rounds=2                     Dyna: new rollouts, a refreshed world model, again
    python -m experiments.world_gymnast begin=WORLD_MODEL            from a finished world model, gone on from
    python -m experiments.world_gymnast methods=[sft,test_time,test_time_guarded]   from one picture of a scene never seen
    python -m experiments.world_gymnast methods=[sft,imagination,distract,language,scaled]   more scenes, more to do
    python -m experiments.world_gymnast tasks=[lift] budgets=[128,1280] methods=[sft,imagination] seeds=[0,1]

Everything that is not a setting of this command is one of experiments.run, for all methods (policy.base=…,
evaluate.episodes=…, critic=…), or for one (simulator:method.online.groups=8). All start from the same policy: sft is that
policy; iterated_sft clones its successes, filtered what the critic likes of its rollouts; simulator and imagination are
GRPO, in robosuite and in a world model that has learnt from as many rollouts. Finished stages are reused; a killed command
is continued by the same command.

Prints a table, and writes a report under outputs/world_gymnast/<name>/. The last line is JSON: the rows.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from envs.errors import check_choice
from envs.files import atomic_file
from experiments.choices.imagination import ImaginationChoice
from experiments.gymnast.config import METHODS, TEST_TIME, VARIANTS, WorldGymnastConfig
from experiments.gymnast.measures import quality, verdicts
from experiments.gymnast.runs import Runs, Trained, cells
from experiments.gymnast.strips import PICTURE, side_by_side
from experiments.gymnast.tables import markdown, means, rows_of, verdicts_table
from experiments.inspection.page import write_page
from experiments.lab.artifacts import Artifacts, canonical
from experiments.lab.context import Context
from experiments.lab.provenance import made_by
from experiments.lab.simulators import Simulators
from experiments.lab.tracking import tracked
from experiments.reports.hypertext import hypertext
from experiments.reports.world_card import errors_table
from experiments.settings.cli import answer, prepare_one
from experiments.settings.command import command
from experiments.settings.compose import store, store_command
from experiments.stages.acting import Acting
from policy_extraction.acting import ActingPolicy
from value_model.imagination.config import PRESETS
from value_model.imagination.train import to_go_on_from

FILMED = 3  # episodes of each task
UNSEEN = (
    "Rollouts that the world model has not seen, imagined again from their first picture under their actions: the policy's "
    "own before training, at temperature 1, and the same actions in the scenes of others."
)
ASKED = {"--cfg", "-c", "--help", "-h"}


def world_gymnast(arguments: Sequence[str]) -> None:
    """Train and evaluate every cell, print the table, write the report."""
    for name, model in PRESETS.items():
        store("model", name, model)
    store_command("world_gymnast", WorldGymnastConfig, [{"model": "kitchen"}])
    words, given, own = split_words(arguments)
    config: WorldGymnastConfig = prepare_one("world_gymnast", words).config
    if config.begin:
        to_go_on_from(Path(config.begin), config.model)  # refused before anything is collected
    outputs = Path(config.outputs)
    with (
        tracked(config.wandb, "world_gymnast", outputs, canonical(config)) as tracker,
        Simulators() as simulators,
    ):
        context = Context(Artifacts(outputs / "artifacts"), tracker, simulators)
        runs = Runs(config, given, own, context)
        chosen, trained = cells(config), []
        for number, cell in enumerate(chosen, start=1):
            print(f"[{number}/{len(chosen)}] {cell}", file=sys.stderr)
            trained.append(runs.trained(cell))
        rows = rows_of(trained)
        tracker.summary({f"{row['method']}/{row['task']}": row["success"] for row in rows})
        folder = outputs / "world_gymnast" / config.name
        _report(folder, runs, trained, arguments)
    print(f"{markdown(rows)}\n\n{means(rows)}\n\nwritten to {folder}")
    print(json.dumps({"rows": rows}))


def split_words(arguments: Sequence[str]) -> tuple[list[str], list[str], dict[str, list[str]]]:
    """Those of this command, those of experiments.run for all methods, and {method: those of one}.

    Raises:
        UserError: a word is of a method that there is not.
    """
    fields = {field.name for field in dataclasses.fields(WorldGymnastConfig)}
    command_words, given, own = [], [], {}
    for before, word in pairwise(["", *arguments]):
        method, colon, rest = word.partition(":")
        if colon and "=" not in method:
            check_choice("method", method, (*METHODS, *VARIANTS, *TEST_TIME))
            own.setdefault(method, []).append(rest)
        elif word.split("=")[0].split(".")[0] in fields or {before, word} & ASKED:
            command_words.append(word)
        else:
            given.append(word)
    return command_words, given, own


def _report(folder: Path, runs: Runs, trained: Sequence[Trained], arguments: Sequence[str]) -> None:
    """results.json, report.md and report.html, with strips of both places."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = rows_of(trained)
    line = f"python -m experiments.world_gymnast {' '.join(arguments)}".strip()
    sections = [
        f"# RL in a world model, beside others\n\n`{line}`",
        _caption(runs, rows),
        markdown(rows),
        means(rows),
        *_strips(folder, runs, trained),
        *_worlds(runs, trained),
        "## Commands\n\nEach training by itself:\n\n```\n"
        + "\n".join(one for row in rows for one in row["commands"])
        + "\n```",
    ]
    text = "\n\n".join(sections)
    results = {"command": line, "rows": rows, "settings": canonical(runs.config), "made_by": made_by()}
    for name, content in {"results.json": json.dumps(results, indent=1), "report.md": text}.items():
        with atomic_file(folder / name) as temporary:
            temporary.write_text(content + "\n")
    told = {"title": "RL in a world model", "facts": "", "data_set": "", "commands": {}, "keep": {}}
    write_page(
        folder / "report.html", told, [], f'<section class="report">{hypertext(text, folder)}</section>'
    )


def _caption(runs: Runs, rows: Sequence[dict]) -> str:
    config, first = runs.config, rows[0]
    heats = ", ".join(f"{heat:g}" for heat in config.temperatures)
    return (
        f"Success in robosuite, {first['seeds']} seeds × {first['episodes']} episodes, with 95 % intervals, at the best of "
        f"the temperatures {heats} (for each row, on these episodes). `real steps`: control steps of that task in robosuite "
        "beyond the demonstrations that all rows start from: a row's own rollouts, or those that its world model and its "
        f"judge learnt from. World models: {config.worlds}, shared by the tasks and the seeds. `imagined`: success in the "
        "world model at temperature 1. `in all`: seconds of all that a row took beyond the demonstrations: rollouts, "
        "labels, training, and of a world model or a critic the part of one task."
    )


def _strips(folder: Path, runs: Runs, trained: Sequence[Trained]) -> list[str]:
    """One picture for each task, of the last policy that was trained in imagination under the first seed."""
    last = {
        one.cell.task: one
        for one in trained
        if one.cell.method == "imagination" and one.cell.seed == runs.config.seeds[0]
    }
    parts = ["## Real and imagined, from the same first pictures"] if last else []
    for task, one in last.items():
        experiment = runs.experiment(one.words)
        env = experiment.config.env
        assert isinstance(env, ImaginationChoice) and one.policy is not None
        real = experiment.evaluating
        imagined = Acting(env, real.task, 0, 0, real.execute)
        policy = one.policy.folder / "policy"

        def actor(experiment=experiment, policy=policy) -> ActingPolicy:
            return ActingPolicy(experiment.policy(policy), experiment.config.method, 1.0)

        digest, seed = one.policy.digest, one.cell.seed
        made = side_by_side(runs.context, real, imagined, actor, digest, FILMED, seed)
        shutil.copyfile(made.folder / PICTURE, folder / f"{task}.png")
        parts += [f"{task}: real above, imagined below; green: solved.", f"![{task}]({task}.png)"]
    return parts


def _worlds(runs: Runs, trained: Sequence[Trained]) -> list[str]:
    """How well the world models of the last round foretell held-out demonstrations under their own actions."""
    last = {one.cell.budget: one.cell.round for one in trained if one.cell.method == "imagination"}
    parts = ["## How well the world models foretell held-out demonstrations"] if last else []
    for budget, number in last.items():
        found, _ = quality(runs, budget, 0, number)
        for task, one in found.items():
            parts += [f"{task}, after {number} × {budget} rollouts of each task:", errors_table(one)]
        if runs.config.verdicts:
            parts += [UNSEEN, verdicts_table(verdicts(runs, budget, 0, number))]
    return parts


@command
def main() -> None:
    """The command line."""
    answer(world_gymnast, __doc__)


if __name__ == "__main__":
    main()
