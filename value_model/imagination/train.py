"""Training a world model: its tokenizer first, then the dynamics one step ahead, then unrolled over steps of its own.

    episodes ─ sample of frames ─→ tokenizer ─ every frame encoded once ─→ latents on the device ─→ dynamics

A killed run resumes from its last checkpoint in `folder` and ends with the same weights as an undisturbed one.
"""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from envs.errors import UserError
from value_model.imagination.clips import Clip, Frames, by_step, changes, encode_frames, sample_clips
from value_model.imagination.config import CONFIG, WEIGHTS, ImaginationConfig
from value_model.imagination.flow import Flow
from value_model.imagination.flow_training import flow_clip_loss
from value_model.imagination.hand_training import train_hand
from value_model.imagination.imagined_frames import imagined_frames
from value_model.imagination.kinds import OwnDynamics, new_dynamics
from value_model.imagination.reading import Reading
from value_model.imagination.refine import Refined
from value_model.imagination.refine_training import train_refiner
from value_model.imagination.regression import Regression, RegressionState
from value_model.imagination.starts import draw_starts
from value_model.imagination.success import train_solved
from value_model.imagination.updates import clip_update
from value_model.imagination.world_model import WorldModel, load_world_model
from value_model.video import hosts
from value_model.video.encoder import FrameEncoder
from value_model.video.frames import Episodes
from value_model.video.loop import Progress, run_updates
from value_model.video.precision import compute_copy
from value_model.video.recipe import claim, make_optimizer
from value_model.video.sharding import device_mesh, gathered_but_layers, split_batch
from value_model.video.tokenizer_training import train_tokenizer


def train_world_model(
    episodes: Episodes,
    config: ImaginationConfig,
    folder: Path,
    seed: int = 0,
    progress: Progress | None = None,
    refresh: Path | None = None,
    reading: Reading | None = None,
) -> WorldModel:
    """Train on episodes of every quality, a policy's own among them.

    Args:
        episodes: read several times, one episode at a time.
        folder: gets the checkpoints and, at the end, the model. If it holds the finished model already, that is returned.
        seed: of the weights, clips and noise.
        progress: called after every dispatch, see `loop.Progress`.
        refresh: the folder of a finished model whose tokenizer and dynamics are gone on from. Its tokenizer stays; the
            classifier of success and the starts are of these episodes.
        reading: what is trained beside, with the same weights.

    Raises:
        UserError: episodes that do not fit the configuration; the folder belongs to another run; a loss is not finite; the
            model to go on from has another shape.
    """
    begun = None if refresh is None else to_go_on_from(refresh, config)
    beside = {} if reading is None else {"reading": reading.recipe()}
    claim(folder, {"seed": seed, "config": dataclasses.asdict(config), **_origin(refresh), **beside})
    if (folder / WEIGHTS).is_file():
        return load_world_model(folder)
    tokenizer = (
        begun.tokenizer if begun else train_tokenizer(episodes, config, folder / "tokenizer", seed, progress)
    )
    frames, instructions = encode_frames(
        FrameEncoder(config, config.control_rate, tokenizer), episodes, config
    )
    if begun:
        dynamics = begun.dynamics
    else:
        dynamics = new_dynamics(config, rngs=nnx.Rngs(seed))
        fit_hand(dynamics, frames, config)
    own = dynamics.mean if isinstance(dynamics, Refined) else dynamics
    if reading is not None:
        reading.begin(own, frames, seed, refresh)
    for part, (steps, updates) in _parts(config).items():
        if updates:
            own = train_dynamics(own, frames, config, steps, updates, folder / part, seed, progress, reading)
    if config.hand.updates and isinstance(own, Regression):
        train_hand(own, frames, config, folder / "hand", seed, progress)
    if isinstance(dynamics, Refined):
        dynamics.mean = own
        dynamics = train_refiner(dynamics, frames, config, folder / "refine", seed, progress)
    else:
        dynamics = own
    imagined = imagined_frames(dynamics, frames, config, seed) if config.solved.steps else None
    solved, quality = train_solved(frames, config, folder / "solved", seed, progress, imagined)
    world = WorldModel(config, tokenizer, dynamics, solved, quality, draw_starts(frames, instructions, seed))
    if hosts.writes():
        if reading is not None:
            reading.save(folder)
        world.save(folder)
    hosts.meet()
    return load_world_model(folder)


def _parts(config: ImaginationConfig) -> dict[str, tuple[int, int]]:
    """{folder: (steps of its clips, updates)} of the training."""
    if config.dynamics == "flow":
        return {"flow": (config.clip_steps, config.optim.updates)}
    return {"one_step": (1, config.optim.updates), "unrolled": (config.unroll.steps, config.unroll.updates)}


def to_go_on_from(folder: Path, config: ImaginationConfig) -> WorldModel:
    """The model to go on from.

    Raises:
        UserError: there is none, or it has another shape.
    """
    begun = load_world_model(folder)
    if begun.config.shape() != config.shape():
        raise UserError(
            f"the world model in {folder} has other cameras, sizes or layers than model=; give the settings that it was "
            f"trained with ({folder / CONFIG}), or train anew"
        )
    return begun


def _origin(refresh: Path | None) -> dict[str, str]:
    """Stands for the weights that are gone on from."""
    return (
        {} if refresh is None else {"refresh": hashlib.sha256((refresh / WEIGHTS).read_bytes()).hexdigest()}
    )


def fit_hand(dynamics: OwnDynamics, frames: Frames, config: ImaginationConfig) -> None:
    """Give the hand the statistics of proprioception and of its change over a step."""
    begins = frames.begins
    change = frames.proprio[begins + config.stride] - frames.proprio[begins]
    dynamics.hand.fit(frames.proprio, change, changes(frames, jnp.arange(len(frames.proprio))))


def train_dynamics(
    dynamics: OwnDynamics,
    frames: Frames,
    config: ImaginationConfig,
    steps: int,
    updates: int,
    folder: Path,
    seed: int,
    progress: Progress | None = None,
    reading: Reading | None = None,
) -> OwnDynamics:
    """The dynamics after updates on clips of `steps` steps; those of a regression start from the one imagined before.

    Args:
        reading: has begun, with these dynamics; its network is trained, too.

    Raises:
        UserError: a loss is not finite.
    """
    optim, mesh = config.optim, device_mesh()
    graph, params, fixed = nnx.split(dynamics if reading is None else reading.network, nnx.Param, ...)
    optimizer = make_optimizer(optim, updates)

    def loss(
        params: nnx.State, data: tuple[Frames, nnx.State, Any], clip: Clip, key: jax.Array
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        computed = gathered_but_layers(compute_copy(params, optim.precision))
        model = nnx.merge(graph, computed, data[1])
        if reading is None:
            return _own_loss(model, clip, key, config)
        own, parts = _own_loss(model.dynamics, clip, key, config)
        more, others = reading.loss(model, data[2], jax.random.fold_in(key, 4))
        return own + more, parts | others

    def draw(data: tuple[Frames, nnx.State, Any], key: jax.Array) -> Clip:
        return split_batch(sample_clips(data[0], key, optim.batch, steps, config))

    params, _ = run_updates(
        f"world model, {steps} steps",
        clip_update(optimizer, draw, loss),
        (params, optimizer.init(params)),
        (frames, fixed, () if reading is None else reading.data),
        updates,
        folder,
        seed=seed,
        per_dispatch=optim.updates_per_dispatch,
        checkpoint_every=optim.checkpoint_every,
        progress=progress,
        mesh=mesh,
    )
    trained = nnx.merge(graph, hosts.at_home(params), fixed)
    if reading is None:
        return trained
    reading.network = trained
    return trained.dynamics


def _own_loss(
    dynamics: OwnDynamics, clip: Clip, key: jax.Array, config: ImaginationConfig
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Of the dynamics of either kind."""
    if isinstance(dynamics, Flow):
        return flow_clip_loss(dynamics, clip, key)
    return clip_loss(dynamics, clip, key, config)


def clip_loss(
    dynamics: Regression, clip: Clip, key: jax.Array, config: ImaginationConfig
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Mean squared error of latents and of proprioception, in units of its change, over a clip's steps, and how far their
    outcomes lie from what is foretold, where any are drawn.

    Places of the latent frame that differ from the anchor, as far as a standard deviation, count
    `config.unroll.motion_weight` times more.
    """
    keys = jax.random.split(key, 3)
    size = config.unroll.noise * jax.random.uniform(keys[0], (len(clip.anchor), 1, 1, 1))
    noise = size * jax.random.normal(keys[1], (2, *clip.anchor.shape))
    dropped = jax.random.uniform(keys[2], (len(clip.anchor),)) < config.unroll.action_dropout
    state = RegressionState(
        clip.anchor,
        clip.previous + noise[0],
        clip.latents[:, 0] + noise[1],
        clip.proprio[:, 0],
        clip.moved[:, 0],
        clip.words,
    )

    def step(
        state: RegressionState, now: tuple[jax.Array, ...]
    ) -> tuple[RegressionState, tuple[jax.Array, ...]]:
        actions, latents, proprio, moved, keys = now
        state, apart = dynamics.follow(state, actions, latents, proprio, keys, dropped)
        off = dynamics.hand.error(state.proprio, state.moved, proprio, moved)
        if config.hand.updates:  # a hand that is exact where it is used is not waited for here
            state = state._replace(proprio=proprio, moved=moved)
        new = jnp.minimum(jnp.mean((latents - clip.anchor) ** 2, axis=-1, keepdims=True), 1.0)
        weight = 1.0 + config.unroll.motion_weight * new
        return state, (jnp.mean(weight * (state.latents - latents) ** 2), off, jnp.mean(apart))

    drawn = jax.random.split(jax.random.fold_in(key, 3), clip.actions.shape[:2])
    latent, hand, apart = map(jnp.mean, jax.lax.scan(step, state, by_step(clip, drawn))[1])
    parts = {"latent": latent, "hand": hand}
    if not config.outcome.classes:
        return latent + hand, parts
    return latent + hand + config.outcome.weight * apart, parts | {"outcome": apart}
