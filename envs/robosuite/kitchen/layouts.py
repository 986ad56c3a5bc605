"""Where things stand on the counter, and which of its tasks undo each other."""

from __future__ import annotations

from dataclasses import dataclass

OPPOSITES = {  # each task ends where the other begins
    "open_drawer": "close_drawer",
    "close_drawer": "open_drawer",
    "eggplant_sink": "eggplant_basket",
    "eggplant_basket": "eggplant_sink",
}
BEHIND, BEFORE = 0.15, -0.165  # metres from a tray's middle, along x, to where a distractor stands


@dataclass(frozen=True)
class Layout:
    """Middle of each thing (x, y; metres from the middle of the table)."""

    cabinet: tuple[float, float]
    sink: tuple[float, float]
    basket: tuple[float, float]

    def spots(self) -> list[tuple[float, float]]:
        """Where distractors can stand out of the way of hand and drawer (x, y; metres from the middle of the table)."""
        return [(x + aside, y) for x, y in (self.sink, self.basket) for aside in (BEHIND, BEFORE)]


LAYOUTS = (
    Layout(cabinet=(0.12, 0.2), sink=(0.04, -0.01), basket=(0.04, -0.205)),
    Layout(cabinet=(0.12, -0.2), sink=(0.04, 0.01), basket=(0.04, 0.205)),  # the first in a mirror
    Layout(cabinet=(0.12, 0.2), sink=(0.04, -0.205), basket=(0.04, -0.01)),  # sink and basket exchanged
)
MOST_DISTRACTORS = len(LAYOUTS[0].spots())
