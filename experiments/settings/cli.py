"""How a command with Hydra runs: checked first, so that every mistake is one line, then handed to Hydra."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from experiments.choices.groups import store_groups, store_plugins
from experiments.settings.chosen import Chosen
from experiments.settings.command import command
from experiments.settings.compose import choose, chosen_names, expand, to_object

QUESTIONS = ("--help", "-h", "--hydra-help", "--version", "--info", "-i", "--shell-completion", "-sc")
VALUED = ("--cfg", "-c", "--package", "-p")  # Hydra's options that are followed by their value


def configurations(name: str, arguments: Sequence[str]) -> list[Chosen]:
    """The configurations of a command: one for each combination of the comma-separated values.

    Raises:
        UserError: a mistake in the arguments.
    """
    store_groups()
    store_plugins(arguments)
    return [choose(name, overrides) for overrides in expand(arguments)]


def hydra_command(name: str, main: Callable[[Chosen], object]) -> None:
    """Run `main` on the configuration of the command line; with `-m` on each of a sweep."""
    arguments = sys.argv[1:]
    if any(argument.split("=")[0] in QUESTIONS for argument in arguments):
        store_groups()
    else:
        configurations(name, _settings(arguments))

    @command
    def task() -> None:
        names = chosen_names(HydraConfig.get().runtime.choices)
        main(Chosen(to_object(current[0]), names))

    current: list[DictConfig] = []

    @hydra.main(version_base=None, config_path=None, config_name=name)
    def job(config: DictConfig) -> None:
        current[:] = [config]
        task()

    entry: Any = job  # Hydra gives it the configuration
    entry()


def _settings(arguments: Sequence[str]) -> list[str]:
    """The arguments without Hydra's own options."""
    return [
        argument
        for last, argument in pairwise(["", *arguments])
        if not argument.startswith("-") and last not in VALUED
    ]


def answer(main: Callable[[Sequence[str]], object], text: str | None) -> None:
    """Run `main` on the arguments of the command line, or print the command's own description if it is asked for."""
    arguments = sys.argv[1:]
    if {"--help", "-h"} & set(arguments):
        print((text or "").strip())
    else:
        main(arguments)
