"""Files and folders that are either whole or not there: written beside their place, then renamed."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from envs.errors import UserError


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; when the block ends well it replaces `path`, else it is removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with open(temporary, "rb") as written:
            os.fsync(written.fileno())
        temporary.chmod(0o666 & ~_umask())
        os.replace(temporary, path)
    except OSError as error:
        raise _not_written(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `path`; when the block ends well it becomes `path`, else it is removed.

    `path` must not exist as a whole folder yet; an older one is replaced.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent))
    try:
        yield temporary
        if path.exists():
            shutil.rmtree(path)
        temporary.chmod(0o777 & ~_umask())
        os.replace(temporary, path)
    except OSError as error:
        raise _not_written(path, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def inside(folder: Path, name: object) -> Path:
    """The file of that name in `folder`, where the name comes out of a file that others may have written.

    What is named must lie in the folder, links followed; a folder of the Hugging Face hub's cache may also link to its
    own model's or data set's `blobs`.

    Raises:
        UserError: it lies elsewhere (an absolute path, `..`, a link), or is no name.
    """
    if not isinstance(name, str) or "\0" in name:
        raise UserError(
            f"{folder} names a file {name!r}, which is no name; get the folder from its source again"
        )
    root, found = folder.resolve(), (folder / name).resolve()
    blobs = [parent.parent / "blobs" for parent in root.parents if parent.name == "snapshots"]
    if not any(found.is_relative_to(allowed) for allowed in (root, *blobs)):
        raise UserError(
            f"{folder} names a file outside of itself, {name!r}; do not trust it, get the folder from its source again"
        )
    return folder / name


def copy_files(source: Path, target: Path) -> None:
    """Copy all files of a folder into another, each of them atomically."""
    for file in sorted(path for path in source.rglob("*") if path.is_file()):
        copy_file(file, target / file.relative_to(source))


def copy_file(source: Path, target: Path) -> None:
    """Copy one file, atomically."""
    with atomic_file(target) as temporary:
        shutil.copyfile(source, temporary)


def _not_written(path: Path, error: OSError) -> UserError:
    return UserError(
        f"could not write {path}: {error.strerror or error}; free some space or check permissions"
    )


def _umask() -> int:
    """The process's umask, which can only be read by setting it; temporary files are private until they are whole."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def save_arrays(
    path: Path, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str] | None = None
) -> None:
    """Write named arrays as one safetensors file, atomically."""
    with atomic_file(path) as temporary:
        save_file(
            {name: np.asarray(value, order="C") for name, value in arrays.items()},
            temporary,
            dict(metadata or {}),
        )


def load_arrays(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Read a safetensors file: the named arrays and the metadata.

    Raises:
        UserError: the file is missing, truncated or not a safetensors file.
    """
    if not path.is_file():
        raise UserError(f"no such file: {path}")
    try:
        with safe_open(path, framework="numpy") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    except SafetensorError as error:
        raise UserError(
            f"{path} is not a whole safetensors file ({error}); make it again or delete it"
        ) from error
