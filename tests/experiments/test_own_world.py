"""A world model of recordings of one's own: what it is fitted to, how it is measured, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from envs.errors import UserError
from envs.store import open_store, write_store
from envs.types import Episode
from experiments.own_critic.split import SplitConfig, split
from experiments.own_world.fit import fit_world
from experiments.train_world_model import train_world_model
from tests.experiments.test_own_critic import CAMERAS, recorded
from tests.experiments.test_train_world_model import MODEL
from value_model.imagination.config import PRESETS, ImaginationConfig, from_json, to_json
from value_model.imagination.world_model import load_world_model

TINY = [word for word in MODEL if not word.startswith("eyes.")]


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
