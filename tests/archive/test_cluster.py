"""On a real cluster of two nodes, on this machine."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fer_edge.archive import Processes, analyze_archive, list_files
from fer_edge.archive.tasks import Outcome, Settings, Task
from fer_edge.contract import EMOTIONS
from fer_edge.errors import UsageError

from .fakes import Finding, write_deadly, write_photos, write_video
from .test_run import everything

pytest.importorskip("ray", reason="needs the extra ray")

from fer_edge.archive.cluster import Cluster

Make = Callable[..., Settings]
MARK = "FER_EDGE_TEST_CLUSTER"
PATIENCE = 100
"""Seconds for a node to start."""


class Nodes:
    """Nodes of one core each."""

    def __init__(self, folder: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.address = f"127.0.0.1:{listener.getsockname()[1]}"
        self.mark = uuid.uuid4().hex
        self._environment = os.environ | {
            MARK: self.mark,
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            "RAY_USAGE_STATS_ENABLED": "0",
            "PYTHONUNBUFFERED": "1",  # for what it says when it is up
            # Of a node's own helpers, 30 s by default, which a busy machine needs more than.
            "RAY_agent_register_timeout_ms": f"{1000 * PATIENCE}",
            "RAY_raylet_start_wait_time_s": f"{PATIENCE}",
        }
        self._folder = folder
        self._nodes: list[subprocess.Popen[bytes]] = []

    def start(self, *options: str) -> None:
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
        until = time.monotonic() + PATIENCE
        while b"Ray runtime started" not in log.read_bytes():
            if b"timed out during startup" in log.read_bytes():
                pytest.skip("Ray's own processes take too long to start: this machine is too busy")
            if node.poll() is not None or time.monotonic() > until:
                pytest.fail(f"No node of Ray: {log.read_text()[-2000:]}")
            time.sleep(0.1)

    def processes(self, title: bytes = b"") -> list[int]:
        """Of these nodes alone, by what was put into their environment."""
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                mine = f"{MARK}={self.mark}".encode() in (path / "environ").read_bytes()
                if mine and title in (path / "cmdline").read_bytes():
                    found.append(int(path.name))
        return found

    def close(self) -> None:
        for process in self.processes():
            with contextlib.suppress(OSError):
                os.kill(process, signal.SIGKILL)
        for node in self._nodes:
            node.wait()


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    # Sockets have short names.
    with tempfile.TemporaryDirectory(prefix="r", dir="/tmp", ignore_cleanup_errors=True) as folder:
        made = Nodes(folder)
        try:
            port = made.address.partition(":")[2]
            made.start(
                "--head", f"--port={port}", f"--temp-dir={folder}", "--include-dashboard=false"
            )
            made.start(f"--address={made.address}")
            yield made
        finally:
            made.close()


class Killing(Cluster):
    """Kills the worker of a task under way, after the first few are done."""

    def __init__(self, nodes: Nodes, after: int) -> None:
        super().__init__(nodes.address)
        self._nodes = nodes
        self._after = after
        self.killed = 0
        self.most_slots = 0

    def wait(self) -> list[tuple[Task, Outcome]]:
        done = super().wait()
        self.most_slots = max(self.most_slots, self.slots)
        self._after -= len(done)
        if self._after <= 0 and not self.killed:
            for process in self._nodes.processes(b"ray::do_task")[:1]:
                os.kill(process, signal.SIGKILL)
                self.killed += 1
        return done


def test_with_a_worker_killed_the_rows_are_those_without(
    nodes: Nodes, settings: Make, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    photos = write_photos(data, 200)
    photos[3].write_bytes(b"no photo")
    write_video(data / "film.mp4")
    whole = settings(out=str(tmp_path / "whole"))
    analyze_archive(list_files([str(data)]), whole, Processes(1), EMOTIONS)
    made = settings(detector=Finding(0.02))
    cluster = Killing(nodes, 4)
    summary = analyze_archive(list_files([str(data)]), made, cluster, EMOTIONS)
    assert (cluster.killed, summary.crashes) == (1, 1)
    assert cluster.most_slots == 2
    assert summary.executor == "ray"
    assert everything(made.out) == everything(whole.out)


def test_a_photo_that_ends_workers_is_found(nodes: Nodes, settings: Make, tmp_path: Path) -> None:
    data = tmp_path / "data"
    write_photos(data, 1)
    deadly = write_deadly(data / "deadly.png")
    made = settings()
    analyze_archive(list_files([str(data)]), made, Cluster(nodes.address), EMOTIONS)
    rows, errors = everything(made.out)
    assert len(rows) == 1
    assert errors == [(str(deadly), 0)]


def test_a_node_that_does_not_see_the_files_is_named(
    nodes: Nodes, settings: Make, tmp_path: Path
) -> None:
    write_photos(tmp_path / "data", 1)
    cluster = Cluster(nodes.address, (str(tmp_path / "data"), str(tmp_path / "nowhere")))
    with pytest.raises(UsageError, match=r"Node [\d.]+ does not see .*nowhere"):
        analyze_archive(list_files([str(tmp_path / "data")]), settings(), cluster, EMOTIONS)


def test_no_cluster_is_said_so(settings: Make, tmp_path: Path) -> None:
    write_photos(tmp_path / "data", 1)
    cluster = Cluster("nonsense://here")
    with pytest.raises(UsageError, match="There is no Ray cluster at nonsense://here"):
        analyze_archive(list_files([str(tmp_path / "data")]), settings(), cluster, EMOTIONS)
