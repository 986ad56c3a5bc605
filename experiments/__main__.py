"""The commands by their names: `policy-extraction run method=awr` is `python -m experiments.run method=awr`.

policy-extraction                 what there is
policy-extraction run --help      what one of them takes
"""

from __future__ import annotations

import ast
import runpy
import sys
from pathlib import Path

from envs.errors import check_choice
from experiments.settings.command import command

COMMANDS = (
    "run",
    "compare",
    "evaluate",
    "label",
    "inspect",
    "import_data",
    "train_critic",
    "value_bench",
    "value_video",
    "branch_bench",
    "ablate",
    "train_world_model",
    "fidelity",
    "judge_bench",
    "world_gymnast",
    "pretrain_vla",
    "serve",
    "report",
    "bench",
    "chaos",
)


def overview() -> str:
    """A line a command: its name, and the first of what it says of itself."""
    folder, width = Path(__file__).parent, max(map(len, COMMANDS))
    lines = []
    for name in COMMANDS:
        text = ast.get_docstring(ast.parse((folder / f"{name}.py").read_text())) or ""
        lines.append(f"    {name:<{width}}  {text.splitlines()[0]}")
    return "\n".join([f"{(__doc__ or '').strip()}\n", *lines])


def main() -> None:
    """The command line."""
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        print(overview())
        return
    name = sys.argv[1]
    if name not in COMMANDS:
        command(lambda: check_choice("command", name, COMMANDS))()  # says so, and exits
    sys.argv = [f"{sys.argv[0]} {name}", *sys.argv[2:]]
    runpy.run_module(f"experiments.{name}", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
