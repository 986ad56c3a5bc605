"""The counter as a robosuite environment: its model, its random starts, and when each of its tasks is solved.

The four tasks, the setting and the resets are those of AutoEval's drawer and sink (Zhou et al. 2025, arXiv 2503.24278).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from robosuite.environments.manipulation.manipulation_env import ManipulationEnv
from robosuite.models.arenas import TableArena
from robosuite.models.objects import BoxObject, CylinderObject, MujocoXMLObject
from robosuite.models.tasks import ManipulationTask

from envs.robosuite.kitchen.layouts import LAYOUTS

DRAWER_OPEN, DRAWER_CLOSED = 0.1, 0.01  # metres of opening: at least, at most
OPENINGS = (0.105, 0.148)  # of a drawer that stands open at the start
CABINET_PLACE, CABINET_TURN, TRAY_PLACE = 0.02, 0.12, 0.01  # metres, radians, metres: at most, either way
LYING = 0.015  # metres from a tray's middle to where an eggplant lies at the start, at most along an axis
EGGPLANT_RADIUS = 0.019
DISTRACTOR_SIZE, DISTRACTOR_PLACE = (
    0.02,
    0.015,
)  # metres: half its height; from its spot, at most along an axis
TABLE_SIZE, TABLE_HEIGHT = (0.8, 0.8, 0.05), 0.8


class KitchenCounter(ManipulationEnv):
    """The counter; `task` is one of `OPPOSITES`, `layout` a number of `LAYOUTS`, `distractors` at most four.

    A drawer task starts where its opposite ends, as does an eggplant task; everything else is at random.
    """

    sim: Any  # robosuite makes it at the first reset

    def __init__(self, robots: Any, task: str, layout: int = 0, distractors: int = 0, **options: Any) -> None:
        self.task, self.layout, self.distractors = task, LAYOUTS[layout], distractors
        super().__init__(robots=robots, initialization_noise="default", **options)

    def reward(self, action: np.ndarray | None = None) -> float:
        """1 in a solved state, else 0."""
        return float(self._check_success())

    def opening(self) -> float:
        """How far the drawer is open, metres."""
        return float(self.sim.data.qpos[self._slide])

    def travel(self) -> float:
        """How far the drawer can open, metres."""
        return float(self.sim.model.jnt_range[self.sim.model.joint_name2id("cabinet_slide")][1])

    def outward(self) -> np.ndarray:
        """The direction in which the drawer opens: float64 [3], of unit length."""
        return -np.array(self.sim.data.body_xmat[self.drawer_body]).reshape(3, 3)[:, 0]

    def way(self) -> float:
        """How far the drawer has to move outwards until it is wholly open (`open_drawer`) or closed, metres."""
        return (self.travel() if self.task == "open_drawer" else 0.0) - self.opening()

    @property
    def tray(self) -> str:
        """Where the eggplant belongs."""
        return _tray(self.task)

    def tray_floor(self, tray: str) -> np.ndarray:
        """The middle of a tray's floor, float64 [3]."""
        site = self.inside_sites[tray]
        half_height = np.array([0.0, 0.0, self.sim.model.site_size[site][2]])
        return np.array(self.sim.data.site_xpos[site]) - half_height

    def inside(self, tray: str) -> bool:
        """Whether the eggplant's middle is inside of a tray ("sink" or "basket"), below its rim."""
        model, data = self.sim.model._model, self.sim.data._data
        site = self.inside_sites[tray]
        offset = data.site_xmat[site].reshape(3, 3).T @ (data.xpos[self.eggplant_body] - data.site_xpos[site])
        return bool(np.all(np.abs(offset) <= model.site_size[site]))

    def held(self) -> bool:
        """Whether the hand touches the eggplant."""
        return self.check_contact(self.robots[0].gripper["right"], ["eggplant_body"])

    def solved(self, task: str) -> bool:
        """Whether a task of this scene is solved: the drawer is open or closed; the eggplant lies in its tray, let go."""
        if task == "open_drawer":
            return self.opening() >= DRAWER_OPEN
        if task == "close_drawer":
            return self.opening() <= DRAWER_CLOSED
        return self.inside(_tray(task)) and not self.held()

    def _check_success(self) -> bool:
        return self.solved(self.task)

    def _load_model(self) -> None:
        super()._load_model()
        robot = self.robots[0].robot_model
        robot.set_base_xpos(robot.base_xpos_offset["table"](TABLE_SIZE[0]))
        arena = TableArena(table_full_size=TABLE_SIZE, table_offset=(0.0, 0.0, TABLE_HEIGHT))
        arena.set_origin([0, 0, 0])
        things = [_thing(name, None) for name in ("cabinet", "sink", "basket")]
        things += [_thing("eggplant", "default"), *_distractors(self.distractors)]
        self.model = ManipulationTask(arena, [robot], things)

    def _setup_references(self) -> None:
        super()._setup_references()
        model = self.sim.model
        self._slide = model.get_joint_qpos_addr("cabinet_slide")
        self._bodies = {name: model.body_name2id(f"{name}_main") for name in ("cabinet", "sink", "basket")}
        self.eggplant_body, self.drawer_body = (
            model.body_name2id(name) for name in ("eggplant_main", "cabinet_drawer")
        )
        self.handle_site = model.site_name2id("cabinet_handle")
        self.inside_sites = {name: model.site_name2id(f"{name}_inside") for name in ("sink", "basket")}

    def _reset_internal(self) -> None:
        super()._reset_internal()
        random = np.random.uniform  # robosuite draws from this generator
        for name, body in self._bodies.items():
            spread, turn = (CABINET_PLACE, CABINET_TURN) if name == "cabinet" else (TRAY_PLACE, 0.0)
            place = getattr(self.layout, name) + random(-spread, spread, 2)
            angle = random(-turn, turn)
            self.sim.model.body_pos[body] = [*place, TABLE_HEIGHT]
            self.sim.model.body_quat[body] = [np.cos(angle / 2), 0.0, 0.0, np.sin(angle / 2)]
        shut, in_basket, opening = random() < 0.5, random() < 0.5, random(*OPENINGS)
        if "drawer" in self.task:
            shut = self.task == "open_drawer"
        else:
            in_basket = self.task == "eggplant_sink"
        self.sim.data.qpos[self._slide] = 0.0 if shut else opening
        self._lay_eggplant("basket" if in_basket else "sink")
        self._stand_distractors()

    def _lay_eggplant(self, tray: str) -> None:
        model, site = self.sim.model, self.inside_sites[tray]
        floor = model.site_pos[site][2] - model.site_size[site][2]
        place = model.body_pos[self._bodies[tray]] + [
            *np.random.uniform(-LYING, LYING, 2),
            floor + EGGPLANT_RADIUS,
        ]
        angle = np.random.uniform(-np.pi, np.pi)
        turn = [np.cos(angle / 2), 0.0, 0.0, np.sin(angle / 2)]
        self.sim.data.set_joint_qpos("eggplant_joint0", np.append(place, turn))

    def _stand_distractors(self) -> None:
        spots = self.layout.spots()
        for number, spot in enumerate(np.random.permutation(len(spots))[: self.distractors]):
            place = np.add(spots[spot], np.random.uniform(-DISTRACTOR_PLACE, DISTRACTOR_PLACE, 2))
            pose = [*place, TABLE_HEIGHT + DISTRACTOR_SIZE, 1.0, 0.0, 0.0, 0.0]
            self.sim.data.set_joint_qpos(f"distractor{number}_joint0", np.array(pose))


def _distractors(count: int) -> list[Any]:
    size = DISTRACTOR_SIZE
    return [
        BoxObject("distractor0", size=[size] * 3, rgba=[0.85, 0.1, 0.1, 1]),
        CylinderObject("distractor1", size=[size, size], rgba=[1.0, 0.5, 0.0, 1]),
        BoxObject("distractor2", size=[0.03, 0.012, size], rgba=[0.2, 0.8, 0.8, 1]),
        CylinderObject("distractor3", size=[0.03, size], rgba=[0.9, 0.4, 0.6, 1]),
    ][:count]


def _tray(task: str) -> str:
    return task.removeprefix("eggplant_")


def _thing(name: str, joints: str | None) -> MujocoXMLObject:
    return MujocoXMLObject(str(Path(__file__).parent / f"{name}.xml"), name, joints=joints)
