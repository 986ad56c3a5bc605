"""What is installed away from the checkout: every file that the packages need, and a command for every command."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from experiments.__main__ import COMMANDS

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("envs", "value_model", "policy_extraction", "experiments")


def files_of_packages() -> list[Path]:
    """Relative to the checkout."""
    found = (file for package in PACKAGES for file in (ROOT / package).rglob("*") if file.is_file())
    return [file.relative_to(ROOT) for file in found if "__pycache__" not in file.parts]


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The wheel, unpacked in a folder of its own."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    for name in [*files_of_packages(), *map(Path, ("pyproject.toml", "README.md", "LICENSE"))]:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).symlink_to(ROOT / name)
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-q", "-w", folder]
    subprocess.run([*build, source], check=True)
    [wheel] = folder.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(folder / "unpacked")
    return folder / "unpacked"


def test_all_files_of_the_packages_are_in_it(installed):
    assert [str(name) for name in files_of_packages() if not (installed / name).is_file()] == []


def run(installed, tmp_path, *words):
    env = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(installed)}
    line = [sys.executable, "-m", "experiments", *words]
    return subprocess.run(line, cwd=tmp_path, env=env, capture_output=True, text=True)


def test_the_commands_run_away_from_the_checkout(installed, tmp_path):
    done = run(installed, tmp_path, "bench", "resources", "preset=tiny", "most=1")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith("{")
    assert "run " in run(installed, tmp_path).stdout
    wrong = run(installed, tmp_path, "rnu")
    assert wrong.returncode == 2 and "did you mean run" in wrong.stderr and "Traceback" not in wrong.stderr


def test_every_command_is_listed():
    files = {
        file.stem
        for file in (ROOT / "experiments").glob("*.py")
        if 'if __name__ == "__main__"' in file.read_text() and file.stem != "__main__"
    }
    assert files == set(COMMANDS)
