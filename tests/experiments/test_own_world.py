"""A world model of recordings of one's own: what it is fitted to, how it is measured, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from envs.errors import UserError
from envs.rollout import Rollout
from envs.store import open_store, write_store
from envs.types import Episode, Observation
from experiments.own_critic.split import SplitConfig, split
from experiments.own_world.fit import fit_world
from experiments.run import run_each
from experiments.train_world_model import train_world_model
from policy_extraction.scaling import ScaledPolicy, Scaling
from policy_extraction.types import PolicySpec
from tests.experiments.test_own_critic import CAMERAS, recorded
from tests.experiments.test_train_world_model import MODEL
from value_model.imagination.config import PRESETS, ImaginationConfig, from_json, to_json
from value_model.imagination.world_model import load_world_model

TINY = [word for word in MODEL if not word.startswith("eyes.")]


SMALL = [
    "policy=vla_scratch",
    "policy.head=token",
    "policy.spec.image_size=64",
    "policy.spec.action_horizon=4",
]
SMALL += ["policy.config.width=16", "policy.config.blocks=1", "wandb.mode=disabled", "evaluate.videos=0"]
CLONED = ["env=none", "data=store", "critic=time_index", "method=bc", *SMALL]
CLONED += ["train.updates=2", "batch.size=4", "batch.dispatch=1", "evaluate.episodes=1"]
ONLINE = ["method=grpo", "method.online.groups=1", "method.online.group_size=4", "method.online.iterations=1"]
ONLINE += ["method.online.updates=1"]
PLACE = ["env=imagination", "env.worlds=4", "evaluate.episodes=2", "evaluate.execute=4", "evaluate.videos=0"]
PLACE += ["wandb.mode=disabled"]


def eagerness(rollouts: Sequence[Rollout]) -> list[float]:
    """A judge: how large its actions were; it looks at the pictures, too."""
    assert all(rollout.filmed.images["belly-cam"].dtype == np.uint8 for rollout in rollouts)
    return [float(rollout.recorded.actions().mean()) for rollout in rollouts]


def practising(place: Path, *more: str) -> list[str]:
    begun = [f"env.path={place}/world", f"begin={place}/outputs/runs/cloned", f"outputs={place}/outputs"]
    judge = "reward=tests.experiments.test_own_world:eagerness"
    return [
        *PLACE,
        *begun,
        *(ONLINE if "method=value_gradient" not in more else []),
        judge,
        *more,
    ]


def driven(seed: int, length: int = 24, states: int = 3, numbers: int = 2) -> Episode:
    """An episode whose outcome nobody tells, with actions in units of its own and one number that never changes."""
    actions = np.random.default_rng(seed).uniform(-30, 50, (length, numbers)).astype(np.float32)
    actions[:, -1] = 7.0
    proprio = np.cumsum(np.ones((length, states), np.float32), axis=0)
    made = recorded(seed, length, fps=10.0, success=None, actions=actions, proprio=proprio)
    return replace(made, rewards=np.full(length, np.nan, np.float32))


def written(folder: Path, **how: int) -> Path:
    return write_store(folder, [driven(seed, **how) for seed in range(4)])


def words(place: Path, *folders: Path) -> list[str]:
    data = ["data=store", f"data.path=[{','.join(map(str, folders))}]"]
    return [*data, *TINY, f"folder={place}/world", f"outputs={place}/outputs", "wandb.mode=disabled"]


def test_recordings_without_states(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = written(tmp_path / "A", states=0)
    train_world_model(words(tmp_path, folder))
    told = capsys.readouterr()
    assert "a step of the world is 2 of the data's (5 a second)" in told.err and "no of the state" in told.err
    found = json.loads(told.out.strip().splitlines()[-1])
    assert found["held_out"]["latent"]["1"] > 0 and not {"hand_cm", "felt"} & set(found["held_out"])
    world = load_world_model(tmp_path / "world")
    assert (world.config.cameras, world.config.proprio_dim) == (tuple(sorted(CAMERAS)), 0)
    assert world.solved is None and len(world.starts.frame)
    spec = world.spec("push the red square", 20)
    lowest = min(float(driven(seed).actions[:, 0].min()) for seed in range(4))
    assert spec.action_low[0] >= lowest and (spec.action_low[1], spec.action_high[1]) == (6.0, 8.0)
    card = (tmp_path / "world" / "MODEL_CARD.md").read_text()
    assert "World model of A" in card and "recordings" in card and "next pictures out" in card
    assert (tmp_path / "world" / "held_out.png").is_file()
    more = write_store(tmp_path / "B", [driven(seed, states=0) for seed in range(10, 14)])
    train_world_model([*words(tmp_path, more), f"refresh={tmp_path}/world", "model.optim.updates=0"])
    again = load_world_model(tmp_path / "world").config
    assert (again.action_low, again.action_high) == (spec.action_low, spec.action_high)


def test_what_follows_from_recordings(tmp_path: Path) -> None:
    parts = split([open_store(written(tmp_path / "A"))], SplitConfig(), experts=False)
    assert [len(part.held_out) for part in parts] == [1]
    model = fit_world(PRESETS["tiny"], parts, {"model.stride"})
    assert (model.stride, model.control_rate, model.action_dim, model.proprio_dim) == (4, 10.0, 2, 3)
    assert not model.solved.told and from_json(to_json(model)) == model
    actions = parts[0].store.episode(parts[0].trained[0], cameras=()).actions
    scaled = model.scaled(actions)
    assert scaled.dtype == np.float32 and np.abs(scaled).max() <= 1 and np.all(scaled[:, 1] == 0)
    low, high = np.asarray(model.action_low), np.asarray(model.action_high)
    np.testing.assert_allclose(low + (scaled + 1) / 2 * (high - low), actions, atol=1e-4)


def test_actions_are_themselves_where_no_range_is_told() -> None:
    actions = np.array([[-2.0, 0.25]], np.float32)
    np.testing.assert_array_equal(ImaginationConfig(action_dim=2).scaled(actions), [[-1.0, 0.25]])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"action_low": (0.0,)}, "action_low has 1 numbers, an action 7"),
        ({"action_low": (0.0,) * 7, "action_high": (0.0,) * 7}, "action_low must be below action_high"),
        ({"action_low": (0.0,) * 7}, "action_low and action_high"),
        ({"proprio_dim": 0, "hand": PRESETS["kitchen"].hand}, "there is no hand to train"),
        ({"proprio_dim": -1}, "proprio_dim=-1 must be at least 0"),
    ],
)
def test_numbers_that_do_not_fit(changes: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        ImaginationConfig(**changes)


def test_mistakes_are_one_line(tmp_path: Path) -> None:
    folder = written(tmp_path / "A")
    other = written(tmp_path / "B", numbers=3)
    silent = write_store(tmp_path / "C", [recorded(0, actions=np.zeros((24, 0), np.float32))] * 2)
    alone = write_store(tmp_path / "D", [driven(0)])
    for said, message in (
        ([*words(tmp_path, folder), "tasks=[lift]"], "tasks is of the simulator's tasks"),
        (["tasks=[lift]", "split.share=0.5"], "split.share is of data=store"),
        (words(tmp_path, folder, other), "different numbers in their action"),
        (words(tmp_path, silent), "tells no actions"),
        (words(tmp_path, alone), "fewer than two episodes"),
        ([*words(tmp_path, folder), "model.cameras=[front]"], "has no front; it has belly-cam"),
        ([*words(tmp_path, folder), "model=kitchen", "data.state=nothing"], "nothing"),
    ):
        with pytest.raises(UserError, match=message):
            train_world_model(said)
    assert not (tmp_path / "world").exists()


@pytest.fixture(scope="module")
def practised(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with recordings, a world model of them, and a policy cloned from them."""
    place = tmp_path_factory.mktemp("practised")
    train_world_model(words(place, written(place / "A")))
    run_each([*CLONED, f"data.path={place}/A", f"outputs={place}/outputs", "name=cloned"])
    return place


def test_a_policy_of_recordings_practises_in_their_world_model(
    practised: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_each(practising(practised, "name=better"))
    found = json.loads((practised / "outputs/runs/better/results.json").read_text())
    assert found["training"]["groups_kept"] == 1 and found["training"]["control_steps"] > 0
    before, after = (practised / "outputs" / "runs" / name / "results.json" for name in ("cloned", "better"))
    scalings = [json.loads(file.read_text())["policy"] for file in (before, after)]
    first, second = (json.loads((Path(folder) / "scaling.json").read_text()) for folder in scalings)
    assert first == second  # it goes on giving actions in the data's own units


def test_actions_are_told_in_the_environment_s_units() -> None:
    scaling = Scaling((0.0,), (1.0,), (10.0,), (30.0,), (5.0,), (40.0,))
    given = []

    class Inner:
        spec = PolicySpec(cameras=(), proprio_dim=1, action_dim=1, action_horizon=1)

        def act(self, observation: Observation, seeds: np.ndarray, sampling: object = None) -> np.ndarray:
            return np.array([[[-1.0]], [[1.0]], [[9.0]]], np.float32)

        def log_prob(self, batch: Mapping[str, Any]) -> np.ndarray:
            given.append(batch["action"])
            return np.zeros(3, np.float32)

        def preprocess(self, observation: Observation, sampling: object = None) -> dict[str, np.ndarray]:
            return {}

        def update(self, batches: Mapping[str, Any], method: object) -> dict[str, float]:
            return {}

        def save(self, folder: Path) -> None: ...

        def restore(self, folder: Path) -> None: ...

    seen = Observation({}, np.zeros((3, 1), np.float32), ("",) * 3)
    inside = ScaledPolicy(Inner(), scaling, {}, ((0.0,), (40.0,)))  # type: ignore[arg-type]
    acted = inside.act(seen, np.zeros(3, np.int64))
    np.testing.assert_allclose(acted[:, 0, 0], [-0.5, 0.5, 1.0])  # 10, 30 and, at most, 40 of 0 … 40
    inside.log_prob({"action": acted})
    np.testing.assert_allclose(given[0][:, 0, 0], [-1.0, 1.0, 2.0], atol=1e-6)


def test_what_practising_lacks_is_one_line(practised: Path) -> None:
    for more, message in (
        (["begin=nowhere"], "no trained policy in nowhere"),
        (["env.instruction=let the square be"], "no start for 'let the square be'"),
        (["policy.spec.image_size=32"], "it reads 32×32 pictures"),
    ):
        with pytest.raises(UserError, match=message):
            run_each(practising(practised, *more, "name=refused"))
    with pytest.raises(UserError, match="no gradient is followed yet"):
        run_each(practising(practised, "method=value_gradient", "env.starts=all", "name=refused"))
