"""Commands given in a folder outside the repository, with parts from files there, at the least of everything."""

import contextlib
import importlib
import io
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from policy_extraction.types import PolicySpec
from policy_extraction.vla.encoder import VLAConfig
from policy_extraction.vla.model import new_vla, save_vla

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = [
    "task=lift",
    "data.clean=1",
    "data.hesitation=1",
    "data.retry=0",
    "data.detour=0",
    "data.failure=0",
    "held_out.clean=1",
    "held_out.hesitation=1",
    "held_out.retry=1",
    "train.updates=24",
    "train.warmup=2",
    "batch.size=8",
    "batch.dispatch=2",
    "batch.variants=2",
    "batch.checkpoint_seconds=0",
    "evaluate.episodes=2",
    "evaluate.horizon=16",
    "evaluate.workers=2",
    "evaluate.videos=1",
    "wandb.mode=disabled",
]
CRITIC = [
    "critic=train",
    "critic.data.clean=1",
    "critic.data.noisy=0",
    "critic.data.slow=0",
    "critic.data.hesitation=1",
    "critic.data.retry=1",
    "critic.model.tokenizer.updates=8",
    "critic.model.tokenizer.width=8",
    "critic.model.tokenizer.frames=64",
    "critic.model.video.layers=1",
    "critic.model.video.width=32",
    "critic.model.video.feedforward=32",
    "critic.model.value.width=16",
    "critic.model.value.feedforward=16",
    "critic.model.optim.updates=8",
    "critic.model.optim.batch=8",
    "critic.model.optim.checkpoint_every=2",
    "critic.model.optim.updates_per_dispatch=2",
]
METHOD_AND_JAX_POLICY = '''
from dataclasses import dataclass
import jax, jax.numpy as jnp
from flax import nnx

@dataclass(frozen=True)
class Positive:
    """Clone what gained anything."""
    threshold: float = 0.0
    def select(self, dataset): return dataset.rows(dataset.advantage >= self.threshold)
    def loss(self, xp, log_prob, batch): return -log_prob

class Gaussian(nnx.Module):
    def __init__(self, spec, rngs):
        self.shape = (spec.action_horizon, spec.action_dim)
        self.mean = nnx.Linear(spec.proprio_dim, spec.action_horizon * spec.action_dim, rngs=rngs)
    def _mean(self, observation):
        return jnp.tanh(self.mean(observation["proprio"])).reshape(-1, *self.shape)
    def log_prob(self, observation, action):
        return -jnp.sum((action - self._mean(observation)) ** 2, axis=(1, 2))
    def sample(self, observation, key):
        mean = self._mean(observation)
        return mean + 0.1 * jax.random.normal(key, mean.shape)
'''
METHODS_THAT_READ = """
from dataclasses import dataclass, field
from policy_extraction.batch import executed_mean
from policy_extraction.types import Rollouts

@dataclass(frozen=True)
class Reads:
    keys: tuple[str, ...] = ("observation", "action", "advantage", "weight")
    inside: str = "words"
    def select(self, dataset): return dataset
    def loss(self, xp, log_prob, batch):
        loss = -log_prob
        for key in self.keys:
            part = batch["observation"][self.inside] if key == "observation" else batch[key]
            loss = loss + 0.0 * xp.mean(part.reshape(len(loss), -1) * 1.0, axis=1)
        return loss

@dataclass(frozen=True)
class ReadsRollouts(Reads):
    keys: tuple[str, ...] = ("observation", "action", "advantage", "weight", "behavior_log_prob", "executed", "seed")
    online: Rollouts = field(default_factory=lambda: Rollouts(groups=1, group_size=2, iterations=1, updates=1))
    def loss(self, xp, log_prob, batch):
        return super().loss(xp, executed_mean(xp, log_prob, batch), batch)
"""
TORCH_POLICY = """
import torch

class Gaussian(torch.nn.Module):
    def __init__(self, spec):
        super().__init__()
        self.shape = (spec.action_horizon, spec.action_dim)
        self.mean = torch.nn.Linear(spec.proprio_dim, spec.action_horizon * spec.action_dim)
    def _mean(self, observation):
        return torch.tanh(self.mean(observation["proprio"])).reshape(-1, *self.shape)
    def log_prob(self, observation, action):
        return -((action - self._mean(observation)) ** 2).sum((1, 2))
    def sample(self, observation, key):
        mean = self._mean(observation)
        return mean + 0.1 * torch.randn(mean.shape, generator=key)
"""


def settings(arguments) -> list[str]:
    """The least of everything, and these; a store of one's own has no styles to count."""
    mixture = "data=store" not in arguments
    return [*(one for one in SETTINGS if mixture or not one.startswith("data.")), *arguments]


class Lab:
    """A folder outside the repository from which commands are given."""

    def __init__(self, folder: Path):
        self.folder = folder
        config = VLAConfig(
            spec=PolicySpec(), first_channels=4, second_channels=4, width=16, blocks=1, euler_steps=2
        )
        save_vla(new_vla(config, 0), folder / "base")
        (folder / "my_lab.py").write_text(METHOD_AND_JAX_POLICY)
        (folder / "my_torch.py").write_text(TORCH_POLICY)
        (folder / "my_reader.py").write_text(METHODS_THAT_READ)

    @property
    def environment(self) -> dict[str, str]:
        """Of processes that are given commands there."""
        return {**os.environ, "PYTHONPATH": str(ROOT), "WANDB_MODE": "disabled"}

    def start(self, *arguments, largest_file=None) -> subprocess.Popen:
        """In a process of its own, which can be killed."""
        process = subprocess.Popen(
            [sys.executable, "-m", "experiments.run", *settings(arguments)],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        if largest_file is not None:
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (largest_file, largest_file))
        return process

    def run(self, *arguments, command="run") -> str:
        """In this process: to import all of it takes longer than most runs."""
        with self._within(arguments, command) as (main, out, err):
            try:
                main()
            except SystemExit as left:
                raise AssertionError(err.getvalue()) from left
        return out.getvalue()

    def refused(self, *arguments) -> str:
        """The one line on stderr; the exit status is 2."""
        with self._within(arguments, "run") as (main, _, err), pytest.raises(SystemExit) as left:
            main()
        assert left.value.code == 2
        assert err.getvalue().strip().count("\n") == 0
        return err.getvalue()

    @contextlib.contextmanager
    def _within(self, arguments, command):
        """The command's main function with these arguments, and what it prints."""
        out, err = io.StringIO(), io.StringIO()
        main = importlib.import_module(f"experiments.{command}").main
        try:
            with pytest.MonkeyPatch.context() as patch, contextlib.chdir(self.folder):
                patch.setattr(sys, "argv", [command, *settings(arguments)])
                patch.syspath_prepend(str(self.folder))
                with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                    yield main, out, err
        finally:
            for name in [name for name in sys.modules if name.startswith("my_")]:
                del sys.modules[name]

    def results(self, outputs: str, name: str) -> dict:
        return json.loads((self.folder / outputs / "runs" / name / "results.json").read_text())
