"""An environment of one's own, as README shows it, and a policy's own rollouts as data; from outside the repository."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from envs.store import open_store

ROOT = Path(__file__).resolve().parents[2]
SMALL = [
    "env=my_env:Reach",
    "policy=my_policy:Gaussian",
    "env.horizon=12",
    "evaluate.videos=0",
    "evaluate.episodes=4",
    "evaluate.workers=2",
    "evaluate.execute=5",
    "wandb.mode=disabled",
]


def write_examples(folder: Path) -> None:
    """README's examples under the names that it gives them."""
    for code in re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL):
        name = re.match(r"# (my_\w+\.py)", code)
        if name:
            (folder / name[1]).write_text(code)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("own")
    write_examples(made)
    return made


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "experiments.run", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "WANDB_MODE": "disabled"},
        capture_output=True,
        text=True,
        timeout=1800,
    )


def results(folder: Path, name: str) -> dict:
    return json.loads((folder / "outputs" / "runs" / name / "results.json").read_text())


def test_grpo_learns_in_an_environment_from_outside(folder):
    """README's own command, and what it says comes of it."""
    told = (folder / "my_env.py").read_text().split("import gymnasium")[0].replace("#", " ").split()
    words = told[told.index("experiments.run") + 1 :]
    assert "method.online.iterations=20" in words
    done = run(folder, *words, "evaluate.workers=2", "wandb.mode=disabled", "name=grpo")
    assert done.returncode == 0, done.stderr
    found = results(folder, "grpo")
    assert found["place"] == "Reach" and found["after"]["episodes"] == 50 and found["before"] is None
    assert found["settings"]["train"]["updates"] == 160 and found["training"]["updates"] == 160
    assert found["training"]["groups_kept"] == 8 and found["training"]["reward"] < 0
    assert found["after"]["success"]["mean"] >= 0.9 and found["after"]["mean_return"] < 0


def test_what_does_not_fit_the_environment_is_one_line(folder):
    done = run(folder, "env=my_env:Reach", "env.horizon=12", "method=grpo", "policy=vla_token")
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "workspace, wrist, the environment shows none" in done.stderr
    done = run(folder, *SMALL[1:], "env=gym", "env.id=Pendulum-v9", "method=grpo")
    assert done.returncode == 2 and "env.id=Pendulum-v9 is not registered" in done.stderr


def test_own_rollouts_are_data(folder):
    """Rollouts in robosuite by a policy that was trained on demonstrations, and learned from beside these."""
    (folder / "my_values.py").write_text(
        "import numpy as np\n\ndef rising(frames, instruction):\n    return np.linspace(0, 1, len(frames))\n"
    )
    shared = ["task=lift", "critic=my_values:rising", "policy=my_policy:Gaussian", "method=bc", *SMALL[3:6]]
    shared += [
        "evaluate.horizon=16",
        "train.updates=4",
        "batch.size=8",
        "batch.dispatch=2",
        "wandb.mode=disabled",
    ]
    shared += ["held_out.clean=1", "held_out.hesitation=1", "held_out.retry=1", "policy.spec.cameras=[]"]
    styles = ["data.clean=1", "data.hesitation=0", "data.retry=0", "data.detour=0", "data.failure=0"]
    done = run(folder, *shared, *styles, "name=first")
    assert done.returncode == 0, done.stderr
    first = results(folder, "first")
    demonstrations = first["data"]["folder"]
    rollouts = [
        "data=rollouts",
        "data.policy=outputs/runs/first",
        "data.episodes=3",
        f"data.also=[{demonstrations}]",
    ]
    done = run(folder, *shared, *rollouts, "name=second")
    assert done.returncode == 0, done.stderr
    second = results(folder, "second")
    assert {style: found["episodes"] for style, found in second["data"]["styles"].items()} == {
        "clean": 1,
        "policy": 3,
    }
    store = open_store(folder / second["data"]["folder"])
    assert [store.episode_info(index).length for index in range(1, 4)] == [16, 16, 16]
    assert [store.episode_info(index).success for index in range(4)] == [True, False, False, False]
    done = run(folder, *shared, "data=rollouts", "data.policy=outputs/nowhere")
    assert done.returncode == 2 and "no trained policy in outputs/nowhere" in done.stderr
