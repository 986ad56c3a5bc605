"""The built-in small VLA: cameras, instruction and proprioception to an action chunk, in JAX (flax NNX).

One encoder and two heads. Extraction keeps the pretrained encoder frozen, so that its features are
computed once and a method trains a head on them; or trains both from the pictures (`train_encoder`).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from envs.errors import UserError
from envs.files import atomic_file, load_arrays, save_arrays
from envs.types import Observation
from policy_extraction.adapters.inputs import raw_inputs, takes_executed, takes_key, told_inputs
from policy_extraction.adapters.jax_policy import JaxPolicy
from policy_extraction.adapters.tree import named_leaves, tree_like
from policy_extraction.types import PolicySpec, Training
from policy_extraction.vla.encoder import Encoder, VLAConfig
from policy_extraction.vla.heads import FlowHead, TokenHead

WEIGHTS_FILE = "model.safetensors"
CONFIG_FILE = "config.json"
BLOCK = 64  # rows that are encoded together


class VLA(nnx.Module):
    """The encoder and its heads."""

    def __init__(self, config: VLAConfig, rngs: nnx.Rngs) -> None:
        self.config = config
        self.encoder = Encoder(config, rngs)
        self.heads = nnx.Dict({"flow": FlowHead(config, rngs), "token": TokenHead(config, rngs)})


class EndToEnd(nnx.Module):
    """Encoder and head trained together, from pictures shifted at random."""

    def __init__(self, encoder: Encoder, head: Any, shift: int = 3) -> None:
        self.encoder = encoder
        self.head = head
        self.shift = shift
        self.sampling_options = type(head).sampling_options

    def log_prob(self, observation: Mapping[str, Any], action: Any, key: Any, executed: Any = None) -> Any:
        shift_key, head_key = jax.random.split(key)
        features = self.encoder(random_shift(observation, shift_key, self.shift))
        noise = (head_key,) if takes_key(type(self.head)) else ()
        told = {"executed": executed} if takes_executed(type(self.head)) else {}
        return self.head.log_prob({**observation, "features": features}, action, *noise, **told)

    def sample(self, observation: Mapping[str, Any], key: Any) -> Any:
        return self.head.sample({**observation, "features": self.encoder(observation)}, key)

    def pathwise(self, observation: Mapping[str, Any], key: Any) -> Any:
        """See `policy_extraction.adapters.pathwise.Pathwise`."""
        return self.head.pathwise({**observation, "features": self.encoder(observation)}, key)


class EncodedInputs:
    """`preprocess` through a frozen encoder: {"features": float32 [B, F], "words": int32 [B,
    max_words]}.

    Pictures are left alone where the observation says what its eyes would have seen.
    """

    def __init__(self, encoder: Encoder, spec: PolicySpec) -> None:
        self.spec = spec
        self.eyes = FrozenEyes(encoder, spec)
        graph, state = nnx.split(encoder)
        self._encode = jax.jit(lambda inputs: nnx.merge(graph, state)(inputs))

    def __call__(self, observation: Observation) -> dict[str, np.ndarray]:
        if self.eyes.digest in observation.seen:
            inputs = told_inputs(observation, self.spec) | {"seen": observation.seen[self.eyes.digest]}
        else:
            inputs = raw_inputs(observation, self.spec)
        return {"features": _in_blocks(self._encode, inputs), "words": inputs["words"]}

    def traced(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """The same within a differentiated function: `inputs.raw_inputs`, pictures as floats in [0, 255]."""
        return {"features": self._encode(dict(inputs)), "words": inputs["words"]}


class FrozenEyes:
    """The `Eyes` of a frozen encoder: keypoints."""

    def __init__(self, encoder: Encoder, spec: PolicySpec) -> None:
        self.cameras = spec.cameras
        graph, state = nnx.split(encoder)
        self._look = jax.jit(lambda inputs: nnx.merge(graph, state).look(inputs))
        shown = {
            f"images.{camera}": jax.ShapeDtypeStruct((1, spec.image_size, spec.image_size, 3), jnp.uint8)
            for camera in spec.cameras
        }
        self.size = int(jax.eval_shape(self._look, shown).shape[1])
        total = hashlib.sha256(repr((spec.cameras, spec.image_size)).encode())
        for name, leaf in sorted(named_leaves(nnx.to_pure_dict(nnx.state(encoder.eyes))).items()):
            total.update(repr((name, leaf.shape)).encode() + np.asarray(leaf, np.float32).tobytes())
        self.digest = total.hexdigest()[:16]

    def look(self, images: Mapping[str, np.ndarray]) -> np.ndarray:
        """See `Eyes`."""
        return _in_blocks(self._look, {f"images.{camera}": images[camera] for camera in self.cameras})


def _in_blocks(function: Callable[[Any], Any], inputs: Mapping[str, np.ndarray]) -> np.ndarray:
    """Of rows of any number, in blocks of equal size, so that it is compiled for two sizes alone."""
    count = len(next(iter(inputs.values())))
    rows = BLOCK if count > 8 else 8
    blocks = []
    for start in range(0, count, rows):
        index = np.minimum(np.arange(start, start + rows), count - 1)  # a short block repeats its last row
        blocks.append(np.asarray(function({name: array[index] for name, array in inputs.items()})))
    return np.concatenate(blocks)[:count]


def vla_policy(
    base: VLA,
    head: str = "flow",
    train_encoder: bool = False,
    training: Training = Training(),  # noqa: B008
    seed: int = 0,
) -> JaxPolicy:
    """A policy that starts from `base` (pretrained or not).

    Args:
        head: "flow" (flow matching) or "token" (discretised actions with an exact likelihood).
        train_encoder: train from pictures, encoder included, instead of on the frozen encoder's features.
    """
    if head not in base.heads:
        raise UserError(f"the VLA has no head {head!r}; use one of {sorted(base.heads)}")
    spec = base.config.spec
    if train_encoder:
        return JaxPolicy(EndToEnd(base.encoder, base.heads[head]), spec, training, seed)
    return JaxPolicy(base.heads[head], spec, training, seed, EncodedInputs(base.encoder, spec))


def new_vla(config: VLAConfig, seed: int) -> VLA:
    """A VLA with random weights."""
    return VLA(config, nnx.Rngs(seed))


def save_vla(vla: VLA, folder: Path) -> None:
    """Write config.json and model.safetensors (half precision)."""
    state = nnx.to_pure_dict(nnx.state(vla))
    save_arrays(
        folder / WEIGHTS_FILE, {name: leaf.astype(np.float16) for name, leaf in named_leaves(state).items()}
    )
    with atomic_file(folder / CONFIG_FILE) as temporary:
        temporary.write_text(json.dumps(dataclasses.asdict(vla.config), indent=2) + "\n")


def load_config(folder: Path) -> VLAConfig:
    """The shape of the VLA that `save_vla` wrote.

    Raises:
        UserError: the file is missing, damaged, or of another version.
    """
    try:
        fields = json.loads((folder / CONFIG_FILE).read_text())
        spec = fields.pop("spec")
        return VLAConfig(spec=PolicySpec(**{**spec, "cameras": tuple(spec["cameras"])}), **fields)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{folder / CONFIG_FILE} is not a VLA's config ({error}); pretrain it again"
        ) from error


def load_vla(folder: Path) -> VLA:
    """What `save_vla` wrote.

    Raises:
        UserError: a file is missing, damaged, or of another version.
    """
    config = load_config(folder)
    arrays, _ = load_arrays(folder / WEIGHTS_FILE)
    graph, shapes = _shapes(config)
    state = tree_like(nnx.to_pure_dict(shapes), arrays, folder / WEIGHTS_FILE)
    vla = nnx.merge(graph, shapes, copy=True)
    nnx.update(vla, nnx.State(state))
    return vla


@cache
def _shapes(config: VLAConfig) -> tuple[Any, Any]:
    """The graph of a VLA, and shapes instead of arrays: no weight is drawn that is then read."""
    return nnx.split(nnx.eval_shape(lambda: new_vla(config, seed=0)))


def random_shift(inputs: Mapping[str, Any], key: Any, pixels: int) -> dict[str, Any]:
    """Shift every picture by up to ± `pixels` in both directions, edges repeated; other inputs stay."""
    shifted = dict(inputs)
    for name in inputs:
        if name.startswith("images."):
            key, own = jax.random.split(key)
            offsets = jax.random.randint(own, (len(inputs[name]), 2), 0, 2 * pixels + 1)
            shifted[name] = jax.vmap(partial(_shift, pixels=pixels))(inputs[name], offsets)
    return shifted


def _shift(image: Any, offset: Any, pixels: int) -> Any:
    padded = jnp.pad(image, ((pixels, pixels), (pixels, pixels), (0, 0)), mode="edge")
    return jax.lax.dynamic_slice(padded, (offset[0], offset[1], 0), image.shape)
