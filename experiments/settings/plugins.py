"""Parts from outside: `package.module:name` names a method, a policy or a critic in the user's own file."""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from envs.errors import UserError
from experiments.lab.artifacts import FLOORS, digest, file_digest, home_of

REFERENCE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


def is_reference(text: str) -> bool:
    """Whether `text` has the form `package.module:name`."""
    return REFERENCE.fullmatch(text) is not None


def resolve(reference: str) -> Any:
    """The object that `package.module:name` names. The current directory is searched first.

    Raises:
        UserError: the module cannot be found, fails while it is imported, or has no such name.
    """
    module_name, name = reference.split(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and (module_name == error.name or module_name.startswith(f"{error.name}.")):
            raise UserError(
                f"no module {module_name!r} for {reference!r}: run from its folder, or put that on PYTHONPATH"
            ) from None
        raise UserError(f"{reference!r} needs {error.name!r}, which is not installed") from error
    except (SyntaxError, ImportError, NameError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{reference!r} could not be imported: {type(error).__name__}: {error}") from error
    if not hasattr(module, name):
        near = get_close_matches(name, [n for n in vars(module) if not n.startswith("_")], n=1)
        raise UserError(
            f"{module_name} has no {name!r}" + (f"; did you mean {module_name}:{near[0]}?" if near else "")
        )
    return getattr(module, name)


def source_digest(thing: Any) -> str:
    """Stands for the source file of a class or function from outside, so that editing it counts as a change.

    The project's own classes give "": their stages have version numbers.
    """
    package = home_of(thing).split(".")[0]
    if package in FLOORS:
        return ""
    try:
        source = inspect.getsourcefile(thing)
    except TypeError:  # built into Python, or compiled
        return ""
    return file_digest(Path(source)) if source else ""


def reference_digest(reference: str) -> str:
    """Stands for the source of what `package.module:name` names; of an object, for its class's and for where it is made."""
    thing = resolve(reference)
    if inspect.isclass(thing) or inspect.isroutine(thing):
        return source_digest(thing)
    module = sys.modules[reference.split(":")[0]]
    return digest([source_digest(type(thing)), file_digest(Path(str(module.__file__)))])
