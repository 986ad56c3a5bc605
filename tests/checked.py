"""Annotations are checked while tests run: of every function, and of every class but a named tuple.

JAX makes named tuples of whatever it likes while it looks at their structure.
"""

from __future__ import annotations

import typing
from typing import Any

from beartype import BeartypeConf, BeartypeDecorPlace
from beartype.claw import beartype_packages


def check_types(*packages: str) -> None:
    """Of the packages' modules that are imported from now on."""
    make = typing.NamedTupleMeta.__new__  # pyright: ignore[reportAttributeAccessIssue]

    def unchecked(*of: Any, **named: Any) -> Any:
        made = make(*of, **named)
        made.__new__.__no_type_check__ = True
        return made

    typing.NamedTupleMeta.__new__ = unchecked  # pyright: ignore[reportAttributeAccessIssue]
    # Below other decorators: what these return (jax.custom_vjp) is more than a function.
    conf = BeartypeConf(claw_is_pep526=False, claw_decor_place_func=BeartypeDecorPlace.FIRST)
    beartype_packages(packages, conf=conf)
