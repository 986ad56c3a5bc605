"""One demonstration: reset to a seed, carry out a plan of the style, hand back the episode."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from envs.errors import check_choice
from envs.experts.arm import Arm
from envs.experts.door import open_door
from envs.experts.drawer import slide_drawer
from envs.experts.pick import pick_and_place
from envs.experts.plan import Leg, Plan, Waypoint, draw_plan
from envs.experts.recorder import Recorder
from envs.experts.scene import pick_scene
from envs.robosuite.env import RobosuiteEnv
from envs.types import STYLES, Episode

PLACES: dict[
    str, tuple[tuple[Waypoint, ...], tuple[Leg, ...]]
] = {  # where to hesitate, where to make a detour
    "lift": (("start", "hover", "grasp"), ("approach",)),
    "door": (("start", "hover", "grasp", "lifted"), ("approach",)),
    "open_drawer": (("start", "hover", "grasp", "lifted"), ("approach",)),
    "close_drawer": (("start", "hover", "grasp", "lifted"), ("approach",)),
    "stack": (("start", "hover", "grasp", "lifted", "place"), ("approach", "carry")),  # and all others
}
OTHERS: dict[str, Callable[[Arm, Any, Plan], None]] = {  # experts of what is no pick-and-place
    "door": open_door,
    "open_drawer": slide_drawer,
    "close_drawer": slide_drawer,
}


def demonstrate(env: RobosuiteEnv, style: str, seed: int) -> Episode:
    """Demonstrate the task of `env` in a style, from the reset of `seed`; the same for the same arguments.

    The experts see the simulator's state. Actions are recorded as executed, noise included. An expert that
    succeeds lingers for a few frames; one that fails draws back and idles for about as long as others take.
    The outcome is what happened, not what was meant: `fits_intent` says whether the two agree.

    Hesitations and retries carry their segment. A hesitation's frames are those spent pausing or wandering. A
    retry's run from the first in which the hand closes on nothing to the last of its way back: the stretch
    that undoes the approach, so that true progress falls over it and is then made good.

    Raises:
        UserError: unknown style.
    """
    check_choice("style", style, STYLES)
    waypoints, legs = PLACES.get(env.task, PLACES["stack"])
    plan, rng = draw_plan(style, seed, waypoints, legs)
    recorder = Recorder(env, seed)
    arm = Arm(recorder, rng, plan.speed, plan.noise)
    act_out(env.task, arm, plan)
    return recorder.episode(style)


def act_out(task: str, arm: Arm, plan: Plan) -> None:
    """Carry out a plan of a task in the environment that the arm acts in."""
    simulation = arm.recorder.env.robosuite
    if task in OTHERS:
        OTHERS[task](arm, simulation, plan)
    else:
        pick_and_place(arm, pick_scene(task, simulation), plan)


def fits_intent(episode: Episode) -> bool:
    """Whether a demonstration ended as its style means it to.

    A failure never solves the task, any other ends solved; hesitations and retries have one segment within.
    """
    if episode.style == "failure":
        return not episode.rewards.any()
    segments_inside = all(0 < segment.start < segment.end < len(episode) - 1 for segment in episode.segments)
    expected = episode.style in ("hesitation", "retry")
    return bool(episode.success) and segments_inside and (len(episode.segments) == 1) == expected
