"""The choices of every group, the commands' default choices, and how a part from outside becomes a choice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import is_dataclass
from functools import cache
from typing import Any

from envs.errors import UserError
from envs.robosuite.tasks import TASKS
from experiments.choices.act import BestOfNAct, PolicyAct
from experiments.choices.branches import BranchChoice
from experiments.choices.critic_judge import CriticReward
from experiments.choices.environments import GymChoice, RobosuiteChoice, SameEnv
from experiments.choices.imagination import ImaginationChoice
from experiments.choices.imagined_data import ImaginedData
from experiments.choices.judges import EnvReward, PluginReward, SuccessReward
from experiments.choices.learned_critics import FrameTransformerChoice, GVLChoice, SingleFrameChoice
from experiments.choices.lerobot import LeRobotChoice
from experiments.choices.marked import MarkedChoice
from experiments.choices.mixed_judges import MixtureReward
from experiments.choices.no_env import NoEnv
from experiments.choices.plain_critics import OracleChoice, SidecarChoice, TimeIndexChoice
from experiments.choices.plugin_critics import plugin_choice
from experiments.choices.policies import PluginPolicy, ScratchVLA, VLAChoice
from experiments.choices.remote import RemoteChoice
from experiments.choices.second_opinion import SecondOpinionReward
from experiments.choices.seeing_judges import ClassifierReward, VLMReward
from experiments.choices.wan_critics import WanChoice
from experiments.choices.wvm_critics import TrainChoice, WVMChoice
from experiments.settings.compose import parse, store, store_command, sweep_values
from experiments.settings.config import MixtureData, RolloutData, RunConfig, StoreData, TaskConfig
from experiments.settings.plugins import is_reference, resolve
from policy_extraction.advantages import ADVANTAGES
from policy_extraction.methods import METHODS
from policy_extraction.methods.awr import AWR
from policy_extraction.methods.filtered_bc import FilteredBC
from value_model.critic.config import PRESETS

GROUPS: dict[str, dict[str, Any]] = {
    "task": {name: TaskConfig(name=name) for name in TASKS},
    "env": {
        "robosuite": RobosuiteChoice,
        "branches": BranchChoice,
        "gym": GymChoice,
        "imagination": ImaginationChoice,
        "none": NoEnv,
    },
    "evaluate_env": {
        "same": SameEnv,
        "robosuite": RobosuiteChoice,
        "gym": GymChoice,
        "imagination": ImaginationChoice,
    },
    "data": {
        "mixed": MixtureData,
        "suboptimal": MixtureData(clean=0, hesitation=100, retry=100, detour=0, failure=0),
        "store": StoreData,
        "rollouts": RolloutData,
        "imagined": ImaginedData,
    },
    "critic": {
        "wvm": WVMChoice,
        "train": TrainChoice,
        "train_small": TrainChoice(model=PRESETS["small"]),
        "wan": WanChoice,
        "single_frame": SingleFrameChoice,
        "frame_transformer": FrameTransformerChoice,
        "gvl": GVLChoice,
        "oracle": OracleChoice,
        "time_index": TimeIndexChoice,
        "marked": MarkedChoice,
        "sidecar": SidecarChoice,
    },
    "advantage": ADVANTAGES,
    "method": {
        **METHODS,
        "filtered_bc_binary": FilteredBC(rule="binary"),
        "awr_effective": AWR(effective=0.5),
    },
    "reward": {
        "success": SuccessReward,
        "env": EnvReward,
        "critic": CriticReward,
        "classifier": ClassifierReward,
        "vlm": VLMReward,
        "mixture": MixtureReward,
        "second_opinion": SecondOpinionReward,
    },
    "policy": {
        "vla": VLAChoice,
        "vla_token": VLAChoice(head="token"),
        "vla_scratch": ScratchVLA,
        "lerobot": LeRobotChoice,
        "remote": RemoteChoice,
    },
    "act": {"policy": PolicyAct, "best_of_n": BestOfNAct},
}
DEFAULTS = [
    {"task": "stack"},
    {"env": "robosuite"},
    {"evaluate_env": "same"},
    {"data": "mixed"},
    {"critic": "wvm"},
    {"advantage": "chunk_difference"},
    {"method": "awr"},
    {"reward": "success"},
    {"policy": "vla"},
]


@cache
def store_groups() -> None:
    """Put every group and every command's configuration into Hydra's store."""
    for group, members in GROUPS.items():
        for name, schema in members.items():
            store(group, name, schema)
    store_command("run", RunConfig, DEFAULTS)


def store_plugins(arguments: Sequence[str]) -> None:
    """Import every `package.module:name` that a command line chooses and make it a choice of its group.

    Raises:
        UserError: it cannot be imported, or the group takes no parts from outside.
    """
    for override in parse(arguments):
        values = sweep_values(override) if override.is_sweep_override() else [str(override.value())]
        for value in values if override.key_or_group in GROUPS else ():
            if is_reference(value):
                store(override.key_or_group, value, _plugin(override.key_or_group, value))


def _plugin(group: str, reference: str) -> Any:
    """The schema of a part from outside."""
    thing = resolve(reference)
    if group == "policy":
        return PluginPolicy(module=reference)
    if group == "critic":
        return plugin_choice(reference)
    if group == "reward":
        if not callable(thing):
            raise UserError(f"reward={reference} must be a function of rollouts that gives one number each")
        return PluginReward(module=reference)
    if group in ("env", "evaluate_env"):
        return GymChoice(id=reference)
    if group in ("method", "advantage"):
        if not (isinstance(thing, type) and is_dataclass(thing)):
            raise UserError(f"{group}={reference} must be a frozen dataclass, whose fields are its settings")
        return thing
    raise UserError(f"{group}={reference}: a {group} cannot come from outside; choose one by name")
