"""Every critic in every use: it works, or is refused in one line."""

from __future__ import annotations

import dataclasses
import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from flax import nnx

from envs.errors import UserError
from envs.recording import Film, Recording, Rollout
from envs.robosuite.vector import RobosuiteScene
from envs.store import open_store, write_store
from envs.store.video import CODECS, VideoWriter
from envs.types import Episode, Segment
from experiments.choices.critic_judge import CriticJudge, CriticReward
from experiments.choices.critics import pictures_critic, require_sight, require_training
from experiments.lab.artifacts import Artifacts
from experiments.lab.context import Context
from experiments.lab.simulators import Simulators
from experiments.lab.tracking import Tracker
from experiments.pipeline import Experiment
from experiments.settings.cli import configurations
from experiments.stages.critic import get_critic, train_on
from experiments.stages.data import Data
from experiments.value_bench import ValueBenchConfig, figures
from experiments.value_benchmark.data import Benchmark
from experiments.value_benchmark.measures import Measures
from experiments.value_benchmark.measuring import all_infos
from experiments.value_video import value_video
from tests.value_model.synthetic import MICRO, slide
from value_model.critic.metrics.episodes import voc
from value_model.critic.network import WVMNetwork
from value_model.critic.progress import write_progress
from value_model.critic.wvm import WVM
from value_model.video.tokenizer import Tokenizer

CRITICS = '''
from dataclasses import dataclass
import numpy as np

def ramp(frames, instruction):
    assert frames.shape[-1] == 3 and instruction
    return np.linspace(0, 1, len(frames))

class Bright:
    """Sees both cameras and is told the frame rate."""
    cameras = ("workspace", "wrist")
    def values(self, frames, instruction, fps):
        assert frames.shape[2] == 2 * frames.shape[1] and fps > 0
        return frames.mean((1, 2, 3)) / 255

bright = Bright()

@dataclass(frozen=True)
class Threshold:
    threshold: float = 0.5
    def values(self, frames, instruction):
        return (frames.mean((1, 2, 3)) / 255 > self.threshold).astype(float)

class Height:
    """Reads the simulator's state."""
    def label(self, episodes):
        for episode in episodes:
            yield np.clip(episode.environment_state[:, 2], 0, 1)

@dataclass(frozen=True)
class Mean:
    """The mean brightness of what it was trained on."""
    scale: float = 1.0
    def train(self, episodes, folder, progress):
        means = [episode.images["workspace"].mean() for episode in episodes]
        progress("mean", len(means), len(means), {"loss": 0.0})
        return Constant(self.scale * np.mean(means) / 255)
    def load(self, folder):
        return Constant(float((folder / "mean.txt").read_text()))

class Constant:
    def __init__(self, value): self.value = value
    def values(self, frames, instruction): return np.full(len(frames), self.value)
    def save(self, folder): (folder / "mean.txt").write_text(repr(float(self.value)))
'''
RUN, BENCH, STORE, FILM, REWARD = "run", "value_bench", "value_video of a data set", "of a film", "reward"
ALL = (RUN, BENCH, STORE, FILM, REWARD)
SEEING = [
    ["critic=wvm", "critic.path=micro"],
    ["critic=every_critic:ramp", "critic.camera=wrist"],
    ["critic=every_critic:bright"],
    ["critic=every_critic:Threshold", "critic.threshold=0.3"],
    ["critic=every_critic:Mean", "critic.path=kept"],
]
BLIND = {
    "critic=time_index": "counts frames",
    "critic=every_critic:Height": "has no values",
    "critic=sidecar": "is a file with the values of one data set",
}


def attempt(seed: int, style: str, segments: tuple[Segment, ...] = ()) -> Episode:
    rng, length = np.random.default_rng(seed), 12 + seed
    size = (length, 64, 64, 3)
    return Episode(
        images={camera: rng.integers(0, 256, size, np.uint8) for camera in ("workspace", "wrist")},
        proprio=rng.normal(size=(length, 8)).astype(np.float32),
        actions=rng.uniform(-1, 1, (length, 7)).astype(np.float32),
        rewards=np.zeros(length, np.float32),
        environment_state=rng.normal(size=(length, 8)).astype(np.float32),
        success=True,
        task="lift",
        instruction="lift the red cube",
        robot="Panda",
        seed=seed,
        fps=20.0,
        style=style,
        segments=segments,
    )


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a data set, its progress file, two films, a trained critic of the user's, and the user's module."""
    episodes = [attempt(0, "clean"), attempt(1, "retry", (Segment("retry", 3, 7),))]
    store = open_store(write_store(tmp_path / "store", episodes))
    write_progress(
        tmp_path / "progress.parquet", store, [np.linspace(0, 1, len(episode)) for episode in episodes]
    )
    (tmp_path / "every_critic.py").write_text(CRITICS)
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept/mean.txt").write_text("0.25")
    for camera in ("workspace", "wrist"):
        writer = VideoWriter(tmp_path / f"{camera}.mp4", CODECS["h264"], 20.0, 64, 64)
        writer.add(episodes[0].images[camera])
        writer.close()
    tokenizer, network = Tokenizer(MICRO.tokenizer, rngs=nnx.Rngs(0)), WVMNetwork(MICRO, rngs=nnx.Rngs(0))
    WVM(MICRO, tokenizer, network).save(tmp_path / "micro")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    for module in ("every_critic", "my_critic"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    importlib.invalidate_caches()
    return tmp_path


def chosen(critic: list[str]):
    """The run's configuration under these words, on the data set."""
    [one] = configurations("run", ["task=lift", "data=store", "data.path=store", *critic])
    return one.config


def attempted(episode: Episode) -> Rollout:
    """A rollout that showed what the episode shows."""
    count = len(episode)
    film = Film(np.arange(count), episode.images, episode.proprio, episode.environment_state)
    whole = episode.observations
    recording = Recording(
        observation=whole[:-1],
        environment_state=episode.environment_state[:-1],
        chunks=episode.actions[:-1, None],
        executed=np.ones(count - 1, np.int64),
        rewards=episode.rewards[1:],
        act_seeds=np.arange(count - 1),
        last=whole[-1:],
        film=film,
    )
    return Rollout(episode.seed, 0, episode.success, count - 1, 0.0, recording)


def used(use: str, critic: list[str], capsys: pytest.CaptureFixture[str]) -> np.ndarray:
    """Values of the data set's first episode, or of the film, in one use; what the use gives must be whole."""
    artifacts, config = Artifacts(Path("outputs/artifacts")), chosen(critic)
    store = open_store(Path("store"))
    if use == RUN:
        experiment = Experiment(config, Context(artifacts, Tracker(None), Simulators()))
        experiment.check()
        values = experiment.label(experiment.collect()).labels.values
        assert [len(value) for value in values] == [12, 13]
        return values[0]
    if use == BENCH:
        config.critic.check([store.episode(0)])
        bench = Benchmark(Path("store"), "tiny", "tiny", {})
        settings = ValueBenchConfig(
            critic=config.critic, measure=Measures(bootstrap=5, control_videos=1, instruction_videos=0)
        )
        found = figures(artifacts, bench, store, all_infos(store), settings)
        assert "expert_voc" in found["groups"]["all"]
        return np.array([])
    if use == REWARD:
        require_sight(config.critic, "rollouts")
        source = get_critic(artifacts, config.task, config.critic, Tracker(None))
        spec = RobosuiteScene("lift").spec()
        judge = CriticJudge(CriticReward(every=1), source.load(), spec, "lift", "Panda")
        return judge.values([attempted(store.episode(0))])
    of_film = ["workspace.mp4", "wrist.mp4"], ["instruction=lift the red cube"]
    paths, more = of_film if use == FILM else (["store"], [])
    cameras = 2 if "critic=every_critic:bright" in critic else 1
    value_video([*paths[:cameras], *more, "format=strip", *critic])
    [path] = json.loads(capsys.readouterr().out.splitlines()[-1])["written"]
    assert Path(path).read_bytes()[:4] == b"\x89PNG"
    return np.array([])


@pytest.mark.parametrize("critic", SEEING, ids=" ".join)
def test_a_critic_that_sees_serves_everywhere(lab: Path, critic, capsys) -> None:
    uses = (RUN, FILM, REWARD) if "critic=wvm" in critic else ALL  # the bench compiles for longer videos
    found = {use: used(use, critic, capsys) for use in uses}
    assert len(found[RUN]) == 12
    assert found[REWARD] == pytest.approx(found[RUN][-1:], abs=1e-6)  # the judge sees the same pictures
    if "critic.threshold=0.3" in critic or "critic.path=kept" in critic:  # noise of mean 0.5 in all frames
        assert set(found[RUN]) == {1.0 if "critic.threshold=0.3" in critic else 0.25}


@pytest.mark.parametrize("critic", BLIND)
def test_a_critic_that_is_blind_judges_data_sets_alone(lab: Path, critic: str, capsys) -> None:
    words = [critic, "critic.path=progress.parquet"] if critic == "critic=sidecar" else [critic]
    for use in (RUN, BENCH, STORE):
        used(use, words, capsys)
    for use in (FILM, REWARD):
        with pytest.raises(UserError, match=BLIND[critic]) as caught:
            used(use, words, capsys)
        assert "it cannot judge" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("critic", ["critic=train", "critic=single_frame", "critic=every_critic:Mean"])
def test_a_critic_that_must_be_trained_says_so(lab: Path, critic: str, capsys) -> None:
    for use in (BENCH, STORE, FILM):
        with pytest.raises(UserError, match="train one for all"):
            used(use, [critic], capsys)


def test_the_oracle_judges_no_pictures(lab: Path, capsys) -> None:
    for use in (FILM, REWARD):
        with pytest.raises(UserError, match="reads the simulator's state: it cannot judge"):
            used(use, ["critic=oracle"], capsys)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["critic=sidecar", "critic.path=nowhere"], "no progress file nowhere"),
        (["critic=wvm", "critic.path=nowhere"], "no critic in nowhere"),
        (["critic=single_frame", "critic.path=nowhere"], "no critic in nowhere"),
        (["critic=every_critic:Mean", "critic.path=nowhere"], "no critic in nowhere"),
        (
            ["critic=every_critic:ramp", "critic.camera=front"],
            "the camera front is looked through, the data set has workspace, wrist",
        ),
        (["critic=every_critic:bright", "critic.camera=wrist"], "says itself what it sees"),
        (["critic=every_critic:Constant"], "could not be made: TypeError"),
    ],
    ids=str,
)
def test_what_is_wrong_is_said_before_any_work(lab: Path, words: list[str], message: str) -> None:
    context = Context(Artifacts(Path("outputs/artifacts")), Tracker(None), Simulators())
    with pytest.raises(UserError, match=message):
        Experiment(chosen(words), context).check()
    assert not Path("outputs").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["critic=every_critic:np"], "np is no critic"),
        (["critic=every_critic:ramp", "critic.threshold=1"], "unknown setting 'critic.threshold'"),
        (["critic=every_critic:Threshold", "critic.threshold=high"], "the value must be a number"),
        (["critic=every_critic:Threshold", "critic.data.clean=1"], "unknown setting 'critic.data.clean'"),
    ],
    ids=str,
)
def test_what_is_no_critic_or_no_setting(lab: Path, words: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        chosen(words)


def test_settings_and_the_file_enter_the_digest(lab: Path) -> None:
    def digest(*words: str) -> str:
        config = chosen(list(words))
        return get_critic(Artifacts(Path("outputs")), config.task, config.critic, Tracker(None)).digest

    first = digest("critic=every_critic:Threshold")
    assert first == digest("critic=every_critic:Threshold", "critic.threshold=0.5")
    others = [
        digest("critic=every_critic:Threshold", "critic.threshold=0.3"),
        digest("critic=every_critic:Mean", "critic.path=kept"),
    ]
    before = digest("critic=every_critic:bright")
    Path("every_critic.py").write_text(CRITICS + "# edited\n")
    assert len({first, *others, digest("critic=every_critic:Threshold")}) == 4
    assert before != digest("critic=every_critic:bright")


def test_a_users_critic_is_trained_kept_and_found_again(lab: Path) -> None:
    choice, data = (
        chosen(["critic=every_critic:Mean", "critic.scale=0.5"]).critic,
        Data(Path("store"), "s", {}),
    )
    artifacts = Artifacts(Path("outputs/artifacts"))
    source = train_on(artifacts, choice, [data], Tracker(None))
    [value] = set(
        pictures_critic(source.load(), "mine").values(np.zeros((3, 8, 8, 3), np.uint8), "lift").tolist()
    )
    means = [episode.images["workspace"].mean() for episode in open_store(Path("store"))]
    assert value == pytest.approx(0.5 * np.mean(means) / 255, rel=1e-6)
    other = dataclasses.replace(choice, scale=1.0)
    assert train_on(artifacts, choice, [data], Tracker(None)).digest == source.digest
    assert train_on(artifacts, other, [data], Tracker(None)).digest != source.digest
    assert require_training(choice, "mine") is choice
    for words, message in (
        (["critic=every_critic:Mean", "critic.path=kept"], "is trained already"),
        (["critic=every_critic:bright"], "cannot be trained"),
        (["critic=oracle"], "cannot be trained"),
    ):
        with pytest.raises(UserError, match=message):
            require_training(chosen(words).critic, words[0])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("return Constant(self.scale", "return (self.scale", "which has no save"),
        ("repr(float(self.value))", "'0.9'", "other values after save and load"),
        ("return Constant(float((folder", "Constant(float((folder", "load gave nothing"),
        ("scale * np.mean(means) / 255", "scale * np.mean(means)", r"outside \[0, 1\]"),
    ],
)
def test_what_is_wrong_with_a_trained_critic_is_said(lab: Path, old: str, new: str, message: str) -> None:
    assert old in CRITICS
    Path("every_critic.py").write_text(CRITICS.replace(old, new))
    choice, artifacts = chosen(["critic=every_critic:Mean"]).critic, Artifacts(Path("outputs/artifacts"))
    with pytest.raises(UserError, match=message):
        train_on(artifacts, choice, [Data(Path("store"), "store", {})], Tracker(None))


def test_the_critic_of_the_readme(lab: Path) -> None:
    text = (Path(__file__).parents[2] / "README.md").read_text()
    code = text[text.index("# my_critic.py") :]
    Path("my_critic.py").write_text(code[: code.index("```")])
    write_store(Path("slides"), [slide(seed) for seed in range(12)])
    choice = chosen(["critic=my_critic:Ridge", "critic.strength=10"]).critic
    source = train_on(Artifacts(Path("outputs")), choice, [Data(Path("slides"), "s", {})], Tracker(None))
    [values] = source.load().label([slide(20)])
    assert voc(values) > 0.8
