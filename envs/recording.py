"""What a rollout was: its outcome, and if asked for what the policy saw and did."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from envs.files import atomic_file
from envs.store.video import VideoWriter, find_codec
from envs.types import Observation


@dataclass(frozen=True)
class Recording:
    """An episode as the policy met it: D decisions, each followed by up to `execute` control steps.

    observation: length D; environment_state: float32 [D, S];
    chunks: float32 [D, H, A], as the policy gave them; executed: int64 [D], how many of each were executed;
    act_seeds: int64 [D], what they were drawn with; last: the observation after the last action, length 1;
    frames: uint8 [F, S, S · cameras, 3], all cameras side by side at steps 0, k, 2k, … of the episode, F = 0 where
    the pool has no `frame_every` = k.
    """

    observation: Observation
    environment_state: np.ndarray
    chunks: np.ndarray
    executed: np.ndarray
    act_seeds: np.ndarray
    last: Observation
    frames: np.ndarray


@dataclass(frozen=True)
class Rollout:
    """One episode of a policy.

    repeat: how many earlier rollouts of the same call had the same seed;
    length: control steps until success, or the horizon.
    """

    seed: int
    repeat: int
    success: bool
    length: int
    recording: Recording | None = None


class EpisodeLog:
    """Collects one episode while it runs."""

    def __init__(self, number: int, seed: int, repeat: int, video: bool) -> None:
        self.number, self.seed, self.repeat, self.video = number, seed, repeat, video
        self.decisions = 0
        self._length = 0
        self._success = False
        self._rows: list[dict[str, Any]] = []
        self._last: Observation | None = None
        self._frames: list[np.ndarray] = []

    def add_frames(self, frames: np.ndarray) -> None:
        """Pictures uint8 [N, S, S, 3] that follow those before."""
        self._frames.extend(frames)

    def add_decision(self, row: Mapping[str, Any] | None, executed: int, success: bool) -> None:
        """One chunk was executed; `row`: its part of a `Recording`, None where nothing is recorded."""
        self.decisions += 1
        self._length += executed
        self._success = success
        if row is not None:
            self._rows.append({**row, "executed": executed})

    def end(self, last: Observation | None) -> None:
        """The episode is over; `last` is what was seen at its end, None where nothing is recorded."""
        self._last = last

    def rollout(self, frame_every: int) -> Rollout:
        """The result; `frame_every`: which of the pictures a recording holds."""
        recording = None if self._last is None else self._recording(self._last, frame_every)
        return Rollout(self.seed, self.repeat, self._success, self._length, recording)

    def save_video(self, folder: Path, fps: float) -> None:
        """Write the pictures of all steps as an mp4 that any player shows."""
        outcome = "success" if self._success else "failure"
        frames = np.stack(self._frames)
        with atomic_file(folder / f"{self.number:04d}_seed{self.seed}_{outcome}.mp4") as temporary:
            height, width = (size - size % 2 for size in frames.shape[1:3])
            writer = VideoWriter(temporary, find_codec("h264"), fps, height, width)
            writer.add(frames[:, :height, :width])
            writer.close()

    def _recording(self, last: Observation, frame_every: int) -> Recording:
        observations = [row["observation"] for row in self._rows]
        frames = self._frames if frame_every else []
        if self.video and frame_every:  # every step is there
            frames = frames[::frame_every]
        picture = next(iter(last.images.values())).shape[1:] if last.images else (0, 0, 3)
        return Recording(
            observation=_concatenate(observations),
            environment_state=np.stack([row["environment_state"] for row in self._rows]),
            chunks=np.stack([row["chunk"] for row in self._rows]),
            executed=np.array([row["executed"] for row in self._rows], np.int64),
            act_seeds=np.array([row["act_seed"] for row in self._rows], np.int64),
            last=last,
            frames=np.stack(frames) if frames else np.zeros((0, *picture), np.uint8),
        )


def _concatenate(observations: list[Observation]) -> Observation:
    return Observation(
        images={
            name: np.concatenate([one.images[name] for one in observations])
            for name in observations[0].images
        },
        proprio=np.concatenate([one.proprio for one in observations]),
        instruction=sum((one.instruction for one in observations), ()),
    )
