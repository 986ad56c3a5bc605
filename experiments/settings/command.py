"""How every command line begins and ends: mistakes are one line and exit status 2, never a traceback."""

from __future__ import annotations

import errno
import functools
import os
import sys
from collections.abc import Callable, Iterator

from envs.errors import UserError
from experiments.lab.compilation import watch_compilation

DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
DISK_FULL_TEXTS = tuple(os.strerror(number) for number in DISK_FULL)


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error and everything that it was raised from, latest first."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def explain(error: BaseException) -> str | None:
    """The one line for a mistake or a condition that the user can mend; None for everything else."""
    for cause in causes(error):
        if isinstance(cause, UserError):
            return " ".join(str(cause).split())
        if (isinstance(cause, OSError) and cause.errno in DISK_FULL) or any(
            t in str(cause) for t in DISK_FULL_TEXTS
        ):
            place = f" ({cause.filename})" if isinstance(cause, OSError) and cause.filename else ""
            return f"the disk is full{place}; free some space and repeat the command: finished work is kept"
    return None


def command(main: Callable[[], object]) -> Callable[[], None]:
    """Wrap the main function of a command line.

    A `UserError` (also as the cause of another error) and a full disk are printed as one line, with exit
    status 2; Ctrl-C leaves with 130. Everything else is a defect of the program and keeps its traceback.
    """

    @functools.wraps(main)
    def entry() -> None:
        try:
            main()
            if (compilation := watch_compilation()).requests:
                print(compilation, file=sys.stderr)
        except KeyboardInterrupt:
            print("\ninterrupted: the same command continues where this one stopped", file=sys.stderr)
            sys.exit(130)
        except Exception as error:
            line = explain(error)
            if line is None:
                raise
            print(f"error: {line}", file=sys.stderr)
            sys.exit(2)

    return entry
