"""Seeds, weights, the oracle and critics from outside, on small inputs."""

import importlib
import itertools
import sys
from dataclasses import replace

import numpy as np
import pytest

from envs.errors import UserError
from envs.types import Episode
from experiments.choices.oracle import Oracle
from experiments.choices.plain_critics import TimeIndex
from experiments.choices.plugin_critics import plugin_choice
from experiments.compare import by_seed
from experiments.lab.artifacts import Artifacts
from experiments.lab.seeds import RUN_RANGE, STARTS, first_seed, seeds
from experiments.reports.results import run_name, sample_weights
from experiments.settings.cli import configurations
from experiments.value_benchmark.critic import bench_critic
from policy_extraction.advantages import ChunkDifference
from policy_extraction.batch import make_batch
from policy_extraction.dataset import build_dataset
from policy_extraction.methods.awr import AWR
from policy_extraction.methods.filtered_bc import FilteredBC


def episode(length=20, state=8, success=True) -> Episode:
    """The hand goes straight down to an object at the origin, and the object then straight up."""
    half = length // 2
    hand = np.zeros((length, 8), np.float32)
    hand[:half, 2] = np.linspace(0.1, 0, half)
    hand[half:, 2] = np.linspace(0, 0.1, length - half)
    thing = np.zeros((length, 8), np.float32)
    thing[half:, 2] = hand[half:, 2]
    thing[:, 5] = 0.1
    rewards = np.zeros(length, np.float32)
    return Episode(
        images={"workspace": np.zeros((length, 8, 8, 3), np.uint8)},
        proprio=hand,
        actions=np.tile(np.arange(length, dtype=np.float32)[:, None], (1, 7)),
        rewards=rewards,
        environment_state=thing[:, :state],
        success=success,
        task="lift",
        instruction="lift the cube",
        robot="Panda",
        seed=0,
        fps=20.0,
        style="clean",
    )


def test_no_seed_serves_two_purposes():
    ranges = {purpose: (first_seed(purpose, 0), first_seed(purpose, 999) + RUN_RANGE) for purpose in STARTS}
    ordered = sorted(ranges.values())
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(ordered))
    assert (
        ordered[-1][1] < 2**63
    )  # NumPy's and JAX's integers hold them; robosuite's generator: see numpy_seed
    assert seeds("evaluation", 1, 3).tolist() == [1_200_400_000, 1_200_400_001, 1_200_400_002]
    for run_seed, count in ((1000, 1), (-1, 1), (0, RUN_RANGE + 1)):
        with pytest.raises(UserError):
            seeds("evaluation", run_seed, count)


def test_weights_are_those_of_the_loss():
    # values 0, .1, .2: over chunks of 2 frames the advantages are .1, .1, 0
    samples = build_dataset([episode(3)], [np.array([0, 0.1, 0.2], np.float32)], ChunkDifference(), 2)
    weights = sample_weights(AWR(temperature=10.0, max_weight=2.0), samples, samples, make_batch(samples, {}))
    # exp(1) is capped at 2; exp(0) = 1; divided by their mean 5/3
    np.testing.assert_allclose(weights, [1.2, 1.2, 0.6], rtol=1e-5)
    kept = FilteredBC(rule="binary", threshold=0.05).select(samples)
    weights = sample_weights(FilteredBC(), samples, kept, make_batch(kept, {}))
    np.testing.assert_allclose(weights, [1.5, 1.5, 0], rtol=1e-5)
    second = samples.rows(np.array([1]))
    weights = sample_weights(AWR(), samples, second, make_batch(second, {}))
    np.testing.assert_allclose(weights, [0, 1, 0], rtol=1e-5)


def test_the_oracle_knows_how_far_a_state_is():
    oracle = Oracle.fit([episode(101), episode(81)])
    np.testing.assert_allclose(oracle.values(episode(51)), np.linspace(0, 1, 51), atol=0.05)
    waiting = episode(40)
    still = replace(
        waiting,
        proprio=waiting.proprio[:1].repeat(40, 0),
        environment_state=waiting.environment_state[:1].repeat(40, 0),
    )
    assert np.ptp(oracle.values(still)) == 0
    solved = replace(waiting, rewards=np.ones(40, np.float32))
    assert (oracle.values(solved) == 1).all()
    with pytest.raises(UserError, match="simulator's state"):
        oracle.values(episode(state=0))


def test_time_index_counts_frames():
    [values] = TimeIndex().label([episode(5)])
    assert values.tolist() == [0, 0.25, 0.5, 0.75, 1]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return np.zeros(3)", "one a frame"),
        ("return np.zeros((len(frames), 1))", "one a frame"),
        ("return np.full(len(frames), np.nan)", "outside [0, 1]"),
        ("return np.full(len(frames), 1.5)", "outside [0, 1]"),
        ("return -np.ones(len(frames))", "outside [0, 1]"),
        ("return ['0.5'] * len(frames)", "gave <U3"),
        ("return [None] * len(frames)", "gave object"),
        ("return np.ones(len(frames)) * 1j", "gave complex128"),
        ("return [[0.1], [0.1, 0.2]]", "gave no array"),
        ("return 1 / 0", "ZeroDivisionError: division by zero (my_critic.py, line 3)"),
        ("return frames.progress", "AttributeError: 'numpy.ndarray' object has no attribute"),
    ],
)
def test_a_critic_from_outside_is_checked(plugin, body, message):
    critic = plugin(f"def values(frames, instruction):\n    {body}\n")
    for give in (lambda: list(critic.label([episode()])), lambda: critic.values(FRAMES, "lift")):
        with pytest.raises(UserError) as caught:
            give()
        assert message in str(caught.value) and "\n" not in str(caught.value)


FRAMES = np.zeros((4, 8, 8, 3), np.uint8)


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """A critic from a file of this text."""

    def load(text: str, name: str = "values", **settings):
        (tmp_path / "my_critic.py").write_text(f"import numpy as np\n{text}")
        monkeypatch.chdir(tmp_path)
        monkeypatch.syspath_prepend(str(tmp_path))
        monkeypatch.delitem(sys.modules, "my_critic", raising=False)
        importlib.invalidate_caches()
        choice = plugin_choice(f"my_critic:{name}")(**settings)
        return bench_critic(Artifacts(tmp_path), choice).load()

    return load


def test_a_critic_from_outside_may_be_a_function_an_object_or_a_class(plugin):
    body = "return [t / len(frames) for t in range(len(frames))]"
    for text in (
        f"def values(frames, instruction): {body}",
        f"class values:\n    def values(self, frames, instruction): {body}",
        f"class C:\n    def values(self, frames, instruction): {body}\nvalues = C()",
    ):
        critic = plugin(text)
        assert critic.cameras == ("workspace",)
        assert critic.values(FRAMES, "lift", fps=5.0).tolist() == [0, 0.25, 0.5, 0.75]


def test_a_critic_from_outside_that_cannot_be_is_one_line(plugin):
    values = "def values(frames, instruction): return np.ones(len(frames))\nnumber = 3\n"
    with pytest.raises(UserError, match="no camera 'front'"):
        list(plugin(values, camera="front").label([episode()]))
    with pytest.raises(UserError, match="is no critic"):
        plugin(values, name="number")
    with pytest.raises(UserError, match="could not be made: TypeError"):
        plugin("class values:\n    def __init__(self, weights): ...")


def test_seeds_of_one_method_are_one_row():
    """Though the method's own seed is the run's, or is set to one of them."""
    for setting in ([], ["method.seed=1"]):
        arguments = ["method=filtered_bc,advantage_conditioned", "seed=0,1", *setting]
        groups = by_seed(configurations("run", arguments))
        assert [[one.config.seed for one in group] for group in groups] == [[0, 1], [0, 1]]
        assert [one.config.method.seed for one in groups[0]] == ([1, 1] if setting else [0, 1])


def test_runs_are_named_by_their_choices():
    [first] = configurations("run", ["policy=vla_token", "data=suboptimal", "critic=time_index"])
    [second] = configurations(
        "run", ["policy=vla_token", "data=suboptimal", "critic=time_index", "train.updates=7"]
    )
    assert run_name(first).startswith("stack-awr-vla_token-time_index-seed0-")
    assert run_name(first) != run_name(second)
    assert first.names == {
        "task": "stack",
        "env": "robosuite",
        "evaluate_env": "same",
        "reward": "success",
        "data": "suboptimal",
        "critic": "time_index",
        "advantage": "chunk_difference",
        "method": "awr",
        "policy": "vla_token",
    }
