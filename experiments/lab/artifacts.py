"""Stage artifacts: named by what they were made from, whole or absent, made once, resumed where stopped.

<root>/<stage>-<digest>/           the files of a finished stage, and artifact.json that lists them
<root>/.<stage>-<digest>.partial/  the same while it is being made; checkpoints are in its folder `scratch`
<root>/.<stage>-<digest>.lock      held by the process that makes it
"""

from __future__ import annotations

import dataclasses
import fcntl
import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from envs.errors import UserError
from envs.fields import LATER
from experiments.lab.hosts import Hosts, going_with, hosts_together, training_with
from experiments.lab.provenance import made_by

MANIFEST = "artifact.json"
SCRATCH = "scratch"
SHARED_SECONDS = 60  # that a file may take from one host to another
FLOORS = ("envs", "value_model", "policy_extraction", "experiments")


def kind_of(schema: type) -> str:
    """What a configuration class is called in digests and reports, wherever its file lies.

    One of the project's own is known by its name, or by its class attribute `kind`: give it one, the old name, when the
    class is renamed. One from outside is known by its module too.
    """
    if home_of(schema).split(".")[0] in FLOORS:
        return getattr(schema, "kind", schema.__qualname__)
    return f"{schema.__module__}:{schema.__qualname__}"


def home_of(thing: Any) -> str:
    """The module of a class or function; of one in the command that runs, the command's, not `__main__`."""
    spec = sys.modules["__main__"].__spec__ if thing.__module__ == "__main__" else None
    return spec.name if spec else thing.__module__


def canonical(value: Any, whole: bool = True) -> Any:
    """`value` as plain JSON data: equal configurations look equal, dataclasses carry their `kind_of`.

    whole: with `later` fields that are at their default, which digests leave out.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {
            field.name: canonical(getattr(value, field.name), whole)
            for field in dataclasses.fields(value)
            if whole or LATER not in field.metadata or getattr(value, field.name) != field.default
        }
        return {"kind": kind_of(type(value)), **fields}
    if isinstance(value, Mapping):
        return {str(key): canonical(item, whole) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [canonical(item, whole) for item in value]
    if isinstance(value, (np.integer, np.floating, np.ndarray)):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"{value!r} cannot be part of a configuration's digest")


def digest(value: Any) -> str:
    """16 hexadecimal digits that stand for `value`'s content."""
    text = json.dumps(canonical(value, whole=False), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def file_digest(path: Path) -> str:
    """16 hexadecimal digits that stand for the content of a file, or of a folder's files and their names."""
    total = hashlib.sha256()
    files = [path] if path.is_file() else sorted(item for item in path.rglob("*") if item.is_file())
    for file in files:
        total.update(f"{file.relative_to(path)}\0{file.stat().st_size}\0".encode())
        with open(file, "rb") as opened:
            total.update(hashlib.file_digest(opened, "sha256").digest())
    return total.hexdigest()[:16]


@dataclass(frozen=True)
class Artifact:
    """A finished stage: its files are in `folder`; `digest` stands for all that they were made from.

    seconds: how long the process that finished it worked on it (earlier, killed attempts are not counted).
    """

    stage: str
    digest: str
    folder: Path
    seconds: float
    reused: bool


@dataclass(frozen=True)
class Artifacts:
    """The store of stage artifacts under one folder."""

    root: Path
    _counts: list[dict[str, float]] = dataclasses.field(
        default_factory=list, init=False, repr=False, compare=False
    )

    @contextmanager
    def counted(self) -> Iterator[dict[str, float]]:
        """{folder name: seconds} of each artifact that is made in the block, or that is found and was made before."""
        count: dict[str, float] = {}
        self._counts.append(count)
        try:
            yield count
        finally:
            self._counts.pop()

    def make(
        self,
        stage: str,
        version: int,
        config: Any,
        inputs: Mapping[str, str],
        build: Callable[[Path], None],
        over: str = "",
    ) -> Artifact:
        """The artifact of `stage` for this configuration and these inputs: found, or else built.

        Args:
            stage: the name of the stage.
            version: raised whenever the stage's code starts to give other results.
            config: everything that the result depends on: dataclasses, mappings, sequences, scalars.
            inputs: {role: digest} of the artifacts or files that `build` reads.
            build: writes the files into the folder that it is given. After a kill it is called again and finds in the
                folder's `scratch` what it wrote there before; all else of the killed attempt is gone. `scratch` is
                dropped at the end.
            over: the `Hosts.engine` that trains it, where several processes go through the command: all of them then call
                `build`, on the same folder, and what it writes beside checkpoints the first of them writes.

        Raises:
            UserError: hosts go through this command that do not share the folder, or were given other settings.
        """
        recipe = {
            "stage": stage,
            "version": version,
            "config": canonical(config, whole=False),
            "inputs": dict(inputs),
        }
        key = digest(recipe)
        if (hosts := hosts_together()) is None:
            made = self._found_or_built(stage, key, recipe, build)
        else:
            made = self._by_hosts(hosts, stage, key, recipe, build, over)
        for count in self._counts:
            count[made.folder.name] = made.seconds
        return made

    def _by_hosts(
        self,
        hosts: Hosts,
        stage: str,
        key: str,
        recipe: Mapping[str, Any],
        build: Callable[[Path], None],
        over: str,
    ) -> Artifact:
        """The leader finds or builds it, with the others if these hosts train it; they then find it."""

        def led(partial: Path) -> None:
            hosts.agree(f"build {key}")
            with training_with(hosts):
                build(partial)

        made = None
        if hosts.leads:
            with going_with(None):
                made = self._found_or_built(stage, key, recipe, led if over == hosts.engine else build)
        said = hosts.agree(f"made {key}")
        if not hosts.leads and said == f"build {key}":
            with training_with(hosts):
                build(self._partial(stage, key))
            said = hosts.agree()
        if said != f"made {key}":
            raise UserError(
                f"this host comes to {stage}-{key}, the first one is elsewhere; start all of them with the same arguments"
            )
        return made or self._found_soon(stage, key)

    def _found_soon(self, stage: str, key: str) -> Artifact:
        """What another host has made; file systems that are shared take a moment."""
        for _ in range(SHARED_SECONDS):
            if (found := self._found(stage, key)) is not None:
                return found
            time.sleep(1)
        missing = self.root / f"{stage}-{key}"
        raise UserError(
            f"the first host has made {missing}, and it is not here; all hosts have to share the folder outputs="
        )

    def _found(self, stage: str, key: str) -> Artifact | None:
        folder = self.root / f"{stage}-{key}"
        if (manifest := read_manifest(folder)) is None:
            return None
        return Artifact(stage, key, folder, manifest["seconds"], reused=True)

    def _partial(self, stage: str, key: str) -> Path:
        return self.root / f".{stage}-{key}.partial"

    def _found_or_built(
        self, stage: str, key: str, recipe: Mapping[str, Any], build: Callable[[Path], None]
    ) -> Artifact:
        if (found := self._found(stage, key)) is not None:
            return found
        folder, partial = self.root / f"{stage}-{key}", self._partial(stage, key)
        with _lock(self.root / f".{stage}-{key}.lock", stage):
            if (found := self._found(stage, key)) is not None:
                return found
            _set_damaged_aside(folder, partial)
            _clear(partial)
            began = time.monotonic()
            build(partial)
            seconds = round(time.monotonic() - began, 3)
            _finish(partial, folder, {**recipe, "seconds": seconds, "made_by": made_by()})
        return Artifact(stage, key, folder, seconds, reused=False)


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """A finished artifact's manifest; None if it is absent or any of its files is missing or cut."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
    except (FileNotFoundError, NotADirectoryError, json.JSONDecodeError):
        return None
    whole = all(
        (folder / name).is_file() and (folder / name).stat().st_size == size
        for name, size in manifest["files"].items()
    )
    return manifest if whole else None


@contextmanager
def _lock(path: Path, stage: str) -> Iterator[None]:
    """Hold the lock file: at most one process makes an artifact. The kernel frees it when the holder dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"another run is making the same {stage}; waiting for it", file=sys.stderr)
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _set_damaged_aside(folder: Path, partial: Path) -> None:
    """Remove a finished-looking folder whose files are damaged; it is made again."""
    if folder.exists():
        print(f"{folder} is damaged: making it again", file=sys.stderr)
        shutil.rmtree(folder)
        shutil.rmtree(partial, ignore_errors=True)


def _clear(partial: Path) -> None:
    """Leave of a killed attempt its scratch alone: half-written files beside it would become part of the artifact."""
    (partial / SCRATCH).mkdir(parents=True, exist_ok=True)
    for item in partial.iterdir():
        if item.name == SCRATCH:
            continue
        if item.is_dir() and not item.is_symlink():
            shutil.rmtree(item)
        else:
            item.unlink()


def _finish(partial: Path, folder: Path, manifest: dict[str, Any]) -> None:
    """Drop the scratch, list the files, make them durable and give the folder its final name."""
    shutil.rmtree(partial / SCRATCH, ignore_errors=True)
    files = sorted(item for item in partial.rglob("*") if item.is_file() and item.name != MANIFEST)
    manifest["files"] = {str(file.relative_to(partial)): file.stat().st_size for file in files}
    (partial / MANIFEST).write_text(json.dumps(manifest, indent=1, sort_keys=True))
    for path in [*files, partial / MANIFEST, partial]:
        _sync(path)
    os.replace(partial, folder)
    _sync(folder.parent)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
