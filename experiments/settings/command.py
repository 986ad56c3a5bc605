"""How every command line begins and ends: mistakes are one line and exit status 2, never a traceback."""

from __future__ import annotations

import errno
import functools
import re
import sys
from collections.abc import Callable, Iterator

from safetensors import SafetensorError

from envs.errors import UserError
from experiments.lab.compilation import watch_compilation

INTERRUPTED = "\ninterrupted: the same command continues where this one stopped"
DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
NUMBERED = (  # how libraries word a failed write whose errno they lose: (type, text with the errno)
    (SafetensorError, re.compile(r"I/O error: .*\(os error (\d+)\)")),
    (
        ValueError,
        re.compile(r"Failed to write \d+ bytes .*\[os_error_code='(\d+)'"),
    ),  # tensorstore, under Orbax
)
NUMPY_SHORT = re.compile(r"\d+ requested and \d+ written")  # an OSError of numpy's without any number


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error and what it was raised `from`, latest first; not what merely happened to be handled at the time."""
    while error is not None:
        yield error
        error = error.__cause__


def explain(error: BaseException) -> str | None:
    """The one line for a mistake or a condition that the user can mend; None for everything else."""
    for cause in causes(error):
        if isinstance(cause, UserError):
            return " ".join(str(cause).split())
        if disk_full(cause):
            place = f" ({cause.filename})" if isinstance(cause, OSError) and cause.filename else ""
            return f"the disk is full{place}; free some space and repeat the command: finished work is kept"
    return None


def disk_full(error: BaseException) -> bool:
    """Whether an error says that there was no room to write: by its number, wherever the library put it."""
    if isinstance(error, OSError):
        return error.errno in DISK_FULL or (error.errno is None and bool(NUMPY_SHORT.fullmatch(str(error))))
    found = (text.search(str(error)) for kind, text in NUMBERED if isinstance(error, kind))
    return any(match is not None and int(match[1]) in DISK_FULL for match in found)


def command(main: Callable[[], object]) -> Callable[[], None]:
    """Wrap the main function of a command line.

    A `UserError` (also one that another error was raised `from`) and a full disk are printed as one line, with exit
    status 2; Ctrl-C leaves with 130. Everything else is a defect of the program and keeps its traceback.
    """

    @functools.wraps(main)
    def entry() -> None:
        try:
            main()
            if (compilation := watch_compilation()).requests:
                print(compilation, file=sys.stderr)
        except KeyboardInterrupt:
            print(INTERRUPTED, file=sys.stderr)
            sys.exit(130)
        except Exception as error:
            line = explain(error)
            if line is None:
                raise
            print(f"error: {line}", file=sys.stderr)
            sys.exit(2)

    return entry
