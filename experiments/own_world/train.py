"""`train_world_model data=store`: from folders of recordings to a world model in a folder, measured on held-out ones."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from envs.files import atomic_file, copy_files
from experiments.choices.wvm_critics import WVMChoice
from experiments.lab.artifacts import Artifacts, canonical
from experiments.lab.context import Context
from experiments.lab.simulators import Simulators
from experiments.lab.tracking import tracked
from experiments.own_critic.split import open_recordings, split
from experiments.own_critic.train import refuse_groups, setting_keys, sides
from experiments.own_world.fit import fit_world, said
from experiments.reports.world_card import CARD, RECORDED, critic_card, errors_table, size_of, world_card
from experiments.settings.config import StoreData, require
from experiments.stages.world_model import FOLDER, make_world_model
from experiments.stages.world_quality import PICTURES, measure_world_model
from experiments.train_critic import measure, metrics_table
from value_model.imagination.train import to_go_on_from
from value_model.imagination.world_model import load_world_model

SIMULATED = ("tasks", "experience", "stores", "policy", "world", "eyes")  # settings of the simulator's tasks
HELD_OUT = "held_out"  # the one row of figures and strips


def refuse_settings_without_effect(config: Any, arguments: Sequence[str]) -> None:
    """Refuse settings of the simulator's tasks beside recordings, and the other way round."""
    own = config.data is not None
    require(
        not own or isinstance(config.data, StoreData),
        "a world model learns from data=store data.path=/a/dataset, or without data= from the tasks of tasks=",
    )
    if own:
        refuse_groups(arguments, SIMULATED, "the simulator's tasks; with data=store leave it out")
    else:
        refuse_groups(arguments, ("split",), "data=store; the tasks have experience.held_out")


def train_own_world(config: Any, arguments: Sequence[str]) -> dict[str, Any]:
    """Train a world model on recordings, measure it on those held out, and write its folder; what came of it.

    Args:
        config: a `TrainWorldModelConfig`.

    Raises:
        UserError: the recordings cannot be read or do not fit; nothing is written then.
    """
    stores, joint = open_recordings(config.data), config.critic.joint
    parts = split(stores, config.split, experts=joint)
    model = fit_world(config.model, parts, setting_keys(arguments))
    refresh = Path(config.refresh) if config.refresh else None
    if refresh is not None:  # what −1 and 1 stand for stays as it was learnt
        begun = load_world_model(refresh).config
        model = replace(model, action_low=begun.action_low, action_high=begun.action_high)
        to_go_on_from(refresh, model)
    config = replace(config, model=model)
    print(f"  {said(config.model)}", file=sys.stderr)
    learnt, tested = (sides(config.data, parts, held_out) for held_out in (False, True))
    with (
        tracked(config.wandb, "train_world_model", Path(config.outputs), canonical(config)) as tracker,
        Simulators() as none,
    ):
        context = Context(Artifacts(Path(config.outputs) / "artifacts"), tracker, none)
        critic = config.critic if joint else None
        made = make_world_model(context, config.model, learnt, config.seed, refresh, critic)
        found, strips = measure_world_model(context, made, {HELD_OUT: tested}, learnt, metres=False)
        source, words = made.folder / FOLDER, (" ".join(arguments), made.seconds)
        names, count = [store.folder.name for store in stores], sum(len(part.held_out) for part in parts)
        told = f"{size_of(learnt)}: {RECORDED}"
        card = world_card(config.model, names, told, count, found, words, config)
        figures: dict[str, Any] = dict(found)
        if joint:
            figures["critic"] = measure(context.artifacts, WVMChoice(path=str(source)).saved(), tested)
            card = f"{card}\n{critic_card(metrics_table(figures['critic']))}"
        tracker.summary(figures)
    folder = Path(config.folder)
    copy_files(strips / PICTURES, folder)
    copy_files(source, folder)
    with atomic_file(folder / CARD) as temporary:
        temporary.write_text(card)
    print(errors_table(found[HELD_OUT]))
    if joint:
        print(metrics_table(figures["critic"]))
    return {"folder": str(folder), "seconds": made.seconds, **figures}
