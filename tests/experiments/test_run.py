"""`experiments.run` from nothing to its report, killed and continued, and with parts from files outside."""

import json
import os
import re
import signal
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

from envs.store import open_store, write_store
from tests.envs.episodes import make_episode
from tests.experiments.outside import CRITIC, METHOD_AND_JAX_POLICY, Lab
from value_model.critic.progress import write_progress


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    return Lab(tmp_path_factory.mktemp("lab"))


@pytest.fixture(scope="module")
def undisturbed(lab):
    return lab.run("policy.base=base", *CRITIC, "outputs=undisturbed", "name=whole")


def test_a_run_ends_with_a_summary_and_a_report(lab, undisturbed):
    folder = lab.folder / "undisturbed" / "runs" / "whole"
    assert undisturbed.splitlines()[-1] == "report   undisturbed/runs/whole/report.html"
    results = lab.results("undisturbed", "whole")
    assert results["after"]["episodes"] == 2 and results["before"]["horizon"] == 16
    assert set(results["weights"]) == {"clean", "hesitation", "hesitation, lapse"}
    assert {"expert_voc", "hesitation_rmse", "retry_voc", "static_drift"} <= set(results["critic"]["metrics"])
    report = (folder / "report.md").read_text()
    for picture in ("success.png", "training.png", "weights.png", "values.png"):
        assert (folder / picture).stat().st_size > 5000 and picture in report
    assert len(list((folder / "videos").iterdir())) == 1
    page = (folder / "report.html").read_text()
    assert page.count("data:video/mp4") == 1 and page.count('class="episode"') == 2


def content(folder: Path) -> dict[str, bytes]:
    """The finished artifacts' numbers: everything but how long it took."""
    skip = {"artifact.json", "report.json"}
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in sorted(folder.glob("[!.]*/**/*"))
        if file.is_file()
        and file.name not in skip
        and file.suffix in (".json", ".safetensors", ".npy", ".parquet")
    }


KILLED_WHEN = [
    ".collect-*.partial/scratch",
    ".critic-*.partial/scratch/wvm/network/2",
    ".extract-*.partial/scratch/state.json",
    "extract-*/artifact.json",
]


def test_a_run_killed_at_every_stage_ends_with_the_same_numbers(lab, undisturbed):
    artifacts = lab.folder / "killed" / "artifacts"
    arguments = ["policy.base=base", *CRITIC, "outputs=killed", "name=whole"]
    for pattern in KILLED_WHEN:
        process = lab.start(*arguments)
        deadline = time.monotonic() + 900
        while not list(artifacts.glob(pattern)):
            assert process.poll() is None, f"ended before {pattern}: {process.communicate()}"
            assert time.monotonic() < deadline, pattern
            time.sleep(0.002)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    lab.run(*arguments)
    killed, straight = content(artifacts), content(lab.folder / "undisturbed" / "artifacts")
    assert killed.keys() == straight.keys()
    assert [name for name in killed if killed[name] != straight[name]] == []
    for part in ("before", "after", "weights", "training", "data"):
        one, other = (lab.results(outputs, "whole")[part] for outputs in ("killed", "undisturbed"))
        if part == "data":
            one, other = one["styles"], other["styles"]
        assert one == other
    assert not list(artifacts.glob(".*.partial"))


@pytest.mark.parametrize("framework", ["jax", "torch"])
def test_a_policy_and_a_method_from_outside_the_repository(lab, undisturbed, framework):
    policy = {"jax": "my_lab:Gaussian", "torch": "my_torch:Gaussian"}[framework]
    out = lab.run(
        f"policy={policy}",
        "method=my_lab:Positive",
        "method.threshold=-1",
        "critic=time_index",
        "outputs=undisturbed",
        f"name={framework}",
    )
    assert f"report   undisturbed/runs/{framework}/report.html" in out
    results = lab.results("undisturbed", framework)
    assert results["before"] is None and results["choices"]["method"] == "my_lab:Positive"
    assert results["settings"]["method"]["threshold"] == -1


@pytest.mark.parametrize("policy", ["vla", "my_torch:Gaussian"])
def test_a_method_reads_all_of_a_batch_from_training_to_report(lab, undisturbed, policy):
    """Those that read action or observation trained to the end, and then crashed in the report."""
    base = ["policy.base=base"] if policy == "vla" else []
    lab.run(
        f"policy={policy}",
        *base,
        "method=my_reader:Reads",
        "critic=time_index",
        "outputs=undisturbed",
        "name=reads",
    )
    weights = lab.results("undisturbed", "reads")["weights"]
    assert all(found["weight"]["mean"] == pytest.approx(1) for found in weights.values())


def test_an_online_method_reads_all_of_a_batch(lab):
    """Its loss is of the executed actions alone, four of each chunk's ten: the policy's own mean log_prob is, too."""
    lab.run(
        "policy=vla_token",
        "policy.base=base",
        "method=my_reader:ReadsRollouts",
        "outputs=online",
        "name=online",
    )
    training = lab.results("online", "online")["training"]
    assert training["groups_kept"] == 1 and training["loss"] == pytest.approx(-training["log_prob"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["method.keys=[seed]"], "Reads.loss reads batch['seed'], which there is not"),
        (["method.inside=proprio"], "reads batch['observation']['proprio'], which there is not"),
    ],
)
def test_a_method_that_reads_what_is_not_there_is_refused_in_one_line(lab, change, message):
    assert message in lab.refused("policy.base=base", "method=my_reader:Reads", *change, "outputs=refused")
    assert not (lab.folder / "refused" / "artifacts").exists()


@pytest.fixture(scope="module")
def foreign(lab):
    """Two data sets of two episodes: of one nobody knows how it ended, or of neither; and values, one of them unknown."""

    def episode(seed, success):
        known = {"success": success, "rewards": np.full(20, np.nan, np.float32)}
        return make_episode(seed, 20, 64, 64, style="unknown", segments=(), **known)

    write_store(lab.folder / "some", [episode(0, None), episode(1, True)])
    write_store(lab.folder / "none", [episode(0, None), episode(1, None)])
    values = [np.linspace(0, 1, 20, dtype=np.float32) for _ in range(2)]
    values[0][5] = np.nan
    write_progress(lab.folder / "progress.parquet", open_store(lab.folder / "none"), values)
    return [
        "policy.base=base",
        "data=store",
        "critic=sidecar",
        "critic.path=progress.parquet",
        "outputs=foreign",
    ]


def test_unknown_outcomes_and_values_stay_unknown_to_the_report(lab, foreign):
    out = lab.run(*foreign, "data.path=none", "name=none")
    results = lab.results("foreign", "none")
    assert results["data"]["styles"]["unknown"]["success"] is None
    assert results["data"]["styles"]["unknown"]["unknown"] == 2
    # chunks of ten: frame 5 is the start of its own, and the end of none before it
    assert results["weights"]["unknown"]["unknown"] == 1
    assert "unknown  the advantages of 1 action chunks" in out
    report = (lab.folder / "foreign/runs/none/report.md").read_text()
    assert re.search(r"\| unknown \| 2 \| \d+ \| \d+ \| unknown \|", report)


def test_some_outcomes_known(lab, foreign):
    lab.run(*foreign, "data.path=some", "advantage=monte_carlo", "method=filtered_bc", "name=some")
    results = lab.results("foreign", "some")
    found = results["data"]["styles"]["unknown"]
    assert (found["success"], found["unknown"]) == (1.0, 1)
    assert results["weights"]["unknown"]["unknown"] == 20


def test_what_needs_an_outcome_is_refused_in_one_line(lab, foreign):
    err = lab.refused(*foreign, "data.path=none", "advantage=monte_carlo")
    assert "no outcome is known, and this advantage needs them" in err


def test_a_policy_that_is_wrong_is_refused_in_one_line(lab):
    (lab.folder / "my_wrong.py").write_text(
        textwrap.dedent(METHOD_AND_JAX_POLICY).replace("return -jnp.sum(", "return jnp.nan * jnp.sum(")
    )
    assert "log_prob is not finite" in lab.refused("policy=my_wrong:Gaussian", "critic=time_index")


def test_methods_are_compared_in_a_table_with_json_as_the_last_line(lab, undisturbed):
    (lab.folder / "my_values.py").write_text(
        "import numpy as np\nfrom policy_extraction.methods.bc import BC\n\n"
        "class Falling:\n    def values(self, frames, instruction):\n        return np.linspace(1, 0, len(frames))\n\n"
        "falling = Falling()\n\n"
        "class Own(BC): ...  # might look at values, so that it is trained for each critic\n"
    )
    extracts = set((lab.folder / "undisturbed" / "artifacts").glob("extract-*"))
    out = lab.run(
        "policy.base=base",
        "critic=time_index,my_values:falling",
        "method=bc,awr,my_values:Own",
        "outputs=undisturbed",
        command="compare",
    )
    new = set((lab.folder / "undisturbed" / "artifacts").glob("extract-*")) - extracts
    assert len(new) == 5  # cloning once, the others for each critic
    rows = json.loads(out.splitlines()[-1])["rows"]
    assert {(row["method"], row["task"], row["critic"]) for row in rows} == {
        (method, "lift", critic)
        for method in ("bc", "awr", "my_values:Own")
        for critic in ("time_index", "my_values:falling")
    }
    assert all(row["seeds"] == 1 and row["episodes"] == 2 for row in rows)
    assert all(row["low"] <= row["success"] <= row["high"] for row in rows)
    rates = {(row["method"], row["critic"]): row["success"] for row in rows}
    assert rates["bc", "time_index"] == rates["bc", "my_values:falling"]
    for row in rows:
        if row["method"] == "bc":
            assert row["difference_to_bc"] is None
        else:
            assert row["difference_to_bc"]["mean"] == row["success"] - rates["bc", row["critic"]]
    assert "| awr | lift | time_index |" in out


def test_a_full_disk_is_one_line_and_nothing_is_lost(lab, undisturbed):
    arguments = ["policy.base=base", *CRITIC, "outputs=undisturbed", "name=full", "batch.variants=3"]
    process = lab.start(*arguments, largest_file=20_000)
    _, err = process.communicate(timeout=900)
    assert process.returncode == 2
    assert "the disk is full" in err.splitlines()[-1] and "Traceback" not in err
    assert "report" in lab.run(*arguments)
