"""Recorded simulator states of a robosuite task, seen again: through our cameras, with our proprioception."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator
from typing import Any

import numpy as np

from envs.errors import UserError
from envs.robosuite.env import RobosuiteEnv
from envs.robosuite.headless import mujoco

TURNS = (
    "euler",
    "axisangle",
    "xyaxes",
    "zaxis",
)  # other ways to write an orientation, which MuJoCo does not save


class Restored:
    """A task's scene that is put into recorded states, flattened as robosuite does: [time, qpos, qvel].

    Raises:
        UserError: unknown task, robot or camera, or no EGL.
    """

    def __init__(self, task: str, robot: str, cameras: tuple[str, ...], image_size: int) -> None:
        self.env = RobosuiteEnv(task, robot, cameras=cameras, image_size=image_size)
        model = self.env.model
        self.size = 1 + model.nq + model.nv
        self._original = {
            name: getattr(model, name).copy() for name in ("body_pos", "body_quat", "geom_size")
        }

    def arrange(self, xml: str) -> None:
        """Put what has no joint (a door's frame, a peg) where the recorded model has it, and give boxes its sizes.

        Raises:
            UserError: the text is no model of MuJoCo's.
        """
        model = self.env.model
        for name, values in self._original.items():
            getattr(model, name)[:] = values
        for body in _worldbody(xml).findall("body"):
            number = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_BODY, body.get("name") or "")
            if number < 0:
                continue
            if any(turn in body.attrib for turn in TURNS):
                raise UserError(
                    f"the recorded model turns {body.get('name')} in a way that is not read; save it by MuJoCo"
                )
            model.body_pos[number] = _numbers(body.get("pos"), (0.0, 0.0, 0.0))
            model.body_quat[number] = _numbers(body.get("quat"), (1.0, 0.0, 0.0, 0.0))
        for geom in _worldbody(xml).iter("geom"):
            number = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_GEOM, geom.get("name") or "")
            if number >= 0 and geom.get("type") == "box" and geom.get("size"):
                model.geom_size[number] = _numbers(geom.get("size"), ())

    def observe(self, states: np.ndarray) -> Iterator[tuple[dict[str, Any], bool]]:
        """For each state [T, 1 + nq + nv]: what `RobosuiteEnv.observe` shows, and whether the task is solved in it.

        Raises:
            UserError: the states are of another scene.
        """
        if states.ndim != 2 or states.shape[1] != self.size:
            raise UserError(
                f"the recorded states have {states.shape[-1]} numbers, {self.env.task} with {self.env.robot} has "
                f"{self.size}; they are of another task, robot or robosuite (ours is 1.5.1)"
            )
        model, data = self.env.model, self.env.data
        for state in states:
            data.time = state[0]
            data.qpos[:], data.qvel[:] = state[1 : 1 + model.nq], state[1 + model.nq :]
            mujoco.mj_forward(model, data)
            yield self.env.observe(), bool(self.env.robosuite._check_success())

    def close(self) -> None:
        """Free the buffers."""
        self.env.close()


def _worldbody(xml: str) -> ET.Element:
    try:
        found = ET.fromstring(xml).find("worldbody")
    except ET.ParseError as error:
        raise UserError(f"the recorded model is no XML ({error}); record it again") from error
    if found is None:
        raise UserError("the recorded model has no worldbody; record it again")
    return found


def _numbers(text: str | None, default: tuple[float, ...]) -> np.ndarray:
    return np.array([float(word) for word in text.split()] if text else default)
