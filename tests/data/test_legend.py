from pathlib import Path

import numpy as np
import pytest

from fer_edge.data import FaceDataset, LegendReport
from fer_edge.data import listing as listings
from fer_edge.data.legend import find_legend, list_images
from fer_edge.data.listing import read_listing
from fer_edge.data.sources import open_source
from fer_edge.errors import DataError
from tests.data.conftest import FACES, encode, write_folder, write_zip

IMAGES = {f"images/{name}.png": encode(FACES[i]) for i, name in enumerate("abcd")}
LEGEND = "user.id,image,emotion\n3,b.png,HAPPINESS\n3,a.png, Anger \n4,c.png,contempt\n"


def read(path: Path) -> tuple[dict[str, FaceDataset], LegendReport]:
    with open_source(path) as source:
        legend = find_legend(source)
        assert legend is not None
        splits, report = read_listing(source, legend)
    assert report is not None
    return {**splits}, report


def write(tmp_path: Path, text: str | bytes, images: dict[str, bytes] = IMAGES) -> Path:
    data = text.encode() if isinstance(text, str) else text
    return write_folder(tmp_path / "set", {"data/legend.csv": data, **images})


def names(tmp_path: Path, text: str | bytes, images: dict[str, bytes] = IMAGES) -> list[str]:
    (train,) = read(write(tmp_path, text, images))[0].values()
    assert train.names is not None
    return train.names.tolist()


def test_folder_and_zip_give_the_same(tmp_path: Path) -> None:
    files = {"data/legend.csv": LEGEND.encode(), **IMAGES}
    for path in (write_folder(tmp_path / "f", files), write_zip(tmp_path / "z", files)):
        splits, report = read(path)
        assert list(splits) == ["train"]
        assert (splits["train"].faces == FACES[[1, 0]]).all()
        assert splits["train"].labels.tolist() == [3, 0]
        assert report == LegendReport(faces=2, dropped={"contempt": 1}, without_face=0)


def test_counts_what_is_dropped_and_where_no_face_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listings, "decode_photo", lambda *_: (FACES[0], False))
    reports: list[tuple[int, int]] = []
    path = write(tmp_path, LEGEND + "4,d.png,Contempt\n4,d.png,7\n4,d.png,\n")
    with open_source(path) as source:
        listing = list_images(source, ["data/legend.csv"])
        _, report = read_listing(source, listing, lambda *told: reports.append(told))
    assert report == LegendReport(2, {"contempt": 2, "7": 1, "no label": 1}, without_face=2)
    assert reports == [(2, 2)]


@pytest.mark.parametrize(
    "text",
    [
        "File Name;Label\na.png;joy\nb.png;neutrality\n",
        "\ufeffexpression\tPATH\r\nhappy\timages/a.png\r\n\r\nNEUTRAL\timages/b.png\r\n",
        '"name","class"\n"C:\\faces\\images\\a.png","happy"\n"../images/b.png","neutral"\n',
        "label,image,emotion\n?,a.png,happy\n?,b.png,neutral",
    ],
)
def test_spellings_of_the_csv(tmp_path: Path, text: str) -> None:
    splits, _ = read(write(tmp_path, text))
    assert splits["train"].labels.tolist() == [3, 6]
    assert (splits["train"].faces == FACES[:2]).all()


def test_latin_1(tmp_path: Path) -> None:
    images = {"Zoë.png": encode(FACES[0])}
    assert names(tmp_path, "image,emotion\nZoë.png,sad\n".encode("latin-1"), images) == ["Zoë.png"]


def test_column_of_splits(tmp_path: Path) -> None:
    text = "image,emotion,Usage\na.png,sad,Training\nb.png,sad,VAL\nc.png,sad,PrivateTest\n"
    splits, report = read(write(tmp_path, text))
    assert list(splits) == ["train", "val", "test"]
    assert (splits["val"].faces == FACES[1]).all()
    assert report.faces == 3


def test_image_named_twice_counts_once(tmp_path: Path) -> None:
    text = "image,emotion\na.png,sad\nimages/a.png,Sadness\n"
    assert names(tmp_path, text) == ["images/a.png"]


@pytest.mark.parametrize(
    ("name", "member"),
    [
        ("a.png", "data/a.png"),
        ("x/a.png", "one/x/a.png"),
        ("/home/me/two/x/a.png", "two/x/a.png"),
    ],
)
def test_finds_the_image_meant(tmp_path: Path, name: str, member: str) -> None:
    same = ("data/a.png", "one/x/a.png", "two/x/a.png", "data/other/a.png")
    images = dict.fromkeys(same, encode(FACES[0]))
    if name == "x/a.png":
        del images["two/x/a.png"]
    assert names(tmp_path, f"image,emotion\n{name},sad\n", images) == [member]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,emotion\na.png,sad\nx.png,sad\ny.png,sad\n", "names 2 images .* line 3: 'x.png'"),
        ("image,emotion\n,sad\n", "names 1 images .* line 2: ''"),
        ("image,emotion\na.png,sad\nb.png\n", r"legend\.csv, line 3: 1 fields instead of 2"),
        ("image,emotion\na.png,sad\na.png,fear\n", "line 3: 'a.png' has another .* in line 2"),
        ("image,emotion,split\na.png,sad,dev7\n", "line 2: the split is 'dev7'"),
        (
            "image,label\na.png,1\nb.png,2\n",
            "no line with a known emotion; its labels are '1', '2'",
        ),
        ("image,emotion\n", r"no line with a known emotion\. Write angry"),
        ("image,emotion\n" + "a" * 200_000 + ",sad\n", "line 2: not csv text"),
        ("image,emotion\ntwice.png,sad\n", "may be p/twice.png or q/twice.png"),
        ("image,emotion\nbroken.png,sad\n", r"broken\.png is not an image"),
    ],
)
def test_names_what_is_wrong(tmp_path: Path, text: str, message: str) -> None:
    others = {"p/twice.png": b"", "q/twice.png": b"", "broken.png": b"no image"}
    with pytest.raises(DataError, match=message):
        read(write(tmp_path, text, {**IMAGES, **others}))


@pytest.mark.parametrize(
    "files",
    [
        {"notes.csv": "image,size\na.png,3\n"},
        {"notes.csv": "emotion,pixels,name\n0,1 2,a\n"},
        {"notes.txt": "image,emotion\na.png,sad\n"},
        {"empty.csv": ""},
        {"legend.csv": "image,emotion\na.png,sad\n", "train/happy/a.png": ""},
    ],
)
def test_what_has_no_legend(tmp_path: Path, files: dict[str, str]) -> None:
    data = {name: text.encode() for name, text in files.items()}
    with open_source(write_folder(tmp_path / "f", data)) as source:
        assert find_legend(source) is None


def test_two_legends(tmp_path: Path) -> None:
    path = write_folder(tmp_path / "f", dict.fromkeys(["a.csv", "b.csv"], b"image,emotion\n"))
    with (
        open_source(path) as source,
        pytest.raises(DataError, match=r"several csv files that name images: a\.csv, b\.csv"),
    ):
        find_legend(source)


def test_labels_are_as_numpy_wants_them(tmp_path: Path) -> None:
    train = read(write(tmp_path, LEGEND))[0]["train"]
    assert train.labels.dtype == np.int64
    assert train.faces.dtype == np.uint8
