"""Which code every stage's results depend on, recorded, so that no change of results goes without a new version.

    python -m experiments.lab.code_record              what changed since the record
    python -m experiments.lab.code_record same         results are the same: renew the record
    python -m experiments.lab.code_record raise label  results change: raise VERSION of these stages, and renew

A test compares `stage_code.json` with the code. `same` is a promise: show the same numbers at the same seed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from envs.errors import UserError, check_choice
from envs.files import atomic_file
from experiments.lab.code_digest import ROOT, code_digest
from experiments.settings.cli import answer
from experiments.settings.command import command

RECORD = ROOT / "experiments" / "lab" / "stage_code.json"
NO_RESULT = (  # modules that bring results about without changing them
    "envs.errors",
    "envs.processes",
    "experiments.lab.artifacts",
    "experiments.lab.progress",
    "experiments.lab.provenance",
    "experiments.lab.tracking",
)
READERS = (  # critics at work, which stages call through an interface
    "value_model.critic.wvm:load_wvm",
    "value_model.critic.baselines.critic:load_baseline",
    "value_model.critic.wan.critic:load_wan_critic",
    "value_model.critic.gvl.critic:GVL",
    "experiments.choices.oracle:Oracle",
    "experiments.choices.plain_critics:StateCritic",
    "experiments.choices.plain_critics:TimeIndex",
    "experiments.choices.marked:Marked",
    "value_model.critic.outside:outside_critic",
)
SEEING = (  # what policies read
    "policy_extraction.adapters.inputs:raw_inputs",
    "policy_extraction.vla.model:EncodedInputs",
)
WORLDS = (  # environments, which stages call through an interface
    "envs.robosuite.vector:robosuite_envs",
    "envs.experts.self_reset:self_resetting_envs",
    "envs.experts.branches:branch_envs",
    "envs.gymnasium_world:gymnasium_envs",
    "value_model.imagination.environment:ImaginedEnvs",
)
ACTORS = (
    *SEEING,
    *WORLDS,
    "policy_extraction.acting:ActingPolicy",
    "policy_extraction.scaling:ScaledPolicy.act",
    "policy_extraction.adapters.jax_policy:JaxPolicy.act",
    "policy_extraction.adapters.torch_policy:TorchPolicy.act",
    "policy_extraction.vla.model:vla_policy",
)
LEARNERS = (
    *SEEING,
    "policy_extraction.scaling:ScaledPolicy",
    "policy_extraction.adapters.make:make_policy",
    "policy_extraction.adapters.jax_policy:JaxPolicy",
    "policy_extraction.adapters.torch_policy:TorchPolicy",
    "policy_extraction.methods:METHODS",
    "policy_extraction.vla.model:vla_policy",
)


@dataclass(frozen=True)
class Stage:
    """Where a stage's version is, and the definitions from which all of its code is reached."""

    version: str
    roots: tuple[str, ...]


STAGES = {
    "collect": Stage("experiments.stages.data", ("experiments.stages.data:collect_data",)),
    "critic": Stage(
        "experiments.choices.critics",
        (
            "experiments.stages.critic:train_on",
            "experiments.choices.wvm_critics:TrainChoice.train",
            "experiments.choices.learned_critics:BaselineChoice.train",
            "experiments.choices.wan_critics:WanChoice.train",
        ),
    ),
    "label": Stage("experiments.stages.label", ("experiments.stages.label:label", *READERS)),
    "metrics": Stage(
        "experiments.stages.label",
        ("experiments.stages.label:critic_metrics", "experiments.train_critic:measure", *READERS),
    ),
    "features": Stage("experiments.stages.inputs", ("experiments.stages.inputs:make_inputs", *SEEING)),
    "extract": Stage(
        "experiments.stages.extract",
        (
            "experiments.stages.extract:extract",
            "policy_extraction.advantages:ADVANTAGES",
            "policy_extraction.dataset:build_dataset",
            *LEARNERS,
        ),
    ),
    "held_out": Stage(
        "experiments.stages.held_out",
        (
            "experiments.stages.held_out:measure_held_out",
            "experiments.stages.recorded:samples_of",
            "policy_extraction.advantages:ADVANTAGES",
            "policy_extraction.scaling:ScaledPolicy",
            "policy_extraction.adapters.jax_policy:JaxPolicy.log_prob",
            "policy_extraction.adapters.torch_policy:TorchPolicy.log_prob",
            *ACTORS,
        ),
    ),
    "improve": Stage(
        "experiments.stages.improve",
        (
            "experiments.stages.improve:improve",
            "experiments.choices.judges:SuccessReward",
            "experiments.choices.judges:EnvReward",
            "experiments.choices.critic_judge:CriticJudge",
            "experiments.choices.seeing_judges:ClassifierJudge",
            "experiments.choices.seeing_judges:VLMRewardJudge",
            "experiments.choices.mixed_judges:MixtureJudge",
            *ACTORS,
            *LEARNERS,
        ),
    ),
    "follow": Stage(
        "experiments.stages.follow",
        (
            "experiments.stages.follow:follow",
            *READERS,
            *ACTORS,
            *LEARNERS,
        ),
    ),
    "judge": Stage("experiments.stages.judge", ("experiments.stages.judge:calibrate", *ACTORS)),
    "world_model": Stage(
        "experiments.stages.world_model", ("experiments.stages.world_model:make_world_model",)
    ),
    "world_quality": Stage(
        "experiments.stages.world_quality", ("experiments.stages.world_quality:measure_world_model",)
    ),
    "world_verdicts": Stage(
        "experiments.stages.world_verdicts", ("experiments.stages.world_verdicts:world_verdicts",)
    ),
    "first_picture": Stage(
        "experiments.gymnast.scenes",
        ("experiments.gymnast.scenes:first_picture", "envs.robosuite.vector:robosuite_envs"),
    ),
    "scene_pictures": Stage(
        "experiments.gymnast.scenes",
        ("experiments.gymnast.scenes:scene_pictures", "envs.robosuite.vector:robosuite_envs"),
    ),
    "side_by_side": Stage(
        "experiments.gymnast.strips", ("experiments.gymnast.strips:side_by_side", *ACTORS, *LEARNERS)
    ),
    "world_eyes": Stage(
        "experiments.stages.eyes",
        ("experiments.stages.eyes:distil", "policy_extraction.vla.model:FrozenEyes"),
    ),
    "seeing_world": Stage("experiments.stages.eyes", ("experiments.stages.eyes:seeing_world",)),
    "eyes_quality": Stage(
        "experiments.stages.eyes",
        ("experiments.stages.eyes:measure_eyes", "policy_extraction.vla.model:FrozenEyes"),
    ),
    "fidelity_real": Stage(
        "experiments.stages.fidelity",
        ("experiments.stages.fidelity:roll_out_really", "experiments.stages.fidelity:Noisy", *ACTORS),
    ),
    "fidelity_imagined": Stage(
        "experiments.stages.fidelity",
        ("experiments.stages.fidelity:roll_out_imagined", "experiments.stages.fidelity:Noisy", *ACTORS),
    ),
    "fidelity_replay": Stage(
        "experiments.stages.fidelity", ("experiments.stages.fidelity:replay_really", *WORLDS)
    ),
    "fidelity_again": Stage(
        "experiments.stages.fidelity",
        ("experiments.stages.fidelity:imagine_again", "value_model.imagination.verdicts:look_solved"),
    ),
    "branches": Stage(
        "experiments.stages.branches",
        (
            "experiments.stages.branches:roll_out_branches",
            "experiments.choices.plain_critics:StateCritic",
            *ACTORS,
        ),
    ),
    "branches_imagined": Stage(
        "experiments.stages.imagined_branches",
        ("experiments.stages.imagined_branches:imagine_branches", *WORLDS),
    ),
    "branch_gains": Stage(
        "experiments.stages.branches", ("experiments.stages.branches:judge_branches", *READERS)
    ),
    "classifier": Stage(
        "experiments.stages.classifier",
        ("experiments.stages.classifier:train_success_classifier", *ACTORS),
    ),
    "rollouts": Stage("experiments.stages.rollouts", ("experiments.stages.rollouts:roll_out_data", *ACTORS)),
    "imagined": Stage("experiments.stages.imagined", ("experiments.stages.imagined:imagine_data", *ACTORS)),
    "evaluate": Stage("experiments.stages.evaluate", ("experiments.stages.evaluate:evaluate", *ACTORS)),
    "film": Stage("experiments.stages.film", ("experiments.stages.film:film", *ACTORS)),
    "pretrain": Stage("experiments.pretrain_vla", ("experiments.pretrain_vla:_train",)),
    "check": Stage("experiments.pretrain_vla", ("experiments.pretrain_vla:_check", *ACTORS)),
    "own_critic_values": Stage(
        "experiments.own_critic.measure", ("experiments.own_critic.measure:values_of", *READERS)
    ),
    "own_critic_lapses": Stage(
        "experiments.own_critic.made_lapses", ("experiments.own_critic.made_lapses:values_of_made", *READERS)
    ),
    "value_bench_data": Stage(
        "experiments.value_benchmark.data", ("experiments.value_benchmark.data:generate",)
    ),
    "value_bench_label": Stage(
        "experiments.value_benchmark.measuring",
        ("experiments.value_benchmark.measuring:label_bench", *READERS),
    ),
    "value_bench_oracle": Stage(
        "experiments.value_benchmark.critic", ("experiments.value_benchmark.critic:_reference",)
    ),
    "latents": Stage(
        "experiments.ablation.stage",
        ("experiments.ablation.stage:training_latents", "experiments.ablation.stage:video_latents"),
    ),
    "ablation": Stage("experiments.ablation.stage", ("experiments.ablation.stage:train_variant",)),
    "ablation_metrics": Stage("experiments.ablation.stage", ("experiments.ablation.stage:measure_variant",)),
}

VERSION_LINE = re.compile(r"^VERSION = (\d+)", re.MULTILINE)


def digest_of(name: str) -> str:
    """Of all code that a stage's results depend on; what it takes from other stages is in their own digests."""
    others = {stage.roots[0] for stage in STAGES.values()} - set(STAGES[name].roots)
    return code_digest(STAGES[name].roots, {*NO_RESULT, *others})


def current() -> dict[str, dict[str, int | str]]:
    """{stage: its version and the digest of its code} as they are."""
    return {name: {"version": _version(stage), "code": digest_of(name)} for name, stage in STAGES.items()}


def recorded() -> Mapping[str, Mapping[str, int | str]]:
    """The same as it was recorded."""
    return json.loads(RECORD.read_text()) if RECORD.is_file() else {}


def changed() -> list[str]:
    """The stages that are not as recorded."""
    before, now = recorded(), current()
    return sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))


def raise_versions(stages: Sequence[str]) -> None:
    """Write the next version into the files of these stages."""
    for module in sorted({STAGES[name].version for name in stages}):
        path = ROOT / f"{module.replace('.', '/')}.py"
        text = VERSION_LINE.sub(lambda found: f"VERSION = {int(found[1]) + 1}", path.read_text(), count=1)
        path.write_text(text)


def renew() -> None:
    """Record what is."""
    with atomic_file(RECORD) as temporary:
        temporary.write_text(json.dumps(current(), indent=1) + "\n")


def keep_record(arguments: Sequence[str]) -> None:
    """The command with its arguments.

    Raises:
        UserError: an unknown word or stage.
    """
    if not arguments:
        print("\n".join(changed()) or "as recorded")
        return
    word, *stages = arguments
    check_choice("word", word, ("same", "raise"))
    if (word == "raise") != bool(stages):
        raise UserError("say `same`, or `raise` and the stages whose results change")
    for name in stages:
        check_choice("stage", name, STAGES)
    raise_versions(stages)
    renew()


def _version(stage: Stage) -> int:
    path = ROOT / f"{stage.version.replace('.', '/')}.py"
    found = VERSION_LINE.search(path.read_text())
    assert found is not None, path
    return int(found[1])


@command
def main() -> None:
    """The command line."""
    answer(keep_record, __doc__)


if __name__ == "__main__":
    main()
