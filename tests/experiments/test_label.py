"""Labels for other tools: progress files and weights, reused, resumed, and never over somebody else's."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from envs.errors import UserError
from envs.store import StoreWriter, open_store, write_store
from envs.store.fingerprint import fingerprint
from envs.types import Episode
from experiments.label import label
from tests.value_model.synthetic import slide
from value_model.critic.progress import SIDECAR, read_progress

CRITIC = """
import numpy as np
from pathlib import Path
from envs.errors import UserError
def values(frames, instruction):
    asked = Path("asked.txt")
    asked.open("a").write(f"{len(frames)}\\n")
    if Path("broken").exists() and len(frames) == 8:
        raise UserError("the critic broke down")
    return np.linspace(0, frames[:, 0, 0, 0].mean() / 255, len(frames), dtype=np.float32)
"""


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "grey_critic.py").write_text(CRITIC)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


@pytest.fixture
def labelled(capsys: pytest.CaptureFixture[str]) -> Callable[..., dict[str, Any]]:
    def run(*arguments: str) -> dict[str, Any]:
        label([*arguments, *(["critic=grey_critic:values"] if "critic=" not in str(arguments) else [])])
        return json.loads(capsys.readouterr().out.splitlines()[-1])

    return run


def write(folder: Path, episodes: Sequence[Episode]) -> Path:
    """A data set with a video file an episode, as LeRobot records it."""
    with StoreWriter(folder, video_files_mb=0) as writer:
        for episode in episodes:
            writer.add(episode)
    return folder


def asked() -> list[int]:
    """Lengths of the videos that the critic was asked about, after the two of its check."""
    return [int(line) for line in Path("asked.txt").read_text().split()]


def test_only_new_episodes_are_labelled(place: Path, labelled) -> None:
    """Also of a data set that was cut and renumbered: what an episode shows counts, not its number."""
    write(place / "data", [slide(0, 6), slide(1, 7)])
    assert labelled("data")["labelled"] == 2
    before = read_progress(place / "data" / SIDECAR, open_store(place / "data"))
    write(place / "grown", [slide(1, 7), slide(2, 9), slide(0, 6)])
    Path("asked.txt").unlink()
    found = labelled("grown")
    assert found["labelled"] == 1 and found["frames"] == 9 and asked()[-1] == 9
    after = read_progress(place / "grown" / SIDECAR, open_store(place / "grown"))
    assert after[0].tolist() == before[1].tolist() and after[2].tolist() == before[0].tolist()
    assert labelled("grown")["labelled"] == 0


def test_what_was_labelled_before_a_failure_is_kept(place: Path, labelled) -> None:
    write_store(place / "data", [slide(0, 6), slide(1, 7), slide(2, 8), slide(3, 9)])
    (place / "broken").touch()
    with pytest.raises(UserError, match="broke down"):
        labelled("data")
    assert not (place / "data" / SIDECAR).exists()
    (place / "broken").unlink()
    assert labelled("data")["labelled"] == 2


def test_a_damaged_part_of_the_cache_is_labelled_again(place: Path, labelled) -> None:
    write_store(place / "data", [slide(0, 6)])
    labelled("data")
    (part,) = (place / "outputs" / "labels").rglob("part-*.parquet")
    part.write_bytes(part.read_bytes()[:-40])
    assert labelled("data")["labelled"] == 1


@pytest.mark.parametrize("found", ["another tool", "another critic", "half"])
def test_never_over_anothers_file(place: Path, labelled, found: str) -> None:
    write_store(place / "data", [slide(0, 6)])
    path = place / "data" / SIDECAR
    if found == "half":
        path.write_bytes(b"PAR1")
    else:
        said = {b"reward_model_path": b"policy_extraction wvm 1"} if found == "another critic" else {}
        pq.write_table(pa.table({"index": [0]}).replace_schema_metadata(said), path)
    before = path.read_bytes()
    with pytest.raises(UserError, match=r"another tool|wvm 1.*replace=true"):
        labelled("data")
    assert path.read_bytes() == before and not Path("asked.txt").exists()
    labelled("data", "out=elsewhere.parquet")
    labelled("data", "replace=true")
    assert len(read_progress(path, open_store(place / "data"))[0]) == 6


def test_weights_are_the_methods(place: Path, labelled) -> None:
    """RA-BC by hand: the gain within a chunk of two frames."""
    write_store(place / "data", [slide(0, 6)])
    pq.write_table(
        pa.table(
            {
                "index": range(6),
                "episode_index": [0] * 6,
                "frame_index": range(6),
                "progress_sparse": pa.array([0, 0.2, 0.4, 0.3, 0.3, 0.5], pa.float32()),
            }
        ),
        place / "given.parquet",
    )
    sidecar = ("critic=sidecar", "critic.path=given.parquet")
    found = labelled("data", *sidecar, "method=rabc", "weights=w.parquet", "chunk=2")
    assert found["written"] == ["w.parquet"]
    table = pq.read_table(place / "w.parquet")
    assert table.schema.field("index").type == pa.int64()
    assert table.schema.field("weight").type == pa.float32()
    assert table["index"].to_pylist() == list(range(6))
    delta = np.array([0.2, 0.2, -0.1, 0.0, 0.2, 0.0])
    mean, std = delta.mean(), delta.std()
    soft = (0 - (mean - 2 * std)) / (4 * std + 1e-6)
    raw = np.array([1, 1, 0, soft, 1, soft])
    np.testing.assert_allclose(table["weight"].to_numpy(), raw / raw.mean(), rtol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["data", "method=grpo", "weights=w.parquet"], "learns from rollouts"),
        (["data", "method=advantage_conditioned", "weights=w.parquet"], "in words"),
        (["data", "critic=sidecar", "critic.path=data/meta/info.json"], "values in a file already"),
        (["data", "out=data"], "is a folder"),
        (["data", "out=data/meta/info.json/x.parquet"], "cannot write"),
        (["data", "chunk=0"], "chunk=0 must be"),
        (["data", "other"], "one folder"),
    ],
)
def test_mistakes_are_one_line(place: Path, labelled, arguments: list[str], message: str) -> None:
    write_store(place / "data", [slide(0, 6)])
    with pytest.raises(UserError, match=message):
        labelled(*arguments)
    assert not (place / "w.parquet").exists() and not (place / "data" / SIDECAR).exists()


def test_a_fingerprint_is_of_the_content(place: Path) -> None:
    write(place / "one", [slide(0, 6), slide(1, 6)])
    write(place / "two", [slide(1, 6), slide(0, 6), slide(0, 7)])
    first, second = open_store(place / "one"), open_store(place / "two")
    prints = [fingerprint(first, index, ["workspace"]) for index in range(2)]
    assert [fingerprint(second, index, ["workspace"]) for index in range(2)] == prints[::-1]
    assert len({*prints, fingerprint(second, 2, ["workspace"]), fingerprint(first, 0, [])}) == 4
