"""The adapter that makes a policy of a torch module. Nothing else in this package imports torch.

The module, of the user's own, needs two methods, and a constructor that takes a PolicySpec:

    log_prob(observation, action[, key][, executed=None]) -> [B] or [B, K]
    sample(observation, key) -> [B, H, A]

`observation` is a dict of tensors with leading axis B, what `preprocess` gave (by default
`inputs.raw_inputs`); K is a multiple of the horizon H, the tokens of an action side by side. For online
methods a log_prob [B] takes `executed` [B, H]: 1 for the actions of a chunk that count, 0 for the others.
`key` is a torch.Generator. A module may name the classes of its blocks, `split_blocks`, which processes that train it in
shards make whole one after another. Where a row's noise must not depend on its neighbours (when acting, and where a
batch names its seeds) rows go one by one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from envs.errors import UserError
from envs.files import atomic_file
from envs.types import Observation
from policy_extraction.adapters.average import Average
from policy_extraction.adapters.companions import Companions, fill, gathered, rows_of
from policy_extraction.adapters.inputs import (
    Preprocess,
    check_chunks,
    check_log_prob,
    check_tokens,
    not_finite,
    raw_inputs,
    sampling_inputs,
    takes_executed,
    takes_key,
)
from policy_extraction.adapters.schedule import ema_decay, learning_rate
from policy_extraction.batch import executed_mean
from policy_extraction.types import PLAIN, STATE_FILE, Batch, Method, PolicySpec, Sampling, Training


class TorchPolicy:
    """A `Policy` around a torch module; trains its parameters that require a gradient, and holds the others once.

    Several processes may train it, see `companions`: then `save` and `restore` are called in all of them.
    """

    def __init__(
        self,
        module: torch.nn.Module,
        spec: PolicySpec,
        training: Training = Training(),  # noqa: B008
        seed: int = 0,
        preprocess: Preprocess | None = None,
    ) -> None:
        self.spec = spec
        self.training = training
        self.seed = seed
        self.step = 0
        self._read = preprocess or partial(raw_inputs, spec=spec)
        self._options = tuple(getattr(module, "sampling_options", ()))
        self._module: Any = module.train()
        self._frozen = {name for name, parameter in module.named_parameters() if not parameter.requires_grad}
        if not any(parameter.requires_grad for parameter in module.parameters()):
            raise UserError("no parameter of the policy's module requires a gradient: nothing can be trained")
        self._companions = Companions()
        self._average = Average(module, self._companions.shards)
        blocks = tuple(getattr(module, "split_blocks", ()))
        self._scored = self._companions.wrapped(_Scored(self._module), blocks)
        self._trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
        self._device = self._trained[0].device
        if self._companions.shards:
            self._average.begin(module)
        one_kernel = self._device.type in ("cpu", "cuda")
        self._optimizer = torch.optim.AdamW(
            self._trained, weight_decay=training.weight_decay, fused=one_kernel
        )

    @property
    def module(self) -> torch.nn.Module:
        """The module with the averaged weights; of a policy in shards, as they were when it was saved or restored."""
        return self._average.module

    @property
    def processes(self) -> int:
        """See `SharedTraining`."""
        return self._companions.count

    @property
    def writes(self) -> bool:
        """Whether this process is the one that writes what all have trained."""
        return self._companions.index == 0

    def preprocess(self, observation: Observation, sampling: Sampling = PLAIN) -> dict[str, np.ndarray]:
        extra = sampling_inputs(sampling, self._options, len(observation), self.spec)
        return self._read(observation) | extra

    def act(self, observation: Observation, seeds: np.ndarray, sampling: Sampling = PLAIN) -> np.ndarray:
        inputs = self._tensors(self.preprocess(observation, sampling))
        with torch.no_grad():
            rows = [
                self._average.module.sample(rows_of(inputs, slice(b, b + 1)), self._key(seed))
                for b, seed in enumerate(seeds)
            ]
        for row in rows:
            check_chunks(row.shape, 1, self.spec)
        return torch.cat(rows).cpu().numpy().astype(np.float32)

    def update(self, batches: Batch, method: Method) -> dict[str, float]:
        history = [self._one_update(_at(batches, u), method) for u in range(len(batches["action"]))]
        return {name: float(np.mean([metrics[name] for metrics in history])) for name in history[0]}

    def log_prob(self, batch: Batch) -> np.ndarray:
        seeds = batch.get("seed", np.arange(len(batch["action"])))
        names = ("observation", "action", "executed")
        tensors = self._tensors({name: batch[name] for name in names if name in batch})
        with torch.no_grad():
            log_prob = _Scored(self._module)(tensors, self._keys(seeds), self._key(0))
        return log_prob.cpu().numpy().astype(np.float32)

    def save(self, folder: Path) -> None:
        """See `Policy`; of several processes the first writes."""
        self._average.gather()
        tensors = {}
        for name, tensor in self._state().items():
            whole = gathered(tensor.detach())  # one after another: all at once may be too much for a GPU
            if self.writes:
                tensors[name] = whole.cpu() if self._companions.shards else whole.clone()
        if not self.writes:
            return
        with atomic_file(folder / STATE_FILE) as temporary:
            save_file(tensors, temporary, {"framework": "torch"})

    def restore(self, folder: Path) -> None:
        path = folder / STATE_FILE
        if not path.is_file():
            raise UserError(f"no such file: {path}")
        try:
            saved = load_file(path, device="cpu" if self._companions.shards else str(self._device))
        except SafetensorError as error:
            raise UserError(f"{path} is not a whole safetensors file ({error}); train it again") from error
        self._make_moments(int(saved["step"]) if "step" in saved else 0)
        wanted = self._state()
        if {name: t.shape for name, t in saved.items()} != {name: t.shape for name, t in wanted.items()}:
            raise UserError(f"{path} holds another model than this one; restore it into one of the same kind")
        for name, tensor in wanted.items():
            fill(tensor, saved[name])
        self._average.scatter()

    def _one_update(self, batch: Batch, method: Method) -> dict[str, float]:
        tensors, among = self._tensors(batch), self._companions
        words = np.random.SeedSequence((self.seed, self.step)).generate_state(2, np.uint32) + among.index
        rows = among.own(len(batch["action"]))
        keys = self._keys(batch["seed"][rows]) if "seed" in batch else None
        with torch.random.fork_rng([] if self._device.type == "cpu" else [self._device]):
            torch.manual_seed(int(words[0]))  # for dropout and the like
            log_prob = among.whole(self._scored(rows_of(tensors, rows), keys, self._key(words[1])))
        chunk = executed_mean(torch, log_prob, tensors) if log_prob.ndim == 2 else log_prob
        by_token = "behavior_log_prob" in tensors and tensors["behavior_log_prob"].ndim == 2
        loss = method.loss(torch, log_prob if by_token else chunk, tensors).mean()
        if not loss.requires_grad:
            raise UserError(
                "log_prob carries no gradient: compute it from the module's parameters, undetached"
            )
        self._optimizer.zero_grad()
        loss.backward()
        norm = self._clip_gradient()
        metrics = {"loss": loss.item(), "log_prob": chunk.mean().item(), "grad_norm": norm}
        if not np.isfinite(list(metrics.values())).all():
            raise not_finite(self.step, self.step)
        for group in self._optimizer.param_groups:
            group["lr"] = float(learning_rate(np, self.training, self.step))
        self._optimizer.step()
        self._average.move(self._module, float(ema_decay(np, self.training, self.step)))
        self.step += 1
        return metrics

    def _clip_gradient(self) -> float:
        gradients = [parameter.grad for parameter in self._trained if parameter.grad is not None]
        norm = gathered(torch.nn.utils.get_total_norm(gradients)).item()
        if norm > self.training.clip:
            torch._foreach_mul_(gradients, self.training.clip / norm)
        return norm

    def _make_moments(self, step: int) -> None:
        """Give the optimiser the state that it has after `step` updates, values aside."""
        self.step = step
        count = torch.tensor(float(step), device=self._device)
        for parameter in self._trained:
            moments = {name: torch.zeros_like(parameter) for name in ("exp_avg", "exp_avg_sq")}
            self._optimizer.state[parameter] = {"step": count.clone(), **moments} if step else {}

    def _state(self) -> dict[str, torch.Tensor]:
        """Every tensor of the training's state by name, not copied."""
        tensors = {f"params/{name}": tensor for name, tensor in self._module.state_dict().items()}
        averaged = self.module.state_dict().items()
        tensors |= {f"ema/{name}": tensor for name, tensor in averaged if name not in self._frozen}
        for index, parameter in enumerate(self._trained):
            moments = self._optimizer.state[parameter]
            tensors |= {f"optimizer/{index}/{name}": tensor for name, tensor in moments.items()}
        return tensors | {"step": torch.tensor(self.step)}

    def _tensors(self, arrays: Any) -> Any:
        if isinstance(arrays, Mapping):
            return {name: self._tensors(array) for name, array in arrays.items()}
        whole = (
            arrays.astype(np.int64) if arrays.dtype == np.uint32 else arrays
        )  # torch knows little of uint32
        return torch.from_numpy(np.ascontiguousarray(whole)).to(self._device)

    def _keys(self, seeds: np.ndarray) -> list[torch.Generator] | None:
        """One a row, where the module draws anything."""
        return [self._key(seed) for seed in seeds] if takes_key(type(self._module)) else None

    def _key(self, seed: Any) -> torch.Generator:
        return torch.Generator(self._device).manual_seed(int(seed) % 2**63)


class _Scored(torch.nn.Module):
    """Log-probabilities as a module's forward pass, which is what processes can share."""

    def __init__(self, module: Any) -> None:
        super().__init__()
        self.module = module

    def forward(
        self, batch: Mapping[str, Any], keys: Sequence[torch.Generator] | None, key: torch.Generator
    ) -> torch.Tensor:
        """[B] or [B, K]. keys: a row each, where rows are to be independent of one another; else all draw from `key`."""
        observation, action, module = batch["observation"], batch["action"], type(self.module)
        told = {"executed": batch["executed"]} if "executed" in batch and takes_executed(module) else {}
        if keys is not None:
            rows = [
                self.module.log_prob(rows_of(observation, one), action[one], own, **rows_of(told, one))
                for one, own in ((slice(b, b + 1), own) for b, own in enumerate(keys))
            ]
            for row in rows:
                check_log_prob(row.shape, 1)
            log_prob = torch.cat(rows)
        else:
            noise = (key,) if takes_key(module) else ()
            log_prob = self.module.log_prob(observation, action, *noise, **told)
            check_log_prob(log_prob.shape, len(action))
        if "executed" in batch:
            check_tokens(log_prob.shape, batch["executed"].shape, module)
        return log_prob


def _at(arrays: Any, index: int) -> Any:
    """The arrays at `index` of their leading axis, however nested."""
    if isinstance(arrays, Mapping):
        return {name: _at(array, index) for name, array in arrays.items()}
    return arrays[index]
