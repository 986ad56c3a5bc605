"""The choices of `env=`: where a policy acts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Protocol, runtime_checkable

import gymnasium
import numpy as np

from envs.contract import ChunkEnvs, EnvSpec, Start
from envs.errors import UserError, check_choice
from envs.experts.self_reset import check_undoable, self_resetting_envs
from envs.fields import later
from envs.gymnasium_world import gymnasium_envs, gymnasium_spec
from envs.recording import FILM_HEIGHT
from envs.robosuite.failures import failure_of
from envs.robosuite.vector import RobosuiteScene, robosuite_envs
from experiments.lab.artifacts import digest
from experiments.lab.simulators import worker_count
from experiments.settings.config import TaskConfig, require
from experiments.settings.plugins import is_reference, resolve, source_digest


class EnvChoice(Protocol):
    """A choice of `env=`."""

    @property
    def horizon(self) -> int:
        """Control steps of an episode that is acted in to learn, whatever is evaluated; 0: as many as those."""
        ...

    def spec(self, task: TaskConfig) -> EnvSpec:
        """What it shows and takes.

        Raises:
            UserError: it cannot be made, or does not say what is needed.
        """
        ...

    def make(self, task: TaskConfig, spec: EnvSpec, workers: int, execute: int, linger: int = 0) -> ChunkEnvs:
        """The environment.

        Args:
            spec: what `spec` gave, perhaps with another horizon.
            linger: control steps that an episode goes on after success.
        """
        ...

    def place(self, task: TaskConfig) -> str:
        """What to call it where a task is named."""
        ...

    def origin(self) -> str:
        """A digest of all that it depends on beside its settings and the task: "" for what has a version here."""
        ...

    def rows(self, workers: int) -> int:
        """How many episodes run side by side, where `workers` (0: one a core) are wanted."""
        ...

    @property
    def real(self) -> EnvChoice:
        """Where success is measured unless `evaluate_env=` says otherwise: here, or in what this one imitates."""
        ...

    def film_task(self, task: TaskConfig) -> TaskConfig:
        """The task with pictures for people, where they can be had larger than the policy sees them."""
        ...


@runtime_checkable
class OwnStarts(Protocol):
    """A choice whose episodes are not told by a seed alone when a policy learns from them."""

    def starts_of(self, task: TaskConfig, seeds: Sequence[int]) -> list[Start]:
        """How the episodes of these seeds begin."""
        ...


@runtime_checkable
class TellsFailures(Protocol):
    """A choice that knows what became of an attempt."""

    def failure(self, state: np.ndarray) -> str:
        """In a word, of an unsolved one, from the environment's states at its decisions, float32 [D, S]."""
        ...


@dataclass(frozen=True)
class RobosuiteChoice:
    """robosuite, at the task of `task=`, its robot and cameras; demonstrations are of its usual arrangement."""

    layout: int = later(0)  # of the kitchen's tasks: 1, all in a mirror; 2, sink and basket exchanged
    distractors: int = later(0)  # objects of no use on the kitchen's counter, at most 4
    instruction: str = later("")  # what the policy is told: any text, or a paraphrase by its number
    reset: str = later("seed")  # self: in evaluations an expert undoes what an episode did

    def __post_init__(self) -> None:
        check_choice("reset", self.reset, ("seed", "self"))

    @property
    def horizon(self) -> int:
        """See `EnvChoice`."""
        return 0

    def spec(self, task: TaskConfig) -> EnvSpec:
        """See `EnvChoice`."""
        return self.scene(task).spec()

    def make(self, task: TaskConfig, spec: EnvSpec, workers: int, execute: int, linger: int = 0) -> ChunkEnvs:
        """See `EnvChoice`."""
        scene = replace(self.scene(task), horizon=spec.horizon, linger=linger)
        return (self_resetting_envs if self.reset == "self" else robosuite_envs)(scene, workers, execute)

    def place(self, task: TaskConfig) -> str:
        """See `EnvChoice`."""
        return task.name

    def origin(self) -> str:
        """See `EnvChoice`."""
        return ""

    def rows(self, workers: int) -> int:
        """See `EnvChoice`."""
        return worker_count(workers)

    @property
    def real(self) -> EnvChoice:
        """See `EnvChoice`."""
        return self

    def film_task(self, task: TaskConfig) -> TaskConfig:
        """See `EnvChoice`."""
        return replace(task, image_size=max(task.image_size, FILM_HEIGHT))

    def failure(self, state: np.ndarray) -> str:
        """See `TellsFailures`."""
        return failure_of(state)

    def scene(self, task: TaskConfig) -> RobosuiteScene:
        """Which simulator."""
        if self.reset == "self":
            check_undoable(task.name)
        return RobosuiteScene(
            task.name,
            task.robot,
            image_size=task.image_size,
            layout=self.layout,
            distractors=self.distractors,
            instruction=self.instruction,
        )


@dataclass(frozen=True)
class GymChoice:
    """Any Gymnasium environment with continuous actions: a registered id, or `package.module:factory` of one's own."""

    id: str = ""
    kwargs: dict[str, Any] = field(default_factory=dict)  # given to the environment, or to the factory
    instruction: str = ""  # what the policy is told; empty: the environment's own `instruction`
    horizon: int = 0  # control steps; 0: the environment's own limit
    control_rate: float = 0.0  # steps a second; 0: its `render_fps`
    render: bool = False  # show what render() draws as the camera "render"

    def __post_init__(self) -> None:
        require(bool(self.id), "env=gym needs an environment: env.id=Pendulum-v1, or env.id=my_file:factory")

    def spec(self, task: TaskConfig) -> EnvSpec:
        """See `EnvChoice`."""
        return gymnasium_spec(self._factory(), self.instruction, self.render, self.horizon, self.control_rate)

    def make(self, task: TaskConfig, spec: EnvSpec, workers: int, execute: int, linger: int = 0) -> ChunkEnvs:
        """See `EnvChoice`."""
        require(
            linger == 0,
            "a Gymnasium environment ends its episodes itself; set data.linger=0, evaluate.stop=true, or reward.linger=0 "
            "for its judge",
        )
        return gymnasium_envs(self._factory(), spec, workers, execute, self.render)

    def place(self, task: TaskConfig) -> str:
        """See `EnvChoice`."""
        return self.id.split(":")[-1].split("/")[-1]

    def origin(self) -> str:
        """See `EnvChoice`; the user's file counts."""
        return digest(source_digest(resolve(self.id))) if is_reference(self.id) else ""

    def rows(self, workers: int) -> int:
        """See `EnvChoice`."""
        return worker_count(workers)

    @property
    def real(self) -> EnvChoice:
        """See `EnvChoice`."""
        return self

    def film_task(self, task: TaskConfig) -> TaskConfig:
        """See `EnvChoice`: pictures are of one size."""
        return task

    def _factory(self) -> Callable[[], gymnasium.Env]:
        options: Mapping[str, Any] = dict(self.kwargs)
        if self.render:
            options = {"render_mode": "rgb_array", **options}
        if is_reference(self.id):
            return partial(resolve(self.id), **options)
        try:
            gymnasium.spec(self.id)
        except gymnasium.error.Error as error:
            raise UserError(
                f"env.id={self.id} is not registered ({error}); name one of Gymnasium's, or package.module:factory"
            ) from error
        return partial(gymnasium.make, self.id, **options)


@dataclass(frozen=True)
class SameEnv:
    """For `evaluate_env=`: where the policy is trained, or where that is imagined, what it imitates."""


def measured_in(env: EnvChoice, evaluate_env: EnvChoice | SameEnv) -> EnvChoice:
    """Where success is measured of what acts in `env`."""
    return env.real if isinstance(evaluate_env, SameEnv) else evaluate_env
