"""What a rollout was: its outcome, and if asked for what the policy saw and did."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from envs.contract import EnvSpec, Start
from envs.errors import UserError
from envs.files import atomic_file
from envs.pictures import joined
from envs.store.video import VideoWriter, find_codec
from envs.types import Episode, Observation

FILM_HEIGHT = 256  # pixels of films for people, at least
POLICY_STYLE = "policy"  # of an episode that a policy made


@dataclass(frozen=True)
class Film:
    """What an episode showed at some of its control steps, always at the first and after the last.

    step: int64 [F], after how many control steps; images: {camera: uint8 [F, H, W, 3]}; proprio: float32 [F, P];
    environment_state: float32 [F, S].
    """

    step: np.ndarray
    images: Mapping[str, np.ndarray]
    proprio: np.ndarray
    environment_state: np.ndarray

    def __len__(self) -> int:
        return len(self.step)

    def __getitem__(self, index: slice | np.ndarray) -> Film:
        """The moments at `index` (a slice, or an integer or bool array)."""
        images = {camera: frames[index] for camera, frames in self.images.items()}
        return Film(self.step[index], images, self.proprio[index], self.environment_state[index])

    def every(self, steps: int) -> Film:
        """Those whose control step `steps` divides, and the last."""
        chosen = self.step % steps == 0
        chosen[-1] = True
        return self[chosen]

    def side_by_side(self, cameras: Sequence[str] = ()) -> np.ndarray:
        """uint8 [F, H, W · cameras, 3]: the cameras (default all), which must be of one height, in their order."""
        return np.concatenate([self.images[camera] for camera in cameras or self.images], axis=2)


@dataclass(frozen=True)
class Recording:
    """An episode as the policy met it: D decisions, each followed by up to K control steps, L in all.

    observation: length D; environment_state: float32 [D, S];
    chunks: float32 [D, H, A], as the policy gave them; executed: int64 [D], how many of each were executed;
    rewards: float32 [L], of each control step;
    act_seeds: int64 [D], what the chunks were drawn with; last: the observation after the last action, length 1;
    film: None where none was asked for.
    """

    observation: Observation
    environment_state: np.ndarray
    chunks: np.ndarray
    executed: np.ndarray
    rewards: np.ndarray
    act_seeds: np.ndarray
    last: Observation
    film: Film | None

    def actions(self) -> np.ndarray:
        """What was executed at every control step: float32 [L, A] in [-1, 1]."""
        parts = [chunk[:count] for chunk, count in zip(self.chunks, self.executed, strict=True)]
        return np.clip(np.concatenate(parts), -1.0, 1.0).astype(np.float32)


@dataclass(frozen=True)
class Rollout:
    """One episode of a policy.

    repeat: how many earlier rollouts of the same call had the same seed; success: None where it is not known;
    length: control steps until the end; reward: summed over them; last_reward: of the last; by_hand: of an episode that was
    to begin where another had ended, whether it had to be begun anew, else None; states: float32 [D, S], the environment's
    at each decision.
    """

    seed: int
    repeat: int
    success: bool | None
    length: int
    reward: float
    recording: Recording | None = None
    by_hand: bool | None = None
    last_reward: float = math.nan
    states: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.float32))

    @property
    def recorded(self) -> Recording:
        """Its recording, which must have been asked for."""
        assert self.recording is not None, "it was not recorded"
        return self.recording

    @property
    def filmed(self) -> Film:
        """Its film, which must have been asked for."""
        film = self.recorded.film
        assert film is not None, "it was not filmed"
        return film

    def episode(self, spec: EnvSpec, task: str, robot: str, style: str = POLICY_STYLE) -> Episode:
        """The rollout as data, one frame a control step; it has to be recorded and filmed at every step.

        As in every `Episode`, the picture after the last action is left out. Where the environment shows something new only
        every `stride` control steps, each of these moments is held until the next.
        """
        recording, moments = self.recording, -(-self.length // spec.stride)
        if recording is None or recording.film is None or len(recording.film) != moments + 1:
            raise UserError("a rollout becomes an episode if it is recorded and filmed: record=True, film=1")
        film = recording.film[np.arange(self.length) // spec.stride]
        return Episode(
            images=film.images,
            proprio=film.proprio,
            actions=recording.actions(),
            rewards=recording.rewards,
            environment_state=film.environment_state,
            success=self.success,
            task=task,
            instruction=recording.observation.instruction[0],
            robot=robot,
            seed=self.seed,
            fps=spec.control_rate,
            style=style,
        )


class EpisodeLog:
    """Collects one episode while it runs: number `number` of a call, filmed every `film` control steps."""

    def __init__(self, number: int, start: Start, repeat: int, film: int) -> None:
        self.number, self.start, self.repeat, self.film_every = number, start, repeat, film
        self.decisions = 0
        self.by_hand: bool | None = None
        self._rewards: list[np.ndarray] = []
        self._success: bool | None = None
        self._states: list[np.ndarray] = []
        self._rows: list[dict[str, Any]] = []
        self._last: Observation | None = None
        self._film: list[Film] = []

    def add_film(self, part: Film) -> None:
        """Moments that follow those before."""
        self._film.append(part)

    def add_decision(
        self, state: np.ndarray, row: Mapping[str, Any] | None, rewards: np.ndarray, success: bool | None
    ) -> None:
        """A chunk was executed, with one reward an executed step.

        Args:
            state: the environment's before; row: its part of a `Recording` besides, or None.
        """
        self.decisions += 1
        self._states.append(state)
        self._rewards.append(rewards)
        self._success = success
        if row is not None:
            self._rows.append({**row, "executed": len(rewards)})

    def end(self, last: Observation | None) -> None:
        """The episode is over; `last` is what was seen at its end, None where nothing is recorded."""
        self._last = last

    def rollout(self, film: int) -> Rollout:
        """The result; `film`: every how many control steps a recording has a moment, 0 for none."""
        rewards = np.concatenate(self._rewards)
        recording = None if self._last is None else self._recording(self._last, rewards, film)
        return Rollout(
            seed=self.start.seed,
            repeat=self.repeat,
            success=self._success,
            length=len(rewards),
            reward=float(rewards.sum(dtype=np.float64)),
            recording=recording,
            by_hand=self.by_hand,
            last_reward=float(rewards[-1]),
            states=np.stack(self._states),
        )

    def save_video(self, folder: Path, fps: float) -> None:
        """Write the film as an mp4 that any player shows."""
        outcome = {None: "unknown", True: "success", False: "failure"}[self._success]
        frames = for_people(joined_films(self._film).images)
        name = f"{self.number:04d}_seed{self.start.seed}_{outcome}.mp4"
        with atomic_file(folder / name) as temporary:
            height, width = (size - size % 2 for size in frames.shape[1:3])
            writer = VideoWriter(temporary, find_codec("h264"), fps, height, width)
            writer.add(frames[:, :height, :width])
            writer.close()

    def _recording(self, last: Observation, rewards: np.ndarray, film: int) -> Recording:
        return Recording(
            observation=_concatenate([row["observation"] for row in self._rows]),
            environment_state=np.stack(self._states),
            chunks=np.stack([row["chunk"] for row in self._rows]),
            executed=np.array([row["executed"] for row in self._rows], np.int64),
            rewards=rewards,
            act_seeds=np.array([row["act_seed"] for row in self._rows], np.int64),
            last=last,
            film=joined_films(self._film).every(film) if film else None,
        )


def for_people(images: Mapping[str, np.ndarray]) -> np.ndarray:
    """Views {camera: uint8 [T, H, W, 3]} side by side, of one height, enlarged to `FILM_HEIGHT` if they are smaller:
    uint8 [T, height, width, 3].
    """
    height = max(FILM_HEIGHT, *(frames.shape[1] for frames in images.values()))
    return np.concatenate([_enlarged(frames, height) for frames in images.values()], axis=2)


def _enlarged(frames: np.ndarray, height: int) -> np.ndarray:
    if frames.shape[1] == height:
        return frames
    size = (round(frames.shape[2] * height / frames.shape[1]), height)
    return np.stack(
        [np.asarray(Image.fromarray(one).resize(size, Image.Resampling.BICUBIC)) for one in frames]
    )


def row_film(film: Mapping[str, Any], row: int, cameras: Iterable[str]) -> Film:
    """What info["film"] of `ChunkEnvs` has of one row; Gymnasium puts masks beside its cameras."""
    count = film["count"][row]
    images = {name: film["images"][name][row, :count] for name in cameras}
    parts = (film[name][row, :count] for name in ("proprio", "environment_state"))
    return Film(film["step"][row, :count], images, *parts)


def joined_films(parts: Sequence[Film]) -> Film:
    """One that shows all parts' moments, one part after the other."""
    return Film(
        step=np.concatenate([part.step for part in parts]),
        images={name: np.concatenate([part.images[name] for part in parts]) for name in parts[0].images},
        proprio=np.concatenate([part.proprio for part in parts]),
        environment_state=np.concatenate([part.environment_state for part in parts]),
    )


def _concatenate(observations: list[Observation]) -> Observation:
    return Observation(
        images=joined([one.images for one in observations]),
        proprio=np.concatenate([one.proprio for one in observations]),
        instruction=sum((one.instruction for one in observations), ()),
        seen={
            eyes: np.concatenate([one.seen[eyes] for one in observations]) for eyes in observations[0].seen
        },
    )
