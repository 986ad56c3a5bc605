"""A critic trained on recordings of one's own: cameras of any name and size, held-out episodes, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from envs.errors import UserError
from envs.store import Reading, open_store, write_store
from envs.types import Episode, Segment
from experiments.choices.wvm_critics import TrainChoice
from experiments.label import label
from experiments.own_critic.fit import fit, fitting_horizon, fitting_rate
from experiments.own_critic.made_lapses import lapse_figures, made_lapses
from experiments.own_critic.measure import confusion, figures, shown
from experiments.own_critic.report import telling
from experiments.own_critic.split import Part, SplitConfig, counts, kind, split
from experiments.train_critic import train_critic
from tests.experiments.test_train_critic import MODEL, last_line
from tests.value_model.synthetic import slide
from value_model.critic.metrics.episodes import Views
from value_model.critic.wvm import load_wvm
from value_model.video.frames import resize

CAMERAS = {"belly-cam": (48, 80), "Über_kopf": (36, 20)}  # height, width
SEEN = '''
from dataclasses import dataclass
from pathlib import Path
import numpy as np

@dataclass(frozen=True)
class Seen:
    """Knows the seeds of what it has learned from."""
    cameras = ("belly-cam",)
    def train(self, episodes, folder, progress):
        return Kept(sorted(int(episode.proprio[0, 0]) for episode in episodes))
    def load(self, folder):
        return Kept([int(word) for word in (folder / "seen.txt").read_text().split()])

class Kept:
    cameras = ("belly-cam",)
    def __init__(self, seen): self.seen = seen
    def values(self, frames, instruction): return np.linspace(0, 1, len(frames), dtype=np.float32)
    def save(self, folder): (folder / "seen.txt").write_text(" ".join(map(str, self.seen)))
'''


def recorded(
    seed: int, length: int = 24, instruction: str = "push the red square", **changes: object
) -> Episode:
    """A `slide` as someone else's robot records it; its state holds the seed."""
    made = slide(seed, length)
    told = {
        "images": {name: resize(made.images["workspace"], *size) for name, size in CAMERAS.items()},
        "proprio": np.full((length, 1), seed, np.float32),
        "style": "unknown",
        "instruction": instruction,
        "robot": "my_arm",
        "fps": 8.0,
    }
    return replace(made, **{**told, **changes})  # type: ignore[arg-type]


def write(folder: Path, episodes: Sequence[Episode]) -> Path:
    return write_store(folder, episodes)


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two folders, of a task each; the second has a failure too."""
    place = tmp_path_factory.mktemp("recordings")
    other = "let the square be"
    return [
        write(place / "A", [recorded(seed, 20 + seed) for seed in range(5)]),
        write(
            place / "B",
            [
                *(recorded(seed, 24, other) for seed in range(5, 9)),
                recorded(9, 24, other, success=False, rewards=np.zeros(24, np.float32)),
            ],
        ),
    ]


def common(folder: Path) -> list[str]:
    return [f"outputs={folder}/outputs", f"folder={folder}/critic", "wandb.mode=disabled"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("critic")


def own(recordings: Sequence[Path]) -> list[str]:
    return ["data=store", f"data.path=[{','.join(map(str, recordings))}]"]


def test_a_critic_of_several_folders_goes_on_from_a_saved_one_and_labels(
    recordings: list[Path], place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train_critic([*own(recordings), *MODEL, "critic.seed=3", *common(place)])
    captured = capsys.readouterr()
    first, critic = last_line(captured.out), place / "critic"
    assert (
        "the critic looks at 8 frames a second in clips of 4 (0.5 s), through belly-cam, Über_kopf"
        in captured.err
    )
    assert first["cameras"] == sorted(CAMERAS) and (first["rate"], first["clip"]) == (8.0, 4)
    assert first["episodes"]["held out"] == {"experts": 2, "marked lapses": 0, "others": 0}
    assert first["expert_voc_count"] == first["vroc_count"] == first["instruction_top1_count"] == 2
    assert 0 <= first["static_drift"] <= 1 and first["peak_memory_gb"] > 0
    assert first["beside"]["time_index"]["static_drift"] == 1.0
    assert first["beside"]["time_index"]["pause_found"] == 0 and 0 <= first["retrace_found"] <= 1
    config = load_wvm(critic).config
    assert config.cameras == tuple(sorted(CAMERAS)) and config.data_fps == config.clip.fps == 8.0
    page = (critic / "report.html").read_text()
    assert "data:image/png;base64," in page and "train_critic" in page and "let the square be" in page
    for part in json.loads((critic / "split.json").read_text()):
        assert len(part["held_out"]) == 1 and sorted(part["trained"] + part["held_out"]) == [0, 1, 2, 3, 4]

    label([str(recordings[0]), "critic=wvm", f"critic.path={critic}", f"outputs={place}/outputs"])
    values = pq.read_table(recordings[0] / "sarm_progress.parquet")["progress_sparse"].to_numpy()
    assert len(values) == sum(range(20, 25)) and np.isfinite(values).all() and np.ptp(values) > 0

    still = [
        "critic.model.optim.learning_rate=0",
        "critic.model.optim.updates=1",
        "critic.model.optim.updates_per_dispatch=1",
    ]
    capsys.readouterr()
    again = [*own(recordings), *still, f"critic.init={critic}", "critic.model.optim.batch=4", *common(place)]
    train_critic([*again, f"folder={place}/continued"])
    second = last_line(capsys.readouterr().out)
    for figure in ("expert_voc", "vroc", "static_drift", "expert_rmse", "instruction_margin"):
        assert second[figure] == pytest.approx(first[figure], abs=1e-6), figure
    with pytest.raises(UserError, match=r"leave out critic.model.video"):
        train_critic([*again, "critic.model.video.width=64"])


def test_held_out_episodes_are_never_learned_from(
    recordings: list[Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "my_seen.py").write_text(SEEN)
    monkeypatch.syspath_prepend(str(tmp_path))
    train_critic([*own(recordings), "critic=my_seen:Seen", "split.seed=4", *common(tmp_path)])
    found = last_line(capsys.readouterr().out)
    assert (
        found["expert_voc"] == pytest.approx(1) == found["vroc"]
    )  # it counts frames, and the report says so
    seen = {int(word) for word in (tmp_path / "critic/seen.txt").read_text().split()}
    parts = json.loads((tmp_path / "critic/split.json").read_text())
    held_out = {5 * number + episode for number, part in enumerate(parts) for episode in part["held_out"]}
    assert len(held_out) == 2 and not seen & held_out and seen | held_out == set(range(10))


def test_a_share_of_each_task_and_kind_is_held_out_by_a_seed(tmp_path: Path) -> None:
    lapse = (Segment("retry", 5, 9),)
    folder = write(
        tmp_path / "data",
        [
            *(recorded(seed) for seed in range(10)),
            *(recorded(seed, instruction="fold") for seed in range(5)),
            *(recorded(seed, segments=lapse, style="retry") for seed in range(5)),
            recorded(0, success=None),
            recorded(0, style="clumsy"),
        ],
    )
    store = open_store(folder)
    [part] = split([store], SplitConfig())
    assert sorted(part.trained + part.held_out) == list(range(22))
    assert counts([part], held_out=True) == {"experts": 3, "marked lapses": 1, "others": 0}
    assert [sum(index in part.held_out for index in rows) for rows in (range(10), range(10, 15))] == [2, 1]
    assert split([store], SplitConfig()) == [part]
    assert len({split([store], SplitConfig(seed=seed))[0].held_out for seed in range(5)}) > 1
    assert counts(split([store], SplitConfig(most=1)), held_out=True)["experts"] == 1
    two = open_store(folder, Reading(episodes=(0, 1)))
    assert len(split([two], SplitConfig(share=0.1))[0].held_out) == 1


def test_what_a_table_says_of_recordings_that_say_nothing(tmp_path: Path) -> None:
    folder = write(tmp_path / "data", [recorded(seed, success=None) for seed in range(6)])
    table = tmp_path / "table.csv"
    table.write_text(
        "episode,success,style,start,end\n0,yes,,,\n1,yes,,,\n1,,hesitation,5,9\n2,yes,clumsy,,\n3,no,,,\n"
    )

    def kinds(**said: object) -> list[str]:
        store = open_store(folder, Reading(**said))  # type: ignore[arg-type]
        return [kind(store.episode_info(index), folder) for index in range(6)]

    assert set(kinds()) == {"others"} and set(kinds(assume_success=True)) == {"experts"}
    assert kinds(outcomes=str(table)) == ["experts", "marked lapses", "others", "others", "others", "others"]
    both = kinds(outcomes=str(table), assume_success=True)
    assert both == ["experts", "marked lapses", "others", "others", "experts", "experts"]


def test_rate_and_clips_follow_the_length(tmp_path: Path) -> None:
    assert fitting_rate(14.0, 30.0) == 2.0 and fitting_rate(60.0, 30.0) == 1.0
    assert fitting_rate(4.0, 20.0) == pytest.approx(20 / 3) and fitting_rate(5.0, 4.0) == 4.0
    assert [fitting_horizon(frames, 4) for frames in (10, 28, 60, 500)] == [4, 4, 8, 16]
    store = open_store(write(tmp_path / "data", [recorded(seed, 400) for seed in range(2)]))  # 50 s
    part = Part(store, (0,), (1,))
    model = fit(TrainChoice(), [part], ()).model
    assert model is not None and (model.clip.fps, model.clip.horizon, model.data_fps) == (1.0, 8, 8.0)
    given = TrainChoice(cameras=("belly-cam",), model=replace(model, clip=replace(model.clip, fps=4.0)))
    model = fit(given, [part], ("critic.cameras", "critic.model.clip.fps")).model
    assert model is not None and model.cameras == ("belly-cam",)
    assert (model.clip.fps, model.clip.horizon) == (4.0, 16)


def test_figures_by_hand(recordings: list[Path]) -> None:
    """Of a critic that is right, and of one that is wrong about two of three."""
    parts = [
        Part(open_store(recordings[0]), (3, 4), (0, 1, 2)),
        Part(open_store(recordings[1]), (0, 1), (2, 4)),
    ]
    videos = shown(parts)
    assert [video.length for video in videos] == [20, 21, 22, 24, 24]
    views = []
    for video in videos:
        rise = np.linspace(0, 1, video.length, dtype=np.float32)
        flat = np.zeros(video.length, np.float32)
        views.append(
            Views(rise, flat, rise[::-1].copy(), (0.5 * rise,)) if video.expert else Views(0.2 * rise)
        )
    found = figures(videos, views)
    right = {"expert_voc": 1, "vroc": -1, "static_drift": 0, "expert_rmse": 0, "instruction_top1": 1}
    assert {name: found[name] for name in right} == pytest.approx(right, abs=1e-6)
    assert found["instruction_margin"] == pytest.approx(0.5) and found["failure_value"] == pytest.approx(0.2)
    assert "length_correlation" not in found  # all scores are equal
    told = confusion(videos, views)
    assert told["push the red square"] == {"push the red square": 1.0, "let the square be": 0.5}
    views[0] = replace(views[0], base=views[0].base[::-1].copy())
    assert figures(videos, views)["expert_voc"] == pytest.approx(0.5)
    drawn = [video.name for video, _ in telling(videos, views, 2)]
    assert drawn[0] == videos[0].name and len(drawn) == 3  # the worst, the best, and the failure


def test_made_lapses_by_hand(recordings: list[Path]) -> None:
    """Of 20 frames a seventh, 3, is a pause; eight frames a second: half a second is 4 frames."""
    videos = shown([Part(open_store(recordings[0]), (3, 4), (0, 1, 2))])
    made = made_lapses(videos)
    assert [(one.kind, one.end - one.start) for one in made] == [("pause", 3), ("retrace", 6)] * 3
    assert [(one.start, one.length) for one in made[:2]] == [(7, 23), (7, 26)]
    assert [len(one.episode()) for one in made[:2]] == [23, 26]
    frames = made[0].episode().images["belly-cam"]
    assert all((frames[at] == frames[7]).all() for at in range(7, 11)) and (frames[11] != frames[7]).any()
    views = [Views(np.linspace(0, 1, video.length, dtype=np.float32)) for video in videos]
    right = [
        np.interp(np.arange(one.length), [0, one.start, one.end, one.length - 1], [0, 0.4, 0.4, 1])
        for one in made
    ]
    found = lapse_figures(videos, views, made, right)
    assert found == {"pause_found": 1, "retrace_found": 1, "lapses_before": 0}
    counting = [np.linspace(0, 1, one.length) for one in made]
    assert lapse_figures(videos, views, made, counting) == {**found, "pause_found": 0, "retrace_found": 0}
    unknown = [
        np.full(one.length, np.nan) if one.kind == "pause" else values
        for one, values in zip(made, right, strict=True)
    ]
    assert "pause_found" not in lapse_figures(videos, views, made, unknown)


@pytest.mark.parametrize(
    ("episodes", "words", "message"),
    [
        ([recorded(0)], [], "it needs two of them at least; of the 1 episodes of .* 1 are"),
        ([recorded(0, success=False), recorded(1, success=False)], [], "of the 2 episodes of .* 0 are"),
        (
            [recorded(0, success=None)] * 2,
            [],
            "of 2 of its 2 episodes nothing says .*data.assume_success=true",
        ),
        ([recorded(0), recorded(1)], ["critic=wvm"], "critic=wvm cannot be trained; use critic=train"),
        (
            [recorded(0), recorded(1)],
            ["critic.init=/nowhere"],
            "no world value model in /nowhere: .*check critic.init",
        ),
        (
            [recorded(0), recorded(1)],
            ["critic.cameras=[front]"],
            r"camera front .*critic.cameras=\[belly-cam\]",
        ),
        ([recorded(0), recorded(1)], ["held_out.clean=2"], "held_out.clean is of the mixture"),
        ([recorded(0), recorded(1)], ["beside=[gvl]"], "choose one of single_frame, frame_transformer"),
        ([recorded(0), recorded(1)], ["split.share=1"], "split.share=1.0 must lie between 0 and 1"),
        (
            [recorded(0), recorded(1), recorded(2, style="retry", segments=(Segment("retry", 0, 4),))],
            [],
            r"episode 2 of .*: the segment \[0, 4\] does not fit .*data.exclude=\[2\]",
        ),
    ],
)
def test_mistakes_are_one_line_and_nothing_is_written(
    episodes: list[Episode], words: list[str], message: str, tmp_path: Path
) -> None:
    folder = write(tmp_path / "data", episodes)
    refused(["data=store", f"data.path={folder}", *words], message, tmp_path)


def test_mistakes_in_what_is_named(recordings: list[Path], tmp_path: Path) -> None:
    one, two = recordings
    slow = write(tmp_path / "slow", [recorded(0, fps=4.0), recorded(1, fps=4.0)])
    for words, message in (
        ([f"data.path=[{one},{tmp_path}/none]"], "no such data set folder: .*none"),
        ([f"data.path=[{one},{one}]"], "names .*A twice"),
        ([f"data.path=[{one},{slow}]"], "different frame rates .*A 8, .*slow 4"),
        ([f"data.path=[{one},{two}]", "data.exclude=[0]"], "data.exclude numbers the episodes of one folder"),
        (["data.path=[]"], "data=store needs the folder"),
    ):
        refused(["data=store", *words], message, tmp_path)
    refused(["data=mixed"], "a critic learns from data=store", tmp_path)
    refused(["split.seed=1"], "split.seed is of data=store", tmp_path)


def refused(words: list[str], message: str, folder: Path) -> None:
    with pytest.raises(UserError, match=message) as error:
        train_critic([*words, *common(folder)])
    assert "\n" not in str(error.value)
    assert not (folder / "critic").exists() and not list(folder.glob("outputs/artifacts/*"))
