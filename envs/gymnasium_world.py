"""Any Gymnasium environment with continuous actions as a `ChunkEnvs`: its spaces are read, not assumed.

Of the observation, every picture (uint8 [H, W, 3]) becomes a camera, named by its key, and all other numbers become
proprioception, flattened in the order of the space; a part named `environment_state` stays apart, unseen by policies.
Actions in [-1, 1] stand for the range of the action space. Success is what `info` says under `success` or
`is_success`, and unknown where it says neither.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict

from envs.chunks import Shown
from envs.contract import ChunkEnvs, EnvSpec
from envs.engine import engine
from envs.errors import UserError

Factory = Callable[[], gymnasium.Env]
RENDERED = "render"  # the camera that `gymnasium.Env.render` is
PICTURE = "picture"  # the camera of an observation that is a picture and nothing else
STATE = "environment_state"
SUCCESS = ("success", "is_success")


class GymnasiumWorld:
    """A `World`: the environment that `factory` makes.

    Args:
        render: show what `Env.render` draws as the camera `render`; the environment needs render_mode="rgb_array".
    """

    def __init__(self, factory: Factory, render: bool = False) -> None:
        self._env, self._render = factory(), render
        self._low, self._high = _action_range(self._env.action_space)
        self._observation: Any = None

    def begin(self, seed: int) -> Shown:
        """See `World`."""
        self._observation, _ = self._env.reset(seed=seed)
        return self.observe()

    def advance(self, action: np.ndarray) -> tuple[float, bool | None, bool]:
        """See `World`; an episode that the environment itself cuts ends."""
        scaled = self._low + (action + 1) / 2 * (self._high - self._low)
        space = self._env.action_space
        self._observation, reward, terminated, truncated, info = self._env.step(scaled.astype(space.dtype))
        known = [bool(info[name]) for name in SUCCESS if name in info]
        return float(reward), known[0] if known else None, bool(terminated or truncated)

    def observe(self) -> Shown:
        """See `World`."""
        images, numbers, state = {}, [], np.zeros(0, np.float32)
        for name, part, value in _parts("", self._env.observation_space, self._observation):
            if _is_picture(part):
                images[name or PICTURE] = np.asarray(value)
            elif name == STATE:
                state = np.asarray(value, np.float32).ravel()
            else:
                numbers.append(np.asarray(value, np.float32).ravel())
        if self._render:
            images[RENDERED] = _drawn(self._env)
        proprio = np.concatenate(numbers) if numbers else np.zeros(0, np.float32)
        return {"images": images, "proprio": proprio, "environment_state": state}

    def close(self) -> None:
        """See `World`."""
        self._env.close()


def gymnasium_spec(
    factory: Factory,
    instruction: str = "",
    render: bool = False,
    horizon: int = 0,
    control_rate: float = 0.0,
) -> EnvSpec:
    """What an environment shows and takes, read off one that is made and closed again.

    Args:
        instruction: what a policy is told; empty: the environment's own `instruction`.
        horizon: control steps; 0: the environment's own limit.
        control_rate: steps a second; 0: the environment's `render_fps`.

    Raises:
        UserError: it does not say what is asked for here, or its spaces are of another kind.
    """
    env = factory()
    try:
        low, high = _action_range(env.action_space)
        world = GymnasiumWorld(lambda: env, render)
        shown = world.begin(0)
        limit = horizon or (env.spec.max_episode_steps if env.spec else None)
        rate = control_rate or env.metadata.get("render_fps")
        text = instruction or getattr(env.unwrapped, "instruction", "")
    finally:
        env.close()
    for name, said in {
        "horizon": (limit, 200),
        "control_rate": (rate, 20),
        "instruction": (text, "'what to do'"),
    }.items():
        if not said[0]:
            raise UserError(
                f"the environment does not say its {name}; set it, for instance env.{name}={said[1]}"
            )
    return EnvSpec(
        cameras={name: picture.shape[:2] for name, picture in shown["images"].items()},
        proprio_dim=len(shown["proprio"]),
        action_low=tuple(low.tolist()),
        action_high=tuple(high.tolist()),
        control_rate=float(rate),
        horizon=int(limit),
        instruction=str(text),
        state_dim=len(shown[STATE]),
    )


def gymnasium_envs(
    factory: Factory, spec: EnvSpec, count: int, execute: int, render: bool = False
) -> ChunkEnvs:
    """`count` environments in processes of their own; `factory` is pickled to them.

    Raises:
        UserError: fewer than one environment or action, or one cannot be made.
    """
    return engine().envs(partial(GymnasiumWorld, factory, render), spec, count, execute)


def _parts(name: str, space: gymnasium.Space, value: Any) -> Iterator[tuple[str, Box, Any]]:
    """The boxes of an observation, with the key of each (of nested ones the last)."""
    if isinstance(space, Dict):
        for key, part in space.spaces.items():
            yield from _parts(key, part, value[key])
    elif isinstance(space, Box):
        yield name, space, value
    else:
        raise UserError(
            f"the observation{f' {name!r}' if name else ''} is of the kind {type(space).__name__}; wrap the environment "
            "so that it observes a Box, or a Dict of them"
        )


def _is_picture(space: Box) -> bool:
    return space.dtype == np.uint8 and len(space.shape) == 3 and space.shape[2] == 3


def _action_range(space: gymnasium.Space) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest actions, float32 [A]."""
    if not (isinstance(space, Box) and len(space.shape) == 1 and np.isfinite([space.low, space.high]).all()):
        raise UserError(
            f"the environment's actions are {space}; wrap it so that they are a Box of one axis with finite bounds"
        )
    return space.low.astype(np.float32), space.high.astype(np.float32)


def _drawn(env: gymnasium.Env) -> np.ndarray:
    picture = env.render()
    if not (isinstance(picture, np.ndarray) and picture.dtype == np.uint8 and picture.shape[2:] == (3,)):
        raise UserError(
            "the environment's render() gives no picture; make it with render_mode='rgb_array', or set env.render=false"
        )
    return picture
