import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fer_edge.archive.parts import archive_columns, read_part
from fer_edge.archive.store import open_store
from fer_edge.archive.tasks import (
    Collected,
    Cut,
    CutUp,
    Failed,
    Photos,
    Piece,
    Settings,
    Written,
)
from fer_edge.archive.work import Worker, do_task
from fer_edge.contract import EMOTIONS
from fer_edge.errors import InputError

from .fakes import Finding, write_photos, write_video

Make = Callable[..., Settings]


@pytest.fixture
def worker(settings: Make) -> Worker:
    return Worker(settings())


def rows(out: str, part: str) -> list[dict]:
    parquet = pytest.importorskip("pyarrow.parquet")
    table = parquet.ParquetFile(Path(out) / "faces" / f"{part}.parquet").read()
    assert table.column_names == list(archive_columns(EMOTIONS))
    return table.to_pylist()


def test_photos_become_rows_with_their_paths(settings: Make, tmp_path: Path) -> None:
    files = tuple(map(str, write_photos(tmp_path / "photos", 300)))
    made = settings()
    written = do_task(made, Photos("a", files))
    assert isinstance(written, Written)
    assert (written.tally.photos, written.tally.faces, written.errors) == (300, 300, ())
    found = rows(made.out, "a")
    # More names than fit a byte, and each photo for itself.
    assert [row["file"] for row in found] == list(files)
    assert {(row["frame"], row["time"], row["track"], row["piece"]) for row in found} == {
        (0, None, 0, None)
    }
    assert all(row["emotion"] == max(EMOTIONS, key=lambda e: row[f"raw_{e}"]) for row in found)
    assert dict(written.tally.emotions) == {
        emotion: sum(row["emotion"] == emotion for row in found)
        for emotion in {row["emotion"] for row in found}
    }
    assert read_part(open_store(made.out), "a") == written


def test_pieces_of_a_video_are_rows_of_the_whole(settings: Make, tmp_path: Path) -> None:
    path = str(write_video(tmp_path / "a.mp4"))
    made = settings()
    cut = do_task(made, Cut(path))
    assert isinstance(cut, CutUp)
    pieces = [Piece(path, span, n, len(cut.spans)) for n, span in enumerate(cut.spans)]
    assert len(pieces) == 3
    done = [do_task(made, piece) for piece in pieces]
    found = [row for piece in pieces for row in rows(made.out, piece.part)]
    assert [row["frame"] for row in found] == list(range(100))
    assert [row["time"] for row in found] == pytest.approx([n / 20 for n in range(100)])
    assert {row["file"] for row in found} == {path}
    assert sorted({row["piece"] for row in found}) == [0, 1, 2]
    assert sum(one.tally.frames for one in done if isinstance(one, Written)) == 100


def test_what_is_done_already_is_left_as_it_is(settings: Make, tmp_path: Path) -> None:
    files = tuple(map(str, write_photos(tmp_path / "photos", 2)))
    made = settings()
    first = do_task(made, Photos("a", files))
    path = Path(made.out) / "faces" / "a.parquet"
    before = path.stat()
    for file in files:
        Path(file).unlink()
    assert do_task(made, Photos("a", files)) == first
    assert path.stat().st_ino == before.st_ino
    # What is no part is made anew.
    path.write_bytes(b"damaged")
    again = do_task(made, Photos("a", files))
    assert isinstance(again, Written)
    assert [row.file for row in again.errors] == list(files)


def damaged(good: bytes, seed: int) -> bytes:
    """A file with bytes changed, cut off or put in, as seeds have it."""
    chance = np.random.default_rng(seed)
    data = bytearray(good)
    kind = seed % 4
    if kind == 0:
        return bytes(data[: chance.integers(0, len(data))])
    for _ in range(int(chance.integers(1, 60))):
        at = int(chance.integers(0, len(data)))
        if kind == 1:
            data[at] = int(chance.integers(0, 256))
        elif kind == 2:
            data[at:at] = chance.bytes(7)
        else:
            del data[at : at + 9]
    return bytes(data)


def encoded(form: str) -> bytes:
    stream = io.BytesIO()
    pixels = np.random.default_rng(1).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(stream, form)
    return stream.getvalue()


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF"])
def test_a_damaged_photo_is_a_row_of_errors_and_costs_no_other_its_rows(
    form: str, worker: Worker, tmp_path: Path
) -> None:
    good = encoded(form)
    files, whole = [], []
    for n in range(40):
        path = tmp_path / f"{n:02d}.{form.lower()}"
        path.write_bytes(good if n % 5 == 0 else damaged(good, n))
        files.append(str(path))
        whole += [str(path)] if n % 5 == 0 else []
    found = worker.do(Photos("a", tuple(files), whole=False))
    assert isinstance(found, Collected)
    assert found.tally.photos == 40
    named = [str(row["file"]) for row in found.rows]
    failed = [row.file for row in found.errors]
    assert sorted(named + failed) == files
    assert set(whole) <= set(named)
    assert failed
    assert all(Path(row.file).name in row.error for row in found.errors)


@pytest.mark.parametrize("ending", ["mp4", "mkv", "ts", "avi"])
def test_a_damaged_video_is_no_more_than_rows_of_errors(
    ending: str, worker: Worker, tmp_path: Path
) -> None:
    codec = "mpeg4" if ending == "avi" else "libx264"
    good = write_video(tmp_path / f"good.{ending}", codec).read_bytes()
    told = 0
    for seed in range(12):
        path = tmp_path / f"{seed}.{ending}"
        path.write_bytes(damaged(good, seed))
        cut = worker.do(Cut(str(path)))
        assert isinstance(cut, CutUp)
        told += cut.error is not None
        for number, span in enumerate(cut.spans if cut.error is None else ()):
            done = worker.do(Piece(str(path), span, number, len(cut.spans)))
            assert isinstance(done, Written)
            assert done.tally.pieces == 1
            assert {row.piece for row in done.errors} <= {number}
            told += bool(done.errors)
    assert told


def test_things_that_are_no_photos_are_told_at_once(worker: Worker, tmp_path: Path) -> None:
    import os

    (tmp_path / "folder.jpg").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    names = ("folder.jpg", "pipe.png", "gone.jpg", "empty.png")
    (tmp_path / "empty.png").touch()
    files = tuple(str(tmp_path / name) for name in names)
    found = worker.do(Photos("a", files, whole=False))
    assert isinstance(found, Collected)
    assert [row.file for row in found.errors] == list(files)
    video = worker.do(Cut(str(tmp_path / "pipe.png")))
    assert isinstance(video, CutUp)
    assert "is no file" in str(video.error)


def test_a_photo_that_breaks_the_detector_costs_its_own_rows(
    settings: Make, tmp_path: Path
) -> None:
    files = write_photos(tmp_path / "photos", 4)
    Image.new("RGB", (64, 48), (0, 255, 0)).save(files[2])
    worker = Worker(settings(detector=Picky))
    found = worker.do(Photos("a", tuple(map(str, files)), whole=False))
    assert isinstance(found, Collected)
    assert [str(row["file"]) for row in found.rows] == [
        str(file) for n, file in enumerate(files) if n != 2
    ]
    (error,) = found.errors
    assert (error.file, error.error) == (str(files[2]), "Green is no colour.")


class Picky:
    def __call__(self, image: np.ndarray) -> list:
        if tuple(image[0, 0]) == (0, 255, 0):
            raise InputError("Green is no colour.")
        return Finding()()(image)


def test_a_name_that_is_no_utf8_is_written_out(worker: Worker, tmp_path: Path) -> None:
    path = tmp_path / "\udcff.png"
    try:
        path.write_bytes(encoded("PNG"))
    except OSError:
        pytest.skip("this file system takes no such name")
    done = worker.do(Photos("a", (str(path), str(tmp_path / "gone\udcfe.png"))))
    assert isinstance(done, Written)
    (error,) = done.errors
    assert error.file == f"{tmp_path}/gone\\xfe.png"


def test_what_befalls_all_files_is_told_as_that(settings: Make, tmp_path: Path) -> None:
    (photo,) = write_photos(tmp_path / "photos", 1)
    task = Photos("a", (str(photo),))
    failed = do_task(settings(model=str(tmp_path / "nowhere")), task)
    assert isinstance(failed, Failed)
    assert "nowhere" in failed.message
    (tmp_path / "rows" / "faces").mkdir(parents=True)
    (tmp_path / "rows" / "faces" / "a.parquet").mkdir()
    failed = do_task(settings(), task)
    assert isinstance(failed, Failed)
    assert "a.parquet" in failed.message
