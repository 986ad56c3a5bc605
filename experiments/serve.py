"""Serve a policy to robots and evaluators, or a critic to other people's training.

    python -m experiments.serve policy=vla task=stack [bind.port=8000]
    python -m experiments.serve run=outputs/runs/first names.cameras={workspace: observation/image}
    python -m experiments.serve critic=wvm [critic.path=…] bind.port=8001

A policy speaks openpi's websocket protocol: observations in, action chunks out. Both answer GET /healthz, listen on this
machine alone unless bind.host= says otherwise, and end at Ctrl-C. The first line on stdout is JSON: the address.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from omegaconf import MISSING

from envs.contract import EnvSpec
from envs.types import Observation
from experiments.serving.binding import Binding, run_until_stopped
from experiments.serving.policy_server import PolicyServer, Served
from experiments.settings.cli import answer, prepare_one
from experiments.settings.command import command
from experiments.settings.compose import store_command
from experiments.settings.config import require
from experiments.stages.saved import SavedPolicy, check_as_trained, with_choices
from policy_extraction.remote.form import Form

POLICY = [{"task": "stack"}, {"env": "robosuite"}, {"method": "bc"}, {"policy": "vla"}]


@dataclass(frozen=True)
class ServePolicyConfig:
    """Which policy, and how it is reached."""

    task: Any = MISSING  # with env=: for what the policy reads, where it does not say so itself
    env: Any = MISSING
    method: Any = MISSING  # whose prompt the policy is given
    policy: Any = MISSING
    run: str = (
        ""  # the folder of a run, or of its policy, whose weights act; its choices hold where none are made
    )
    temperature: float = 1.0  # of action tokens
    names: Form = field(default_factory=Form)  # of the parts of a message; cameras: {camera: name}
    bind: Binding = field(default_factory=Binding)
    seed: int = 0
    outputs: str = "outputs"

    def __post_init__(self) -> None:
        require(self.temperature > 0, f"temperature={self.temperature} must be positive")


def serve(arguments: Sequence[str]) -> None:
    """The command with its arguments; it returns when it is told to stop.

    Raises:
        UserError: a mistake in them, a port in use, or a part that is not there.
    """
    groups = {word.partition("=")[0].partition(".")[0] for word in arguments}
    require(
        bool(groups & {"policy", "run", "critic"}),
        "say what to serve: policy=vla, run=outputs/runs/… or critic=wvm",
    )
    serve_policy(arguments)


def serve_policy(arguments: Sequence[str]) -> None:
    """Serve the policy of a command line."""
    served, bind = served_policy(arguments)
    server = PolicyServer(served, bind)
    announce(bind)
    run_until_stopped(lambda stop: server.run(ready, stop))


def served_policy(arguments: Sequence[str]) -> tuple[Served, Binding]:
    """The policy of a command line, tried once, and where it is to listen.

    Raises:
        UserError: a mistake in the arguments, or there is no such policy.
    """
    store_command("serve_policy", ServePolicyConfig, POLICY)
    config: ServePolicyConfig = prepare_one("serve_policy", with_choices(arguments)).config
    check_as_trained(config.run, config)
    env: EnvSpec = config.env.spec(config.task)
    saved = SavedPolicy(config.policy, config.method, config.run, config.temperature, config.seed)
    actor = saved.actor(env)
    spec = actor.policy.spec
    size = (1, spec.image_size, spec.image_size, 3)
    blank = {camera: np.zeros(size, np.uint8) for camera in spec.cameras}
    proprio = np.zeros((1, spec.proprio_dim), np.float32)
    actor.act(Observation(blank, proprio, (env.instruction,)), np.zeros(1, np.int64))  # compile, or fail, now
    about = {"policy": type(config.policy).__name__, "control_rate": env.control_rate}
    return Served(actor, spec, config.names, about), config.bind


def announce(bind: Binding) -> None:
    """Say what is open to whom before it is."""
    if bind.warning():
        print(bind.warning(), file=sys.stderr)


def ready(url: str) -> None:
    """Say that clients may come."""
    print(json.dumps({"url": url}), flush=True)


@command
def main() -> None:
    """The command line."""
    answer(serve, __doc__)


if __name__ == "__main__":
    main()
