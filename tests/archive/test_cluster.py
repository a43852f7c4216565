"""On a real cluster of two nodes, on this machine."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bench.ray_nodes import NodeFailedError, Nodes, NodeTooSlowError, two_nodes
from fer_edge.archive import Processes, analyze_archive, list_files
from fer_edge.archive.tasks import Outcome, Settings, Task
from fer_edge.contract import EMOTIONS
from fer_edge.errors import UsageError

from .fakes import Finding, write_deadly, write_photos, write_video
from .test_run import everything

pytest.importorskip("ray", reason="needs the extra ray")

from fer_edge.archive.cluster import Cluster

Make = Callable[..., Settings]
PATIENCE = 100
"""Seconds for a node to start."""


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    try:
        with two_nodes(PATIENCE) as made:
            yield made
    except NodeTooSlowError:
        pytest.skip("Ray's own processes take too long to start: this machine is too busy")
    except NodeFailedError as error:
        pytest.fail(f"No node of Ray: {error}")


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
