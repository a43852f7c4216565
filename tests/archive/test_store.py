import subprocess
import sys
from pathlib import Path

import pytest

from fer_edge.archive.store import AddressStore, FolderStore, Store, open_store
from fer_edge.errors import StorageError, UsageError

pytest.importorskip("pyarrow", reason="needs the extra analyze")


@pytest.fixture(params=["folder", "file", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    out = {"folder": str(tmp_path), "file": f"file://{tmp_path}", "memory": "mock:///a"}
    return open_store(out[request.param])


def test_a_file_is_there_when_it_is_written_and_takes_the_place_of_an_older_one(
    store: Store,
) -> None:
    assert store.read("faces/a.parquet") is None
    assert store.names("faces") == []
    for data in (b"1", b"22"):
        store.write("faces/a.parquet", data)
        assert store.read("faces/a.parquet") == data
        assert store.names("faces") == ["a.parquet"]
    store.write("archive.json", b"{}")
    assert "archive.json" in store.names("")


def test_a_second_run_is_kept_out(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from fer_edge.archive.store import FolderStore\n"
        "with FolderStore(Path(sys.argv[1])).alone(): print('in', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    other = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert other.stdout is not None
    assert other.stdout.readline() == b"in\n"
    with pytest.raises(UsageError, match="is being written by another run"):
        FolderStore(tmp_path).alone().__enter__()
    # The lock is gone with its process, however that ended.
    other.kill()
    other.communicate()
    with FolderStore(tmp_path).alone():
        pass


def test_what_a_killed_run_left_half_written_goes(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    store.write("faces/a.parquet", b"1")
    left = tmp_path / "faces" / ".b.parquet.0123abcd.tmp.parquet"
    left.write_bytes(b"half")
    assert store.names("faces") == ["a.parquet"]
    with store.alone():
        assert not left.exists()
    assert store.read("faces/a.parquet") == b"1"


def test_what_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "faces").write_text("no folder")
    with pytest.raises(StorageError, match="faces"):
        FolderStore(tmp_path).write("faces/a.parquet", b"1")
    store = open_store(f"file://{tmp_path}")
    assert isinstance(store, AddressStore)
    with pytest.raises(StorageError, match=r"Cannot access file://.*/faces/a\.parquet: "):
        store.write("faces/a.parquet", b"1")


@pytest.mark.parametrize("out", ["ftp://host/rows", "https://host/rows"])
def test_an_address_that_cannot_be_written_to_is_refused(out: str) -> None:
    with pytest.raises(UsageError, match=r"rows cannot be written to \w+://"):
        open_store(out)


def test_an_address_that_makes_no_sense_is_said() -> None:
    with pytest.raises(StorageError, match="cannot be opened"):
        open_store("s3://bucket/rows?endpoint=here")
