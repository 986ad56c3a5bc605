"""The house: arrows point down only, rooms keep apart, and the maths of methods belongs to no framework."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FORBIDDEN = {
    "envs": ["value_model", "policy_extraction", "experiments"],
    "value_model": ["policy_extraction", "experiments"],
    "policy_extraction": ["value_model", "experiments"],
    "value_model/video": [
        "value_model.critic",
        "value_model.imagination",
        "value_model.success",
        "value_model.joint",
    ],
    "value_model/chat": [
        "value_model.critic",
        "value_model.imagination",
        "value_model.success",
        "value_model.joint",
    ],
    "value_model/critic": ["value_model.imagination", "value_model.success", "value_model.joint"],
    "value_model/success": ["value_model.critic", "value_model.imagination", "value_model.joint"],
    "value_model/imagination": ["value_model.critic", "value_model.joint"],
    "envs/store": ["envs.robosuite", "envs.experts"],
    "envs/robosuite": ["envs.experts"],
    "experiments/lab": ["experiments.stages", "experiments.reports", "experiments.pipeline"],
    "experiments/stages": ["experiments.reports", "experiments.pipeline"],
}
FRAMEWORK_FREE = [
    "policy_extraction/types.py",
    "policy_extraction/advantages.py",
    "policy_extraction/dataset.py",
]


def imported_modules(file: Path) -> set[str]:
    modules = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return modules


def within(module: str, packages: list[str]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


@pytest.mark.parametrize("place", FORBIDDEN)
def test_arrows_point_down_and_rooms_keep_apart(place):
    offenders = {
        str(file.relative_to(ROOT)): sorted(m for m in imported_modules(file) if within(m, FORBIDDEN[place]))
        for file in (ROOT / place).rglob("*.py")
    }
    assert not {file: modules for file, modules in offenders.items() if modules}


def test_methods_import_no_framework():
    files = [ROOT / name for name in FRAMEWORK_FREE] + list((ROOT / "policy_extraction/methods").glob("*.py"))
    for file in files:
        assert not {m.split(".")[0] for m in imported_modules(file)} & {"jax", "flax", "optax", "torch"}, file
