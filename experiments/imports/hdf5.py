"""robosuite's and robomimic's HDF5 files.

    data/demo_0 …       actions [T, A]; if there: states, rewards [T], dones, obs/<name>; attribute model_file
    data                attributes env_args (robomimic) or env and env_info (robosuite)
    mask/<name>         names of demonstrations

Pictures are those in obs (`<camera>_image`); where there are none, or if asked for, the states are drawn anew by the fast
camera. Which masks a demonstration is in is kept, and better, okay or worse (robomimic's MH) are its style. How it ended
is what its rewards say, where they tell only that; else it is solved if its last state is, and unknown if not.
Sources: robosuite 1.5.1, `scripts/collect_human_demonstrations.py`; robomimic's documentation of its data sets.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from envs.errors import UserError, check_choice
from envs.outcomes import paid_outcome, tell_only_success
from envs.robosuite.env import CONTROL_RATE
from envs.robosuite.restore import Restored
from envs.robosuite.tasks import ROBOSUITE_TASKS, ROBOTS
from envs.types import Episode
from experiments.imports.source import Numbers, Wanted, episode, require_instruction, rows

QUALITIES = ("better", "okay", "worse")
FELT = ("eef_pos", "eef_quat", "gripper_qpos")  # of a robot, unless state= names others
VIEWS = ("workspace", "wrist")


class HDF5Recordings:
    """The demonstrations of a file. Raises a UserError if it is none, or has nothing that can be shown."""

    def __init__(self, path: Path, wanted: Wanted) -> None:
        self._path, self._wanted = path, wanted
        with _opened(path) as file:
            data = file.get("data")
            names = sorted((name for name in data or () if name.startswith("demo")), key=_number)
            if not names:
                raise UserError(
                    f"{path} is no file of robosuite's or robomimic's: it has no data/demo_…; give one that has"
                )
            self._masks = {name: _texts(values) for name, values in file.get("mask", {}).items()}
            self._names = self._in_mask(names)
            self._pictures = {} if wanted.render else _pictures(data[names[0]].get("obs", {}))
            if not self._pictures and "states" not in data[names[0]]:
                raise UserError(
                    f"{path} has neither pictures (obs/…_image) nor simulator states to draw; export one of them"
                )
            self._environment = self._described(dict(data.attrs))
            rewards = {name: found for name in self._names if (found := _rewards(data[name])) is not None}
        self._rewards = rewards
        self._task = "" if self._pictures else self._known_task()

    def __len__(self) -> int:
        return len(self._names)

    def __iter__(self) -> Iterator[Episode]:
        scene = None if self._pictures else Restored(self._task, self.robot, VIEWS, self._wanted.image_size)
        try:
            with _opened(self._path) as file:
                for name in self._names:
                    demo = file["data"][name]
                    yield self._drawn(name, demo, scene) if scene else self._recorded(name, demo)
        finally:
            if scene:
                scene.close()

    def _in_mask(self, names: list[str]) -> list[str]:
        """Those demonstrations that the wanted mask names."""
        mask = self._wanted.mask
        if not mask:
            return names
        check_choice("mask", mask, self._masks or ["none"])
        kept = [name for name in names if name in self._masks[mask]]
        if not kept:
            raise UserError(f"no demonstration of {self._path} is in mask={mask}; choose another")
        return kept

    def _described(self, attributes: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        """The environment's name and settings."""
        try:
            if "env_args" in attributes:
                described = json.loads(attributes["env_args"])
                return str(described["env_name"]), dict(described.get("env_kwargs") or {})
            return str(attributes.get("env", "unknown")), dict(json.loads(attributes.get("env_info", "{}")))
        except (ValueError, LookupError, TypeError) as error:
            raise UserError(
                f"{self._path} does not describe its environment as JSON ({error}); record it again"
            ) from error

    @property
    def robot(self) -> str:
        """The robot's name."""
        robots = self._environment[1].get("robots") or "unknown"
        return self._wanted.robot or str(robots if isinstance(robots, str) else "-".join(robots))

    @property
    def fps(self) -> float:
        """Control steps a second."""
        return self._wanted.fps or float(self._environment[1].get("control_freq") or CONTROL_RATE)

    def _known_task(self) -> str:
        """Our task of the recorded environment, whose states can be drawn."""
        name = self._environment[0]
        known = {spec.env_name: task for task, spec in ROBOSUITE_TASKS.items()}
        if name not in known:
            raise UserError(
                f"{self._path} has states of {name} without pictures; only those of {', '.join(known)} can be drawn here: "
                "export it with pictures (robomimic: dataset_states_to_obs.py)"
            )
        check_choice("robot in " + str(self._path), self.robot, ROBOTS)
        return known[name]

    def _told(self, task: str) -> tuple[str, str, str]:
        known = {spec.env_name: spec.instructions[0] for spec in ROBOSUITE_TASKS.values()}
        text = self._wanted.instruction or known.get(self._environment[0], "")
        return task, require_instruction(text, str(self._path)), self.robot

    def _recorded(self, name: str, demo: Any) -> Episode:
        """A demonstration with its own pictures."""
        obs, length = demo["obs"], len(demo["actions"])
        images = {camera: np.asarray(obs[key]) for camera, key in self._pictures.items()}
        felt = [rows(obs[key], length, f"{name}/obs/{key}") for key in self._state_keys(obs)]
        state = np.concatenate(felt, axis=1) if felt else np.zeros((length, 0), np.float32)
        known = rows(obs["object"], length, f"{name}/obs/object") if "object" in obs else None
        task = {spec.env_name: key for key, spec in ROBOSUITE_TASKS.items()}.get(
            self._environment[0], self._environment[0]
        )
        return self._episode(name, demo, images, state, known, task, None)

    def _drawn(self, name: str, demo: Any, scene: Restored) -> Episode:
        """A demonstration whose states are drawn."""
        states = np.asarray(demo["states"], np.float64)
        if "model_file" in demo.attrs:
            scene.arrange(str(demo.attrs["model_file"]))
        seen, solved = zip(*scene.observe(states), strict=True)
        images = {camera: np.stack([one["images"][camera] for one in seen]) for camera in VIEWS}
        state, known = (np.stack([one[part] for one in seen]) for part in ("proprio", "environment_state"))
        return self._episode(name, demo, images, state, known, self._task, True if solved[-1] else None)

    def _episode(
        self,
        name: str,
        demo: Any,
        images: dict[str, np.ndarray],
        state: np.ndarray,
        known: np.ndarray | None,
        task: str,
        seen: bool | None,
    ) -> Episode:
        rewards = self._rewards.get(name)
        success = seen if rewards is None or not self._paid else paid_outcome(rewards)
        masks = tuple(mask for mask, names in self._masks.items() if name in names)
        return episode(
            images,
            Numbers(state, rows(demo["actions"], len(demo["actions"]), f"{name}/actions"), rewards, known),
            success,
            self._told(task),
            self.fps,
            style=next((quality for quality in QUALITIES if quality in masks), "unknown"),
            masks=masks,
        )

    @cached_property
    def _paid(self) -> bool:
        """Whether rewards tell who solved the task, and nothing else."""
        known = list(self._rewards.values())
        return bool(known) and tell_only_success(known) and any(part[-1] > 0 for part in known)

    def _state_keys(self, obs: Mapping[str, Any]) -> list[str]:
        for key in self._wanted.state:
            check_choice("observation for state=", key, obs)
        felt = [key for part in FELT for key in sorted(obs) if re.fullmatch(rf"robot\d+_{part}", key)]
        return list(self._wanted.state) or felt


def _opened(path: Path) -> Any:
    try:
        import h5py
    except ImportError as error:
        raise UserError("reading HDF5 needs h5py: pip install 'policy-extraction[hdf5]'") from error
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise UserError(f"{path} is no whole HDF5 file ({error}); download or record it again") from error


def _rewards(demo: Any) -> np.ndarray | None:
    return np.asarray(demo["rewards"], np.float32).reshape(-1) if "rewards" in demo else None


def _pictures(obs: Mapping[str, Any]) -> dict[str, str]:
    """{camera: key} of the colour pictures among the observations."""
    keys = [key for key, of in obs.items() if of.ndim == 4 and of.shape[3] == 3 and of.dtype == np.uint8]
    return {key.removesuffix("_image"): key for key in sorted(keys)}


def _texts(values: Any) -> set[str]:
    return {one.decode() if isinstance(one, bytes) else str(one) for one in values[()]}


def _number(name: str) -> tuple[int, str]:
    found = re.search(r"\d+$", name)
    return (int(found[0]) if found else -1), name
