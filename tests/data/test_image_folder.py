from pathlib import Path

import numpy as np
import pytest

from fer_edge.data.face_image import decode_face
from fer_edge.data.image_folder import find_splits
from fer_edge.data.listing import read_listing, with_splits
from fer_edge.data.loading import load_dataset
from fer_edge.data.sources import open_source
from fer_edge.errors import DataError
from tests.data.conftest import FACES, encode, write_folder, write_zip


def splits_of(path: Path) -> dict[str, str]:
    with open_source(path) as source:
        listing = find_splits(source)
    assert listing is not None
    entries = with_splits(listing.entries) if listing.hold_out else listing.entries
    return {entry.member: str(entry.split) for entry in entries}


def test_folder_and_zip_give_the_same(tmp_path: Path) -> None:
    files = {
        "pack/train/Happiness/b.png": encode(FACES[0]),
        "pack/train/sad/a.png": encode(FACES[1]),
        "pack/valid/fear/c.PNG": encode(FACES[2]),
        "pack/test/neutral/d.png": encode(FACES[3]),
        "pack/readme.png": b"not one of the faces",
    }
    folder, archive = write_folder(tmp_path / "f", files), write_zip(tmp_path / "z", files)
    reports: list[tuple[int, int]] = []
    with open_source(folder) as one, open_source(archive) as other:
        listings = find_splits(one), find_splits(other)
        assert listings[0] is not None
        assert listings[1] is not None
        first, _ = read_listing(one, listings[0], lambda *report: reports.append(report))
        second, _ = read_listing(other, listings[1])
    assert list(first) == list(second) == ["train", "val", "test"]
    assert (first["train"].faces == FACES[[1, 0]]).all()
    assert first["train"].labels.tolist() == [4, 3]
    assert first["train"].fingerprint == second["train"].fingerprint
    assert reports == [(4, 4)]


def test_official_names_decide_the_split(tmp_path: Path) -> None:
    names = {
        "train/sad/Training_1.png": "train",
        "test/sad/PublicTest_2.png": "val",
        "test/sad/PrivateTest_3.png": "test",
        "train/sad/PrivateTest_4.png": "test",
    }
    assert splits_of(write_folder(tmp_path / "f", dict.fromkeys(names, b""))) == names


def test_official_names_need_no_held_out_faces(tmp_path: Path) -> None:
    names = [f"train/sad/Training_{i}.png" for i in range(20)]
    splits = splits_of(write_folder(tmp_path / "f", dict.fromkeys(names, b"")))
    assert set(splits.values()) == {"train"}


def test_holds_out_a_stratified_tenth_whatever_the_order(tmp_path: Path) -> None:
    counts = {"sad": 40, "happy": 20, "fear": 3, "angry": 1}
    names = [f"train/{e}/{e}{i}.png" for e, n in counts.items() for i in range(n)]
    names.append("test/sad/t.png")
    small = splits_of(write_zip(tmp_path / "a.zip", dict.fromkeys(names, b"")))
    moved = [f"prefix/{name}" for name in reversed(names)]
    again = splits_of(write_zip(tmp_path / "b.zip", dict.fromkeys(moved, b"")))
    assert {f"prefix/{name}": split for name, split in small.items()} == again
    held = [name.split("/")[1] for name, split in small.items() if split == "val"]
    assert {emotion: held.count(emotion) for emotion in counts} == {
        "sad": 4,
        "happy": 2,
        "fear": 1,
        "angry": 0,
    }
    assert small["test/sad/t.png"] == "test"


def test_archive_that_holds_itself_twice(tmp_path: Path) -> None:
    names = ["images/train/sad/a.png", "images/validation/sad/b.png"]
    doubled = names + [f"images/{name}" for name in names]
    assert sorted(splits_of(write_folder(tmp_path / "f", dict.fromkeys(doubled, b"")))) == names


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["notes.txt", "photo.png"], "holds no faces"),
        (["train/sad/b.png", "train/hapy/a.png"], r"train/hapy/a.png lies in 'hapy', which is"),
        (["train/hapy/a.png"], r"train/hapy/a.png lies in 'hapy'"),
        (["train/3/a.png"], r"train/3/a.png lies in '3', and every .* Say which: --labels fer2013"),
        (["train/contempt/a.png"], r"train/contempt/a.png lies in 'contempt'|holds no faces"),
        (["a/train/sad/x.png", "b/train/sad/x.png"], "several data sets: a, b"),
    ],
)
def test_refuses_other_layouts(tmp_path: Path, names: list[str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_dataset(write_folder(tmp_path / "f", dict.fromkeys(names, b"")), "train")


def test_large_colour_image_is_converted_and_smoothed() -> None:
    stripes = np.zeros((192, 96, 3), np.uint8)
    stripes[::2] = 255
    face, _ = decode_face(encode(stripes), "it")
    assert face.shape == (48, 48)
    assert face.dtype == np.uint8
    assert np.ptp(face[4:-4].astype(int)) <= 2
    assert abs(face.mean() - 127.5) < 2


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "it is not an image that can be read: it is empty"),
        (b"<html>404</html>", "it is not an image"),
        (encode(FACES[0])[:1500], "it is not an image"),
        (encode(FACES[0], "jpeg")[:700], "it is not an image"),
        (encode(FACES[0].astype(np.uint16)), "it has more than 8 bits"),
    ],
)
def test_names_the_bad_image(data: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        decode_face(data, "it")
