"""Stages `world_eyes`, `seeing_world`, `eyes_quality`: eyes distilled for a world model, and how well they foretell."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from envs.files import atomic_file, copy_file
from experiments.lab.artifacts import SCRATCH, Artifact, digest, file_digest
from experiments.lab.context import Context
from experiments.lab.progress import Bars, announce
from experiments.stages.data import Data
from experiments.stages.world_model import FOLDER
from policy_extraction.types import Eyes
from value_model.imagination.config import EYES, FILES
from value_model.imagination.eyes import EyesConfig

VERSION = 1
STEPS = (0, 1, 4, 8, 16)  # of the world, after which what is seen is compared
FOUND = "eyes.json"

EyesQuality = Mapping[str, Mapping[int, float]]
"""{what: {steps of the world: error}}, see `value_model.imagination.quality.eyes_quality`."""


@dataclass(frozen=True)
class FinishedWorld:
    """A trained world model: its folder, and a digest of what was trained."""

    folder: Path
    digest: str


def finished_world(folder: Path) -> FinishedWorld:
    """The one in a folder, its eyes left out."""
    return FinishedWorld(folder, digest([file_digest(folder / name) for name in FILES]))


def distil(
    context: Context, world: FinishedWorld, eyes: Eyes, data: Sequence[Data], config: EyesConfig, seed: int
) -> Artifact:
    """The eyes, in the artifact's `eyes.safetensors`; resumes from its checkpoints."""

    def build(folder: Path) -> None:
        from value_model.imagination.distil import distil_eyes
        from value_model.imagination.world_model import load_world_model

        loaded, stores = load_world_model(world.folder), [part.open() for part in data]
        with Bars(context.tracker, "world_eyes") as bars:
            made = distil_eyes(
                loaded, stores, eyes.look, eyes.digest, config, folder / SCRATCH, seed, bars.update
            )
        made.save(folder)

    inputs = {
        "world_model": world.digest,
        "eyes": eyes.digest,
        "data": digest([part.digest for part in data]),
    }
    recipe = {"eyes": config, "seed": seed}
    return announce(context.artifacts.make("world_eyes", VERSION, recipe, inputs, build))


def seeing_world(context: Context, world: FinishedWorld, distilled: Artifact) -> Path:
    """A folder with the world model and these eyes."""

    def build(folder: Path) -> None:
        for name in FILES:
            copy_file(world.folder / name, folder / FOLDER / name)
        copy_file(distilled.folder / EYES, folder / FOLDER / EYES)

    inputs = {"world_model": world.digest, "world_eyes": distilled.digest}
    return announce(context.artifacts.make("seeing_world", VERSION, None, inputs, build)).folder / FOLDER


def measure_eyes(
    context: Context, world: FinishedWorld, distilled: Artifact, eyes: Eyes, data: Sequence[Data]
) -> EyesQuality:
    """Errors on held-out data of what eyes are told, beside eyes on decoded pictures."""

    def build(folder: Path) -> None:
        from value_model.imagination.eyes import load_eyes
        from value_model.imagination.quality import eyes_quality, record
        from value_model.imagination.world_model import load_world_model

        loaded = load_world_model(world.folder)
        loaded.eyes = load_eyes(loaded.config, distilled.folder)
        clips = record(loaded, [part.open() for part in data], STEPS[-1])
        with atomic_file(folder / FOUND) as temporary:
            temporary.write_text(json.dumps(eyes_quality(loaded, clips, eyes.look, STEPS), indent=1))

    inputs = {"world_eyes": distilled.digest, "data": digest([part.digest for part in data])}
    made = announce(context.artifacts.make("eyes_quality", VERSION, None, inputs, build))
    read = json.loads((made.folder / FOUND).read_text())
    return {what: {int(count): error for count, error in row.items()} for what, row in read.items()}
