"""The comparison of World-Gymnast at the least of everything: two rounds of all methods, killed and done again."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from envs.errors import UserError
from experiments.choices.environments import RobosuiteChoice
from experiments.gymnast.config import METHODS, VARIANTS, WorldGymnastConfig
from experiments.gymnast.runs import Runs, cells
from experiments.gymnast.scenes import scene_pictures
from experiments.gymnast.words import OWN, Cell, data_seed, hottest, online_words, unless_given
from experiments.lab.artifacts import Artifacts, read_manifest
from experiments.lab.context import Context
from experiments.lab.simulators import Simulators
from experiments.lab.tracking import Tracker
from experiments.settings.config import TaskConfig
from experiments.stages.acting import Acting
from experiments.world_gymnast import split_words, world_gymnast
from policy_extraction.types import PolicySpec
from policy_extraction.vla.encoder import VLAConfig
from policy_extraction.vla.model import new_vla, save_vla
from tests.experiments.test_train_world_model import MODEL

LEAST = [
    *MODEL,
    "tasks=[lift]",
    "budgets=[8]",
    "seeds=[0]",
    "explore=[1.0]",
    "temperatures=[1.0,0.5]",
    "refresh=2",
    "model.hand.updates=2",
    "model.hand.batch=8",
    "verdicts=2",
    *(f"demonstrations.{style}=0" for style in ("noisy", "slow", "hesitation", "retry", "detour")),
    "demonstrations.clean=2",
    "demonstrations.failure=1",
    *(
        f"critic_model.model.{one}"
        for one in ("tokenizer.updates=2", "tokenizer.width=8", "tokenizer.frames=64")
    ),
    *(f"critic_model.model.{one}" for one in ("video.layers=1", "video.width=32", "video.feedforward=32")),
    *(f"critic_model.model.{one}" for one in ("value.width=16", "value.feedforward=16", "optim.updates=2")),
    "critic_model.model.optim.batch=8",
    *(
        f"{method}:method.online.{one}=1"
        for method in ("imagination", "test_time")
        for one in ("groups", "iterations", "updates")
    ),
    "imagination:env.worlds=8",
    "test_time:env.worlds=8",
    "simulator:method.online.groups=1",
    "simulator:method.online.updates=1",
    "train.updates=2",
    "batch.size=8",
    "batch.variants=1",
    "evaluate.episodes=2",
    "evaluate.horizon=16",
    "evaluate.workers=1",
    "wandb.mode=disabled",
]


def test_all_methods_and_a_second_round(tmp_path, capsys):
    config = VLAConfig(
        spec=PolicySpec(), first_channels=4, second_channels=4, width=16, blocks=1, euler_steps=2
    )
    save_vla(new_vla(config, 0), tmp_path / "base")
    outputs = tmp_path / "outputs"

    def rows(*more):
        world_gymnast([*LEAST, f"policy.base={tmp_path / 'base'}", f"outputs={outputs}", *more])
        found = json.loads(capsys.readouterr().out.strip().splitlines()[-1])["rows"]
        return {(row["method"], row["round"]): row for row in found}

    def made():
        return {path.name for path in (outputs / "artifacts").iterdir() if path.is_dir()}

    one = rows(f"methods=[{','.join(METHODS)},test_time]")
    assert list(one) == [(method, 1) for method in (*METHODS, "test_time")]
    for row in one.values():
        assert (
            row["seeds"] == 1
            and row["episodes"] == 2
            and 0 <= row["low"] <= row["success"] <= row["high"] <= 1
        )
        assert set(row["by_temperature"]) == {"1", "0.5"}
        assert row["difference_to_sft"]["mean"] == pytest.approx(row["success"] - _best_before(row, one))
    assert one["sft", 1]["whole_seconds"] == 0
    took = {path.name: read_manifest(path)["seconds"] for path in (outputs / "artifacts").glob("[!.]*-*")}
    of = {
        stage: sum(s for name, s in took.items() if name.startswith(f"{stage}-"))
        for stage in ("world_model", "critic")
    }
    for row in one.values():
        assert row["method"] == "sft" or row["whole_seconds"] > row["seconds"] - 0.001 > 0
    assert one["imagination", 1]["whole_seconds"] > one["imagination", 1]["seconds"] + of["world_model"]
    assert one["filtered", 1]["whole_seconds"] > one["filtered", 1]["seconds"] + of["critic"]
    assert one["simulator", 1]["whole_seconds"] == pytest.approx(one["simulator", 1]["seconds"])
    assert one["sft", 1]["real_steps"] == 0 and one["test_time", 1]["imagined"] is None
    assert "evaluate.scene=0" in one["test_time", 1]["commands"][0]
    folder = outputs / "world_gymnast" / "table"
    assert (folder / "lift.png").is_file() and "experiments.run" in (folder / "report.md").read_text()
    two = rows("methods=[iterated_sft,imagination]", "rounds=2", "name=dyna")
    for method in ("iterated_sft", "imagination"):
        assert two[method, 1] == {**one[method, 1], "difference_to_sft": None}
        first, second = (two[method, round]["real_steps"] for round in (1, 2))
        assert 0 < first < second <= 2 * 8 * (16 + 20)
        assert two[method, 1]["whole_seconds"] + two[method, 2]["seconds"] < two[method, 2]["whole_seconds"]
    before = made()
    assert rows("methods=[iterated_sft,imagination]", "rounds=2", "name=dyna") == two and made() == before


def test_scenes_of_which_there_are_but_pictures(tmp_path):
    with Simulators() as simulators:
        context = Context(Artifacts(tmp_path), Tracker(None), simulators)

        def made(distractors, seed=0, count=3):
            env = RobosuiteChoice(distractors=distractors)
            acting = Acting(env, TaskConfig("open_drawer"), 0, 2, 4)
            folder = scene_pictures(context, acting, seed, count).folder
            files = sorted(path.relative_to(folder).as_posix() for path in folder.glob("*/*.png"))
            return files, [(folder / file).read_bytes() for file in files]

        files, plain = made(0)
        assert files == [f"000{n}/{name}.png" for n in range(3) for name in ("workspace", "wrist")]
        assert len({*plain[::2], *made(3)[1][::2]}) == 6
        assert made(0, seed=1)[1][0] not in plain


def test_variants_have_pictures_of_more_scenes_and_episodes_of_all_tasks(monkeypatch):
    config = WorldGymnastConfig(tasks=("open_drawer", "close_drawer"), methods=VARIANTS)
    runs = Runs(config, [], {}, None)
    monkeypatch.setattr(runs, "world", lambda *of: "world")
    monkeypatch.setattr(runs, "_temperature", lambda cell: 1.0)
    monkeypatch.setattr(runs, "_pictures", lambda cell: "pictures")
    words = {name: [*OWN[name], *runs._more(Cell(name, "open_drawer", 128, 0))] for name in config.methods}
    assert "env.retold=0.5" in words["language"]
    given = Runs(config, [], {"language": ["method.online.temperature=1.3"]}, None)
    monkeypatch.setattr(
        given, "world", lambda *of: "world"
    )  # nothing is explored for a temperature that is given
    told = given._more(Cell("language", "open_drawer", 128, 0))
    assert [word for word in told if "temperature" in word] == ["method.online.temperature=1.3"]
    assert "env.scenes=pictures" in words["distract"] and "env.guard=0.5" in words["scaled"]
    assert all("env.path=world" in one for one in words.values())


def test_pictures_show_distractors_wherever_success_is_measured(monkeypatch, tmp_path):
    config, seen = WorldGymnastConfig(), []
    context = Context(Artifacts(tmp_path), Tracker(None), Simulators())
    monkeypatch.setattr(
        "experiments.gymnast.runs.scene_pictures",
        lambda context, acting, *of: seen.append(acting) or SimpleNamespace(folder="pictures"),
    )
    for given in ([], ["evaluate_env=robosuite"], ["evaluate_env=robosuite", "evaluate_env.distractors=1"]):
        assert (
            Runs(config, given, {}, context)._pictures(Cell("distract", "open_drawer", 128, 0)) == "pictures"
        )
    assert [acting.env.distractors for acting in seen] == [3, 3, 3]


def _best_before(row, rows):
    return (
        row["success"] - row["difference_to_sft"]["mean"]
        if row["method"] == "test_time"
        else rows["sft", 1]["success"]
    )


def test_a_budget_is_kept_in_every_round():
    assert online_words(Cell("simulator", "lift", 128, 0, 2), 1.0)[2:] == [
        "method.online.budget=256",
        "method.online.iterations=32",
    ]
    taken = [data_seed(seed, round, part) for seed in range(3) for round in (1, 2) for part in range(4)]
    assert len(set(taken)) == len(taken)
    order = cells(
        WorldGymnastConfig(
            tasks=("lift",), methods=("sft", "imagination"), budgets=(8, 16), seeds=(0, 1), rounds=2
        )
    )
    assert [(cell.budget, cell.seed, cell.round) for cell in order if cell.method == "imagination"] == [
        (budget, seed, round) for round in (1, 2) for budget in (8, 16) for seed in (0, 1)
    ]
    assert split_words(["tasks=[lift]", "policy.base=C:x", "sft:a.b=[c:d]", "--cfg", "job", "seed=1"]) == (
        ["tasks=[lift]", "--cfg", "job", "seed=1"],
        ["policy.base=C:x"],
        {"sft": ["a.b=[c:d]"]},
    )


def test_groups_are_as_hot_as_they_can_be_and_still_mixed():
    assert hottest({0.3: 0.6, 1.0: 0.25, 1.6: 0.19}) == 1.0
    assert hottest({1.6: 0.2, 0.3: 0.9}) == 1.6
    assert hottest({1.0: 0.1, 0.3: 0.0, 1.6: 0.0}) == 0.3
    words = online_words(Cell("imagination", "lift", 128, 0), 1.6)
    assert words[1:] == [
        "method.online.groups=24",
        "method.online.iterations=10",
        "method.online.stop=0.95",
    ]
    assert unless_given(words, ["method.online.temperature=1", "policy.base=x"]) == words[1:]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["tasks=[fly]"], "task"),
        (["methods=[ppo]"], "unknown method 'ppo'"),
        (["ppo:method.clip_low=1"], "unknown method 'ppo'"),
        (["budgets=[4]"], "4 rollouts are less than a group of 8"),
        (
            ["budgets=[8]", "transplants=0.5", "explore=[0.2,0.3,0.5,0.8,1.0]"],
            "of 8 rollouts 4 are the policy's own",
        ),
        (["transplants=0.6"], "transplants=0.6 must lie in"),
        (["methods=[scaled]", "tasks=[lift]"], "scaled needs tasks= to name more than one"),
        (["methods=[language]", "tasks=[lift]"], "language needs tasks= to name more than one"),
        (["methods=[distract]", "tasks=[lift]"], "a scene of lift has no distractors"),
        (["methods=[distract]", "distractors=5"], "a scene of open_drawer has 1 to 4"),
        (["scenes=0"], "scenes=0 must be at least 1"),
        (["rounds=0"], "rounds=0 must be from 1"),
        (["seeds=[]"], "seeds must name at least one"),
        (["begin=nowhere"], "no world model in nowhere"),
        (["tasks=[lift]", "evaluate.episode=3"], "did you mean 'evaluate.episodes'"),
    ],
)
def test_mistakes_are_one_line(words, message, tmp_path):
    with pytest.raises(UserError, match=message) as caught:
        world_gymnast([*words, f"outputs={tmp_path}", "wandb.mode=disabled"])
    assert "\n" not in str(caught.value)
