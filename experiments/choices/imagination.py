"""The choice `env=imagination`: a policy acts in what a world model imagines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache, reduce
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import value_model
from envs.contract import ChunkEnvs, EnvSpec, Start
from envs.errors import UserError, check_choice
from envs.fields import later
from envs.robosuite.tasks import TASKS, task_spec
from envs.types import Episode
from experiments.choices.environments import EnvChoice, RobosuiteChoice
from experiments.lab.artifacts import digest, file_digest
from experiments.settings.config import TaskConfig, require
from policy_extraction.types import Policy, frozen_eyes
from value_model.imagination.config import EYES, FILES, WHERE

if TYPE_CHECKING:
    from value_model.imagination.starts import StartBank
    from value_model.imagination.world_model import WorldModel

SHOWN = 8  # frames of an example
GUARD = 1  # what an episode's own task is drawn with, beside its seed
EYES_CHOICES = ("auto", "distilled", "pictures")
SHIPPED = Path(value_model.__path__[0]) / "imagination" / "shipped"


@dataclass(frozen=True)
class ImaginationChoice:
    """A world model as environment: the one that ships for the task, or that of `experiments.train_world_model`."""

    path: str = ""  # its folder; empty: the one that ships
    worlds: int = 64  # imagined side by side
    starts: str = "first"  # where episodes begin: at recorded "first" frames, in the "middle", or at "all"
    images: tuple[str, ...] = ()  # of your own, one of each camera, that all episodes begin with instead
    scenes: str = later("")  # folder of more of them, `<scene>/<camera>.png`, beside the recorded ones
    instruction: str = ""  # of your own; empty: the task's
    horizon: int = 0  # control steps of an imagined episode; 0: the task's
    minimum: int = 8  # control steps before which nothing counts as success
    hold: int = 1  # moments in a row that have to look solved
    guard: float = later(
        0.0
    )  # share of training episodes that are of the model's other tasks, so that none is lost
    retold: float = later(0.0)  # share that begin where this task's do, and are told another's instruction
    eyes: str = "auto"  # what a policy sees: "distilled" from latents, decoded "pictures", or "auto": distilled if it can

    def __post_init__(self) -> None:
        require(self.worlds >= 1, f"env.worlds={self.worlds} must be at least 1")
        require(self.horizon >= 0, f"env.horizon={self.horizon} must be positive, or 0 for the task's own")
        require(self.minimum >= 0, f"env.minimum={self.minimum} must not be negative")
        require(self.hold >= 1, f"env.hold={self.hold} must be at least 1")
        check_choice("env.starts", self.starts, WHERE)
        for name in ("guard", "retold"):
            share = getattr(self, name)
            require(0 <= share < 1, f"env.{name}={share:g} must be at least 0 and below 1")
        require(
            not (self.guard and self.retold),
            "env.guard and env.retold both give episodes another task's instruction; give one of them",
        )
        check_choice("env.eyes", self.eyes, EYES_CHOICES)
        require(
            not self.instruction or bool(self.instruction.strip()),
            "env.instruction is blank; say what is to be done",
        )

    def film_task(self, task: TaskConfig) -> TaskConfig:
        """See `EnvChoice`: pictures are of one size."""
        return task

    def spec(self, task: TaskConfig) -> EnvSpec:
        """See `EnvChoice`; a horizon that is the task's is cut to whole steps of the world."""
        world = self.world
        if self.recorded:
            return world.spec(self._told, self.horizon or world.config.horizon, self.eyes != "pictures")
        known, size = task_spec(task.name), world.config.tokenizer.image_size
        require(
            size == task.image_size,
            f"the world model shows pictures of {size} pixels, task.image_size is {task.image_size}",
        )
        horizon = self.horizon or known.horizon - known.horizon % world.config.stride
        return world.spec(self.instruction or known.instructions[0], horizon, self.eyes != "pictures")

    @property
    def recorded(self) -> bool:
        """Whether the world model is of recordings of one's own, not of the simulator's tasks."""
        return self.world.config.horizon > 0

    @property
    def _told(self) -> str:
        """The instruction, in a world model of recordings.

        Raises:
            UserError: there are several, and nobody says which.
        """
        known = sorted(set(self.world.starts.instruction))
        require(
            bool(self.instruction) or len(known) == 1,
            f"the world model's recordings have {len(known)} instructions ({'; '.join(known[:5])}); say which: "
            'env.instruction="…"',
        )
        return self.instruction or known[0]

    def examples(self) -> list[Episode]:
        """Two episodes in the shapes of those imagined, of a few first pictures."""
        world, spec = self.world, self.spec(TaskConfig())
        seen = world.views(world.decode(world.starts.latents[:2].astype(np.float32)))
        return [
            Episode(
                images={
                    camera: np.repeat(frames[row : row + 1], SHOWN, axis=0) for camera, frames in seen.items()
                },
                proprio=np.repeat(world.starts.proprio[row : row + 1], SHOWN, axis=0),
                actions=np.zeros((SHOWN, spec.action_dim), np.float32),
                rewards=np.full(SHOWN, np.nan, np.float32),
                environment_state=np.zeros((SHOWN, 0), np.float32),
                success=None,
                task="recorded",
                instruction=spec.instruction,
                robot="recorded",
                seed=-1,
                fps=spec.control_rate,
                style="unknown",
            )
            for row in range(min(2, len(world.starts)))
        ]

    def make(self, task: TaskConfig, spec: EnvSpec, workers: int, execute: int, linger: int = 0) -> ChunkEnvs:
        """See `EnvChoice`."""
        from value_model.imagination.environment import ImaginedEnvs

        require(
            linger == 0,
            "an imagined episode ends where it is solved; set data.linger=0, or evaluate.stop=true",
        )
        bank = self.bank(task, spec)
        return ImaginedEnvs(self.world, spec, bank, workers, execute, self.minimum, self.hold)

    def starts_of(self, task: TaskConfig, seeds: Sequence[int]) -> list[Start]:
        """See `OwnStarts`: a share of them, `guard` or `retold`, are told other tasks of the world model, each as often."""
        share = self.guard or self.retold
        if not share:
            return [Start(seed) for seed in seeds]
        others, found = self._others(self.spec(task).instruction), []
        for seed in seeds:
            drawn = np.random.default_rng([seed, GUARD])
            other = drawn.random() < share
            found.append(Start(seed, str(drawn.choice(others)) if other else None))
        return found

    def _others(self, told: str) -> tuple[str, ...]:
        """The instructions of the world model's other tasks.

        Raises:
            UserError: there is none.
        """
        known = [one.instructions for one in TASKS.values() if told in one.instructions]
        own = {told, *(text for texts in known for text in texts)}
        others = tuple(sorted(set(self.world.starts.instruction) - own))
        name = "guard" if self.guard else "retold"
        require(bool(others), f"env.{name}: the world model knows no other task; leave it at 0")
        return others

    def bank(self, task: TaskConfig, spec: EnvSpec) -> StartBank:
        """Where episodes begin.

        Raises:
            UserError: there is no start for the task, or the pictures of one's own cannot be read.
        """
        from value_model.imagination.own_start import own_scenes, own_start
        from value_model.imagination.starts import StartBank

        if self.images:
            bank = own_start(self.world, [Path(one) for one in self.images], spec.instruction)
        else:
            known = (spec.instruction,) if self.recorded else task_spec(task.name).instructions
            bank = self.world.starts.of(known, self.starts)
        if self.scenes:
            bank = bank.beside(own_scenes(self.world, Path(self.scenes), spec.instruction))
        if self.retold:
            told = [bank.told(other) for other in self._others(spec.instruction)]
            bank = reduce(StartBank.beside, told, bank)
        if self.guard:
            bank = bank.beside(self.world.starts.of(self._others(spec.instruction), "first"))
        return bank

    def place(self, task: TaskConfig) -> str:
        """See `EnvChoice`."""
        return "imagined recordings" if self.recorded else f"imagined {task.name}"

    def origin(self) -> str:
        """See `EnvChoice`; the world model's files count, its eyes too, and the pictures of a start of one's own."""
        return digest([file_digest(file) for file in self._files])

    def rows(self, workers: int) -> int:
        """See `EnvChoice`."""
        return self.worlds

    @property
    def real(self) -> EnvChoice:
        """See `EnvChoice`: what the task's world model imagines is robosuite; that of recordings has but itself."""
        return self if self.recorded else RobosuiteChoice()

    @cached_property
    def world(self) -> WorldModel:
        """The world model.

        Raises:
            UserError: there is none, or it is damaged.
        """
        folder = self._files[0].parent
        files = [folder / name for name in (*FILES, EYES)]
        return _loaded(folder, digest([file_digest(file) for file in files if file.is_file()]))

    @property
    def _files(self) -> list[Path]:
        """Those of the world model, and the pictures of one's own."""
        folder = Path(self.path) if self.path else SHIPPED
        files, own = [folder / name for name in FILES], [Path(one) for one in self.images]
        own += sorted(Path(self.scenes).glob("*/*.png")) if self.scenes else []
        if not all(file.is_file() for file in files):
            what = self.path or "nothing that ships"
            raise UserError(
                f"env=imagination: no world model in {what}; train one: python -m experiments.train_world_model, and give "
                "its folder as env.path=…"
            )
        missing = [str(file) for file in own if not file.is_file()]
        require(not missing, f"env.images: there is no file {', '.join(missing)}")
        eyes = folder / EYES
        return [*files, *([eyes] if eyes.is_file() else []), *own]


@lru_cache(maxsize=2)
def _loaded(folder: Path, content: str) -> WorldModel:
    """The world model of a folder with this content: the stages of a command mostly imagine in one, at times beside another,
    and find them compiled.
    """
    from value_model.imagination.world_model import load_world_model

    return load_world_model(folder)


def what_it_sees(env: EnvChoice, spec: EnvSpec, make: Callable[[], Policy]) -> str:
    """How a policy sees imagined worlds, in a line to print; nothing for other environments.

    Raises:
        UserError: it is to see by `env.eyes=distilled`, and these are not its eyes.
    """
    if not isinstance(env, ImaginationChoice):
        return ""
    eyes, known = frozen_eyes(make()), ", ".join(spec.seen)
    if eyes is not None and eyes.digest in spec.seen:
        return f"the policy sees features distilled from latents (eyes {eyes.digest})"
    if env.eyes == "pictures":
        return "the policy sees decoded pictures (env.eyes=pictures)"
    if eyes is None:
        why = "it has no frozen eyes"
    elif not known:
        why = "no eyes have been distilled for this world model"
    else:
        why = f"its eyes are {eyes.digest}, those of the world model {known}"
    require(
        env.eyes == "auto",
        f"env.eyes=distilled: {why}; leave env.eyes=auto, or distil them: python -m experiments.train_world_model world=…",
    )
    return f"the policy sees decoded pictures: {why}"
