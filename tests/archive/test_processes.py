import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fer_edge.archive import Processes, analyze_archive, list_files
from fer_edge.archive.tasks import Crashed, Failed, Photos, Settings, Written
from fer_edge.contract import EMOTIONS
from fer_edge.errors import UsageError

from .fakes import Finding, write_deadly, write_photos

Make = Callable[..., Settings]


@pytest.fixture
def processes(settings: Make) -> Iterator[Processes]:
    made = Processes(1)
    made.start(settings())
    yield made
    made.close()


def test_a_process_works_and_one_that_ends_is_replaced(
    processes: Processes, tmp_path: Path
) -> None:
    good = Photos("good", (str(write_photos(tmp_path, 1)[0]),))
    bad = Photos("bad", (str(write_deadly(tmp_path / "bad.png")),))
    told = []
    for task in (good, bad, Photos("again", good.files)):
        processes.submit(task)
        assert not processes.room
        (done,) = processes.wait()
        told.append(done)
    assert [task for task, _ in told] == [good, bad, Photos("again", good.files)]
    assert isinstance(told[0][1], Written)
    assert told[1][1] == Crashed("signal 9, SIGKILL")
    assert isinstance(told[2][1], Written)
    # One that is killed while it has nothing to do is nobody's loss.
    (idle,) = processes._idle
    os.kill(idle.process.pid, signal.SIGKILL)
    idle.process.join()
    processes.submit(Photos("third", good.files))
    assert isinstance(processes.wait()[0][1], Written)


def test_what_a_worker_cannot_open_is_told(settings: Make, tmp_path: Path) -> None:
    made = Processes(1)
    made.start(settings(model=str(tmp_path / "nowhere")))
    try:
        made.submit(Photos("a", (str(tmp_path / "a.png"),)))
        ((_, outcome),) = made.wait()
        assert isinstance(outcome, Failed)
        assert "nowhere" in outcome.message
    finally:
        made.close()


def test_there_must_be_a_process() -> None:
    with pytest.raises(UsageError, match="cannot be 0 workers"):
        Processes(0)


ALONE = """
import sys
from fer_edge.archive import Processes, analyze_archive, list_files
from fer_edge.archive.tasks import Settings
from fer_edge.contract import EMOTIONS
from tests.archive.fakes import Finding

if __name__ == "__main__":
    settings = Settings(sys.argv[2], Finding(0.02), precision="fp32", backend="onnxruntime-cpu")
    analyze_archive(list_files([sys.argv[1]]), settings, Processes(2), EMOTIONS)
"""


def test_workers_end_with_a_run_that_is_killed_and_the_next_has_every_row_once(
    settings: Make, tmp_path: Path
) -> None:
    dataset = pytest.importorskip("pyarrow.dataset")
    photos = write_photos(tmp_path / "data", 100)
    out = tmp_path / "rows"
    script = tmp_path / "alone.py"
    script.write_text(ALONE)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path / "data"), str(out)], env=environment
    )
    while not list(out.glob("faces/[!.]*.parquet")):
        assert process.poll() is None
        time.sleep(0.01)
    workers = children(process.pid)
    process.kill()
    process.wait()
    assert len(workers) >= 2
    until = time.monotonic() + 10
    while any(Path(f"/proc/{worker}").exists() for worker in workers):
        assert time.monotonic() < until
        time.sleep(0.05)
    made = settings(detector=Finding(), facts={})
    summary = analyze_archive(list_files([str(tmp_path / "data")]), made, Processes(1), EMOTIONS)
    assert summary.done_before >= 1
    rows = dataset.dataset(out / "faces").to_table().to_pylist()
    assert sorted(row["file"] for row in rows) == sorted(map(str, photos))


def children(parent: int) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == parent:
            found.append(int(path.parent.name))
    return found
