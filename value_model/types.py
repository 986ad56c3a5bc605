"""What a critic is."""

from __future__ import annotations

from typing import Protocol

import numpy as np


class ValueModel(Protocol):
    """A frozen critic: how far has the task come, frame by frame?"""

    def values(self, frames: np.ndarray, instruction: str) -> np.ndarray:
        """Values of one episode.

        Args:
            frames: uint8 [T, H, W, 3], in order, at the rate of the data set.
            instruction: what the robot was told to do; not empty.

        Returns:
            float32 [T] in [0, 1]: 0 nothing done, 1 done.
        """
        ...
