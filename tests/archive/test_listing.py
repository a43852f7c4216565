import io
import os
import sys
from pathlib import Path

import pytest

from fer_edge.archive.listing import Listing, list_files
from fer_edge.errors import CaptureError, UsageError


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in (
        *("a/1.JPG", "a/b/2.png", "a/b/3.mp4", "a/b/notes.txt", "a/.hidden/4.jpg", "a/.5.jpg"),
        *("a/Thumbs.db", "a/README", "out/6.png"),
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return tmp_path


def names(listing: Listing, root: Path) -> list[str]:
    return [str(Path(one.path).relative_to(root)) for one in listing.files]


def test_a_folder_means_all_photos_and_videos_below_it(tree: Path) -> None:
    listing = list_files([".", "a"], without=tree / "out")
    assert names(listing, tree) == ["a/1.JPG", "a/b/2.png", "a/b/3.mp4"]
    assert [one.is_photo for one in listing.files] == [True, True, False]
    assert listing.files[0].size == 1
    # The folder was named twice, once by each argument.
    assert listing.skipped == {".txt": 2, "without ending": 2}


def test_globs_and_files(tree: Path) -> None:
    assert names(list_files(["a/**/*.png"]), tree) == ["a/b/2.png"]
    assert names(list_files(["a/b*"]), tree) == ["a/b/2.png", "a/b/3.mp4"]
    # What is named itself is tried, whatever it is called.
    assert names(list_files(["a/README"]), tree) == ["a/README"]


def test_a_list_is_relative_to_its_folder_and_standard_input_to_the_working_folder(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tree / "a" / "files.lst").write_text("1.JPG\n\nb/2.png\r\nb/gone.jpg\n")
    assert names(list_files(["a/files.lst"]), tree) == ["a/1.JPG", "a/b/2.png", "a/b/gone.jpg"]
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"a/b/3.mp4\n{tree}/a/1.JPG\n"))
    assert names(list_files(["-"]), tree) == ["a/1.JPG", "a/b/3.mp4"]


def test_a_name_that_is_no_utf8_is_found_and_listed(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = os.fsdecode(b"\xff.png")
    try:
        (tree / "a" / name).write_bytes(b"x")
    except OSError:
        pytest.skip("this file system takes no such name")
    (tree / "a" / "files.txt").write_bytes(b"\xff.png\n")
    stdin = io.TextIOWrapper(io.BytesIO(b"a/\xff.png\n"), encoding="utf-8")
    monkeypatch.setattr(sys, "stdin", stdin)
    for argument in ("a", "a/files.txt", "-"):
        assert str(tree / "a" / name) in [one.path for one in list_files([argument]).files]


def test_a_byte_order_mark_is_no_part_of_the_first_path(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tree / "a" / "files.txt").write_text("1.JPG\r\nb/2.png\r\n", encoding="utf-8-sig")
    assert names(list_files(["a/files.txt"]), tree) == ["a/1.JPG", "a/b/2.png"]
    monkeypatch.setattr(sys, "stdin", io.StringIO("\ufeffa/1.JPG\n"))
    assert names(list_files(["-"]), tree) == ["a/1.JPG"]


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ([], UsageError, "nothing to analyze"),
        (["nowhere"], CaptureError, "There is no file or folder nowhere"),
        (["no*where"], CaptureError, r"Nothing matches no\*where"),
        (["a/.hidden/../*.db"], CaptureError, r"no photos or videos \(but 1 .db\)"),
    ],
)
def test_what_names_nothing_is_said(
    tree: Path, arguments: list[str], error: type[Exception], says: str
) -> None:
    del tree
    with pytest.raises(error, match=says):
        list_files(arguments)
