"""A policy as a command of its own uses it: before training, or as a run left it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from envs.contract import EnvSpec
from envs.errors import UserError
from experiments.choices.environments import EnvChoice
from experiments.choices.groups import GROUPS as GROUPS_OF_CHOICES
from experiments.choices.no_env import NoEnv
from experiments.choices.policies import PolicyChoice
from experiments.lab.artifacts import canonical
from experiments.settings.config import TaskConfig, require
from experiments.stages.recorded import recorded_spec, saved_policy
from experiments.stages.rollouts import RESULTS, policy_digest, trained_policy
from policy_extraction.acting import ActingPolicy
from policy_extraction.types import Method, Policy, Training

GROUPS = ("task", "env", "policy", "method")  # that decide what a policy is and how it is asked
SET = ("policy", "method")  # of which settings count, too
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


def with_choices(arguments: Sequence[str], before: str = BEFORE, groups: Sequence[str] = GROUPS) -> list[str]:
    """A command's arguments, with the choices of the run that `run=` names where they choose nothing themselves, and with
    the settings of these choices where they set nothing.

    Args:
        before: of the word that names the run; groups: whose choices count.

    Raises:
        UserError: there is no such run.
    """
    runs = [word.removeprefix(before) for word in arguments if word.startswith(before)]
    results = _results(runs[-1]) if runs and runs[-1] else {}
    given = {name: value for name, _, value in (word.partition("=") for word in arguments)}
    choices, settings = results.get("choices", {}), results.get("settings", {})
    words = []
    for group in (one for one in groups if one in choices and given.get(one, choices[one]) == choices[one]):
        words += [] if group in given else [f"{group}={choices[group]}"]
        there = settings.get(group, {}) if group in SET else {}
        set_there = _set(there, _unset(group, choices[group]))
        words += [
            f"{group}.{name}={value}" for name, value in set_there.items() if f"{group}.{name}" not in given
        ]
    return [*arguments, *words]


def _unset(group: str, choice: str) -> Mapping[str, Any]:
    """The settings of a choice as they are unless they are set; nothing is known of one from outside."""
    known = GROUPS_OF_CHOICES[group].get(choice)
    made = known() if isinstance(known, type) else known
    return canonical(made) if made is not None else {}


def _set(now: Mapping[str, Any], unset: Mapping[str, Any]) -> dict[str, str]:
    """{setting: value, as a command line says it} of all that differ from what they are unset."""
    found: dict[str, str] = {}
    for name, value in now.items():
        if name == "kind" or name not in unset or value == unset[name]:
            continue
        if isinstance(value, Mapping) and isinstance(unset[name], Mapping):
            found |= {f"{name}.{inner}": said for inner, said in _set(value, unset[name]).items()}
        else:
            found[name] = _said(value)
    return found


def _said(value: Any) -> str:
    """A value as Hydra reads it."""
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{name}:{_said(one)}" for name, one in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(_said, value)) + "]"
    return json.dumps(value)


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
