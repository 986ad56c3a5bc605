"""The one exception that means: the user can mend this."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """A user's mistake. The message is one line: what is wrong and how to mend it.

    The command lines print it without a traceback and leave with exit status 2.
    """


def check_choice(kind: str, name: str, choices: Iterable[str]) -> None:
    """Refuse a name that is not among the choices, and say which are nearest.

    Raises:
        UserError: `name` is not one of `choices`.
    """
    choices = list(choices)
    if name in choices:
        return
    folded = {choice.lower(): choice for choice in choices}
    near = [folded[match] for match in difflib.get_close_matches(name.lower(), folded, n=3, cutoff=0.5)]
    hint = f"did you mean {' or '.join(near)}?" if near else f"choose one of {', '.join(choices)}"
    raise UserError(f"unknown {kind} {name!r}; {hint}")
