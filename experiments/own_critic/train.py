"""`train_critic data=store`: from folders of recordings to a critic in a folder, with a report."""

from __future__ import annotations

import sys
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from envs.errors import check_choice
from envs.files import copy_files
from envs.store import Store
from envs.types import Episode
from experiments.choices.critics import CriticSource, TrainableChoice
from experiments.choices.groups import GROUPS
from experiments.choices.plain_critics import TimeIndex
from experiments.choices.wvm_critics import TrainChoice
from experiments.lab.artifacts import Artifacts, canonical, read_manifest
from experiments.lab.tracking import Tracker, tracked
from experiments.own_critic.fit import Fit, fit
from experiments.own_critic.made_lapses import KINDS, lapse_figures, made_lapses, values_of_made
from experiments.own_critic.measure import confusion, figures, shown, values_of
from experiments.own_critic.report import (
    PAGE,
    Outcome,
    episode_curve,
    figures_table,
    made_curve,
    telling,
    write_report,
)
from experiments.own_critic.split import Part, counts, open_recordings, split
from experiments.settings.chosen import Chosen
from experiments.settings.compose import parse
from experiments.settings.config import StoreData, require
from experiments.stages.critic import train_on
from experiments.stages.data import Data, user_data
from experiments.stages.fit import check_watched
from value_model.critic.metrics.controls import unlabelled
from value_model.video.meter import peak_bytes

BESIDE = ("single_frame", "frame_transformer")
DRAWN = 3  # experts


def train_own(chosen: Chosen, choice: TrainableChoice, arguments: Sequence[str]) -> dict[str, Any]:
    """Train a critic on recordings, measure it on those held out, and write its folder; what came of it.

    Raises:
        UserError: the recordings cannot be read, do not fit, or have too few successes; nothing is written then.
    """
    config, began = chosen.config, time.perf_counter()
    for name in config.beside:
        check_choice("baseline beside it", name, BESIDE)
    stores = open_recordings(config.data)
    parts = split(stores, config.split)
    fitted = fit(choice, parts, setting_keys(arguments))
    require(
        fitted.model is not None or not config.beside,
        "beside= takes the settings of a world value model's critic",
    )
    for store in stores:
        check_watched(store, fitted.choice)
    fitted.choice.check(_first(stores))
    counted = {"learned from": counts(parts, held_out=False), "held out": counts(parts, held_out=True)}
    _say(fitted, counted)
    artifacts, name = Artifacts(Path(config.outputs) / "artifacts"), chosen.names["critic"]
    with tracked(config.wandb, "train_critic", Path(config.outputs), canonical(config)) as tracker:
        sources = _train(artifacts, fitted, config, parts, tracker, name)
        trained = sources[name].folder
        assert trained is not None, "a trained critic is in a folder"
        videos, data = shown(parts), sides(config.data, parts, held_out=True)
        views = {of: values_of(artifacts, source, data, videos, of) for of, source in sources.items()}
        made = made_lapses(videos)
        curves = {of: values_of_made(artifacts, source, data, made, of) for of, source in sources.items()}
        found = {
            of: figures(videos, views[of]) | lapse_figures(videos, views[of], made, curves[of])
            for of in sources
        }
        tracker.summary(found[name])
    manifest = read_manifest(trained.parent)
    assert manifest is not None, "it has just been made or found"
    seconds = {"training": manifest["seconds"], "this command": time.perf_counter() - began}
    told = confusion(videos, views[name])
    outcome = Outcome(name, fitted.choice.about, str(fitted), found, told, seconds, peak_bytes())
    folder = Path(config.folder)
    copy_files(trained, folder)
    drawn = [
        *(episode_curve(video, values) for video, values in telling(videos, views[name], DRAWN)),
        *(
            made_curve(one, values)
            for one, values in list(zip(made, curves[name], strict=True))[: len(KINDS)]
        ),
    ]
    write_report(folder, outcome, parts, counted, drawn, arguments, config)
    print(figures_table(found))
    print(folder / PAGE)
    return _summary(folder, fitted, outcome, counted)


def setting_keys(arguments: Sequence[str]) -> set[str]:
    """Keys of the settings on a command line."""
    return {one.key_or_group for one in parse([word for word in arguments if "=" in word])}


def refuse_groups(arguments: Sequence[str], groups: Collection[str], of: str) -> None:
    """Refuse settings that would change nothing.

    Args:
        groups: theirs; of: what they belong to, and what to say instead.
    """
    for key in sorted(setting_keys(arguments)):
        require(key.split(".")[0] not in groups, f"{key} is of {of}")


def sides(data: StoreData, parts: Sequence[Part], held_out: bool) -> list[Data]:
    """One side of the split, a data set a folder."""
    found = []
    for part in parts:
        indices = part.held_out if held_out else part.trained
        if indices:
            reading = replace(data.reading, episodes=part.numbers(indices), exclude=())
            found.append(user_data(part.store.folder, reading))
    return found


def _train(
    artifacts: Artifacts, fitted: Fit, config: Any, parts: Sequence[Part], tracker: Tracker, name: str
) -> dict[str, CriticSource]:
    """{critic: it}, the trained one first, then those beside it."""
    data = sides(config.data, parts, held_out=False)
    source = train_on(artifacts, fitted.choice, data, tracker)
    sources = {name: source, "time_index": CriticSource("time_index", TimeIndex)}
    for other in config.beside:
        tokenizer = str(source.folder) if isinstance(fitted.choice, TrainChoice) else ""
        choice = GROUPS["critic"][other](tokenizer=tokenizer, model=fitted.model)
        sources[other] = train_on(artifacts, choice, data, tracker)
    return sources


def _say(fitted: Fit, counted: Mapping[str, Mapping[str, int]]) -> None:
    """What was chosen, on stderr."""
    print(f"  {fitted}", file=sys.stderr)
    for side, of in counted.items():
        print(f"  {side}: " + ", ".join(f"{count} {kind}" for kind, count in of.items()), file=sys.stderr)


def _summary(
    folder: Path, fitted: Fit, outcome: Outcome, counted: Mapping[str, Mapping[str, int]]
) -> dict[str, Any]:
    """The last line of the command."""
    found = dict(outcome.found)
    chosen = {}
    if fitted.model is not None:
        clip = fitted.model.clip
        chosen = {"cameras": fitted.model.cameras, "rate": clip.fps, "clip": clip.horizon}
    return {
        "folder": str(folder),
        **chosen,
        "episodes": counted,
        **found.pop(outcome.name),
        "beside": found,
        "seconds": {what: round(spent, 1) for what, spent in outcome.seconds.items()},
        "peak_memory_gb": round(outcome.peak / 1e9, 2),
    }


def _first(stores: Sequence[Store]) -> list[Episode]:
    """Two episodes, as a critic gets them."""
    both = [unlabelled(store, index) for store in stores for index in range(min(2, len(store)))]
    return both[:2]
