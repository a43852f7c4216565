"""Two nodes of Ray on this machine, for the bench of archives and for their tests."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

MARK = "FER_EDGE_RAY_NODES"
SLOW = ("timed out during startup", "Timed out waiting for file")
"""What Ray says where it took too long; the second is 15 s for a helper, which nothing changes."""


class NodeFailedError(RuntimeError):
    """A node did not start; the end of what it said."""


class NodeTooSlowError(NodeFailedError):
    """Ray's own processes took longer to start than Ray waits: this machine is too busy."""


class Nodes:
    """Nodes of one core each; ``patience`` is in seconds, for one to start."""

    def __init__(self, folder: str, patience: int) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.address = f"127.0.0.1:{listener.getsockname()[1]}"
        self._mark = uuid.uuid4().hex
        self._environment = os.environ | {
            MARK: self._mark,
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            "RAY_USAGE_STATS_ENABLED": "0",
            "PYTHONUNBUFFERED": "1",  # for what it says when it is up
            # Of a node's own helpers, 30 s by default, which a busy machine needs more than.
            "RAY_agent_register_timeout_ms": f"{1000 * patience}",
            "RAY_raylet_start_wait_time_s": f"{patience}",
        }
        self._folder = folder
        self._patience = patience
        self._nodes: list[subprocess.Popen[bytes]] = []

    def start(self, *options: str) -> None:
        """Start one more.

        Raises
        ------
        NodeFailedError
            It ended, or was not up in time.
        """
        command = [
            *(sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--num-cpus=1"),
            *("--object-store-memory=100000000", *options),
        ]
        log = Path(self._folder) / f"{len(self._nodes)}.log"
        with log.open("wb") as stream:
            node = subprocess.Popen(
                command,
                env=self._environment,
                cwd=self._folder,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._nodes.append(node)
        until = time.monotonic() + self._patience
        while b"Ray runtime started" not in log.read_bytes():
            said = log.read_text()[-2000:]
            if any(sign in said + self._raylets() for sign in SLOW):
                raise NodeTooSlowError(said)
            if node.poll() is not None or time.monotonic() > until:
                raise NodeFailedError(said)
            time.sleep(0.1)

    def _raylets(self) -> str:
        """What the nodes' own processes say of their end; ``ray start`` waits on without a word."""
        logs = Path(self._folder).glob("session_*/logs/raylet*.err")
        return "".join(log.read_text(errors="replace") for log in logs)

    def processes(self, title: bytes = b"") -> list[int]:
        """Of these nodes alone, by what was put into their environment."""
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                mine = f"{MARK}={self._mark}".encode() in (path / "environ").read_bytes()
                if mine and title in (path / "cmdline").read_bytes():
                    found.append(int(path.name))
        return found

    def close(self) -> None:
        for process in self.processes():
            with contextlib.suppress(OSError):
                os.kill(process, signal.SIGKILL)
        for node in self._nodes:
            node.wait()


@contextlib.contextmanager
def two_nodes(patience: int) -> Iterator[Nodes]:
    # Sockets have short names.
    with tempfile.TemporaryDirectory(prefix="r", dir="/tmp", ignore_cleanup_errors=True) as folder:
        made = Nodes(folder, patience)
        try:
            port = made.address.partition(":")[2]
            made.start(
                "--head", f"--port={port}", f"--temp-dir={folder}", "--include-dashboard=false"
            )
            made.start(f"--address={made.address}")
            yield made
        finally:
            made.close()
