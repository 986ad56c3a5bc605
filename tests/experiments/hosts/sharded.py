"""What each process does in `test_torchrun`: a policy in shards, trained beside the same one whole to the same numbers."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from torch import distributed
from torch.distributed.tensor import DTensor

from envs.files import load_arrays
from policy_extraction.adapters.companions import together
from policy_extraction.adapters.torch_policy import TorchPolicy
from policy_extraction.methods.awr import AWR
from policy_extraction.types import STATE_FILE, PolicySpec, Training

SPEC = PolicySpec(cameras=(), image_size=8, proprio_dim=3, action_dim=2, action_horizon=4)
TRAINING = Training(updates=8, warmup=1, learning_rate=0.03)


class Block(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear, self.norm = torch.nn.Linear(16, 16), torch.nn.BatchNorm1d(16, affine=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.tanh(self.linear(x))


class Stacked(torch.nn.Module):
    """Blocks, the first of which is not trained; and a buffer."""

    split_blocks = ("Block",)

    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.enter, self.leave = torch.nn.Linear(3, 16), torch.nn.Linear(16, 8)
        self.blocks = torch.nn.ModuleList(Block() for _ in range(3))
        self.blocks[0].requires_grad_(False)

    def log_prob(self, observation, action):
        x = self.enter(observation["proprio"])
        for block in self.blocks:
            x = block(x)
        return -((action - self.leave(x).reshape(action.shape)) ** 2).sum((1, 2))

    def sample(self, observation, key):
        raise NotImplementedError


def batches(first: int, last: int) -> dict:
    random = np.random.default_rng(0)
    whole = {
        "observation": {"proprio": random.normal(size=(8, 16, 3)).astype(np.float32)},
        "action": random.normal(size=(8, 16, 4, 2)).astype(np.float32),
        "value": np.zeros((8, 16), np.float32),
        "advantage": random.normal(size=(8, 16)).astype(np.float32),
        "weight": random.uniform(0.5, 1.5, (8, 16)).astype(np.float32),
    }
    rows = slice(first, last)
    return {
        name: {key: array[rows] for key, array in part.items()} if isinstance(part, dict) else part[rows]
        for name, part in whole.items()
    }


def same(ours: dict, others: dict) -> None:
    assert ours.keys() == others.keys()
    for name, value in others.items():
        np.testing.assert_allclose(ours[name], value, rtol=2e-4, atol=2e-6, err_msg=name)


def main(folder: Path) -> None:
    distributed.init_process_group("gloo")
    alone = TorchPolicy(Stacked(0), SPEC, TRAINING, 0)
    with together(shards=True):
        ours, resumed = TorchPolicy(Stacked(0), SPEC, TRAINING, 0), TorchPolicy(Stacked(1), SPEC, TRAINING, 0)
    assert ours.processes == 2
    same(ours.update(batches(0, 4), AWR()), alone.update(batches(0, 4), AWR()))
    moments = ours._optimizer.state[ours._trained[0]]["exp_avg"]
    assert isinstance(moments, DTensor) and moments.to_local().numel() == moments.numel() // 2
    ours.save(folder / "half")
    distributed.barrier()
    resumed.restore(folder / "half")
    same(resumed.update(batches(4, 8), AWR()), alone.update(batches(4, 8), AWR()))
    resumed.save(folder / "ours")
    if distributed.get_rank() == 0:
        alone.save(folder / "alone")
        same(*(load_arrays(folder / name / STATE_FILE)[0] for name in ("ours", "alone")))
        one = TorchPolicy(Stacked(2), SPEC, TRAINING, 0)
        one.restore(folder / "ours")  # by one process, which has it whole
        same(one.module.state_dict(), alone.module.state_dict())
        same(resumed.module.state_dict(), alone.module.state_dict())
    distributed.destroy_process_group()
    print("the same")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
