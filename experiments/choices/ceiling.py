"""What clean data would give: the configuration that clones as many clean demonstrations, and which row has it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from envs.errors import UserError
from experiments.choices.plain_critics import TimeIndexChoice
from experiments.lab.artifacts import digest
from experiments.settings.chosen import Chosen
from experiments.settings.config import MixtureData, RunConfig
from policy_extraction.advantages import ChunkDifference
from policy_extraction.methods.bc import BC

CEILING, CEILINGS = "ceiling=", ("clean",)
NAMES: Mapping[str, str] = {
    "method": "bc",
    "data": "clean",
    "critic": "time_index",  # cloning asks nobody
    "advantage": "chunk_difference",
}


def cloning_of_clean(chosen: Chosen) -> Chosen:
    """Behaviour cloning of as many clean demonstrations, everything else as chosen.

    Raises:
        UserError: the data are not scripted, so that there is no clean counterpart.
    """
    return replace(
        chosen,
        config=_clean(chosen.config),
        unseeded=_clean(chosen.unseeded),
        names={**chosen.names, **NAMES},
    )


def _clean(config: RunConfig) -> RunConfig:
    data = config.data
    if not isinstance(data, MixtureData):
        raise UserError(
            "ceiling=clean needs demonstrations of the scripted experts, which may be clean: data=mixed or data=suboptimal"
        )
    others = dict.fromkeys(data.styles, 0)
    clean = replace(data, **{**others, "clean": sum(data.styles.values())})
    return replace(config, method=BC(), data=clean, critic=TimeIndexChoice(), advantage=ChunkDifference())


def ceiling_digest(chosen: Chosen) -> str:
    """The same for a row and for the cloning that is its ceiling."""
    config: RunConfig = chosen.unseeded
    return digest(_clean(config)) if isinstance(config.data, MixtureData) else ""


def is_ceiling(chosen: Chosen) -> bool:
    """Whether it clones clean demonstrations."""
    return all(chosen.names[group] == name for group, name in NAMES.items())
