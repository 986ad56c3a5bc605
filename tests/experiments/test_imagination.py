"""Learning in imagined worlds from the command line, in a world of random weights."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from flax import nnx
from PIL import Image

from envs.contract import Start
from envs.errors import UserError
from envs.files import copy_files
from envs.recording import Film, Recording, Rollout
from envs.robosuite.tasks import task_spec
from envs.store import open_store
from envs.types import Episode, Observation
from experiments import evaluate
from experiments.choices.imagination import SHIPPED, ImaginationChoice
from experiments.choices.policies import VLAChoice
from experiments.choices.second_opinion import SecondOpinionReward
from experiments.lab.artifacts import Artifacts
from experiments.run import run_each
from experiments.settings.config import TaskConfig
from experiments.stages.acting import Acting, say_what_it_sees
from experiments.stages.data import collect_data
from policy_extraction.types import Training, frozen_eyes
from tests.experiments.imagined import random_critic, write_world
from value_model.imagination.eyes import Eyes, EyesConfig
from value_model.imagination.world_model import load_world_model

ONLINE = [
    "method=grpo",
    "method.online.groups=1",
    "method.online.group_size=4",
    "method.online.iterations=1",
    "method.online.updates=1",
    "method.min_reward=0",
    "method.max_reward=1",
]
HELD_OUT = ["held_out.clean=1", "held_out.hesitation=1", "held_out.retry=1"]
FEW = [
    "evaluate.episodes=2",
    "evaluate.horizon=8",
    "evaluate.workers=1",
    "evaluate.videos=0",
    "wandb.mode=disabled",
]


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """A folder with a world model."""
    folder = tmp_path_factory.mktemp("imagination")
    write_world(folder)
    return folder


def words(outputs, *more):
    world = ["env=imagination", f"env.path={outputs}/world", "env.worlds=4", "task=lift", "policy=vla_token"]
    return [*world, *ONLINE, *FEW, f"outputs={outputs}", *more]


def test_grpo_learns_in_imagination_and_is_evaluated_in_robosuite(outputs):
    run_each(words(outputs, "name=dream"))
    found = json.loads((outputs / "runs/dream/results.json").read_text())
    assert found["training"]["groups_kept"] == 1 and 0 <= found["training"]["success"] <= 1
    assert found["settings"]["env"]["kind"] == "ImaginationChoice" and found["place"] == "lift"
    evaluated = evaluations(outputs)
    assert len(evaluated) == 2 and "RobosuiteChoice" in json.dumps(evaluated)
    run_each(words(outputs, "name=cool", "evaluate.temperature=0.3"))
    prompts = [one["config"]["prompt"] for one in evaluations(outputs)]
    assert sorted(map(str, prompts)) == ["{'temperature': 0.3}", "{'temperature': 0.3}", "{}", "{}"]
    assert len(list(outputs.glob("artifacts/improve-*"))) == 1


def evaluations(outputs):
    return [json.loads(path.read_text()) for path in outputs.glob("artifacts/evaluate-*/artifact.json")]


def test_it_begins_from_pictures_of_ones_own(outputs, tmp_path):
    Image.fromarray(np.full((128, 128, 3), (200, 30, 30), np.uint8)).save(tmp_path / "a.png")
    Image.fromarray(np.full((64, 64), 90, np.uint8)).save(tmp_path / "b.png")
    own = [f"env.images=[{tmp_path}/a.png,{tmp_path}/b.png]", "env.instruction=put the cup away"]
    run_each(words(outputs, *own, "name=own"))
    found = json.loads((outputs / "runs/own/results.json").read_text())
    assert (
        found["training"]["groups_kept"] == 1
        and found["settings"]["env"]["instruction"] == "put the cup away"
    )
    choice = ImaginationChoice(f"{outputs}/world", images=(f"{tmp_path}/a.png", f"{tmp_path}/b.png"))
    task = TaskConfig("lift")
    envs = choice.make(task, choice.spec(task), 2, 4)
    shown, _ = envs.reset(seed=[0, 1])
    grey = np.full((1, 64, 64, 3), 90, np.uint8)
    red = np.broadcast_to(np.uint8([200, 30, 30]), grey.shape)
    expected = choice.world.decode(choice.world.encoder.encode(np.concatenate([red, grey], axis=2)))[0]
    for row in range(2):
        both = np.concatenate([shown["images"][name][row] for name in ("workspace", "wrist")], axis=1)
        assert np.abs(both.astype(int) - expected).max() <= 1


def test_what_a_policy_sees(outputs, tmp_path, capsys):
    """Its own eyes, distilled; where these are another's, or it learns to see, decoded pictures: that is said."""
    task, base = TaskConfig("lift"), VLAChoice("token")

    def said(policy=base, distil="", **settings):
        folder = tmp_path / (distil or "none")
        copy_files(outputs / "world", folder)
        choice = ImaginationChoice(str(folder), worlds=2, **settings)
        if distil:
            config = choice.world.config
            Eyes(config, EyesConfig(width=8), distil, eyes.size, rngs=nnx.Rngs(0)).save(folder)
            choice = ImaginationChoice(str(folder), worlds=2, **settings)
        acting = Acting(choice, task, 8, 0, 4)
        say_what_it_sees(acting, lambda: policy.make(acting.spec, Training(), 0))
        return acting, capsys.readouterr().err

    eyes = frozen_eyes(base.make(ImaginationChoice(f"{outputs}/world").spec(task), Training(), 0))
    assert "decoded pictures: no eyes have been distilled" in said()[1]
    assert "decoded pictures: it has no frozen eyes" in said(VLAChoice("token", train_encoder=True))[1]
    acting, line = said(distil="another")
    assert f"its eyes are {eyes.digest}, those of the world model another" in line
    with pytest.raises(UserError, match=r"env\.eyes=distilled: its eyes are"):
        said(distil="another", eyes="distilled")
    own, line = said(distil=eyes.digest)
    assert "distilled from latents" in line and own.spec.seen == {eyes.digest: eyes.size}
    blind, line = said(distil=eyes.digest, eyes="pictures")
    assert "env.eyes=pictures" in line and not blind.spec.seen
    assert len({one.env.origin() for one in (acting, own)}) == 2
    run_each(words(outputs, f"env.path={tmp_path / eyes.digest}", "name=distilled"))
    found = json.loads((outputs / "runs/distilled/results.json").read_text())
    assert found["training"]["groups_kept"] == 1


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["env.eyes=distilled"], "no eyes have been distilled for this world model"),
        (["env.eyes=closed"], "env.eyes"),
        (["env.images=[nowhere.png,b.png]"], "no file nowhere.png, b.png"),
        (["env.instruction=' '"], "blank"),
        (
            ["env.path=nowhere"],
            "no world model in nowhere; train one: python -m experiments.train_world_model",
        ),
        (["method.online.execute=5"], "execute is 5, but the world model goes 4 control steps at a time"),
        (["task.image_size=96"], "shows pictures of 64 pixels, task.image_size is 96"),
        (["env.starts=last"], "last"),
        (["env.retold=1"], "env.retold=1 must be at least 0 and below 1"),
        (["env.retold=0.5"], "env.retold: the world model knows no other task; leave it at 0"),
        (["env.retold=0.5", "env.guard=0.5"], "env.guard and env.retold both give episodes"),
        (["task=stack"], "no start for"),
    ],
)
def test_what_does_not_fit_is_one_line(outputs, more, message):
    with pytest.raises(UserError, match=message) as caught:
        run_each(words(outputs, *more, "name=refused"))
    assert "\n" not in str(caught.value)


def test_other_tasks_are_kept_in_mind(outputs, tmp_path):
    """A share of the episodes that are learnt from begin as the world model's other tasks do, under their instructions."""
    world, task = load_world_model(outputs / "world"), TaskConfig("lift")
    alone = ImaginationChoice(f"{outputs}/world", guard=0.5)
    with pytest.raises(UserError, match="knows no other task"):
        alone.starts_of(task, range(9))
    other = replace(world.starts, instruction=("open the drawer",) * len(world.starts))
    world.starts = world.starts.beside(other)
    world.save(tmp_path / "two")
    starts = ImaginationChoice(f"{tmp_path}/two", guard=0.25).starts_of(task, range(400))
    others = [one for one in starts if one.instruction is not None]
    assert {one.instruction for one in others} == {"open the drawer"} and 70 < len(others) < 130
    assert [one.seed for one in starts] == list(range(400))
    for share in ("guard", "retold"):
        given = [*words(outputs, f"env.{share}=0.5", f"name={share}"), f"env.path={tmp_path}/two"]
        run_each([word for word in given if word != f"env.path={outputs}/world"])
        results = json.loads((outputs / "runs" / share / "results.json").read_text())
        assert results["training"]["groups_kept"] == 1


def test_episodes_begin_where_the_task_s_do_under_other_instructions(outputs, tmp_path):
    """`guard` brings other tasks' first frames along, `retold` none: frame and instruction are of different tasks."""
    world, task = load_world_model(outputs / "world"), TaskConfig("lift")
    own = world.starts.of(task_spec("lift").instructions, "first")
    other = replace(own, latents=own.latents + 1).told("open the drawer")
    world.starts = world.starts.beside(other)
    world.save(tmp_path / "two")
    choice = ImaginationChoice(f"{tmp_path}/two", retold=0.25)
    starts = choice.starts_of(task, range(400))
    others = [one for one in starts if one.instruction is not None]
    assert {one.instruction for one in others} == {"open the drawer"} and 70 < len(others) < 130
    bank = choice.bank(task, choice.spec(task))
    rows = [bank.draw(one.seed, one.instruction) for one in others]
    assert {bank.instruction[row] for row in rows} == {"open the drawer"}
    assert all((bank.latents[row] == own.latents).all(axis=(1, 2, 3)).any() for row in rows)


def test_a_world_model_is_loaded_once_until_its_files_change(outputs, tmp_path):
    copy_files(outputs / "world", tmp_path / "world")
    one = ImaginationChoice(f"{tmp_path}/world").world
    assert ImaginationChoice(f"{tmp_path}/world", worlds=3).world is one
    changed = load_world_model(tmp_path / "world")
    changed.starts = changed.starts[np.arange(1)]
    changed.save(tmp_path / "world")
    assert len(ImaginationChoice(f"{tmp_path}/world").world.starts) == 1 < len(one.starts)


def test_the_world_model_that_ships(tmp_path):
    """It is small; in it, the actions of demonstrations that it has not seen solve the task, and doing nothing does not."""
    files = [file for file in SHIPPED.iterdir() if file.is_file()]
    assert sum(file.stat().st_size for file in files) <= 16e6
    task, choice, count = TaskConfig("lift"), ImaginationChoice(), 3
    made = collect_data(Artifacts(tmp_path), task, {"clean": count}, "world_model_held_out", 90)
    episodes = [open_store(made.folder).episode(index) for index in range(count)]
    starts = [
        Start(7, one.instruction, {name: frames[0] for name, frames in one.images.items()}, one.proprio[0])
        for one in episodes
    ]
    envs = choice.make(task, choice.spec(task), count, 4)
    for acted in (True, False):
        envs.reset(options={"starts": starts})
        solved = np.zeros(count, bool)
        for first in range(0, 80, 4):
            chunk = np.zeros((count, 4, 7), np.float32)
            for row, one in enumerate(episodes if acted else []):
                part = one.actions[first : first + 4]
                chunk[row, : len(part)] = part
            _, _, terminated, _, _ = envs.step(chunk)
            solved |= terminated
        assert solved.all() if acted else not solved.any()


def attempted(episode: Episode, actions: np.ndarray, success: bool | None) -> Rollout:
    """A rollout that began as an episode did."""
    count, images = len(actions), {name: frames[:1] for name, frames in episode.images.items()}
    seen = Observation(images, episode.proprio[:1], (episode.instruction,))
    nothing, ones = np.zeros((count, 0), np.float32), np.ones(count, np.int64)
    film = Film(np.zeros(1, np.int64), images, episode.proprio[:1], nothing[:1])
    made = Recording(seen, nothing, actions[:, None], ones, np.zeros(count, np.float32), ones, seen, film)
    return Rollout(0, 0, success, count, 0.0, made)


def test_a_second_world_model_may_disagree(tmp_path):
    """Of the actions of unseen demonstrations it says that they solve the task, of none that they do."""
    task = TaskConfig("lift")
    made = collect_data(Artifacts(tmp_path), task, {"clean": 2}, "world_model_held_out", 90)
    episodes = [open_store(made.folder).episode(index) for index in range(2)]
    idle = np.zeros((80, 7), np.float32)
    rollouts = [attempted(one, one.actions, success) for one in episodes for success in (True, False, None)]
    rollouts += [attempted(one, idle, True) for one in episodes]
    choice, spec = SecondOpinionReward(), ImaginationChoice().spec(task)
    judge = choice.source(cast(Any, SimpleNamespace(spec=spec))).load()
    np.testing.assert_array_equal(judge.rewards(rollouts), [1, 0, np.nan, 1, 0, np.nan, 0, 0])
    assert judge.film == spec.horizon
    other = replace(spec, cameras={"workspace": (64, 64)})
    with pytest.raises(UserError, match="the other world model has cameras"):
        choice.source(cast(Any, SimpleNamespace(spec=other)))


def test_a_second_opinion_from_the_command_line(outputs, tmp_path):
    run_each(words(outputs, "reward=second_opinion", f"reward.path={outputs}/world", "name=agreed"))
    found = json.loads((outputs / "runs" / "agreed" / "results.json").read_text())
    assert found["training"]["groups_kept"] == 1
    silent = load_world_model(outputs / "world")
    silent.solved, silent.success_quality = None, {}
    silent.save(tmp_path / "silent")
    with pytest.raises(UserError, match="has learnt of no outcome"):
        run_each(words(outputs, "reward=second_opinion", f"reward.path={tmp_path}/silent", "name=refused"))


def test_a_policy_looks_before_it_acts(outputs, capsys):
    def measured(*more):
        world = ["task=lift", "policy=vla_token", "evaluate.execute=4", f"outputs={outputs}"]
        evaluate.measure([*world, *(word for word in FEW if word != "wandb.mode=disabled"), *more])
        capsys.readouterr()
        return max(
            outputs.glob("artifacts/evaluate-*/artifact.json"), key=lambda path: path.stat().st_mtime_ns
        )

    looking = [f"act.path={outputs}/world", "act=best_of_n", "reward=success", "act.steps=4"]
    before = len(evaluations(outputs))
    one, best = (json.loads(measured(*looking, f"act.n={n}").read_text()) for n in (1, 3))
    assert len(evaluations(outputs)) == before + 2  # they are evaluations of their own
    assert one["config"]["prompt"]["act"]["n"] == 1 and set(best["inputs"]) == {"policy", "world"}
    with pytest.raises(UserError, match="a multiple"):
        measured(*looking, "act.steps=6")
    with pytest.raises(UserError, match="has no start for"):
        measured(*looking, "task=stack")


def test_a_policy_clones_what_it_imagined(outputs):
    """Two rounds; pictures are held between the moments of the world, and only these are learned from."""
    cheap = ["critic=time_index", "train.updates=2", "batch.size=8", "batch.variants=1", *HELD_OUT, *FEW]
    imagined = [
        "data=imagined",
        f"data.world.path={outputs}/world",
        "data.world.worlds=4",
        "data.world.horizon=16",
    ]
    words = ["task=lift", "method=filtered_bc", *imagined, "data.episodes=3", f"outputs={outputs}", *cheap]
    run_each([*words, "data.rounds=2", "data.solved=false", "name=cloned"])
    made = [json.loads(path.read_text()) for path in outputs.glob("artifacts/imagined-*/artifact.json")]
    assert sorted(one["config"]["round"] for one in made) == [0, 1]
    assert (
        len({one["inputs"]["policy"] for one in made}) == 2
    )  # the second round acts by what the first one trained
    found = json.loads((outputs / "runs/cloned/results.json").read_text())
    style = found["data"]["styles"]["imagined"]
    assert style["episodes"] == 3 and style["unknown"] == 0
    store = open_store(Path(found["data"]["folder"]))
    for index in range(3):
        episode = store.episode(index)
        assert len(episode) % 4 == 0 and episode.style == "imagined"
        for frames in (*episode.images.values(), episode.proprio):
            np.testing.assert_array_equal(frames, frames[np.arange(len(episode)) // 4 * 4])
    features = max(outputs.glob("artifacts/features-*/0.npy"), key=lambda path: path.stat().st_mtime_ns)
    assert np.load(features, mmap_mode="r").shape[:2] == (1, style["frames"] // 4)
    with pytest.raises(UserError, match="none of 3 imagined attempts looks solved"):
        run_each([*words, "data.world.minimum=999", "name=none"])


def test_a_policy_follows_the_value_through_its_world(outputs, capsys):
    random_critic().save(outputs / "critic")
    critic = ["critic=wvm", f"critic.path={outputs}/critic", *HELD_OUT]
    world = ["env=imagination", f"env.path={outputs}/world", "task=lift", *critic, *FEW, f"outputs={outputs}"]
    follow = [*world, "policy=vla_token", "method=value_gradient", "method.foresight.updates=2"]
    run_each([*follow, "method.foresight.starts=2", "name=followed"])
    assert "the critic's gain in imagination went from" in capsys.readouterr().err
    found = json.loads((outputs / "runs/followed/results.json").read_text())
    assert found["training"]["updates"] == 2 and found["training"]["grad_norm"] > 0
    assert found["settings"]["env"]["horizon"] == 8 and found["step"]["seconds"]["update"] > 0
    assert found["before"]["episodes"] == found["after"]["episodes"] == 2
    for more, message in (
        (["env=robosuite"], "set env=imagination"),
        (["critic=oracle"], "cannot judge rollouts"),
        (["method.foresight.execute=12"], "12 are to be executed"),
        (["env.horizon=6"], "looks 6 control steps ahead"),
    ):
        kept = [word for word in follow if word.split("=")[0] not in {one.split("=")[0] for one in more}]
        if more == ["env=robosuite"]:
            kept = [word for word in kept if not word.startswith("env.")]
        if more == ["critic=oracle"]:
            kept = [word for word in kept if not word.startswith("critic.")]
        with pytest.raises(UserError, match=message) as caught:
            run_each([*kept, *more, "name=refused"])
        assert "\n" not in str(caught.value)
