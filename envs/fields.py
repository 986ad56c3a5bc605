"""Fields of configuration classes that came after something had been made with them."""

from __future__ import annotations

import dataclasses
from typing import Any

LATER = "later"  # in the metadata of a field


def later(default: Any) -> Any:
    """A field of a configuration class that came after artifacts were made: at its default it changes no digest."""
    return dataclasses.field(default=default, metadata={LATER: True})
