"""How every command reads its command line: checked first, so that every mistake is one line, then composed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Sequence
from itertools import pairwise
from pathlib import Path

from omegaconf import OmegaConf

from envs.errors import UserError, check_choice
from experiments.choices.groups import GROUPS, store_groups, store_plugins
from experiments.lab.compilation import keep_compiled
from experiments.settings.chosen import Chosen
from experiments.settings.cluster import without_cluster
from experiments.settings.compose import choices, choose, composition, expand

SWEEP = ("-m", "--multirun")
SHOW = ("--cfg", "-c")
HELP = ("--help", "-h")


def answer(main: Callable[[Sequence[str]], object], text: str | None, over: Collection[str] = ()) -> None:
    """Run `main` on the arguments of the command line, on the cluster that they ask for; or print the command's own
    description if it is asked for.

    Args:
        over: the kinds of `cluster=` that it takes beside Ray.
    """
    arguments = sys.argv[1:]
    if set(HELP) & set(arguments):
        print((text or "").strip())
    else:
        left, cluster = without_cluster(arguments, over)
        with cluster:
            main(left)


def prepare(name: str, arguments: Sequence[str]) -> list[Chosen]:
    """The configurations that a command line asks for, as `configurations`; from here on JAX keeps in their `outputs` what
    it compiles.

    `--cfg job` prints the settings instead, and leaves.

    Raises:
        UserError: a mistake in the arguments.
    """
    settings, shown = _without_show(arguments)
    configs = configurations(name, settings)
    if shown:
        texts = [OmegaConf.to_yaml(composition(name, overrides)) for overrides in expand(settings)]
        print("---\n".join(texts), end="")
        sys.exit(0)
    keep_compiled(Path(getattr(configs[0].config, "outputs", "outputs")) / "cache" / "jax")
    return configs


def prepare_one(name: str, arguments: Sequence[str]) -> Chosen:
    """As `prepare`, for a command that takes one configuration.

    Raises:
        UserError: a mistake in the arguments, or a setting with several values.
    """
    configs = prepare(name, arguments)
    if len(configs) > 1:
        raise UserError(
            "a setting has several values separated by commas; give one, or write a list as [a,b]"
        )
    return configs[0]


def prepare_sweep(name: str, arguments: Sequence[str]) -> list[Chosen]:
    """As `prepare`, for a command that with `-m` works through all combinations of several values.

    Raises:
        UserError: a mistake in the arguments, or several values without `-m`.
    """
    settings = [argument for argument in arguments if argument not in SWEEP]
    configs = prepare(name, settings)
    if len(configs) > 1 and len(settings) == len(arguments):
        raise UserError(
            f"a setting has several values separated by commas; -m makes each of the {len(configs)} combinations"
        )
    return configs


def configurations(name: str, arguments: Sequence[str]) -> list[Chosen]:
    """The configurations of a command: one for each combination of the comma-separated values.

    Raises:
        UserError: a mistake in the arguments.
    """
    store_groups()
    store_plugins(arguments)
    return [choose(name, overrides) for overrides in expand(arguments)]


def words(arguments: Sequence[str]) -> list[str]:
    """The arguments that are neither settings nor options."""
    return [
        argument
        for before, argument in pairwise(["", *arguments])
        if "=" not in argument and not argument.startswith("-") and before not in SHOW
    ]


def menu() -> str:
    """The choices of every group, a line each."""
    store_groups()
    return "\n".join(f"    {group}={' | '.join(choices(group))}" for group in GROUPS)


def _without_show(arguments: Sequence[str]) -> tuple[list[str], bool]:
    """The arguments without `--cfg job`, and whether it was among them."""
    settings = list(arguments)
    for option in set(SHOW) & set(arguments):
        place = settings.index(option)
        what = settings[place + 1] if place + 1 < len(settings) else ""
        check_choice(f"{option} (what to show)", what, ("job",))
        del settings[place : place + 2]
    return settings, len(settings) < len(arguments)
