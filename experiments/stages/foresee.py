"""What a critic says is gained by what a policy would do in a world model: one function of the policy's weights.

Dimension letters: B starts, H action horizon, A action, P proprioception, h and w latent height and width, C channels,
L words.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from envs.errors import UserError
from policy_extraction.adapters.pathwise import Objective, TracedPolicy
from value_model.critic.traced import TracedCritic, traced_critic
from value_model.critic.types import Critic
from value_model.imagination.traced import traced_world
from value_model.imagination.world_model import WorldModel


def foresee(world: WorldModel, critic: Critic, horizon: int, execute: int) -> Objective:
    """V(s_end) − V(s_0) after `horizon` control steps, `execute` of every chunk, from batch["start"]:

        latents [B, h, w, C], proprio [B, P], words int32 [B, L]

    batch["observation"] is what the policy reads at the start. Every row draws from its own key, a new one for every
    decision.

    Raises:
        UserError: the steps do not divide, or the critic does not fit the world model.
    """
    stride = world.config.stride
    if execute % stride or horizon % execute:
        raise UserError(
            f"it looks {horizon} control steps ahead, executes {execute} of a chunk, and the world model goes {stride} at "
            "a time: set env.horizon to a multiple of method.foresight.execute, and that to one of the model's steps"
        )
    imagined, valued = traced_world(world), traced_critic(critic)
    _check_fit(world, valued)

    def gain(policy: TracedPolicy, parts: Any, batch: Mapping[str, Any], keys: jax.Array) -> jax.Array:
        start, inputs = batch["start"], batch["observation"]
        model = parts["world"]
        state = imagined.begin(model, start["latents"], start["proprio"], start["words"])
        films = [imagined.show(model, state.latents)]
        for decision in range(horizon // execute):
            own = jax.vmap(jax.random.fold_in, (0, None))(keys, decision)
            if decision:
                inputs = policy.read(inputs, films[-1], state.proprio)
            chunk = jnp.clip(policy.draw(inputs, own)[:, :execute], -1.0, 1.0)
            for actions in jnp.split(chunk, execute // stride, axis=1):
                own = jax.vmap(jax.random.fold_in, (0, None))(own, 0)
                state = imagined.step(model, state, actions, own)
                films.append(imagined.show(model, state.latents))
        shown = jax.tree.map(lambda *frames: jnp.stack(frames, axis=1), *films)
        values = valued.values(parts["critic"], shown, start["words"])
        return values[:, -1] - values[:, 0]

    return Objective(gain, {"world": imagined.parts, "critic": valued.parts})


def _check_fit(world: WorldModel, critic: TracedCritic) -> None:
    """Refuse a critic that would see something else than the world model shows."""
    config = world.config
    fps, size = config.control_rate / config.stride, config.tokenizer.image_size
    missing = [camera for camera in critic.cameras if camera not in config.cameras]
    if missing:
        raise UserError(
            f"the critic looks through {', '.join(missing)}, and the world model shows {', '.join(config.cameras)}"
        )
    if critic.image_size != size or round(fps / critic.fps) != 1:
        raise UserError(
            f"the critic reads pictures of {critic.image_size} pixels {critic.fps:g} times a second, the world model shows "
            f"{size} pixels {fps:g} times a second; use a critic and a world model that agree"
        )
