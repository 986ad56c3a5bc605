"""Under which names the parts of an observation and an action chunk travel, and how they are put there and read.

openpi's message is flat: {"observation/image": uint8 [H, W, 3], "observation/state": float32 [P], "prompt": text}, answered
by {"actions": float32 [H, A]}; the names are each policy's own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from envs.errors import UserError
from envs.types import Observation
from policy_extraction.remote.messages import MalformedMessage

SEED = "seed"  # of the draw, where the server says that it takes one
ENDPOINT = "endpoint"  # RoboArena: what is asked, "infer" or "reset"
RESET_DONE = "reset successful"  # RoboArena's answer to a reset


@dataclass(frozen=True)
class Form:
    """The names. cameras: {camera: name}; a camera that is not in it is `observation/<camera>`."""

    cameras: dict[str, str] = field(default_factory=dict)
    state: str = "observation/state"
    prompt: str = "prompt"
    actions: str = "actions"

    def camera(self, name: str) -> str:
        """What the pictures of a camera are called."""
        return self.cameras.get(name, f"observation/{name}")

    def request(self, observation: Observation, row: int, cameras: Sequence[str]) -> dict[str, Any]:
        """One row of an observation as a message."""
        pictures = {self.camera(name): observation.images[name][row] for name in cameras}
        state = observation.proprio[row].astype(np.float32)
        return {**pictures, self.state: state, self.prompt: observation.instruction[row]}

    def observation(self, content: Mapping[str, Any], cameras: Sequence[str]) -> Observation:
        """The observation, of one row, that a message holds.

        Raises:
            MalformedMessage: a part is missing or of another type.
        """
        images = {name: _picture(content, self.camera(name))[None] for name in cameras}
        state = np.asarray(_part(content, self.state))
        if state.ndim != 1 or state.dtype.kind not in "fiu" or not np.isfinite(state).all():
            raise MalformedMessage(f"{self.state!r} must be a vector of finite numbers")
        prompt = _part(content, self.prompt)
        if not isinstance(prompt, str) or not prompt.strip():
            raise MalformedMessage(f"{self.prompt!r} must be a text that says what to do")
        return Observation(images, state[None].astype(np.float32), (str(prompt),))

    def chunk(self, content: Mapping[str, Any], action_dim: int) -> np.ndarray:
        """The action chunk float32 [H, A] that an answer holds.

        Raises:
            MalformedMessage: there is none of that many numbers an action, or it is not finite.
        """
        if self.actions not in content:
            raise MalformedMessage(
                f"no {self.actions!r}; it has {', '.join(sorted(content)) or 'nothing'} (policy.names.actions=…)"
            )
        chunk = np.asarray(content[self.actions])
        if chunk.dtype.kind not in "fiu" or chunk.ndim != 2 or not len(chunk):
            raise MalformedMessage(
                f"{self.actions!r} of type {chunk.dtype} and shape {list(chunk.shape)}; it must be numbers [H, A]"
            )
        if chunk.shape[1] != action_dim:
            raise MalformedMessage(f"{chunk.shape[1]} numbers an action where {action_dim} are needed")
        if not np.isfinite(chunk).all():
            raise MalformedMessage("actions that are NaN or infinite")
        return chunk.astype(np.float32)


def _part(content: Mapping[str, Any], name: str) -> Any:
    if name not in content:
        held = ", ".join(sorted(content)[:12]) or "nothing"
        raise MalformedMessage(f"the message has no {name!r}; it has {held}")
    return content[name]


def _picture(content: Mapping[str, Any], name: str) -> np.ndarray:
    picture = _part(content, name)
    if not isinstance(picture, np.ndarray) or picture.dtype != np.uint8 or picture.shape[2:] != (3,):
        what = f"{picture.dtype} {list(picture.shape)}" if isinstance(picture, np.ndarray) else type(picture)
        raise MalformedMessage(f"{name!r} must be a picture uint8 [H, W, 3], not {what}")
    return picture


def require_library() -> None:
    """See that the websocket library is there.

    Raises:
        UserError: it is not.
    """
    try:
        import websockets  # noqa: F401
    except ImportError as error:
        raise UserError(
            "policies are served and asked through websockets, which is not installed: "
            "pip install 'policy-extraction[serve]'"
        ) from error
