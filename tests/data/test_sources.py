from pathlib import Path

import pytest

from fer_edge.data.sources import open_source
from fer_edge.errors import DataError
from tests.data.conftest import write_folder, write_zip

FILES = {"deep/er/fer2013.csv": b"a", "icml_face_data.csv": b"b", "x.csv": b"c"}


def test_finds_the_csv_in_folder_and_zip(tmp_path: Path) -> None:
    for path in (
        write_folder(tmp_path / "folder", FILES),
        write_zip(tmp_path / "some.download", FILES),
    ):
        with open_source(path) as source:
            assert source.csv is not None
            assert source.csv.endswith("fer2013.csv")
            with source.open(source.csv) as stream:
                assert stream.read() == b"a"
            assert source.size(source.csv) == 1


def test_ignores_what_macos_adds(tmp_path: Path) -> None:
    files = {"__MACOSX/fer2013.csv": b"", "train/._a.png": b"", "train/a.png": b""}
    with open_source(write_zip(tmp_path / "a.zip", files)) as source:
        assert source.members == ["train/a.png"]
        assert source.csv is None


def test_fingerprint_changes_with_the_source(tmp_path: Path) -> None:
    def fingerprint(path: Path) -> str:
        with open_source(path) as source:
            return source.fingerprint()

    folder = write_folder(tmp_path / "folder", {"a.png": b"1"})
    file = tmp_path / "faces.csv"
    file.write_bytes(b"emotion")
    before = [fingerprint(folder), fingerprint(file)]
    assert before == [fingerprint(folder), fingerprint(file)]
    write_folder(folder, {"b.png": b"2"})
    file.write_bytes(b"emotions")
    after = [fingerprint(folder), fingerprint(file)]
    assert not set(before) & set(after)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (None, "There is no .*gone"),
        (b"", "is empty"),
        (b"\x89PNG\r\n\x1a\n\0\0\0", "neither csv nor zip nor folder"),
    ],
)
def test_refuses_other_files(tmp_path: Path, data: bytes | None, message: str) -> None:
    path = tmp_path / "gone"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(DataError, match=message), open_source(path):
        pass


def test_truncated_zip(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", {"train/happy/a.png": bytes(1000)})
    path.write_bytes(path.read_bytes()[:-40])
    with (
        pytest.raises(DataError, match=r"a\.zip is a damaged or incomplete zip"),
        open_source(path),
    ):
        pass


def test_damaged_member(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", {"train/happy/a.png": b"x" * 1000})
    path.write_bytes(path.read_bytes().replace(b"xxxx", b"yyyy", 1))
    with (
        open_source(path) as source,
        pytest.raises(DataError, match=r"train/happy/a\.png cannot be unpacked: Bad CRC"),
        source.open("train/happy/a.png") as stream,
    ):
        stream.read()
