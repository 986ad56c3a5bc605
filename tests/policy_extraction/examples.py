"""Small data sets and policies for the tests."""

import jax
import jax.numpy as jnp
import numpy as np
import torch
from flax import nnx

from policy_extraction.dataset import Dataset
from policy_extraction.types import PolicySpec

SPEC = PolicySpec(cameras=("workspace",), image_size=32, proprio_dim=3, action_dim=2, action_horizon=2)


def dataset(advantage, **columns):
    """A data set with these advantages, and zeros elsewhere."""
    count = len(advantage)
    return Dataset(
        **{
            "episode": np.arange(count),
            "frame": np.zeros(count, np.int64),
            "action": np.zeros((count, 2, 2), np.float32),
            "instruction": np.array(["stack the cubes"] * count),
            "value": np.zeros(count, np.float32),
            "advantage": np.array(advantage, np.float32),
            "weight": np.ones(count, np.float32),
            "outcome": np.zeros(count, np.float32),
            "group": np.zeros(count, np.int64),
        }
        | columns
    )


class GaussianJax(nnx.Module):
    """A linear Gaussian policy on proprioception."""

    def __init__(self, spec, rngs):
        self.spec = spec
        self.mean = nnx.Linear(spec.proprio_dim, spec.action_horizon * spec.action_dim, rngs=rngs)

    def log_prob(self, observation, action):
        return -jnp.mean(jnp.square(action - self.means(observation)), axis=(1, 2))

    def sample(self, observation, key):
        mean = self.means(observation)
        return mean + 0.1 * jax.random.normal(key, mean.shape)

    def means(self, observation):
        return self.mean(observation["proprio"]).reshape(-1, self.spec.action_horizon, self.spec.action_dim)


class GaussianTorch(torch.nn.Module):
    """The same in torch."""

    def __init__(self, spec):
        super().__init__()
        self.spec = spec
        self.mean = torch.nn.Linear(spec.proprio_dim, spec.action_horizon * spec.action_dim)

    def log_prob(self, observation, action):
        return -(action - self.means(observation)).square().mean((1, 2))

    def sample(self, observation, key):
        mean = self.means(observation)
        return mean + 0.1 * torch.randn(mean.shape, generator=key)

    def means(self, observation):
        return self.mean(observation["proprio"]).reshape(-1, self.spec.action_horizon, self.spec.action_dim)


def batches(updates, batch=8, seed=0):
    """Batches [U, B] in which the action is a linear function of proprioception."""
    rng = np.random.default_rng(seed)
    proprio = rng.normal(size=(updates, batch, SPEC.proprio_dim)).astype(np.float32)
    action = np.stack([proprio[..., :2], -proprio[..., :2]], axis=-2).astype(np.float32)
    return {
        "observation": {"proprio": proprio},
        "action": action,
        "advantage": rng.normal(size=(updates, batch)).astype(np.float32),
        "weight": rng.uniform(size=(updates, batch)).astype(np.float32),
    }
