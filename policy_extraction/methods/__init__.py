"""The extraction methods, one a file."""

from __future__ import annotations

from policy_extraction.methods.advantage_conditioned import AdvantageConditioned
from policy_extraction.methods.awr import AWR
from policy_extraction.methods.bc import BC
from policy_extraction.methods.crr import CRR
from policy_extraction.methods.filtered_bc import FilteredBC
from policy_extraction.methods.grpo import GRPO
from policy_extraction.methods.preference import Preference
from policy_extraction.methods.rabc import RABC
from policy_extraction.methods.value_gradient import ValueGradient

METHODS: dict[str, type] = {
    "bc": BC,
    "filtered_bc": FilteredBC,
    "awr": AWR,
    "rabc": RABC,
    "crr": CRR,
    "preference": Preference,
    "advantage_conditioned": AdvantageConditioned,
    "grpo": GRPO,
    "value_gradient": ValueGradient,
}
