"""The tasks: environments of robosuite's, or our own in it, with an instruction, a horizon and a camera close by."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from envs.errors import UserError, check_choice
from envs.robosuite.kitchen.layouts import LAYOUTS, MOST_DISTRACTORS

ROBOTS = ("Panda", "Sawyer", "UR5e")


@dataclass(frozen=True)
class CameraPose:
    """A camera at `position` looking at `target` (world, metres), +z up; `fovy`: vertical angle, degrees."""

    position: tuple[float, float, float]
    target: tuple[float, float, float]
    fovy: float

    def rotation(self) -> np.ndarray:
        """World rotation [3, 3] of the camera: columns are its right, up and backward axes."""
        backward = np.subtract(self.position, self.target)
        backward = backward / np.linalg.norm(backward)
        right = np.cross([0.0, 0.0, 1.0], backward)
        right = right / np.linalg.norm(right)
        return np.stack([right, np.cross(backward, right), backward], axis=1)


@dataclass(frozen=True)
class Arrangement:
    """How a scene is set up: the number of its layout, the usual one is 0, and how many objects that are of no use."""

    layout: int = 0
    distractors: int = 0


@dataclass(frozen=True)
class TaskSpec:
    """What makes a robosuite environment a task here.

    instructions: paraphrases, the first is canonical; horizon: control steps of an evaluation episode at 20
    Hz; camera: the "workspace" view; objects: what `environment_state` tells the position of, (object,
    target); layouts, distractors: how many there are to choose from, of a scene that can be arranged.
    """

    name: str
    env_name: str
    instructions: tuple[str, ...]
    horizon: int
    camera: CameraPose
    objects: tuple[str, str]
    env_kwargs: dict[str, Any] = field(default_factory=dict)
    layouts: int = 1
    distractors: int = 0

    def arranged(self, arrangement: Arrangement) -> TaskSpec:
        """The same task in a scene that is set up so.

        Raises:
            UserError: the scene has no such layout, or has no room for so many distractors.
        """
        chosen = {name: value for name, value in asdict(arrangement).items() if value}
        for name, most in (("layout", self.layouts - 1), ("distractors", self.distractors)):
            if not 0 <= getattr(arrangement, name) <= most:
                allowed = f"choose 0 to {most}" if most else f"only {', '.join(KITCHEN_TASKS)} have a choice"
                raise UserError(f"{name}={getattr(arrangement, name)} for the task {self.name}; {allowed}")
        return replace(self, env_kwargs={**self.env_kwargs, **chosen})

    def told(self, instruction: str) -> str:
        """An instruction of one's own, a paraphrase by its number (0 is the canonical one), or "" for the canonical one.

        Raises:
            UserError: there is no paraphrase of that number.
        """
        if not instruction.strip().isdecimal():
            return instruction.strip() or self.instructions[0]
        number, last = int(instruction), len(self.instructions) - 1
        if number > last:
            raise UserError(
                f"the task {self.name} has no paraphrase {number}; choose 0 to {last}, or write a text"
            )
        return self.instructions[number]


_BOTH_BINS = CameraPose((0.451, -0.632, 1.646), (0.13, -0.075, 0.88), 47.0)
_NEAR_COMPARTMENTS = CameraPose((0.431, -0.747, 1.646), (0.11, -0.19, 0.88), 36.0)


def _pick_place(name: str, env_name: str, thing: str, other: str, camera: CameraPose) -> TaskSpec:
    return TaskSpec(
        name=name,
        env_name=env_name,
        instructions=(
            f"put the {thing} in its bin",
            f"pick up the {thing} and place it in its bin",
            f"move the {other} to its compartment of the other bin",
            f"take the {other} and drop it into the right compartment",
        ),
        horizon=200,
        camera=camera,
        objects=(thing, "bin"),
    )


_SPECS = (
    TaskSpec(
        name="lift",
        env_name="Lift",
        instructions=(
            "lift the red cube",
            "pick up the red cube",
            "raise the red block off the table",
            "grab the red cube and lift it up",
        ),
        horizon=80,
        camera=CameraPose((0.5, 0.0, 1.35), (0.0, 0.0, 0.86), 26.0),
        objects=("red cube", "point above the table"),
    ),
    TaskSpec(
        name="stack",
        env_name="Stack",
        instructions=(
            "stack the red cube on the green cube",
            "put the red block on top of the green block",
            "pick up the red cube and place it on the green cube",
            "place the red cube onto the green one",
        ),
        horizon=150,
        camera=CameraPose((0.5, 0.0, 1.35), (0.0, 0.0, 0.86), 26.0),
        objects=("red cube", "green cube"),
    ),
    _pick_place("can", "PickPlaceCan", "can", "red can", _BOTH_BINS),
    _pick_place("bread", "PickPlaceBread", "bread", "loaf of bread", _NEAR_COMPARTMENTS),
    _pick_place("cereal", "PickPlaceCereal", "cereal box", "box of cereal", _BOTH_BINS),
    _pick_place("milk", "PickPlaceMilk", "milk carton", "carton of milk", _NEAR_COMPARTMENTS),
    TaskSpec(
        name="door",
        env_name="Door",
        instructions=(
            "open the door",
            "pull the door open by its handle",
            "turn the handle and open the door",
            "grasp the door handle and swing the door open",
        ),
        horizon=200,
        camera=CameraPose((0.45, 0.3, 1.5), (-0.17, -0.2, 1.06), 38.0),
        objects=("door handle", "handle of the opened door"),
    ),
    TaskSpec(
        name="nut_square",
        env_name="NutAssemblySquare",
        instructions=(
            "put the square nut on the square peg",
            "pick up the square nut and place it over the square peg",
            "fit the square nut onto its peg",
            "slide the square nut down the square peg",
        ),
        horizon=250,
        camera=CameraPose((0.62, 0.11, 1.45), (0.06, 0.12, 0.88), 32.0),
        objects=("square nut", "square peg"),
    ),
)
_KITCHEN = CameraPose((0.5, 0.005, 1.6), (0.0, 0.005, 0.83), 38.0)


def _kitchen(name: str, horizon: int, objects: tuple[str, str], *instructions: str) -> TaskSpec:
    scene = {"layouts": len(LAYOUTS), "distractors": MOST_DISTRACTORS}
    return TaskSpec(name, "KitchenCounter", instructions, horizon, _KITCHEN, objects, {"task": name}, **scene)


_KITCHEN_SPECS = (
    _kitchen(
        "open_drawer",
        130,
        ("drawer handle", "handle of the opened drawer"),
        "open the drawer",
        "pull the drawer open",
        "slide the drawer out by its handle",
        "grab the handle and open the drawer",
    ),
    _kitchen(
        "close_drawer",
        120,
        ("drawer handle", "handle of the closed drawer"),
        "close the drawer",
        "push the drawer shut",
        "slide the drawer back into the cabinet",
        "shut the open drawer",
    ),
    _kitchen(
        "eggplant_sink",
        150,
        ("eggplant", "blue sink"),
        "put the eggplant into the blue sink",
        "move the eggplant from the yellow basket to the blue sink",
        "pick up the eggplant and place it in the sink",
        "take the purple eggplant and drop it into the blue sink",
    ),
    _kitchen(
        "eggplant_basket",
        150,
        ("eggplant", "yellow basket"),
        "put the eggplant into the yellow basket",
        "move the eggplant from the blue sink to the yellow basket",
        "pick up the eggplant and place it in the basket",
        "take the purple eggplant and drop it into the yellow basket",
    ),
)
ROBOSUITE_TASKS: dict[str, TaskSpec] = {spec.name: spec for spec in _SPECS}
KITCHEN_TASKS: dict[str, TaskSpec] = {spec.name: spec for spec in _KITCHEN_SPECS}
TASKS: dict[str, TaskSpec] = {**ROBOSUITE_TASKS, **KITCHEN_TASKS}


def task_spec(name: str) -> TaskSpec:
    """The task of that name.

    Raises:
        UserError: there is no such task.
    """
    check_choice("task", name, TASKS)
    return TASKS[name]
