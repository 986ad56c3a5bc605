"""A policy as a command of its own uses it: before training, or as a run left it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from envs.contract import EnvSpec
from envs.errors import UserError
from experiments.choices.environments import EnvChoice
from experiments.choices.no_env import NoEnv
from experiments.choices.policies import PolicyChoice
from experiments.lab.artifacts import canonical
from experiments.settings.config import TaskConfig, require
from experiments.stages.recorded import recorded_spec, saved_policy
from experiments.stages.rollouts import RESULTS, policy_digest, trained_policy
from policy_extraction.acting import ActingPolicy
from policy_extraction.types import Method, Policy, Training

GROUPS = ("task", "env", "policy", "method")  # that decide what a policy is and how it is asked
BEFORE = "run="


@dataclass(frozen=True)
class SavedPolicy:
    """The policy of `policy=`, with the weights that a run left in `run` (empty: before training), under `method=`'s
    prompt.
    """

    policy: PolicyChoice
    method: Method
    run: str = ""
    temperature: float = 1.0
    seed: int = 0

    def digest(self, env: EnvSpec) -> str:
        """Stands for its weights."""
        return policy_digest(trained_policy(Path(self.run))) if self.run else self.policy.origin(env)

    def actor(self, env: EnvSpec) -> ActingPolicy:
        """Who acts.

        Raises:
            UserError: the run holds no such policy.
        """

        def make(world: EnvSpec) -> Policy:
            return self.policy.make(world, Training(), self.seed)

        policy = saved_policy(make, env, trained_policy(Path(self.run))) if self.run else make(env)
        return ActingPolicy(policy, self.method, self.temperature)


def made_for(env: EnvChoice, task: TaskConfig, run: str) -> EnvSpec:
    """What a policy was made for: an environment, or, with `env=none`, the recordings of its run.

    Raises:
        UserError: the environment cannot be made, or there is no such run.
    """
    if not isinstance(env, NoEnv):
        return env.spec(task)
    require(
        bool(run), "env=none says nothing of a policy that no run trained; name the run: run=outputs/runs/…"
    )
    return recorded_spec(trained_policy(Path(run)))


def with_choices(arguments: Sequence[str]) -> list[str]:
    """A command's arguments, with the choices of the run that `run=` names where they choose nothing themselves.

    Raises:
        UserError: there is no such run.
    """
    runs = [word.removeprefix(BEFORE) for word in arguments if word.startswith(BEFORE)]
    results = _results(runs[-1]) if runs else {}
    named = {word.partition("=")[0] for word in arguments}
    chosen = results.get("choices", {})
    return [*arguments, *(f"{g}={chosen[g]}" for g in GROUPS if g in chosen and g not in named)]


def check_as_trained(run: str, config: Any) -> None:
    """Refuse settings of policy or method with which a run's policy would be another than it was trained to be.

    Raises:
        UserError: the first setting that differs.
    """
    settings = _results(run).get("settings", {}) if run else {}
    for group in ("policy", "method"):
        now, then = canonical(getattr(config, group)), settings.get(group)
        if then is None or now == then:
            continue
        for name in sorted({*now, *then}):
            if now.get(name) != then.get(name):
                what = group if name == "kind" else f"{group}.{name}"
                raise UserError(
                    f"the policy of {run} was trained with {what}={then.get(name)}, not {now.get(name)}; say {what}=…"
                )


def _results(run: str) -> dict[str, Any]:
    """What a run reported; nothing for the folder of a policy alone."""
    file = Path(run) / RESULTS
    if not file.is_file():
        trained_policy(Path(run))
        return {}
    return json.loads(file.read_text())
