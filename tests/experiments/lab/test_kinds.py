"""No two configuration classes are called the same in digests."""

import dataclasses
import importlib
import typing
from collections.abc import Iterator
from pathlib import Path

import experiments
from experiments.choices.groups import GROUPS
from experiments.lab.artifacts import kind_of


def reachable(schema: type) -> Iterator[type]:
    """A configuration class, and those of its fields."""
    yield schema
    hints = typing.get_type_hints(schema)
    for field in dataclasses.fields(schema):
        given = [hints[field.name], *typing.get_args(hints[field.name])]
        if field.default_factory is not dataclasses.MISSING:
            given.append(type(field.default_factory()))
        given.append(type(field.default))
        for inner in given:
            if isinstance(inner, type) and dataclasses.is_dataclass(inner):
                yield from reachable(inner)


def commands() -> Iterator[type]:
    """The configuration classes in the commands' files."""
    for file in Path(experiments.__path__[0]).glob("*.py"):
        module = importlib.import_module(f"experiments.{file.stem}")
        for thing in vars(module).values():
            if (
                isinstance(thing, type)
                and dataclasses.is_dataclass(thing)
                and thing.__name__.endswith(("Config", "Bench"))
            ):
                yield thing


def test_kinds_are_distinct():
    chosen = [schema for members in GROUPS.values() for schema in members.values()]
    roots = {schema if isinstance(schema, type) else type(schema) for schema in chosen} | set(commands())
    classes = {inner for root in roots for inner in reachable(root)}
    assert len(classes) > 40
    kinds: dict[str, type] = {}
    for schema in classes:
        assert kinds.setdefault(kind_of(schema), schema) is schema, (
            f"two classes are called {kind_of(schema)}"
        )
