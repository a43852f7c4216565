import csv
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fer_edge.data.pixel_csv import read_columns, read_csv
from fer_edge.errors import DataError
from tests.data.conftest import FACES, pixels

GOOD = f"3,{pixels(0)},Training"


def test_reads_fer2013(fer_csv: Path) -> None:
    reports: list[tuple[int, int]] = []
    size = fer_csv.stat().st_size
    with fer_csv.open("rb") as stream:
        splits, _ = read_csv(stream, "it", size, lambda done, total: reports.append((done, total)))
    assert {split: len(data) for split, data in splits.items()} == {"train": 6, "val": 4, "test": 2}
    assert (splits["val"].faces == FACES[6:10]).all()
    assert splits["val"].labels.tolist() == [6, 0, 1, 2]
    assert splits["val"].names is not None
    assert splits["val"].names[0] == "line 8"
    assert reports[-1] == (size, size)


def test_reads_icml_face_data() -> None:
    text = f"\ufeffemotion, Usage, pixels\r\n0, PublicTest, {pixels(1)}\r\n\r\n"
    splits, _ = read_csv(io.BytesIO(text.encode()), "it", len(text))
    assert list(splits) == ["val"]
    assert (splits["val"].faces == FACES[1]).all()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("3,1 2 3", "line 3: 2 fields instead of 3"),
        ("3,1 2 3,Training", "line 3: 3 pixels instead of 2304"),
        (GOOD.replace("Training", "Tuning"), "line 3: Usage is 'Tuning'"),
        (f"7,{pixels(0)},Training", "line 3: emotion is '7', not a label 0..6"),
        (f"hapy,{pixels(0)},Training", "line 3: emotion is 'hapy'"),
        (f"3,12 256 {pixels(0)},Training", "line 3: pixel 2 is '256', not 0..255"),
        (f"3,-1 {pixels(0)},Training", "line 3: pixel 1 is '-1'"),
        (f"3,1 2 x{pixels(0)},Training", "line 3: pixel 3 is 'x"),
        ("3,\udcff,Training", "line 3: not csv text"),
    ],
)
def test_names_the_bad_line(line: str, message: str) -> None:
    text = f"emotion,pixels,Usage\n{GOOD}\n{line}\n".encode(errors="surrogateescape")
    with pytest.raises(DataError, match=message):
        read_csv(io.BytesIO(text), "it", len(text))


def row(face: np.ndarray) -> str:
    return f"3,{' '.join(map(str, face.ravel()))},Training"


@pytest.mark.parametrize("side", [24, 64, 260])
def test_other_squares_are_faces_of_their_own_size(side: int) -> None:
    faces = np.random.default_rng(side).integers(0, 256, (2, side, side), np.uint8)
    text = "\n".join(["emotion,pixels,Usage", *map(row, faces)]).encode()
    limit = csv.field_size_limit()
    splits, _ = read_csv(io.BytesIO(text), "it", len(text))
    np.testing.assert_array_equal(splits["train"].faces, faces)
    assert csv.field_size_limit() == limit


def test_a_reader_that_is_left_half_way_changes_nothing_for_others() -> None:
    limit = csv.field_size_limit()
    lines = "\n".join(["emotion,pixels", *["3,1 2"] * 5]).encode()
    rows = read_columns(io.BytesIO(lines), "it", ("emotion", "pixels"))
    next(rows)
    assert csv.field_size_limit() == limit


@pytest.mark.parametrize("count", [23 * 23, 47 * 48, 261 * 261])
def test_what_is_no_square_or_no_face_is_refused(count: int) -> None:
    text = f"emotion,pixels,Usage\n{row(np.zeros(count, np.uint8))}\n".encode()
    with pytest.raises(DataError, match=f"line 2: {count} pixels instead of 2304 .* 24 to 260"):
        read_csv(io.BytesIO(text), "it", len(text))


def test_a_line_cut_short_at_another_square_is_named() -> None:
    lines = ["emotion,pixels,Usage", row(np.zeros((48, 48), int)), row(np.zeros((47, 47), int))]
    text = "\n".join(lines).encode()
    with pytest.raises(DataError, match="line 3: 2209 pixels instead of 2304, which the lines"):
        read_csv(io.BytesIO(text), "it", len(text))


def test_truncated_in_the_middle_of_a_line(write_csv: Callable[..., Path]) -> None:
    data = write_csv([GOOD, GOOD]).read_bytes()[:-4000]
    with pytest.raises(DataError, match="it, line 3: 2 fields"):
        read_csv(io.BytesIO(data), "it", len(data))


@pytest.mark.parametrize("header", [b"", b"emotion,Usage\n", b"user.id,image,emotion\n"])
def test_foreign_header(header: bytes) -> None:
    with pytest.raises(DataError, match="it, line 1: the header has no column"):
        read_csv(io.BytesIO(header), "it", len(header))
