"""Pictures that are drawn when somebody looks at them: an environment that imagines them may never have to.

Dimension letters: N rows, H and W height and width in pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

Images = Mapping[str, Any]
"""{camera: uint8 [N, H, W, 3]}; a check of the values' type would draw them."""


class LatePictures(Mapping[str, np.ndarray]):
    """Images of N rows, drawn from what is known of them at the first look and kept."""

    def __init__(
        self, draw: Callable[[np.ndarray], Images], source: np.ndarray, cameras: Sequence[str]
    ) -> None:
        """See the class.

        Args:
            draw: the images of any number of rows of a source.
            source: what they are drawn from [N, ...].
            cameras: of which there are pictures.
        """
        self.draw, self.source, self.cameras = draw, source, tuple(cameras)
        self._drawn: Images | None = None

    @property
    def drawn(self) -> Images:
        """The pictures themselves."""
        if self._drawn is None:
            self._drawn = self.draw(self.source)
        return self._drawn

    def rows(self, index: np.ndarray) -> Images:
        """Those of the rows at `index`; what is drawn already is not drawn again."""
        if self._drawn is not None:
            return picked(self._drawn, index)
        return LatePictures(self.draw, self.source[index], self.cameras)

    def __getitem__(self, camera: str) -> np.ndarray:
        if camera not in self.cameras:
            raise KeyError(camera)
        return self.drawn[camera]

    def __iter__(self) -> Iterator[str]:
        return iter(self.cameras)

    def __len__(self) -> int:
        return len(self.cameras)


def picked(images: Images, index: np.ndarray) -> Images:
    """The images of the rows at `index`."""
    if isinstance(images, LatePictures):
        return images.rows(index)
    return {camera: frames[index] for camera, frames in images.items()}


def joined(parts: Sequence[Images]) -> Images:
    """The images of all parts' rows, one part after the other."""
    first, late = parts[0], [part for part in parts if isinstance(part, LatePictures)]
    if isinstance(first, LatePictures) and len(late) == len(parts):
        return LatePictures(first.draw, np.concatenate([part.source for part in late]), first.cameras)
    return {camera: np.concatenate([part[camera] for part in parts]) for camera in first}
