"""Where things stand on the counter."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Layout:
    """Middle of each thing (x, y; metres from the middle of the table)."""

    cabinet: tuple[float, float]
    sink: tuple[float, float]
    basket: tuple[float, float]


LAYOUTS = (
    Layout(cabinet=(0.12, 0.19), sink=(0.04, -0.015), basket=(0.04, -0.2)),
    Layout(cabinet=(0.12, -0.19), sink=(0.04, 0.015), basket=(0.04, 0.2)),  # the first in a mirror
    Layout(cabinet=(0.12, 0.19), sink=(0.04, -0.2), basket=(0.04, -0.015)),  # sink and basket exchanged
)
