"""Where a policy acts in a run: an environment at a horizon, and whether the policy fits it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from envs.contract import EnvSpec, Start
from envs.errors import UserError
from envs.rollout import RolloutPool
from experiments.choices.environments import EnvChoice, OwnStarts
from experiments.choices.imagination import what_it_sees
from experiments.lab.simulators import Simulators
from experiments.settings.config import TaskConfig
from policy_extraction.types import Policy, PolicySpec


@dataclass(frozen=True)
class Acting:
    """An environment for rollouts.

    horizon: control steps, 0 for the environment's own; workers: rows, 0 for one a core; execute: actions of a chunk
    that are executed; linger: control steps that an episode goes on after success.
    """

    env: EnvChoice
    task: TaskConfig
    horizon: int
    workers: int
    execute: int
    linger: int = 0

    @cached_property
    def spec(self) -> EnvSpec:
        """What it shows and takes."""
        spec = self.env.spec(self.task)
        return replace(spec, horizon=self.horizon or spec.horizon)

    def pool(self, simulators: Simulators) -> RolloutPool:
        """Its rows, opened or reused."""
        rows = self.env.rows(self.workers)

        def make() -> Any:
            return self.env.make(self.task, self.spec, rows, self.execute, self.linger)

        return simulators.pool(
            (self.env, self.task, self.spec.horizon, rows, self.execute, self.linger), make
        )

    def starts(self, seeds: Sequence[int]) -> list[int | Start]:
        """The episodes of these seeds, as a policy learns from them."""
        if isinstance(self.env, OwnStarts):
            return list(self.env.starts_of(self.task, seeds))
        return list(seeds)

    def recipe(self) -> Mapping[str, Any]:
        """All that a rollout depends on, beside its policy and seed."""
        return {
            "env": self.env,
            "source": self.env.origin(),
            "task": self.task,
            "horizon": self.spec.horizon,
            "workers": self.env.rows(self.workers),
            "execute": self.execute,
            "linger": self.linger,
        }


def say_what_it_sees(acting: Acting, make: Callable[[], Policy]) -> None:
    """In one line on stderr, where that is not told by the choice of the environment alone.

    Raises:
        UserError: the policy cannot see as it is told to.
    """
    told = what_it_sees(acting.env, acting.spec, make)
    if told:
        print(f"  {told}", file=sys.stderr)


def check_fit(policy: PolicySpec, env: EnvSpec, execute: int) -> None:
    """Refuse a policy that cannot act in an environment, and say all that does not fit.

    Raises:
        UserError: pictures, proprioception or actions differ.
    """
    wrong = []
    missing = [name for name in policy.cameras if name not in env.cameras]
    if missing:
        shown = ", ".join(env.cameras) or "none"
        wrong.append(f"it reads the cameras {', '.join(policy.cameras)}, the environment shows {shown}")
    size = (policy.image_size, policy.image_size)
    for name in policy.cameras:
        if name in env.cameras and tuple(env.cameras[name]) != size:
            height, width = env.cameras[name]
            wrong.append(f"it reads {size[0]}×{size[1]} pictures, the camera {name} gives {height}×{width}")
    for what, mine, theirs in (
        ("numbers of proprioception", policy.proprio_dim, env.proprio_dim),
        ("numbers an action", policy.action_dim, env.action_dim),
    ):
        if mine != theirs:
            wrong.append(f"it has {mine} {what}, the environment {theirs}")
    if policy.action_horizon < execute:
        wrong.append(f"its chunks have {policy.action_horizon} actions, {execute} are to be executed")
    if wrong:
        raise UserError(
            f"the policy does not fit the environment: {'; '.join(wrong)}; choose another policy or set its spec "
            "(policy.spec.cameras=[…], policy.spec.proprio_dim=…, policy.spec.action_dim=…)"
        )
