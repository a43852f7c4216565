"""Workers as processes of this machine."""

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
import traceback
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

from fer_edge.archive.tasks import Crashed, Outcome, Settings, Task
from fer_edge.errors import UsageError


class Processes:
    """Spawned processes, one task each at a time; one that ends is replaced.

    Parameters
    ----------
    count : int
        Processes.

    Raises
    ------
    UsageError
        Less than one.
    """

    name = "processes"

    def __init__(self, count: int) -> None:
        if count < 1:
            raise UsageError(f"There cannot be {count} workers.", hint="Give 1 or more.")
        self._count = count
        self._settings: Settings | None = None
        self._idle: list[_Process] = []
        self._busy: dict[_Process, Task] = {}

    @property
    def slots(self) -> int:
        return self._count

    @property
    def room(self) -> bool:
        return len(self._busy) < self._count

    def start(self, settings: Settings) -> None:
        self._settings = settings

    def submit(self, task: Task) -> None:
        assert self._settings is not None, "start comes first"
        while True:
            process = self._idle.pop() if self._idle else _Process(self._settings)
            try:
                process.connection.send(task)
                break
            except OSError:  # it was killed while it had nothing to do
                process.end()
        self._busy[process] = task

    def wait(self) -> list[tuple[Task, Outcome]]:
        by_connection = {process.connection: process for process in self._busy}
        ready = multiprocessing.connection.wait(list(by_connection))
        done: list[tuple[Task, Outcome]] = []
        for connection in ready:
            assert isinstance(connection, Connection)
            process = by_connection[connection]
            task = self._busy.pop(process)
            try:
                outcome: Outcome | _Mistake = connection.recv()
                self._idle.append(process)
            except (EOFError, OSError):
                outcome = Crashed(process.end())
            if isinstance(outcome, _Mistake):
                raise RuntimeError(f"A worker failed at {task}:\n{outcome.trace}")
            done.append((task, outcome))
        return done

    def close(self) -> None:
        processes = [*self._idle, *self._busy]
        for process in processes:
            process.process.terminate()
        for process in processes:
            process.end()
        self._idle.clear()
        self._busy.clear()


@dataclass(frozen=True)
class _Mistake:
    trace: str


class _Process:
    """A child, and the pipe to it."""

    def __init__(self, settings: Settings) -> None:
        # A fork of a process with threads, such as those of engines, would wait for them for ever.
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process: BaseProcess = context.Process(
            target=_serve, args=(theirs, settings), name="fer-edge worker", daemon=True
        )
        self.process.start()
        theirs.close()

    def end(self) -> str:
        """Wait for its end, and tell how it was."""
        self.connection.close()
        self.process.join(10)
        if self.process.exitcode is None:
            self.process.kill()
            self.process.join()
        code = self.process.exitcode or 0
        self.process.close()
        if code >= 0:
            return f"exit status {code}"
        with contextlib.suppress(ValueError):
            return f"signal {-code}, {signal.Signals(-code).name}"
        return f"signal {-code}"


def _serve(connection: Connection, settings: Settings) -> None:
    """What the child runs."""
    from fer_edge.archive.work import do_task

    # Ctrl-C reaches all processes of a terminal: the parent ends this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, name="fer-edge parent", daemon=True).start()
    while True:
        try:
            task = connection.recv()
        except EOFError:
            return
        try:
            connection.send(do_task(settings, task))
        except Exception:  # a mistake of this package: no task of it would fare better
            connection.send(_Mistake(traceback.format_exc()))


def _end_with_parent() -> None:
    """A worker whose run was killed does not go on beside the next one."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
