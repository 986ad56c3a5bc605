"""Kill runs at random moments of every stage, let them go on, and compare what comes of it with undisturbed runs.

    python -m experiments.chaos [kills=20] [runs=[data,online,imagined]] [soak=24] [seed=0] [outputs=outputs/chaos]

Three small runs on Lift: learning from data (demonstrations, a critic of its own, labels, features, extraction, evaluation,
films), GRPO in the simulator, and GRPO in imagination. Each is done undisturbed. Then it is begun again, killed by
SIGKILL at a random moment of a stage and given once more, until every stage has been killed `kills` times, some of them in
every round. A round ends with a whole run: all its artifacts, and what its report says, have to be the same to the bit.

Then `soak` runs in a row in one process (`-m`): whether its memory stays, and what is left of it where it ends, and where it
is stopped by Ctrl-C or SIGTERM.

A run is a fork of this process, in which what it imports is there already. The last line is JSON; the status is 1 where
anything differs, is left behind, or grows by more than a twentieth.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from envs.errors import check_choice
from experiments.lab.chaos import Begin, Killed, differences, disturbed, undisturbed
from experiments.lab.soak import soak
from experiments.reports.chaos import Findings, findings_text, write_findings
from experiments.run import run_each
from experiments.settings.cli import answer, prepare_one
from experiments.settings.command import command
from experiments.settings.compose import store_command
from experiments.settings.config import require

SMALL = (
    "task=lift",
    "evaluate.episodes=8",
    "evaluate.videos=2",
    "train.warmup=5",
    "batch.checkpoint_seconds=0.2",
    "wandb.mode=disabled",
    "name=chaos",
)
ROLLOUTS = ("method=grpo", "policy=vla_token", "method.online.groups=3", "method.online.iterations=4")
RUNS = {
    "data": (
        "method=awr",
        *("data.clean=6", "data.hesitation=4", "data.retry=4", "data.detour=0", "data.failure=0"),
        *("held_out.clean=1", "held_out.hesitation=1", "held_out.retry=1"),
        *("critic=train", "critic.data.clean=4", "critic.data.noisy=0", "critic.data.slow=0"),
        *("critic.data.hesitation=2", "critic.data.retry=2", "critic.model.tokenizer.updates=40"),
        *("critic.model.video.layers=1", "critic.model.video.width=32", "critic.model.value.width=16"),
        *(
            "critic.model.optim.updates=60",
            "critic.model.optim.batch=16",
            "critic.model.optim.checkpoint_every=10",
        ),
        *("train.updates=300", "batch.size=64", "batch.dispatch=10"),
    ),
    "online": (*ROLLOUTS, "env=robosuite"),
    "imagined": (*ROLLOUTS, "env=imagination"),
}
ROW = (
    *(
        "-m",
        "task=lift",
        "critic=time_index",
        "data.clean=2",
        "data.hesitation=2",
        "data.retry=0",
        "data.detour=0",
    ),
    *("data.failure=0", "held_out.clean=1", "held_out.hesitation=1", "held_out.retry=1", "train.updates=20"),
    *("train.warmup=2", "batch.size=16", "evaluate.episodes=4", "evaluate.videos=1", "wandb.mode=disabled"),
)


@dataclass(frozen=True)
class ChaosConfig:
    """How often, which runs, and where. seed: of the moments."""

    kills: int = 20
    runs: tuple[str, ...] = tuple(RUNS)
    soak: int = 24  # 0: none
    seed: int = 0
    outputs: str = "outputs/chaos"

    def __post_init__(self) -> None:
        require(self.kills >= 1, f"kills={self.kills} must be at least 1")
        require(self.soak >= 0, f"soak={self.soak} must not be negative")
        for name in self.runs:
            check_choice("run", name, RUNS)


def chaos(arguments: Sequence[str]) -> None:
    """Disturb every run, and say what came of it.

    Raises:
        UserError: a mistake in the arguments.
    """
    store_command("chaos", ChaosConfig)
    config: ChaosConfig = prepare_one("chaos", arguments).config
    folder, found = Path(config.outputs), Findings()
    for name in config.runs:
        found.runs[name] = _disturb(name, config, folder / name)
        write_findings(folder, found, arguments)
    if config.soak:
        seeds = f"seed={','.join(map(str, range(config.soak)))}"
        found.row = soak(_beginner((*ROW, seeds), folder / "jax"), folder / "soak", config.soak)
        write_findings(folder, found, arguments)
    print(findings_text(found, arguments))
    print(json.dumps(found.summary()))
    if not found.fine:
        sys.exit(1)


def _disturb(name: str, config: ChaosConfig, folder: Path) -> Killed:
    """One run, undisturbed and then disturbed; what was there of an earlier call is done again."""
    shutil.rmtree(folder, ignore_errors=True)
    begin = _beginner((*SMALL, *RUNS[name]), folder / "jax")
    undisturbed(begin, folder / "compiling")
    straight = undisturbed(begin, folder / "undisturbed")
    killed = Killed(straight.seconds)
    random = np.random.default_rng([config.seed, list(RUNS).index(name)])
    while not killed.enough(config.kills):
        outputs = folder / f"round {killed.rounds}"
        disturbed(begin, straight, outputs, killed, config.kills, random)
        killed.different += differences(straight.outputs, outputs)
        print(f"  {name}, round {killed.rounds}: {killed}", file=sys.stderr)
        shutil.rmtree(outputs)
        killed.rounds += 1
    return killed


def _beginner(arguments: Sequence[str], compiled: Path) -> Begin:
    """Begins runs with these arguments, which find in `compiled` what was compiled before."""
    return lambda outputs: _begin([*arguments, f"outputs={outputs}"], outputs, compiled)


def _begin(arguments: Sequence[str], outputs: Path, compiled: Path) -> int:
    """Start a run in a process of its own, whose number this is; what it says is in `outputs`/log."""
    outputs.mkdir(parents=True, exist_ok=True)
    if (child := os.fork()) != 0:
        return child
    try:
        os.setsid()
        signal.signal(signal.SIGINT, signal.default_int_handler)  # which what runs in the background has not
        log = os.open(outputs / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for stream in (1, 2):
            os.dup2(log, stream)
        os.environ["JAX_COMPILATION_CACHE_DIR"] = str(compiled.resolve())
        run_each(arguments)
        sys.stdout.flush()
        os._exit(0)
    except KeyboardInterrupt:
        sys.exit(130)  # as a command does, which cleans up behind itself
    except BaseException:
        traceback.print_exc()
        os._exit(1)


@command
def main() -> None:
    """The command line."""
    answer(chaos, __doc__)


if __name__ == "__main__":
    main()
