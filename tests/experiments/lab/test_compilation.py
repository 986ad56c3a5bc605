"""A second process compiles nothing, also after one was killed while it wrote."""

import os
import subprocess
import sys
import zlib
from pathlib import Path

from experiments.lab.compilation import Compilation, remove_damaged

PROGRAM = """
import sys
from pathlib import Path
import jax, jax.numpy as jnp
from experiments.lab.compilation import keep_compiled, watch_compilation
keep_compiled(Path(sys.argv[1]))
jax.jit(lambda x: jnp.sin(x) @ x)(jnp.ones((3, 3))).block_until_ready()
found = watch_compilation()
print(found.requests - found.read, found.read)
"""


def compiled_and_read(folder: Path, **variables: str) -> tuple[int, int]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(folder)],
        capture_output=True,
        text=True,
        env=inherited | {"JAX_PLATFORMS": "cpu"} | variables,
        check=True,
        timeout=120,
    )
    assert not done.stderr
    compiled, read = done.stdout.split()
    return int(compiled), int(read)


def test_the_second_process_compiles_nothing(tmp_path):
    compiled, read = compiled_and_read(tmp_path / "jax")
    assert compiled > 0 and read == 0  # however short the compilation was
    assert compiled_and_read(tmp_path / "jax") == (0, compiled)
    victim = next((tmp_path / "jax").glob("*-cache"))
    victim.write_bytes(victim.read_bytes()[:-20])  # its writer was killed
    assert compiled_and_read(tmp_path / "jax") == (1, compiled - 1)
    assert compiled_and_read(tmp_path / "jax") == (0, compiled)


def test_a_folder_from_the_environment_keeps_everything_too(tmp_path):
    chosen = str(tmp_path / "chosen")
    compiled, _ = compiled_and_read(tmp_path / "jax", JAX_COMPILATION_CACHE_DIR=chosen)
    assert compiled_and_read(tmp_path / "jax", JAX_COMPILATION_CACHE_DIR=chosen) == (0, compiled)
    assert not (tmp_path / "jax").exists()


def test_only_what_is_damaged_is_removed(tmp_path):
    whole = zlib.compress(b"program")
    files = {
        "a-cache": whole,
        "b-cache": whole[:-1],
        "c-cache": b"",
        "note.txt": b"",
        "d-cache": b"\x28\xb5\x2f\xfd",
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    remove_damaged(tmp_path)
    kept = {"a-cache", "note.txt", "d-cache", "checked"}
    assert {file.name for file in tmp_path.iterdir()} == kept
    remove_damaged(tmp_path / "not there yet")
    assert not (tmp_path / "not there yet").exists()


def test_what_was_looked_at_is_not_read_again_and_what_came_since_is(tmp_path):
    for name in ("old-cache", "new-cache"):
        (tmp_path / name).write_bytes(zlib.compress(b"program"))
    remove_damaged(tmp_path)
    for name in ("old-cache", "new-cache"):
        (tmp_path / name).write_bytes(b"cut")
    os.utime(tmp_path / "old-cache", (1, 1))
    remove_damaged(tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {"old-cache", "checked"}


def test_reading_does_not_count_as_compiling():
    found = Compilation(requests=5, read=2, seconds=3.0, reading_seconds=1.0)
    assert str(found) == "compiled 3 programs in 2.0 s, read 2 compiled before in 1.0 s"
