import csv
import json
import sys
from pathlib import Path

import pytest

from fer_edge.errors import MissingDependencyError, StorageError, UsageError
from fer_edge.runtime import row_files
from fer_edge.runtime.row_files import METADATA_KEY, columns, open_rows
from tests.moments import moment, seen

MOMENTS = [
    moment(seen(), seen(label=0, track=1), index=0, position=0.0),
    moment(index=1, position=0.1),
    moment(seen(label=6), index=2, position=0.2),
]
ROWS = [row for one in MOMENTS for row in one.to_rows()]


def write(path: Path) -> Path:
    with open_rows(path, {"model": "compact"}) as write_rows:
        for one in MOMENTS:
            write_rows(one.to_rows())
    return path


@pytest.mark.parametrize("at_a_time", [1, 10_000])
def test_parquet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_a_time: int) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr(row_files, "_ROWS_AT_A_TIME", at_a_time)
    table = parquet.read_table(write(tmp_path / "a.parquet"))
    assert table.column_names == list(columns())
    assert json.loads(table.schema.metadata[METADATA_KEY.encode()]) == {"model": "compact"}
    assert table.schema.field("x").metadata[b"description"] == b"left edge of the box, pixels"
    assert table.to_pylist() == [
        {name: pytest.approx(value) for name, value in row.items()} for row in ROWS
    ]


def test_a_table_without_faces_has_its_columns(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    with open_rows(tmp_path / "a.parquet", {}):
        pass
    table = parquet.read_table(tmp_path / "a.parquet")
    assert (table.num_rows, table.column_names) == (0, list(columns()))


def test_csv(tmp_path: Path) -> None:
    with write(tmp_path / "a.csv").open(newline="") as stream:
        first, *_, last = csv.DictReader(stream)
    assert list(first) == list(columns())
    assert (last["frame"], last["emotion"], last["raw_neutral"]) == ("2", "neutral", "1.0")


def test_json_lines(tmp_path: Path) -> None:
    lines = write(tmp_path / "a.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == ROWS


@pytest.mark.parametrize("name", ["a.parquet", "a.csv", "a.jsonl"])
def test_whatever_goes_wrong_leaves_the_old_file(tmp_path: Path, name: str) -> None:
    if name == "a.parquet":
        pytest.importorskip("pyarrow")
    (tmp_path / name).write_text("old")

    def interrupted() -> None:
        with open_rows(tmp_path / name, {}) as write_rows:
            write_rows(ROWS)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "old"


def test_names_and_places_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"a\.xlsx is not a name for a table"):
        row_files.check_rows(Path("a.xlsx"))
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="file"), open_rows(tmp_path / "file" / "a.csv", {}):
        pass


def test_no_pyarrow_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'fer-edge\[analyze\]'"):
        row_files.check_rows(Path("a.parquet"))
    row_files.check_rows(Path("a.csv"))


def test_a_folder_may_have_more_images_than_a_byte_counts(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = [ROWS[0] | {"file": f"{n}.png"} for n in range(300)]
    with open_rows(tmp_path / "a.parquet", {}) as write_rows:
        write_rows(rows)
    names = parquet.read_table(tmp_path / "a.parquet")["file"].to_pylist()
    assert names == [row["file"] for row in rows]
