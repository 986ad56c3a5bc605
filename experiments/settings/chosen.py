"""A configuration with the words that chose it: names live beside it, so that what it is called changes no digest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from experiments.lab.artifacts import canonical

KIND = "kind"  # of a dataclass, in its canonical form: told by the choice's name


@dataclass(frozen=True)
class Chosen:
    """config: a command's configuration; names: {group: the choice's name}, `module:name` for a part from outside.

    unseeded: the configuration as it is without `seed=`: the same for the seeds of one row of a comparison.
    """

    config: Any
    names: Mapping[str, str]
    unseeded: Any


def varied(chosen: Sequence[Chosen], leave_out: Sequence[str] = ()) -> list[dict[str, str]]:
    """What tells configurations apart: {group or setting: its value}, for each of them.

    A group is told by the choice's name, and by those of its settings that differ under the same name.

    Args:
        leave_out: settings that do not count.
    """
    found = []
    settings = [_settings(canonical(one.config)) for one in chosen]
    for one, mine in zip(chosen, settings, strict=True):
        differ = {
            group: name
            for group, name in one.names.items()
            if any(other.names[group] != name for other in chosen)
        }
        for key, value in mine.items():
            group = key.split(".")[0]
            others = [
                other[key]
                for other, of in zip(settings, chosen, strict=True)
                if key in other and of.names.get(group) == one.names.get(group)
            ]
            if key not in leave_out and any(other != value for other in others):
                differ[key] = str(value)
        found.append(differ)
    return found


def _settings(node: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{dotted key: value} of all settings."""
    flat: dict[str, Any] = {}
    for key, value in node.items():
        if isinstance(value, Mapping):
            flat |= _settings(value, f"{prefix}{key}.")
        elif key != KIND:
            flat[f"{prefix}{key}"] = value
    return flat
