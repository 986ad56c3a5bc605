"""Before anything of the project is imported: headless drawing, quiet libraries, and checked annotations."""

import os
import resource
from pathlib import Path

os.environ.setdefault("MUJOCO_GL", "egl")
os.environ.setdefault("WANDB_MODE", "offline")
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Compiling takes longest here: without optimisation and fusion emitters it takes a fifth, and running hardly longer.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false")
os.environ.setdefault("JAX_TRACEBACK_IN_LOCATIONS_LIMIT", "0")  # of every operation that is compiled

cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache / "policy-extraction" / "jax"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")

# The workers of `pytest -n` share the cores: each may start as many processes as its share of them allows.
cores = max(1, (os.cpu_count() or 1) // int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")))
os.cpu_count = lambda: cores

import ctypes  # noqa: E402  (after the environment is set)
import gc  # noqa: E402

import jax  # noqa: E402
import pytest  # noqa: E402

from tests.checked import check_types  # noqa: E402

check_types("policy_extraction", "value_model", "envs")

from experiments.lab.compilation import remove_damaged  # noqa: E402
from tests.draws import share_draws  # noqa: E402

remove_damaged(Path(os.environ["JAX_COMPILATION_CACHE_DIR"]))  # by a killed run of the tests

share_draws()
gc.set_threshold(10_000, 20, 100)  # tracing makes objects by the thousand, and few of them are rubbish

HELD = 2.3e9  # bytes that a process may hold after a test


@pytest.fixture(autouse=True, scope="module")
def forget_the_file_s():
    """Compiled programs: the next file has others, and reads from disk what they share."""
    yield
    forget_compiled()


@pytest.fixture(autouse=True)
def forget_what_fills_memory():
    """Compiled programs, within a file that makes many."""
    yield
    if resident() > HELD:
        forget_compiled()


def forget_compiled() -> None:
    """JAX keeps every program in memory, and a process that holds many is slower, too.

    What is freed goes back to the system: glibc would keep it, 2 GB a process by the end. What is left are modules and
    their classes, a million objects that need not be looked through again.
    """
    jax.clear_caches()
    gc.collect()
    gc.freeze()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def resident() -> int:
    """Bytes of memory that this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def pytest_collection_modifyitems(items):
    """The long ones first, so that no worker is left alone with them at the end (see `make test`)."""
    items.sort(key=lambda item: not item.nodeid.startswith(("tests/experiments/", "tests/value_model/")))
