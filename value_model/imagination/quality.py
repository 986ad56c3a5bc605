"""How well a world model foretells held-out episodes: the same actions, imagined, beside what was recorded.

Beside it stand the two copies (nothing changes any more; everything is as in the first picture) and the model under
another clip's actions: a model that is deaf to actions is as good under those.

Dimension letters: B clips, S steps of the world, K control steps of a step, A action, P proprioception, h and w latent
height and width, C channels, H and W height and width in pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from envs.errors import UserError
from envs.text import word_ids
from value_model.imagination.clips import check_episode
from value_model.imagination.objects import Locate, places
from value_model.imagination.world_model import WorldModel
from value_model.video.frames import Episodes, episode_frames, watch

HORIZONS = (1, 4, 8, 16, 40)  # steps of the world
COUNT = 128  # clips
MOVED = 40  # of 255: from this difference to the clip's first picture on, a pixel counts as moved


class Recorded(NamedTuple):
    """Clips of held-out episodes; what lies beyond an episode's end repeats its last frame and is not `there`."""

    frames: np.ndarray  # uint8 [B, S + 1, H, W · cameras, 3]
    latents: np.ndarray  # float32 [B, S + 1, h, w, C]
    proprio: np.ndarray  # float32 [B, S + 1, P]
    actions: np.ndarray  # float32 [B, S, K, A]
    words: np.ndarray  # int32 [B, L]
    there: np.ndarray  # bool [B, S + 1]
    places: np.ndarray  # of the task's object, metres; NaN where nobody told it, float32 [B, S + 1, 3]


class Imagined(NamedTuple):
    """What the model makes of clips: latents [B, S, h, w, C] and proprio [B, S, P] after each step."""

    latents: np.ndarray
    proprio: np.ndarray


def record(world: WorldModel, episodes: Episodes, steps: int, count: int = COUNT, seed: int = 0) -> Recorded:
    """Up to `count` clips of up to `steps` steps, of all episodes equally many, each from a frame drawn at random.

    Half of an episode's clips begin with it.

    Raises:
        UserError: no episode is as long as a step; one does not fit the configuration.
    """
    config = world.config
    random = np.random.default_rng(seed)
    whole = [episode for episode in watch(episodes, config.cameras) if len(episode) > config.stride]
    if not whole:
        raise UserError(f"no held-out episode is longer than a step of the world ({config.stride} frames)")
    rows = []
    for number, place in enumerate(np.linspace(0, len(whole), count, endpoint=False).astype(int)):
        episode = whole[place]
        check_episode(episode, config)
        first = 0 if number % 2 == 0 else int(random.integers(len(episode) - config.stride))
        wanted = first + config.stride * np.arange(steps + 1)
        index = np.minimum(wanted, len(episode) - 1)
        acted = np.minimum(wanted[:-1, None] + np.arange(config.stride), len(episode) - 1)
        frames = episode_frames(episode, config.cameras, config.tokenizer.image_size)[index]
        rows.append(
            Recorded(
                frames,
                world.encoder.encode(frames),
                episode.proprio[index].astype(np.float32),
                config.scaled(episode.actions[acted]),
                word_ids(episode.instruction),
                wanted < len(episode),
                places(episode)[index],
            )
        )
    return Recorded(*(np.stack(column) for column in zip(*rows, strict=True)))


def imagine(world: WorldModel, clips: Recorded, actions: np.ndarray | None = None, seed: int = 0) -> Imagined:
    """The clips' first frames carried on by the model under their own actions, or under others [B, S, K, A]."""
    told = np.swapaxes(clips.actions if actions is None else actions, 0, 1)
    keys = jax.random.split(jax.random.key(seed), told.shape[:2])
    start = clips.latents[:, 0], clips.proprio[:, 0], clips.words
    seen, felt = unroll(*nnx.split(world.dynamics), start, jnp.asarray(told), keys)
    return Imagined(np.swapaxes(np.asarray(seen), 0, 1), np.swapaxes(np.asarray(felt), 0, 1))


@partial(jax.jit, static_argnums=0)
def unroll(
    graph: nnx.GraphDef, params: nnx.State, start: Any, actions: jax.Array, keys: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """What clips become, from what `Dynamics.init` takes: latents [S, B, h, w, C] and proprio [S, B, P] after each step.

    Args:
        graph, params: of the dynamics; actions: [S, B, K, A]; keys: [S, B].
    """
    dynamics = nnx.merge(graph, params)

    def step(state: Any, now: Any) -> Any:
        state = dynamics.step(state, *now)
        return state, (state.latents, state.proprio)

    return jax.lax.scan(step, dynamics.init(*start), (actions, keys))[1]


@partial(jax.jit, static_argnums=0)
def follow(
    graph: nnx.GraphDef,
    params: nnx.State,
    start: Any,
    actions: jax.Array,
    came: tuple[jax.Array, jax.Array],
    keys: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """As `unroll`, with the outcomes that were recorded.

    Args:
        came: latents [S, B, h, w, C] and proprio [S, B, P] that came out.
    """
    dynamics = nnx.merge(graph, params)

    def step(state: Any, now: Any) -> Any:
        actions, (latents, proprio), keys = now
        state, _ = dynamics.follow(state, actions, latents.astype(jnp.float32), proprio, keys)
        return state, (state.latents, state.proprio)

    return jax.lax.scan(step, dynamics.init(*start), (actions, came, keys))[1]


def quality(
    world: WorldModel,
    clips: Recorded,
    horizons: Sequence[int] = HORIZONS,
    locate: Locate | None = None,
    metres: bool = True,
) -> Mapping[str, Mapping[int, float]]:
    """Errors after each number of steps that some clip is long enough for, {what: {steps: error}}.

    latent: root of the mean square over normalised latents, of the model's own, of the copies of the `last` known and
    of the `first` frame (the same for a clip: its first), and under `shuffled` actions; pixel: mean absolute difference,
    of 255, of decoded pictures; moved: the same over pixels that differ from the clip's first picture, and `moved_seen`
    of the tokenizer alone; felt: of proprioception, root of the mean square in units of its deviation over the clips;
    hand_cm: of its first three numbers, where they are the hand's place in `metres`; object_cm: of the object's place as a
    probe, `locate`, reads it off imagined latents, `object_cm_seen` off the recorded ones.
    """
    steps = clips.actions.shape[1]
    own = imagine(world, clips)
    other = imagine(world, clips, np.roll(clips.actions, 1, axis=0))
    horizons = [count for count in horizons if count <= steps and clips.there[:, count].any()]
    unit = clips.proprio[clips.there].std(axis=0) + 1e-6
    found: dict[str, dict[int, float]] = {}

    def note(name: str, count: int, error: float) -> None:
        found.setdefault(name, {})[count] = error

    for count in horizons:
        rows = clips.there[:, count]
        real, first = clips.latents[rows, count], clips.latents[rows, 0]
        note("clips", count, float(rows.sum()))
        note("latent", count, _root(own.latents[rows, count - 1] - real))
        note("latent_copy", count, _root(first - real))
        note("latent_shuffled", count, _root(other.latents[rows, count - 1] - real))
        felt = own.proprio[rows, count - 1] - clips.proprio[rows, count]
        moved = clips.proprio[rows, 0] - clips.proprio[rows, count]
        if metres:
            note("hand_cm", count, _centimetres(felt[:, :3]))
            note("hand_cm_copy", count, _centimetres(moved[:, :3]))
        elif felt.size:
            note("felt", count, _root(felt / unit))
            note("felt_copy", count, _root(moved / unit))
        if locate is not None:
            place = clips.places[rows, count]
            note("object_cm", count, _centimetres(locate(own.latents[rows, count - 1]) - place))
            note("object_cm_copy", count, _centimetres(clips.places[rows, 0] - place))
            note("object_cm_seen", count, _centimetres(locate(real) - place))
        pictures = {"": own.latents[rows, count - 1], "_copy": first, "_seen": real}
        for name, (pixel, changed) in _pixel_errors(world.decode, clips, rows, count, pictures).items():
            note(f"pixel{name}", count, pixel)
            note(f"moved{name}", count, changed)
    return found


def eyes_quality(
    world: WorldModel,
    clips: Recorded,
    look: Callable[[Mapping[str, np.ndarray]], np.ndarray],
    steps: Sequence[int],
) -> dict[str, dict[int, float]]:
    """How far what eyes are told is from what they see of the real picture, {what: {steps of the world: error}}.

    The error is the root of the mean square, in units of the deviation of what they see over all of the clips' pictures.
    distilled: the world model's eyes on imagined frames (after 0 steps on the recorded first), and on the `recorded`
    frames of the same moments; decoded: `look` at decoded pictures of the imagined ones; copy: what was seen at first.

    Args:
        look: the eyes, {camera: uint8 [n, H, W, 3]} to float32 [n, D].
    """
    own, distilled = imagine(world, clips), world.eyes
    assert distilled is not None, "distil eyes first"
    told = nnx.jit(lambda eyes, latents, proprio: eyes(latents, proprio))

    def looked(frames: np.ndarray) -> np.ndarray:
        return look(world.views(frames))

    whole = looked(clips.frames[clips.there])
    unit = float(np.sqrt(np.mean(np.var(whole, axis=0))))
    found: dict[str, dict[int, float]] = {
        what: {} for what in ("clips", "distilled", "recorded", "decoded", "copy")
    }
    for count in steps:
        rows = clips.there[:, count]
        if not rows.any():
            continue
        latents = own.latents[rows, count - 1] if count else clips.latents[rows, 0]
        proprio = own.proprio[rows, count - 1] if count else clips.proprio[rows, 0]
        given = {
            "distilled": told(distilled, latents, proprio),
            "recorded": told(distilled, clips.latents[rows, count], clips.proprio[rows, count]),
            "decoded": looked(world.decode(latents)),
            "copy": looked(clips.frames[rows, 0]),
        }
        real = looked(clips.frames[rows, count])
        found["clips"][count] = float(rows.sum())
        for what, seen in given.items():
            found[what][count] = _root(np.asarray(seen) - real) / unit
    return found


def _root(difference: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(difference))))


def _centimetres(metres: np.ndarray) -> float:
    """Mean length of vectors [B, 3]."""
    return float(100 * np.linalg.norm(metres, axis=-1).mean())


def _pixel_errors(
    decode: Callable[[np.ndarray], np.ndarray],
    clips: Recorded,
    rows: np.ndarray,
    count: int,
    pictures: Mapping[str, np.ndarray],
) -> dict[str, tuple[float, float]]:
    """{which latents: mean absolute difference of all pixels, and of those that moved}."""
    real = clips.frames[rows, count].astype(np.int16)
    moved = np.abs(real - clips.frames[rows, 0]).max(axis=-1) >= MOVED
    errors = {name: np.abs(decode(latents) - real).mean(axis=-1) for name, latents in pictures.items()}
    return {
        name: (float(error.mean()), float(error[moved].mean()) if moved.any() else 0.0)
        for name, error in errors.items()
    }


def strip(world: WorldModel, clips: Recorded, row: int, every: int = 1) -> np.ndarray:
    """Pictures uint8 [2 H, n · W · cameras, 3] of a clip: every so many steps the real one, and below it the imagined."""
    length = int(clips.there[row].sum())
    one = Recorded(*(part[row : row + 1] for part in clips))
    own = imagine(world, one).latents[0]
    seen = np.concatenate([one.latents[0, :1], own])[:length:every]
    shown = np.concatenate([one.frames[0, :length:every], world.decode(seen)], axis=1)
    return np.concatenate(list(shown), axis=1)
