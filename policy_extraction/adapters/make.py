"""From a class of the user's own to a policy, whatever its framework."""

from __future__ import annotations

import inspect
import sys
from typing import Any

from envs.errors import UserError
from policy_extraction.types import Policy, PolicySpec, Training


def make_policy(
    module_class: Any,
    spec: PolicySpec,
    training: Training = Training(),  # noqa: B008
    seed: int = 0,
) -> Policy:
    """A policy from a flax NNX or torch module class.

    The class is called as Module(spec, rngs: nnx.Rngs) or, in torch, as Module(spec). It needs
    `log_prob(observation, action[, key])` and `sample(observation, key)`; `preprocess(observation)` is its
    to define where it wants to read other arrays than `inputs.raw_inputs` gives.

    Raises:
        UserError: it is not such a class.
    """
    if not isinstance(module_class, type):
        raise UserError(
            f"{module_class!r} is not a class; give the class of a flax nnx.Module or torch.nn.Module"
        )
    _check_signature(module_class, "log_prob", "observation, action", "observation, action, key")
    _check_signature(module_class, "sample", "observation, key")
    torch = sys.modules.get("torch")  # a torch class cannot exist before torch is imported
    if torch is not None and issubclass(module_class, torch.nn.Module):
        return _torch_policy(module_class, spec, training, seed)
    return _jax_policy(module_class, spec, training, seed)


def _jax_policy(module_class: type, spec: PolicySpec, training: Training, seed: int) -> Policy:
    from flax import nnx

    from policy_extraction.adapters.jax_policy import JaxPolicy

    if not issubclass(module_class, nnx.Module):
        raise UserError(
            f"{module_class.__name__} is neither a flax nnx.Module nor a torch.nn.Module; inherit from one"
        )
    _check_signature(module_class, "__init__", "spec, rngs")
    build: Any = module_class
    module = build(spec, nnx.Rngs(seed))
    return JaxPolicy(module, spec, training, seed, _own_preprocess(module))


def _torch_policy(module_class: type, spec: PolicySpec, training: Training, seed: int) -> Policy:
    import torch

    from policy_extraction.adapters.torch_policy import TorchPolicy

    _check_signature(module_class, "__init__", "spec")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        module = module_class(spec)
    return TorchPolicy(module, spec, training, seed, _own_preprocess(module))


def _own_preprocess(module: Any) -> Any:
    return getattr(module, "preprocess", None)


def _check_signature(module_class: type, name: str, *calls: str) -> None:
    """Raise UserError unless the class has a method that can be called in one of the ways `calls`."""
    function = getattr(module_class, name, None)
    wanted = " or ".join(f"{name}({call})" for call in calls)
    if not callable(function):
        raise UserError(f"{module_class.__name__} has no method {wanted}; add it")
    for call in calls:
        try:
            inspect.signature(function).bind(None, *call.split(", "))
            return
        except TypeError:
            continue
    raise UserError(f"{module_class.__name__}.{name} cannot be called as {wanted}; change its arguments")
