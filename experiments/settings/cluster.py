"""Where a command runs, which changes no result.

cluster=ray [cluster.address=auto] [cluster.gpus=1]
                                       simulators and jobs on a Ray cluster; every command takes it
cluster=hosts [cluster.coordinator=HOST:PORT cluster.processes=N cluster.process=I] [cluster.heartbeat=SECONDS]
                                       what JAX trains, over hosts: of train_critic and train_world_model
cluster=slurm [cluster.partition=P cluster.gpus=1 cluster.minutes=1440 …]
                                       the runs of run -m and compare as jobs of SLURM's
cluster=torchrun [cluster.shards=true]  a torch policy, over the processes of torchrun: of run and compare; with every
                                       parameter in shards, if one GPU cannot hold what is trained
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

from envs.engine import running_on
from envs.errors import UserError, check_choice
from experiments.settings.config import require
from experiments.settings.hosts import HEARTBEAT, on_hosts, on_torchrun
from experiments.settings.slurm import SETTINGS, slurm_needs, truth

CLUSTER = "cluster"
LOCAL, RAY, SLURM, HOSTS, TORCHRUN = "local", "ray", "slurm", "hosts", "torchrun"
OF = {  # the settings of each kind
    LOCAL: (),
    RAY: ("cluster.address", "cluster.gpus"),
    SLURM: SETTINGS,
    HOSTS: ("cluster.coordinator", "cluster.processes", "cluster.process", "cluster.heartbeat"),
    TORCHRUN: ("cluster.shards",),
}
RUNS = (TORCHRUN, SLURM)  # what whole runs of a policy's training take
FOR = {HOSTS: "train_critic and train_world_model", TORCHRUN: "run and compare", SLURM: "run and compare"}


def without_cluster(
    arguments: Sequence[str], over: Collection[str] = ()
) -> tuple[list[str], AbstractContextManager[None]]:
    """The arguments that are left, and the block in which the command runs on the cluster that they asked for.

    Args:
        over: the kinds of cluster that the command takes beside Ray, which all run on.

    Raises:
        UserError: there is no such kind of cluster, or not for this command.
    """
    left, given = [], {}
    for word in arguments:
        name, _, value = word.partition("=")
        if name == CLUSTER or name.startswith(f"{CLUSTER}."):
            given[name] = value
        else:
            left.append(word)
    kind = given.pop(CLUSTER, LOCAL)
    check_choice(CLUSTER, kind, OF)
    for name in given:
        own = next((one for one, names in OF.items() if name in names), RAY)
        require(kind != LOCAL, f"{name}= is of a cluster: say cluster={own}, too")
        check_choice(f"setting of {CLUSTER}={kind}", name, OF[kind])
    if kind == RAY:
        return left, on_ray(given.get("cluster.address", ""), gpus=_share(given.get("cluster.gpus", "0")))
    require(kind in (LOCAL, *over), f"cluster={kind} is for {FOR.get(kind)}")
    if kind == HOSTS:
        return left, _on_hosts(given)
    if kind == TORCHRUN:
        return left, on_torchrun(truth("cluster.shards", given.get("cluster.shards", "false")))
    if kind == SLURM:
        return left, _on_slurm(given)
    return left, nullcontext()


def _share(text: str) -> float:
    """How many GPUs.

    Raises:
        UserError: that is no number, or Ray cannot share so.
    """
    try:
        gpus = float(text)
    except ValueError:
        gpus = -1.0
    require(
        gpus >= 0 and (gpus <= 1 or gpus.is_integer()),
        f"cluster.gpus={text} is a share of a GPU for every job, such as 0.5, or how many it has to itself",
    )
    return gpus


def _on_hosts(given: Mapping[str, str]) -> AbstractContextManager[None]:
    """The block of `cluster=hosts`, by its settings.

    Raises:
        UserError: some are missing, or are no numbers.
    """
    *told, last = OF[HOSTS]
    seconds = given.get(last, str(HEARTBEAT))
    require(seconds.isdecimal() and int(seconds) > 0, f"{last}={seconds} is a number of seconds, above 0")
    missing = [name for name in told if not given.get(name)]
    if len(missing) == len(told):
        return on_hosts(heartbeat=int(seconds))
    require(
        not missing,
        f"cluster=hosts needs {', '.join(missing)}, too; or none of {', '.join(told)} under SLURM",
    )
    coordinator, *numbers = (given[name] for name in told)
    require(
        all(number.isdecimal() for number in numbers) and int(numbers[1]) < int(numbers[0]),
        "cluster.processes=N is how many there are, cluster.process=I which of them this is, from 0 on",
    )
    port = coordinator.rpartition(":")[2]
    require(
        port.isdecimal() and port != coordinator,
        f"cluster.coordinator={coordinator} has to be HOST:PORT, of the first process",
    )
    count, index = map(int, numbers)
    return on_hosts(coordinator, count, index, int(seconds))


@contextmanager
def on_ray(address: str = "", cores: int | None = None, gpus: float = 0.0) -> Iterator[None]:
    """A block whose simulators and jobs run on a Ray cluster, or on workers of this machine: `cores` of them, or one a core.

    Args:
        gpus: that a job has to itself, a share of one or several; 0: none.

    Raises:
        UserError: Ray is not installed, or there is no cluster at the address.
    """
    try:
        from experiments.lab.cluster import ray_cluster
    except ModuleNotFoundError as error:
        raise UserError("cluster=ray needs Ray: pip install 'policy-extraction[ray]'") from error
    with ray_cluster(address, cores, gpus) as engine, running_on(engine):
        yield


@contextmanager
def _on_slurm(given: Mapping[str, str]) -> Iterator[None]:
    """A block whose runs are jobs.

    Raises:
        UserError: submitit is not installed.
    """
    needs = slurm_needs(given)
    try:
        from experiments.lab.slurm import SlurmEngine
    except ModuleNotFoundError as error:
        raise UserError("cluster=slurm needs submitit: pip install 'policy-extraction[slurm]'") from error
    with running_on(SlurmEngine(needs)):
        yield
