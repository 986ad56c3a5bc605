"""What work costs: its time beside plain products of matrices on the same machine, and the process's memory."""

from __future__ import annotations

import resource
import time

import jax
import jax.numpy as jnp
import numpy as np

SIDE = 1024  # of the matrices whose product is timed
PRODUCTS = 10  # of them after each piece of work


class Meter:
    """Times pieces of work, and after each of them plain products of matrices, so that both see the same machine."""

    def __init__(self, precision: str) -> None:
        self._matrix = jnp.ones((SIDE, SIDE), precision)
        self._product = jax.jit(jnp.matmul)
        self._product(self._matrix, self._matrix).block_until_ready()
        self.seconds: list[float] = []
        self.rates: list[float] = []
        self._began = time.perf_counter()

    def lap(self) -> None:
        """A piece of work is done; the next begins when this returns."""
        self.seconds.append(time.perf_counter() - self._began)
        began = time.perf_counter()
        for _ in range(PRODUCTS):
            self._product(self._matrix, self._matrix).block_until_ready()
        self.rates.append(PRODUCTS * 2 * SIDE**3 / (time.perf_counter() - began))
        self._began = time.perf_counter()

    def speed(self, things: int, flops: int) -> dict[str, float]:
        """From the median piece, the first left out, of `things` things of `flops` operations: things a second, the
        rate of products alone, and the share of it."""
        per_s, rate = things / float(np.median(self.seconds[1:])), float(np.median(self.rates[1:]))
        return {"per_s": per_s, "matmul_flops_per_s": rate, "matmul_share": per_s * flops / rate}


def peak_bytes() -> int:
    """The process's peak memory so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
