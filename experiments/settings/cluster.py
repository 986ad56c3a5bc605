"""`cluster=ray [cluster.address=auto]`, which every command takes: where simulators and jobs run. It changes no result."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

from envs.engine import running_on
from envs.errors import UserError, check_choice
from experiments.settings.config import require

CLUSTER, ADDRESS = "cluster", "cluster.address"
LOCAL, RAY = "local", "ray"


def without_cluster(arguments: Sequence[str]) -> tuple[list[str], AbstractContextManager[None]]:
    """The arguments that are left, and the block in which the command runs on the cluster that they asked for.

    Raises:
        UserError: there is no such kind of cluster.
    """
    given = {CLUSTER: LOCAL, ADDRESS: ""}
    left = []
    for word in arguments:
        name, _, value = word.partition("=")
        if name in given:
            given[name] = value
        else:
            require(
                not name.startswith(f"{CLUSTER}."),
                f"{name} is no setting of cluster=; there is {ADDRESS}=host:port",
            )
            left.append(word)
    check_choice(CLUSTER, given[CLUSTER], (LOCAL, RAY))
    if given[CLUSTER] == LOCAL:
        require(not given[ADDRESS], f"{ADDRESS}= is of a cluster: say cluster=ray, too")
        return left, nullcontext()
    return left, on_ray(given[ADDRESS])


@contextmanager
def on_ray(address: str = "", cores: int | None = None) -> Iterator[None]:
    """A block whose simulators and jobs run on a Ray cluster, or on workers of this machine: `cores` of them, or one a core.

    Raises:
        UserError: Ray is not installed, or there is no cluster at the address.
    """
    try:
        from experiments.lab.cluster import ray_cluster
    except ModuleNotFoundError as error:
        raise UserError("cluster=ray needs Ray: pip install 'policy-extraction[ray]'") from error
    with ray_cluster(address, cores) as engine, running_on(engine):
        yield
