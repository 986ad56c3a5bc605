"""Serve a policy to robots and evaluators, or a critic to other people's training.

    python -m experiments.serve policy=vla task=stack [bind.port=8000]
    python -m experiments.serve run=outputs/runs/first names.cameras={workspace: observation/image}
    python -m experiments.serve critic=wvm [critic.path=…] bind.port=8001

A policy speaks openpi's websocket protocol: observations in, action chunks out. A critic answers POST /values: frames and an
instruction in, a value for every frame out. Both answer GET /healthz, listen on this
machine alone unless bind.host= says otherwise, and end at Ctrl-C. The first line on stdout is JSON: the address.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import MISSING

from envs.types import Observation
from experiments.choices.critics import pictures_critic, require_sight
from experiments.lab.artifacts import Artifacts
from experiments.serving.binding import Binding, run_until_stopped
from experiments.serving.policy_server import PolicyServer, Served
from experiments.serving.value_server import ValueServer
from experiments.settings.cli import answer, prepare_one
from experiments.settings.command import command
from experiments.settings.compose import store_command
from experiments.settings.config import require
from experiments.stages.saved import SavedPolicy, check_as_trained, made_for, with_choices
from experiments.value_benchmark.critic import bench_critic
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


@dataclass(frozen=True)
class ServeCriticConfig:
    """Which critic, and how it is reached."""

    critic: Any = MISSING
    max_frames: int = 512  # of a question, and of those that are answered together
    timeout: float = 120.0  # seconds that a client waits for its answer
    bind: Binding = field(default_factory=Binding)
    outputs: str = "outputs"

    def __post_init__(self) -> None:
        require(self.max_frames >= 1, f"max_frames={self.max_frames} must be at least 1")
        require(self.timeout > 0, f"timeout={self.timeout} must be positive")


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
    if "critic" not in groups:
        serve_policy(arguments)
        return
    require(
        not groups & {"policy", "run"},
        "serve a policy or a critic; give each a command and a port of its own",
    )
    server = critic_server(arguments)
    announce(server.binding)
    run_until_stopped(lambda stop: server.run(ready, stop))


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
    env = made_for(config.env, config.task, config.run)
    saved = SavedPolicy(config.policy, config.method, config.run, config.temperature, config.seed)
    actor = saved.actor(env)
    spec = actor.policy.spec
    size = (1, spec.image_size, spec.image_size, 3)
    blank = {camera: np.zeros(size, np.uint8) for camera in spec.cameras}
    proprio = np.zeros((1, spec.proprio_dim), np.float32)
    actor.act(Observation(blank, proprio, (env.instruction,)), np.zeros(1, np.int64))  # compile, or fail, now
    about = {"policy": type(config.policy).__name__, "control_rate": env.control_rate}
    return Served(actor, spec, config.names, about), config.bind


def critic_server(arguments: Sequence[str]) -> ValueServer:
    """The server of a command line's critic, which has been tried once.

    Raises:
        UserError: a mistake in the arguments, or the critic cannot judge from pictures alone.
    """
    store_command("serve_critic", ServeCriticConfig, [{"critic": "wvm"}])
    config: ServeCriticConfig = prepare_one("serve_critic", arguments).config
    require_sight(config.critic, "what a client sends")
    source = bench_critic(Artifacts(Path(config.outputs) / "artifacts"), config.critic)
    critic = pictures_critic(source.load(), "this critic")
    critic.values(np.zeros((8, 64, 64 * len(critic.cameras), 3), np.uint8), "try")  # compile, or fail, now
    return ValueServer(critic, config.bind, config.max_frames, config.timeout)


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
