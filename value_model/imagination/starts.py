"""Where imagined worlds begin: frames of recorded episodes that travel with the world model.

Dimension letters: M starts, h and w latent height and width, C channels, P proprioception.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from envs.errors import UserError
from value_model.imagination.clips import Frames

COUNT = 256  # first frames of each instruction, and later ones of all


@dataclass(frozen=True)
class StartBank:
    """latents: float16 [M, h, w, C]; proprio: float32 [M, P]; frame: int32 [M], how many frames of the episode came before;
    instruction: of each.
    """

    latents: np.ndarray
    proprio: np.ndarray
    frame: np.ndarray
    instruction: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.frame)

    def __getitem__(self, rows: np.ndarray) -> StartBank:
        """Those at `rows`, an integer or bool array."""
        chosen = np.arange(len(self))[rows]
        told = tuple(self.instruction[row] for row in chosen.tolist())
        return StartBank(self.latents[chosen], self.proprio[chosen], self.frame[chosen], told)

    def of(self, instructions: tuple[str, ...], where: str) -> StartBank:
        """Those under one of the instructions: an episode's first frames, later ones, or all.

        Raises:
            UserError: there is none.
        """
        told = np.array([text in instructions for text in self.instruction], bool)
        place = {"first": self.frame == 0, "middle": self.frame > 0, "all": self.frame >= 0}[where]
        if not (told & place).any():
            known = ", ".join(sorted(set(self.instruction))) or "none"
            raise UserError(f"the world model has no start for {instructions[0]!r}; it has: {known}")
        return self[told & place]

    def usual_proprio(self) -> np.ndarray:
        """Mean proprioception [P] of the earliest frames, for a start of which it is not known."""
        return self.proprio[self.frame == self.frame.min()].mean(axis=0)

    def draw(self, seed: int, instruction: str | None = None) -> int:
        """The start that a seed draws, of those under an instruction if there are any."""
        told = np.array([text == instruction for text in self.instruction], bool)
        rows = np.flatnonzero(told if told.any() else np.ones(len(self), bool))
        return int(rows[np.random.default_rng(seed).integers(len(rows))])

    def told(self, instruction: str) -> StartBank:
        """The same under another instruction."""
        return replace(self, instruction=(instruction,) * len(self))

    def beside(self, other: StartBank) -> StartBank:
        """These and others."""
        return StartBank(
            np.concatenate([self.latents, other.latents]),
            np.concatenate([self.proprio, other.proprio]),
            np.concatenate([self.frame, other.frame]),
            self.instruction + other.instruction,
        )


def draw_starts(frames: Frames, instructions: list[str], seed: int, count: int = COUNT) -> StartBank:
    """Of the training episodes at random up to `count` first frames of each instruction, and as many later ones of all.

    Whoever learns in the model sees no other scenes than these: of a task the more the better.
    """
    random = np.random.default_rng(seed)
    first, episode = np.asarray(frames.first), np.asarray(frames.episode)
    number = np.arange(len(first)) - first
    begins, later = np.flatnonzero(number == 0), np.setdiff1d(np.asarray(frames.begins), np.unique(first))
    told = np.array(instructions)[episode[begins]]
    parts = [*(begins[told == text] for text in dict.fromkeys(instructions)), later]
    chosen = np.sort(np.concatenate([random.permutation(part)[:count] for part in parts]))
    return StartBank(
        latents=np.asarray(frames.latents)[chosen],
        proprio=np.asarray(frames.proprio)[chosen],
        frame=number[chosen].astype(np.int32),
        instruction=tuple(instructions[index] for index in episode[chosen].tolist()),
    )
