"""A digest of the project's code that a function's result may depend on, without running it.

From the roots on, every definition (function, class, assignment at the top of a module) is followed to those whose names
it uses: also in annotations, which say whose methods are called, and in imports within functions. What is called through
an interface alone cannot be seen so; it is a root of its own. Comments, docstrings, formatting, annotations, what an error
says, and the places of files are left out of what is hashed.
"""

from __future__ import annotations

import ast
import copy
import hashlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from experiments.lab.artifacts import FLOORS

ROOT = Path(__file__).resolve().parents[2]
VERSION_NAME = "VERSION"  # raised because results change; it does not change them
TYPES_ONLY = ("annotation", "returns", "type_params", "type_comment", "kind")  # fields that are not hashed


@dataclass(frozen=True)
class Module:
    """A source file: its definitions by name, `Class` and `Class.method`, and what its imports mean.

    definitions: {name: the statements that make it}; imports: {local name: "package.module" or "package.module:name"}.
    """

    definitions: dict[str, list[ast.stmt]] = field(default_factory=dict)
    imports: dict[str, str] = field(default_factory=dict)


def code_digest(roots: Iterable[str], without: Collection[str] = (), top: Path = ROOT) -> str:
    """16 hexadecimal digits that stand for all code that is reachable from the roots.

    Args:
        roots: `package.module:name` or `package.module:Class.method`.
        without: modules, and definitions, that are not followed.
        top: the folder of the packages.

    Raises:
        KeyError: a root does not exist.
    """
    hashes = {hashed for place in reachable(roots, without, top) for hashed in _hashes(place, top)}
    return hashlib.sha256("".join(sorted(hashes)).encode()).hexdigest()[:16]


def reachable(roots: Iterable[str], without: Collection[str] = (), top: Path = ROOT) -> set[str]:
    """`package.module:name` of everything that the roots may use, themselves included."""
    found: set[str] = set()
    waiting = list(roots)
    while waiting:
        place = waiting.pop()
        if place not in found and place not in without and place.split(":")[0] not in without:
            found.add(place)
            waiting += _uses(place, top)
    return found


@cache
def read_module(name: str, top: Path) -> Module:
    """The module of this name."""
    path = _path(name, top)
    assert path is not None, name
    module = Module()
    tree = ast.parse(path.read_text())
    for statement in _top_level(tree.body):
        for bound in _bound(statement):
            if bound != VERSION_NAME:
                module.definitions.setdefault(bound, []).append(statement)
        if isinstance(statement, ast.ClassDef):
            for part in statement.body:
                for bound in _bound(part):
                    module.definitions.setdefault(f"{statement.name}.{bound}", []).append(part)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                module.imports[alias.asname or alias.name.split(".")[0]] = (
                    alias.name if alias.asname else alias.name.split(".")[0]
                )
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                meant = inner if _path(inner, top) else f"{node.module}:{alias.name}"
                module.imports[alias.asname or alias.name] = meant
    return module


def _path(name: str, top: Path) -> Path | None:
    """The file of a module of the project."""
    if name.split(".")[0] not in FLOORS:
        return None
    stem = top / name.replace(".", "/")
    files = (stem.with_suffix(".py"), stem / "__init__.py")
    return next((file for file in files if file.is_file()), None)


def _top_level(body: Sequence[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements of a module, those within `if` and `try` too."""
    for statement in body:
        if isinstance(statement, ast.If):
            yield from _top_level([*statement.body, *statement.orelse])
        elif isinstance(statement, ast.Try):
            yield from _top_level(statement.body)
        else:
            yield statement


def _bound(statement: ast.stmt) -> list[str]:
    """The names that a statement gives something to."""
    if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return [statement.name]
    if isinstance(statement, ast.Assign):
        targets: list[ast.expr] = statement.targets
    elif isinstance(statement, (ast.AnnAssign, ast.AugAssign)):
        targets = [statement.target]
    else:
        return []
    return [node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)]


@cache
def _uses(place: str, top: Path) -> set[str]:
    """The project's definitions whose names a definition uses."""
    module, _, name = place.partition(":")
    here = read_module(module, top)
    used: set[str] = set()
    for node in (node for statement in here.definitions[name] for node in ast.walk(statement)):
        if isinstance(node, ast.Name):
            if node.id in here.definitions:
                used.add(f"{module}:{node.id}")
            used.update(_resolve(here.imports.get(node.id, ""), top))
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            used.update(_resolve(f"{here.imports.get(node.value.id, '')}:{node.attr}", top))
    return used


def _resolve(meant: str, top: Path) -> Iterator[str]:
    """Where `package.module:name` is defined, through modules that only pass it on."""
    module, _, name = meant.partition(":")
    if not name or _path(module, top) is None:
        return
    there = read_module(module, top)
    if name in there.definitions:
        yield f"{module}:{name}"
    elif name in there.imports:
        yield from _resolve(there.imports[name], top)


@cache
def _hashes(place: str, top: Path) -> list[str]:
    """Of the statements that make a definition."""
    module, _, name = place.partition(":")
    bare = [_Bare().visit(copy.deepcopy(of)) for of in read_module(module, top).definitions[name]]
    return [hashlib.sha256(_text(statement).encode()).hexdigest() for statement in bare]


class _Bare(ast.NodeTransformer):
    """Leaves out what changes no result: docstrings, imports (they are followed), and what an error says."""

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        return None if isinstance(node.value, ast.Constant) else self.generic_visit(node)

    def visit_Import(self, node: ast.Import) -> None:
        return None

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        return None

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        return ast.Raise(exc=None, cause=None)


def _text(node: object) -> str:
    """A syntax tree as text, the same in every version of Python: fields that are empty are not written."""
    if isinstance(node, ast.AST):
        parts = [
            f"{name}={_text(value)}"
            for name, value in ast.iter_fields(node)
            if name not in TYPES_ONLY and value is not None and value != []
        ]
        return f"{type(node).__name__}({', '.join(parts)})"
    if isinstance(node, list):
        return f"[{', '.join(map(_text, node))}]"
    return repr(node)
