"""Every mistake on a command line is one line that says what is wrong and what is the nearest right thing."""

import importlib
import subprocess
import sys

import pytest

from envs.errors import UserError
from experiments import run
from experiments.settings.cli import configurations, menu
from experiments.settings.command import command, explain
from experiments.settings.config import RunConfig
from policy_extraction.methods import METHODS

PLUGIN = """
from dataclasses import dataclass

@dataclass(frozen=True)
class RWR:
    beta: float = 1.0
    def select(self, dataset): return dataset
    def loss(self, xp, log_prob, batch): return -log_prob

@dataclass(frozen=True)
class Drawing(RWR):
    seed: int = 5

class NotADataclass:
    pass
"""


def configuration(*arguments) -> RunConfig:
    [chosen] = configurations("run", list(arguments))
    return chosen.config


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    (tmp_path / "my_method.py").write_text(PLUGIN)
    (tmp_path / "broken.py").write_text("import no_such_library_anywhere")
    (tmp_path / "unreadable.py").write_text("def (")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    for name in ("my_method", "broken", "unreadable"):
        sys.modules.pop(name, None)


def test_a_setting_that_is_a_map_takes_the_users_keys():
    chosen = configuration("env=gym", "env.id=Pendulum-v1", "env.kwargs={g: 5}")
    assert chosen.env.kwargs == {"g": 5}


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("method=awrr", "unknown method 'awrr'; did you mean 'awr'?"),
        ("task=stak", "unknown task 'stak'; did you mean 'stack'?"),
        ("policy=vla_tokens", "unknown policy 'vla_tokens'; did you mean 'vla_token'?"),
        ("critic=wmv", "unknown critic 'wmv'; did you mean 'wvm'?"),
        ("advantage=td", "unknown advantage 'td'"),
        ("method=", "unknown method ''"),
        ("task=null", "unknown task 'None'"),
        ("method.temprature=3", "unknown setting 'method.temprature'; did you mean 'method.temperature'?"),
        ("temperature=3", "unknown setting 'temperature'; did you mean 'method.temperature'?"),
        ("evaluate.episode=3", "did you mean 'evaluate.episodes'?"),
        ("qqq=1", "unknown setting 'qqq'"),
        ("method.temperature=hot", "method.temperature=hot: the value must be a number"),
        ("seed=1.5", "seed=1.5: the value must be a whole number"),
        ("seed=-1", "seed=-1 is out of range"),
        ("train=3", "several settings"),
        ("train.updates=0", "train.updates=0 must be at least 1"),
        ("evaluate.episodes=0", "evaluate.episodes=0 must be at least 1"),
        ("task.robot=Pandda", "did you mean Panda?"),
        ("data.clean=-1", "must not be negative"),
        ("data=store", "data.path="),
        ("critic=sidecar", "critic.path="),
        ("critic=gvl", "critic=gvl needs a model: critic.vlm.model="),
        ("critic.vlm.model=x", "unknown setting 'critic.vlm.model'"),
        ("critic=my_method:__doc__", "is no critic"),
        ("wandb.mode=of", "auto, online, offline, disabled"),
        ("name=a/b", "no slashes"),
        ("method", "write key=value"),
        ("seed=[1", "cannot be read as key=value"),
        ("+extra=1", "cannot be added"),
        ("~method", "cannot be removed"),
        ("method=nowhere_at_all:RWR", "no module 'nowhere_at_all'"),
        ("task=nowhere_at_all:RWR", "no module 'nowhere_at_all'"),
        ("method=my_method:RWRR", "did you mean my_method:RWR?"),
        ("method=my_method:NotADataclass", "must be a frozen dataclass"),
        ("task=my_method:RWR", "cannot come from outside"),
        ("method=broken:RWR", "needs 'no_such_library_anywhere'"),
        ("method=unreadable:RWR", "SyntaxError"),
    ],
)
def test_mistakes_are_one_line(plugin, argument, message):
    with pytest.raises(UserError) as caught:
        configuration(argument)
    line = explain(caught.value)
    assert line is not None and message in line and "\n" not in line


def test_settings_of_every_kind_arrive_as_objects(plugin):
    config = configuration(
        "critic=train",
        "method=filtered_bc",
        "method.keep=0.5",
        "seed=3",
        "critic.model.video.layers=2",
        "task.robot=UR5e",
    )
    assert config.method == METHODS["filtered_bc"](keep=0.5, seed=3)
    assert (config.seed, config.critic.model.video.layers, config.task.robot) == (3, 2, "UR5e")
    assert config.critic.model.video.patch == (4, 4, 4)
    assert hash(config.method) == hash(METHODS["filtered_bc"](keep=0.5, seed=3))


def test_parts_from_outside_bring_their_settings(plugin):
    config = configuration("method=my_method:RWR", "method.beta=2.5")
    assert type(config.method).__name__ == "RWR" and config.method.beta == 2.5
    assert configuration("policy=my_method:NotADataclass").policy.module == "my_method:NotADataclass"
    assert configuration("critic=my_method:NotADataclass").critic.module == "my_method:NotADataclass"


def test_a_methods_seed_is_the_runs_unless_it_is_set(plugin):
    for method in ("filtered_bc", "filtered_bc_binary", "advantage_conditioned", "my_method:Drawing"):
        assert configuration(f"method={method}", "seed=3").method.seed == 3
        assert configuration(f"method={method}").method.seed == 0
        assert configuration("seed=3", f"method={method}", "method.seed=7").method.seed == 7


def test_lists_are_all_combinations():
    configs = configurations("run", ["method=bc,awr", "seed=0,1,2", "method=bc,awr"])
    assert len(configs) == 12  # the last word counts for what it says, as in Hydra
    configs = configurations("run", ["method=awr", "method.temperature=1,10", "seed=0,1"])
    assert [(one.config.method.temperature, one.config.seed) for one in configs] == [
        (1, 0),
        (1, 1),
        (10, 0),
        (10, 1),
    ]


def test_full_disks_and_mistakes_leave_with_status_2(capsys):
    def full():
        raise RuntimeError("while saving") from OSError(28, "No space left on device", "/data/x")

    def mistaken():
        raise UserError("first line\n  second line")

    def caused():
        raise RuntimeError("in a worker") from UserError("the seed is negative")

    for main, message in (
        (full, "disk is full (/data/x)"),
        (mistaken, "first line second line"),
        (caused, "the seed is negative"),
    ):
        with pytest.raises(SystemExit) as left:
            command(main)()
        assert left.value.code == 2
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1


def defect_on_the_way():
    try:
        raise UserError("give a whole number")
    except UserError:
        return {}["not there"]


def text_about_disks():
    raise ValueError("File too large: No space left on device")


def missing_file():
    raise RuntimeError("worker") from FileNotFoundError(
        2, "No such file or directory", "No space left on device"
    )


@pytest.mark.parametrize("defect", [defect_on_the_way, text_about_disks, missing_file])
def test_defects_keep_their_traceback(defect):
    with pytest.raises(Exception) as caught:
        command(defect)()
    assert explain(caught.value) is None


WRITERS = {
    "safetensors": "from safetensors.numpy import save_file; save_file({'x': np.zeros(9999)}, path)",
    "parquet": "import pyarrow as pa, pyarrow.parquet as pq; pq.write_table(pa.table({'x': np.arange(99999)}), path)",
    "numpy": "np.save(path, np.zeros(9999))",
    "mapped": "np.lib.format.open_memmap(path, 'w+', np.float32, (9999,))",
    "orbax": "import orbax.checkpoint as ocp; ocp.PyTreeCheckpointer().save(path, {'x': np.random.rand(99999)})",
    "film": "from envs.store.video import CODECS, VideoWriter\n"
    "    film = VideoWriter(path, CODECS['h264_lossless'], 20.0, 64, 64)\n"
    "    film.add(np.random.default_rng(0).integers(0, 255, (99, 64, 64, 3), np.uint8)); film.close()",
}
FULL_DISK = """
import resource, signal, sys
from pathlib import Path
import numpy as np
from experiments.settings.command import explain
path = Path(sys.argv[1])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
try:
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
    {write}
except Exception as error:
    print(explain(error))
"""


@pytest.mark.parametrize("library", WRITERS)
def test_every_library_that_writes_says_that_the_disk_is_full(tmp_path, library):
    code = FULL_DISK.format(write=WRITERS[library])
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "file.mp4")], capture_output=True, text=True, timeout=120
    )
    assert "the disk is full" in done.stdout, done.stderr


def test_the_command_itself_leaves_with_status_2_and_one_line():
    done = subprocess.run(
        [sys.executable, "-m", "experiments.run", "method=awrr"], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 2
    assert done.stdout == "" and done.stderr.count("\n") == 1 and "did you mean 'awr'" in done.stderr


@pytest.mark.parametrize(
    ("name", "arguments", "shown"),
    [
        ("run", ["method=filtered_bc_binary", "--cfg", "job"], "rule: binary"),
        ("run", ["--cfg", "job", "-m", "seed=3,4"], "seed: 4"),
        ("train_critic", ["critic.seed=7", "-c", "job"], "seed: 7"),
        ("value_video", ["folder", "--cfg", "job"], "format: video"),
    ],
)
def test_all_settings_are_listed(name, arguments, shown, capsys, monkeypatch):
    command_module = importlib.import_module(f"experiments.{name}")
    monkeypatch.setattr(sys, "argv", [name, *arguments])
    with pytest.raises(SystemExit) as left:
        command_module.main()
    assert left.value.code == 0
    assert shown in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("run", ["method=bc,awr"], "several values separated by commas; -m makes each of the 2 combinations"),
        ("run", ["-m", "method=bc,awrr"], "did you mean 'awr'"),
        ("run", ["hydra.run.dir=x"], "unknown setting 'hydra.run.dir'"),
        ("run", ["--cfg", "hydra"], "choose one of job"),
        ("run", ["--confg=job"], "'--confg=job'"),
        ("run", ["--verbose"], "'--verbose' is not a setting"),
        ("train_critic", ["critic=train,train_small"], "several values"),
        ("train_critic", ["critic.modl.clip.focus=0"], "did you mean 'critic.model.clip.focus'?"),
        ("report", ["nme=3"], "did you mean 'name'?"),
        ("value_video", [], "say what to show"),
        ("bench", ["rollout", "tsk=lift"], "did you mean 'task'?"),
    ],
)
def test_every_command_composes_alike(name, arguments, message, capsys, monkeypatch):
    command_module = importlib.import_module(f"experiments.{name}")
    monkeypatch.setattr(sys, "argv", [name, *arguments])
    with pytest.raises(SystemExit) as left:
        command_module.main()
    assert left.value.code == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_a_sweep_runs_every_combination(monkeypatch):
    seen = []
    monkeypatch.setattr(
        run, "run", lambda one: seen.append((type(one.config.method).__name__, one.config.seed))
    )
    run.run_each(["-m", "method=bc,awr", "seed=0,1"])
    assert seen == [("BC", 0), ("BC", 1), ("AWR", 0), ("AWR", 1)]
    run.run_each(["method=awr"])
    assert seen[4:] == [("AWR", 0)]


def test_help_names_the_choices():
    assert "    task=bread | can |" in menu() and "    method=advantage_conditioned | awr" in menu()
