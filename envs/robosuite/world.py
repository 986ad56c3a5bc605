"""robosuite's environments, built quietly on models that we compile."""

from __future__ import annotations

import logging
from collections.abc import Container, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import numpy as np

from envs.robosuite.scene import load_model
from envs.robosuite.tasks import TaskSpec


def quiet_robosuite() -> ModuleType:
    """robosuite with our own environments in it, without its notices about macros and options; errors are still logged."""
    logging.getLogger("robosuite_logs").addFilter(_is_error)
    import robosuite

    import envs.robosuite.kitchen.world  # noqa: F401  (robosuite registers what it sees defined)

    return robosuite


def make_world(spec: TaskSpec, robot: str, control_freq: float, fast: bool) -> Any:
    """The task's robosuite environment without a renderer; `fast`: with simplified visual meshes.

    The same for every call: sizes that robosuite draws when it makes objects (Lift's cube) are fixed.
    """
    quiet_robosuite()
    from robosuite.environments.base import REGISTERED_ENVS
    from robosuite.models.robots.robot_model import RobotModel
    from robosuite.utils.binding_utils import MjSim

    class World(REGISTERED_ENVS[spec.env_name]):
        """The task's environment on our model."""

        def _initialize_sim(self, xml_string: str | None = None) -> None:
            xml = self.edit_model_xml(xml_string or self.model.get_xml())
            self.sim = MjSim(load_model(xml, spec.camera, fast))
            self.sim.forward()
            self.initialize_time(self.control_freq)

        def check_contact(self, geoms_1: Any, geoms_2: Any = None) -> bool:
            """As robosuite's, which looks every contact's names up at each call."""
            pairs = self.sim.data._data.contact.geom
            first, second = self._geom_ids(geoms_1), self._geom_ids(geoms_2)
            return any(
                (a in first and b in second) or (b in first and a in second) for a, b in pairs.tolist()
            )

        def _geom_ids(self, geoms: Any) -> Container[int]:
            if geoms is None:
                return range(self.sim.model.ngeom)
            names = [geoms] if isinstance(geoms, str) else getattr(geoms, "contact_geoms", geoms)
            return [self.sim.model.geom_name2id(name) for name in names]

    with (
        numpy_seed(0),
        _replaced(RobotModel, "set_mujoco_model", lambda self: None),
    ):  # only whole-body IK reads it
        return World(
            robots=robot,
            has_renderer=False,
            has_offscreen_renderer=False,
            use_camera_obs=False,
            hard_reset=False,
            ignore_done=True,
            renderer="mujoco",
            control_freq=control_freq,
            **spec.env_kwargs,
        )


@contextmanager
def numpy_seed(seed: int) -> Iterator[None]:
    """numpy's global generator, which robosuite draws from, seeded for the block and put back after it."""
    before = np.random.get_state()
    np.random.seed(seed if seed < 2**32 else [seed % 2**32, seed >> 32])  # it takes words of 32 bits
    try:
        yield
    finally:
        np.random.set_state(before)


@contextmanager
def _replaced(owner: type, name: str, value: Any) -> Iterator[None]:
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


def _is_error(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.ERROR
