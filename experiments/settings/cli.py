"""How a command with Hydra runs: checked first, so that every mistake is one line, then handed to Hydra."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import hydra
from omegaconf import DictConfig

from envs.errors import UserError
from experiments.choices.groups import store_groups, store_plugins
from experiments.settings.command import command
from experiments.settings.compose import composed, expand, to_object

QUESTIONS = ("--help", "-h", "--hydra-help", "--version", "--info", "-i", "--shell-completion", "-sc")
VALUED = ("--cfg", "-c", "--package", "-p")  # Hydra's options that are followed by their value


def configurations(name: str, arguments: Sequence[str]) -> list[Any]:
    """The configuration objects of a command: one for each combination of the comma-separated values.

    Raises:
        UserError: a mistake in the arguments.
    """
    store_groups()
    store_plugins(arguments)
    return [composed(name, overrides) for overrides in expand(arguments)]


def configuration(name: str, arguments: Sequence[str]) -> Any:
    """The configuration object of a command that does one thing.

    Raises:
        UserError: a mistake in the arguments, or a setting has several values.
    """
    found = configurations(name, arguments)
    if len(found) > 1:
        raise UserError(f"{name} does one at a time; give every setting one value")
    return found[0]


def hydra_command(name: str, main: Callable[[Any], object]) -> None:
    """Run `main` on the configuration object of the command line; with `-m` on each of a sweep."""
    arguments = sys.argv[1:]
    if any(argument.split("=")[0] in QUESTIONS for argument in arguments):
        store_groups()
    else:
        configurations(name, _settings(arguments))

    @command
    def task() -> None:
        main(to_object(current[0]))

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
