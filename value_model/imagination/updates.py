"""One update on clips: what the trainings of the dynamics, of their hand and of their refiner have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import optax

from value_model.imagination.clips import Clip
from value_model.video.loop import Update, gradient_step


def clip_update(
    optimizer: optax.GradientTransformation,
    draw: Callable[[Any, jax.Array], Clip],
    loss: Callable[[Any, Any, Clip, jax.Array], tuple[jax.Array, dict[str, jax.Array]]],
) -> Update:
    """An update of (parameters, optimizer's state).

    Args:
        draw: (data, key) to clips.
        loss: (parameters, data, clips, key) to a number and its parts.
    """

    def update(state: Any, key: jax.Array, data: Any) -> tuple[Any, dict[str, jax.Array]]:
        params, optimizer_state = state
        keys = jax.random.split(key)
        clip = draw(data, keys[0])
        (value, parts), gradients = jax.value_and_grad(loss, has_aux=True)(params, data, clip, keys[1])
        params, optimizer_state, norm = gradient_step(optimizer, gradients, optimizer_state, params)
        return (params, optimizer_state), {"loss": value, **parts, "grad_norm": norm}

    return update
