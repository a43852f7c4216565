"""Workers as tasks of Ray.

Plain tasks, rather than Ray Data: Ray Data's writers name their files anew in each attempt, so that
a block that is tried again, or a run that is started again, can leave its rows twice; it knows
nothing of what an earlier run has done; and a file that ends its worker ends the whole data set.
Here a task is a part with a name of its own (see :mod:`fer_edge.archive.run`), and what is done
when a worker or a node dies is decided in the same place as for processes: Ray itself tries
nothing again.
"""

import contextlib
import importlib
import logging
import os
import time
from typing import Any

from fer_edge.archive.tasks import Crashed, Outcome, Settings, Task
from fer_edge.archive.work import do_task
from fer_edge.errors import FerEdgeError, MissingDependencyError, UsageError
from fer_edge.version import __version__

AUTO = "auto"
"""The cluster that RAY_ADDRESS or this machine has, or else one on this machine alone."""

_AHEAD = 2
"""Tasks handed in for each that is worked on, so that no worker waits for the next."""
_PATIENCE = 60.0
"""Seconds that nodes have to say what they see."""


class Cluster:
    """Tasks of a Ray cluster.

    Parameters
    ----------
    address : str
        Of the cluster's head, as ``ray.init`` takes it, or :data:`AUTO`.
    shared : tuple of str
        Paths that every node has to see: Ray moves no files.

    Raises
    ------
    MissingDependencyError
        Ray is not installed.
    """

    name = "ray"

    def __init__(self, address: str = AUTO, shared: tuple[str, ...] = ()) -> None:
        # Nobody is told of what is done here, unless the environment says otherwise.
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        try:
            self._ray: Any = importlib.import_module("ray")
        except ImportError as error:
            raise MissingDependencyError(
                f"A cluster needs Ray: {error}.", hint="Run: pip install 'fer-edge[ray]'"
            ) from error
        self._address = address
        self._shared = shared
        self._tasks: dict[Any, Task] = {}
        self._slots = 1
        self._remote: Any = None
        self._settings: Settings | None = None

    @property
    def slots(self) -> int:
        return self._slots

    @property
    def room(self) -> bool:
        return len(self._tasks) < _AHEAD * self._slots

    def start(self, settings: Settings) -> None:
        """Connect, and make sure that every node can do the work.

        Raises
        ------
        UsageError
            There is no such cluster; a node has another version, or does not see the files.
        """
        ray = self._ray
        options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
        try:
            address = None if self._address == AUTO else self._address
            ray.init(address=address, **options)
        except Exception as error:  # ConnectionError, RuntimeError, ValueError and more
            reason = str(error).strip().splitlines()[0].rstrip(".")
            raise UsageError(
                f"There is no Ray cluster at {self._address}: {reason}.",
                hint="Is it up? Without an address --ray starts one on this machine.",
            ) from error
        self._settings = settings
        on_gpu = settings.device.startswith("cuda")
        self._remote = ray.remote(num_cpus=settings.threads, num_gpus=int(on_gpu), max_retries=0)(
            do_task
        )
        self._count_slots()
        self._check_nodes()

    def submit(self, task: Task) -> None:
        self._tasks[self._remote.remote(self._settings, task)] = task

    def wait(self) -> list[tuple[Task, Outcome]]:
        ray = self._ray
        with self._reachable():
            ready, _ = ray.wait(list(self._tasks), num_returns=1)
            # And all that are ready anyway.
            ready, _ = ray.wait(list(self._tasks), num_returns=len(self._tasks), timeout=0)
            self._count_slots()
        return [(self._tasks.pop(one), self._outcome(one)) for one in ready]

    def close(self) -> None:
        with contextlib.suppress(Exception):  # the cluster may be gone
            for one in self._tasks:
                self._ray.cancel(one, force=True)
        self._tasks.clear()
        if self._ray.is_initialized():
            self._ray.shutdown()

    def _outcome(self, one: Any) -> Outcome:
        errors = self._ray.exceptions
        try:
            found: Outcome = self._ray.get(one)
        except errors.RayTaskError:
            raise  # a mistake of this package, with its traceback
        except errors.RayError as error:
            # The worker or its node has died, or Ray has ended it for want of memory.
            return Crashed(_first_line(error))
        return found

    @contextlib.contextmanager
    def _reachable(self) -> Any:
        try:
            yield
        except self._ray.exceptions.RayError as error:
            raise FerEdgeError(
                f"The Ray cluster is lost: {_first_line(error)}.",
                hint="Run the same command again: what is done stays.",
            ) from error

    def _count_slots(self) -> None:
        """As nodes come and go."""
        threads = 1 if self._settings is None else self._settings.threads
        self._slots = max(int(self._ray.cluster_resources().get("CPU", 0)) // threads, 1)

    def _check_nodes(self) -> None:
        """Ask every node for its version and the paths; one that dies meanwhile is let be."""
        ray = self._ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        look = ray.remote(num_cpus=0, max_retries=0)(_look)
        asked = {}
        for node in ray.nodes():
            if node["Alive"] and node["Resources"].get("CPU"):
                strategy = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
                remote = look.options(scheduling_strategy=strategy)
                asked[remote.remote(self._shared)] = node["NodeManagerAddress"]
        until = time.monotonic() + _PATIENCE
        for one, name in asked.items():
            try:
                version, missing = ray.get(one, timeout=max(until - time.monotonic(), 1.0))
            except ray.exceptions.RayTaskError as error:
                raise UsageError(
                    f"Node {name} cannot work: {_first_line(error.cause)}.",
                    hint=f"Install fer-edge {__version__} there.",
                ) from error
            except ray.exceptions.RayError:
                continue
            if version != __version__:
                raise UsageError(
                    f"Node {name} has fer-edge {version}, this machine {__version__}.",
                    hint="Install the same version everywhere.",
                )
            if missing:
                raise UsageError(
                    f"Node {name} does not see {missing}.",
                    hint="Share it with all nodes under the same path (NFS); --out may be an "
                    "address such as s3://bucket/folder.",
                )


def _look(paths: tuple[str, ...]) -> tuple[str, str | None]:
    """Version here, and the first path that is not here."""
    from pathlib import Path

    from fer_edge.version import __version__ as version

    return version, next((path for path in paths if not Path(path).exists()), None)


def _first_line(error: object) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].rstrip(".") if lines else type(error).__name__
