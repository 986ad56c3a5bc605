"""A stage that is killed while it writes leaves nothing in the artifact that a later attempt finishes."""

import json
import subprocess
import sys

import pytest

from envs.store import write_store
from tests.envs.episodes import make_episode

KILLED = """
import os, signal, sys
from pathlib import Path
from experiments.lab.artifacts import Artifacts
from experiments.lab.context import Context
from experiments.lab.simulators import Simulators
from experiments.lab.tracking import Tracker
from experiments.settings.config import EvaluateConfig, TaskConfig

replace, left = os.replace, [int(sys.argv[2])]

def die(*paths):
    left[0] -= 1
    if left[0] == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    replace(*paths)

os.replace = die  # what was written so far lies beside its place
artifacts = Artifacts(Path(sys.argv[1]) / "artifacts")
"""
STAGES = {
    "collect": """
from experiments.stages.data import collect_data
collect_data(artifacts, TaskConfig("lift"), {"clean": 1}, "policy_data", 0)
""",
    "label": """
from experiments.choices.plain_critics import TimeIndexChoice
from experiments.stages.critic import get_critic
from experiments.stages.data import user_data
from experiments.stages.label import label
critic = get_critic(artifacts, TaskConfig("lift"), TimeIndexChoice(), Tracker(None))
label(artifacts, user_data(Path(sys.argv[1]) / "store"), critic)
""",
    "extract": """
import numpy as np
from envs.files import load_arrays, save_arrays
from experiments.settings.config import BatchConfig
from experiments.stages.extract import extract
from policy_extraction.dataset import Dataset
from policy_extraction.methods.bc import BC
from policy_extraction.types import Training

class Count:
    done = 0
    def update(self, batches, method):
        self.done += len(batches["action"])
        return {"loss": float(self.done)}
    def save(self, folder):
        save_arrays(folder / "policy.safetensors", {"done": np.array([self.done])})
    def restore(self, folder):
        self.done = int(load_arrays(folder / "policy.safetensors")[0]["done"][0])

n = 8
zeros, ones = np.zeros(n, np.float32), np.ones(n, np.float32)
rows = np.arange(n)
data = Dataset(episode=0 * rows, frame=rows, action=np.zeros((n, 10, 7), np.float32), instruction=np.array(["x"] * n),
               value=zeros, advantage=zeros, weight=ones, outcome=ones, group=0 * rows, seed=rows.astype(np.uint32))
batch = BatchConfig(size=4, dispatch=2, checkpoint_seconds=0)
extract(artifacts, BC(), Training(updates=6), batch, 0, {}, Count, data, {"proprio": np.zeros((1, n, 8), np.float32)},
        Tracker(None))
""",
    "film": """
import numpy as np
from experiments.choices.environments import RobosuiteChoice
from experiments.stages.acting import Acting
from experiments.stages.evaluate import Trial
from experiments.stages.film import film

class Still:
    def act(self, observation, seeds):
        return np.zeros((len(seeds), 10, 7), np.float32)

config = EvaluateConfig(episodes=2, horizon=8, workers=2, videos=2)
with Simulators() as simulators:
    acting = Acting(RobosuiteChoice(), TaskConfig("lift"), 8, 2, 8)
    film(Context(artifacts, Tracker(None), simulators), Trial(acting, 8, config, 0, {}, {}, Still))
""",
}


def attempt(stage, folder, replacements):
    """Run a stage, killed at this `os.replace`; 0 for none."""
    code = KILLED + STAGES[stage]
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder), str(replacements)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == (-9 if replacements else 0), done.stderr


@pytest.mark.parametrize(
    ("stage", "kills"), [("collect", [1]), ("label", [1, 2]), ("extract", [5]), ("film", [1])]
)
def test_the_finished_artifact_holds_nothing_half_written(tmp_path, stage, kills):
    write_store(tmp_path / "store", [make_episode(0)])
    for replacements in kills:
        attempt(stage, tmp_path, replacements)
    artifacts = tmp_path / "artifacts"
    assert list(artifacts.glob(".*.partial/**/.*.partial"))  # there is rubble
    attempt(stage, tmp_path, 0)
    [made] = artifacts.glob("[!.]*")
    found = {str(path.relative_to(made)) for path in made.rglob("*") if path.is_file()}
    assert set(json.loads((made / "artifact.json").read_text())["files"]) == found - {"artifact.json"}
    assert not [name for name in found if ".partial" in name] and not list(artifacts.glob(".*.partial"))
