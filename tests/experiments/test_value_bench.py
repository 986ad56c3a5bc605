"""The value benchmark on episodes whose pictures are as bright as the task has come far."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from envs.errors import UserError
from envs.robosuite.tasks import task_spec
from envs.store import Store, open_store, write_store
from envs.types import Episode, Segment
from experiments.choices.critics import CriticSource
from experiments.lab.artifacts import Artifacts
from experiments.value_bench import run_value_bench
from experiments.value_benchmark.data import (
    DIGESTS,
    PUBLISHED,
    export,
    generate,
    numeric_digests,
    open_benchmark,
)
from experiments.value_benchmark.episodes import COMBINATIONS, GROUPS, NAME, BenchData, in_group
from experiments.value_benchmark.measures import Measures, chosen, trajectory_score
from experiments.value_benchmark.measuring import all_infos, label_bench, measure, plan
from experiments.value_benchmark.scores import Scores
from value_model.critic.metrics.episodes import Views, trajectory_scores, true_progress

STYLES = ("clean", "slow", "hesitation", "retry", "failure", "clean")
QUICK = Measures(bootstrap=50)


def attempt(task: str, robot: str, style: str, seed: int) -> Episode:
    """One trajectory; a failure gets two fifths of the way."""
    length = 40 + seed % 7
    segments = (Segment(style, 10, 16),) if style in ("hesitation", "retry") else ()
    progress = true_progress(length, segments) * (0.4 if style == "failure" else 1.0)
    frames = np.broadcast_to(
        np.round(255 * progress).astype(np.uint8)[:, None, None, None], (length, 16, 16, 3)
    )
    return Episode(
        images={"workspace": frames.copy()},
        proprio=np.zeros((length, 8), np.float32),
        actions=np.full((length, 7), seed / 100, np.float32),
        rewards=np.zeros(length, np.float32),
        environment_state=np.zeros((length, 8), np.float32),
        success=style != "failure",
        task=task,
        instruction=task_spec(task).instructions[1],
        robot=robot,
        seed=seed,
        fps=20.0,
        style=style,
        segments=segments,
    )


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    worlds = [("lift", "Panda"), ("can", "Panda"), ("lift", "UR5e"), ("door", "Panda")]
    episodes = [attempt(*world, style, seed) for world in worlds for seed, style in enumerate(STYLES)]
    return open_store(write_store(tmp_path_factory.mktemp("bench") / "store", episodes))


class Judge:
    """A critic that is a function of an episode; counts what it is shown."""

    def __init__(self, values) -> None:
        self.values, self.shown = values, 0

    def label(self, episodes: Iterable[Episode]) -> Iterator[np.ndarray]:
        for episode in episodes:
            self.shown += 1
            yield self.values(episode)


def brightness(episode: Episode) -> np.ndarray:
    """True values, halved where the instruction is another task's."""
    bright = episode.images["workspace"][:, 0, 0, 0].astype(np.float32) / 255
    return bright if episode.instruction in task_spec(episode.task).instructions else bright / 2


def count_frames(episode: Episode) -> np.ndarray:
    return np.linspace(0, 1, len(episode), dtype=np.float32)


def test_the_set_is_the_published_one_and_more() -> None:
    assert len(COMBINATIONS) == 20 and sum(2 * one.suboptimal for one in COMBINATIONS) == 800
    column = [one for one in COMBINATIONS if in_group("robosuite", one.task, one.robot)]
    assert len(column) == 6 and {one.suboptimal for one in column} == {25}
    assert len({one.robot for one in COMBINATIONS}) == 3
    apart = [one.name for one in COMBINATIONS if in_group("zero_shot", one.task, one.robot)]
    assert len(apart) == 8 and "door-Panda" in apart and "stack-UR5e" in apart
    data = BenchData()
    assert data.is_benchmark and data.name == NAME
    assert len({data.run_seed(one) for one in COMBINATIONS}) == 20
    small = BenchData(scale=0.04)
    assert not small.is_benchmark and NAME in small.name and small.name.startswith("not-")
    assert set(small.styles(COMBINATIONS[0]).values()) == {1}


def test_a_perfect_critic(store: Store) -> None:
    judge = Judge(brightness)
    found = measure(judge, store, measures=QUICK)
    # 24 trajectories; 2 clean ones of 4 worlds, still and backwards; and each under 7 other instructions
    assert judge.shown == 24 + 8 + 8 + 8 * 7
    assert found["subset"] == "robosuite" and set(found["groups"]) == set(GROUPS)
    for figures in found["groups"].values():
        for name in ("expert_voc", "retry_voc", "static_constant", "auroc", "drop_pr_auc", "kendall_tau"):
            assert figures[name] == pytest.approx(1.0), name
        for name in ("static_voc", "static_drift", "missing"):
            assert figures[name] == 0.0, name
        assert figures["vroc"] == pytest.approx(-1.0)
        assert figures["hesitation_rmse"] < 0.5 / 255 + 1e-6
        assert figures["kendall_tau_final"] == pytest.approx(2 / 3)  # successes and suboptimal end alike
        assert figures["instruction_margin"] == pytest.approx(0.5) and figures["instruction_top1"] == 1.0
        assert figures["failure_value"] == pytest.approx(0.4)
    assert found["expert_voc_count"] == 6 and found["groups"]["all"]["expert_voc_count"] == 12
    assert found["expert_voc_ci"] == pytest.approx([1.0, 1.0])
    assert set(found["combinations"]) == {"lift-Panda", "can-Panda", "lift-UR5e", "door-Panda"}
    json.dumps(found, allow_nan=False)


def test_a_critic_that_counts_frames(store: Store) -> None:
    found = measure(Judge(count_frames), store, measures=QUICK)
    assert found["expert_voc"] == found["static_voc"] == found["static_drift"] == pytest.approx(1.0)
    assert found["retry_voc"] == pytest.approx(-1.0) and found["vroc"] == pytest.approx(1.0)
    assert found["instruction_margin"] == found["instruction_top1"] == 0.0
    assert found["kendall_tau"] == 0.0 and found["auroc"] == 0.5
    assert found["drop_pr_auc"] == pytest.approx(found["drop_share"])
    assert found["length_correlation"] is None and found["length_correlation_undefined"] == 1.0
    by_the_clock = measure(
        Judge(lambda e: (np.arange(len(e)) / 100).astype(np.float32)), store, measures=QUICK
    )
    assert by_the_clock["length_correlation"] == pytest.approx(1.0)


def test_degenerate_critics(store: Store) -> None:
    constant = measure(Judge(lambda e: np.full(len(e), 0.5, np.float32)), store, measures=QUICK)
    assert constant["expert_voc"] is None and constant["expert_voc_undefined"] == 1.0
    assert constant["retry_voc"] is None and constant["static_voc"] == 0.0 and constant["vroc"] is None
    backwards = measure(Judge(lambda e: 1 - brightness(e)), store, measures=QUICK)
    assert backwards["expert_voc"] == backwards["retry_voc"] == pytest.approx(-1.0)
    assert backwards["auroc"] == 0.0 and backwards["vroc"] == pytest.approx(1.0)
    random = np.random.default_rng(0)
    chance = measure(Judge(lambda e: random.random(len(e), dtype=np.float32)), store, measures=QUICK)
    assert abs(chance["expert_voc"]) < 0.3 and chance["static_constant"] == 0.0
    low, high = chance["expert_voc_ci"]
    assert low < chance["expert_voc"] < high


def test_a_missing_value_is_counted_and_never_a_value(store: Store) -> None:
    def silent_on_slow(episode: Episode) -> np.ndarray:
        values = brightness(episode)
        return np.full_like(values, np.nan) if episode.seed == 1 else values

    found = measure(Judge(silent_on_slow), store, measures=QUICK)
    assert found["missing"] == pytest.approx(1 / 6)
    assert found["expert_voc"] == pytest.approx(1.0) and found["expert_voc_undefined"] == pytest.approx(1 / 3)
    nothing = measure(Judge(lambda e: np.full(len(e), np.nan, np.float32)), store, measures=QUICK)
    names = ("expert_voc", "hesitation_rmse", "retry_voc", "static_voc", "static_drift", "vroc", "auroc")
    assert all(nothing[name] is None for name in names) and nothing["missing"] == 1.0
    assert nothing["instruction_top1"] is None and "drop_pr_auc" not in nothing


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda e: np.full(len(e), 1.5, np.float32), "not all in [0, 1]"),
        (lambda e: np.full(len(e), -np.inf, np.float32), "not all in [0, 1]"),
        (lambda e: np.zeros(3, np.float32), "give one a frame"),
    ],
)
def test_what_is_no_value_is_refused(store: Store, wrong, message: str) -> None:
    with pytest.raises(UserError) as caught:
        measure(Judge(wrong), store, measures=QUICK)
    assert message in str(caught.value) and "base 0" in str(caught.value)


def test_critics_are_told_nothing(store: Store) -> None:
    def look(episode: Episode) -> np.ndarray:
        assert (episode.style, episode.segments, episode.success) == ("unknown", (), None)
        return count_frames(episode)

    measure(Judge(look), store, measures=QUICK)


def test_subsets_and_limits(store: Store) -> None:
    judge = Judge(brightness)
    found = measure(judge, store, measures=replace(QUICK, subset="zero_shot", limit=1, control_videos=0))
    assert judge.shown == 10 + 2 * 7 and found["subset"] == "all"
    assert set(found["combinations"]) == {"lift-UR5e", "door-Panda"}
    with pytest.raises(UserError, match="one of robosuite, seen"):
        Measures(subset="everything")


def test_every_other_frame() -> None:
    # T = 11, m = 2, n = 4: frames 2 and 4 count; true value .25; errors .1 and −.2: √(.05 / 2) = .1581
    values = np.linspace(0, 1, 11).astype(np.float32)
    values[2:5] = [0.35, 0.9, 0.05]
    info = open_info(length=11, segments=(Segment("hesitation", 2, 4),), style="hesitation")
    scores = dict(trajectory_scores(info, Views(values), every=2))
    assert scores["hesitation_rmse"] == pytest.approx(np.sqrt(0.05 / 2))
    assert np.isnan(dict(trajectory_scores(info, Views(values), every=7))["hesitation_rmse"])


def test_score_of_a_trajectory_by_hand() -> None:
    # ranks 1 3 2 4: VOC .8, final value .9 → .72
    assert trajectory_score(np.array([0.1, 0.5, 0.3, 0.9])) == pytest.approx(0.72)
    assert trajectory_score(np.full(4, 0.9)) == 0.0
    assert np.isnan(trajectory_score(np.array([0.1, np.nan])))


def open_info(**changes):
    from envs.store import EpisodeInfo

    known = EpisodeInfo(0, 0, 0, 10, ((0, "lift it"),), "lift", "Panda", 0, "clean", True, (), ())
    return replace(known, **changes)


def test_a_benchmark_says_how_its_trajectories_ended() -> None:
    with pytest.raises(UserError, match="trajectory 0 does not say how it ended"):
        chosen([open_info(success=None)], Measures())


def test_intervals_are_of_trajectories() -> None:
    # Hesitation-RMSE of two trajectories, .1 and .3: the bootstrap's means are .1, .2 and .3
    infos = [
        open_info(index=n, length=11, segments=(Segment("hesitation", 2, 4),), style="hesitation")
        for n in range(2)
    ]
    views = [Views(np.full(11, 0.25 + error, np.float32)) for error in (0.1, 0.3)]
    estimate = Scores(infos, views, 20.0, Measures()).estimates(np.ones(2, bool))["hesitation_rmse"]
    assert (estimate.value, estimate.low, estimate.high) == pytest.approx((0.2, 0.1, 0.3))
    assert estimate.count == 2 and estimate.undefined == 0.0


def test_labelling_goes_on_where_it_was_killed(store: Store, tmp_path: Path) -> None:
    shown = []

    def fragile(episode: Episode) -> np.ndarray:
        shown.append(episode.seed)
        if len(shown) == 9:
            raise KeyboardInterrupt
        return brightness(episode)

    source = CriticSource("fragile", lambda: Judge(fragile))
    passes = plan(store, all_infos(store), QUICK)
    with pytest.raises(KeyboardInterrupt):
        label_bench(Artifacts(tmp_path), source, "data", passes)
    values = label_bench(Artifacts(tmp_path), source, "data", passes)
    total = sum(len(requests) for requests in passes.values())
    assert len(shown) == total + 1 and len(values) == total
    assert len(label_bench(Artifacts(tmp_path), source, "data", passes)) == total and len(shown) == total + 1


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("generated")
    data = BenchData(combinations=("lift-Panda",), scale=0.04, image_size=32)
    made = generate(Artifacts(folder), data)
    assert generate(Artifacts(folder), data) == made
    return made


def test_the_generated_folder_says_all(generated: Path) -> None:
    bench = open_benchmark(generated)
    infos = all_infos(bench.open())
    assert sorted(info.style for info in infos) == sorted([*BenchData().styles(COMBINATIONS[0])])
    assert all(8 * 400_000_000 <= info.seed < 9 * 400_000_000 for info in infos)
    assert bench.name.startswith("not-") and bench.facts["episodes"] == 6
    assert bench.facts["numbers"] == numeric_digests(bench.open())
    card = (generated / "README.md").read_text()
    assert (
        "smaller or other set" in card
        and "license: apache-2.0" in card
        and "| lift | Panda | 1 | 1 |" in card
    )


def test_a_changed_benchmark_is_refused(generated: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    export(generated, folder)
    assert open_benchmark(folder).digest == open_benchmark(generated).digest
    info = folder / "meta/info.json"
    whole = info.read_bytes()
    info.write_bytes(whole + b" ")
    with pytest.raises(UserError, match=r"meta/info.json has been changed"):
        open_benchmark(folder)
    info.unlink()
    with pytest.raises(UserError, match=r"meta/info.json is missing"):
        open_benchmark(folder)
    info.write_bytes(whole)
    (folder / "data/extra.parquet").write_bytes(b"")
    with pytest.raises(UserError, match=r"extra.parquet is not a file of the benchmark"):
        open_benchmark(folder)
    (folder / DIGESTS).write_text("{}")
    with pytest.raises(UserError, match="is damaged"):
        open_benchmark(folder)
    (folder / DIGESTS).unlink()
    with pytest.raises(UserError, match="is no value benchmark"):
        open_benchmark(folder)


def test_the_command(generated: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    (tmp_path / "bench_critic_module.py").write_text(
        "import numpy as np\ndef bright(frames, instruction):\n"
        "    return frames.mean((1, 2, 3), dtype=np.float32) / 255\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    common = [f"data.path={generated}", "measure.bootstrap=20"]
    run_value_bench(["critic=time_index", *common])
    printed = capsys.readouterr().out
    result = json.loads(printed.splitlines()[-1])
    assert result["retry_voc"] == pytest.approx(-1.0) and result["complete"] is False
    assert "hesitation_rmse_ci" in result and "not the benchmark" in printed
    run_value_bench(["critic=bench_critic_module:bright,time_index", *common])
    first, second = json.loads(capsys.readouterr().out.splitlines()[-1])["rows"]
    assert first["critic"] == "bench_critic_module:bright" and second == result
    [report] = (tmp_path / "outputs/value_bench").glob("bench_critic_module.bright-*/report.md")
    assert "## By combination" in report.read_text()
    run_value_bench(
        ["critic=oracle", *common, "critic.data.clean=2", "critic.data.noisy=0", "critic.data.slow=0"]
    )
    oracle = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert oracle["static_constant"] == 1.0 and oracle["expert_voc"] > 0.9
    for wrong, message in (
        (["critic=train"], "learns a single task"),
        (["critic=wvm", "critic.path=/nowhere"], "no world value model"),
        (["critic=time_index", "measure.subset=zero_shot"], "no trajectory of subset=zero_shot"),
        (["critic=time_index", "measure.every=1,2"], "only critic"),
        (["critic=time_indx"], "did you mean 'time_index'"),
    ):
        with pytest.raises(UserError, match=message):
            run_value_bench([*wrong, *common])


def test_the_benchmark_is_compared_with_the_published_one(generated: Path, tmp_path: Path, capsys) -> None:
    folder = tmp_path / "copy"
    export(generated, folder)
    facts = json.loads((folder / DIGESTS).read_text())
    published = json.loads(PUBLISHED.read_text())
    assert set(published) == {one.name for one in COMBINATIONS}
    for numbers, verdict in (
        (published, "match"),
        ({**published, "can-Panda": "0"}, "differ from the published ones in can-Panda"),
    ):
        (folder / DIGESTS).write_text(json.dumps({**facts, "name": NAME, "numbers": numbers}))
        common = [
            "critic=time_index",
            f"data.path={folder}",
            f"outputs={tmp_path / 'out'}",
            "measure.bootstrap=5",
        ]
        run_value_bench(common)
        printed = capsys.readouterr().out
        result = json.loads(printed.splitlines()[-1])
        assert result["complete"] is True and result["numbers"] == verdict and verdict in printed
    run_value_bench([*common, "measure.limit=1"])
    printed = capsys.readouterr().out
    assert "PART of" in printed and json.loads(printed.splitlines()[-1])["complete"] is False


def test_a_progress_file_is_a_critic(store: Store, generated: Path, tmp_path: Path, capsys) -> None:
    from value_model.critic.progress import write_progress

    mine = open_benchmark(generated).open()
    write_progress(tmp_path / "mine.parquet", mine, (count_frames(episode) for episode in mine))
    write_progress(tmp_path / "other.parquet", store, (count_frames(episode) for episode in store))
    common = [
        "critic=sidecar",
        f"data.path={generated}",
        f"outputs={tmp_path / 'out'}",
        "measure.bootstrap=20",
    ]
    run_value_bench([*common, f"critic.path={tmp_path / 'mine.parquet'}"])
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["expert_voc"] == pytest.approx(1.0) and "static_voc" not in result
    with pytest.raises(UserError, match="of another data set"):
        run_value_bench([*common, f"critic.path={tmp_path / 'other.parquet'}"])
