"""The house: arrows point down only, and the maths of methods belongs to no framework."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FORBIDDEN = {
    "envs": {"value_model", "policy_extraction", "experiments"},
    "value_model": {"policy_extraction", "experiments"},
    "policy_extraction": {"value_model", "experiments"},
}
FRAMEWORK_FREE = [
    "policy_extraction/types.py",
    "policy_extraction/advantages.py",
    "policy_extraction/dataset.py",
]


def imported_packages(file: Path) -> set[str]:
    packages = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            packages |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            packages.add(node.module.split(".")[0])
    return packages


@pytest.mark.parametrize("floor", FORBIDDEN)
def test_arrows_point_down(floor):
    offenders = {
        str(file.relative_to(ROOT)): sorted(imported_packages(file) & FORBIDDEN[floor])
        for file in (ROOT / floor).rglob("*.py")
        if imported_packages(file) & FORBIDDEN[floor]
    }
    assert not offenders


def test_methods_import_no_framework():
    files = [ROOT / name for name in FRAMEWORK_FREE] + list((ROOT / "policy_extraction/methods").glob("*.py"))
    for file in files:
        assert not imported_packages(file) & {"jax", "flax", "optax", "torch"}, file
