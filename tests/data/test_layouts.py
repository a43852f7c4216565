"""Data sets as their publishers lay them out, and as people pack them."""

import gzip
import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fer_edge.contract import EMOTIONS
from fer_edge.data import FaceDataset, LegendReport, describe_source, hold_out, load_dataset
from fer_edge.data import listing as listings
from fer_edge.data.hold_out import choose_held_out, person
from fer_edge.errors import DataError, FerEdgeError, UsageError
from tests.data.conftest import FACES, encode, pixels, write_folder, write_zip

FACE = encode(FACES[0])


def counts(path: Path, labels: str | None = None) -> dict[str, dict[str, int]]:
    """Faces per split and emotion, without zeros."""
    found = {}
    for split in ("train", "val", "test"):
        try:
            data = load_dataset(path, split, labels=labels)  # type: ignore[arg-type]
        except DataError as error:
            if "has no faces in split" not in str(error):
                raise
            continue
        found[split] = {name: count for name, count in data.counts().items() if count}
    return found


def tree(*folders: str, n: int = 1) -> dict[str, bytes]:
    return {
        f"{folder}/{folder.replace('/', '_')}_{i}.png": FACE for folder in folders for i in range(n)
    }


def test_emotions_without_splits_are_split_alike_everywhere(tmp_path: Path) -> None:
    names = ("anger", "contempt", "disgust", "fear", "happy", "sadness", "surprise")
    files = tree(*(f"CK+48/{name}" for name in names), n=20)
    path = write_folder(tmp_path / "ck", files)
    found = counts(path)
    emotions = [name for name in EMOTIONS if name != "neutral"]
    assert found == {
        "train": dict.fromkeys(emotions, 16),
        "val": dict.fromkeys(emotions, 2),
        "test": dict.fromkeys(emotions, 2),
    }
    again = write_zip(tmp_path / "again.zip", dict(reversed(files.items())))
    for split in ("train", "val", "test"):
        one, other = (load_dataset(p, split) for p in (path, again))  # type: ignore[arg-type]
        assert one.names is not None
        assert other.names is not None
        assert one.names.tolist() == other.names.tolist()
    assert describe_source(path) == LegendReport(120, {"contempt": 20}, 0)


def test_nobody_is_in_two_splits() -> None:
    names = [
        f"{emotion}/S{who:03d}_00{take}_{frame:08d}.png"
        for who in range(30)
        for take, emotion in enumerate(("happy", "fear", "sadness"))
        for frame in (11, 12, 13)
    ]
    labels = [("happy", "fear", "sadness").index(name.partition("/")[0]) for name in names]
    held = choose_held_out(names, labels)
    people = {person(names[i]) for i in held}
    assert people.isdisjoint(person(name) for i, name in enumerate(names) if i not in held)
    assert 0.08 < len(held) / len(names) < 0.12
    assert {labels[i] for i in held} == {0, 1, 2}


@pytest.mark.parametrize("people", [3, 4])
def test_of_few_persons_one_is_held_out(tmp_path: Path, people: int) -> None:
    files = {
        f"{emotion}/S{who:03d}_00{take}_{frame:08d}.png": FACE
        for who in range(people)
        for take, emotion in enumerate(("happy", "fear", "sadness"))
        for frame in range(3 + (who == 1))
    }
    path = write_folder(tmp_path / "f", files)
    splits = [load_dataset(path, split) for split in ("train", "val", "test")]  # type: ignore[arg-type]
    assert sum(map(len, splits)) == len(files)
    test = {person(str(name)) for name in splits[2].names}  # type: ignore[union-attr]
    assert len(test) == 1
    assert test.isdisjoint(person(str(name)) for name in splits[0].names)  # type: ignore[union-attr]


def test_half_is_held_out_with_its_copies_and_persons() -> None:
    people = [f"images/{who}_{take:04d}.jpg" for who in _WHO for take in range(4)]
    faces = np.arange(len(people), dtype=np.uint8)[:, None, None].repeat(48, 1).repeat(48, 2)
    faces[1::4] = faces[::4]  # the same picture under two names
    faces[-1] = faces[2]  # and under the name of somebody else
    labels = np.arange(len(people)) % 7
    data = FaceDataset.from_arrays(faces, labels, "train", names=np.array(people))
    trained, held = hold_out(data, 0.5)
    assert len(trained) + len(held) == len(data)
    assert 0.4 < len(held) / len(data) < 0.6
    assert not {f.tobytes() for f in trained.faces} & {f.tobytes() for f in held.faces}
    assert len({*map(person, map(str, trained.names)), *map(person, map(str, held.names))}) == 40
    strangers = {person(str(n)) for n in trained.names} & {person(str(n)) for n in held.names}
    assert len(strangers) <= 1  # who has a copy of another's picture
    assert len(hold_out(data, 0)[1]) == 0


_WHO = [f"{first}_{last}" for first in ("Ada", "Ben", "Al_De", "J.") for last in "ABCDEFGHIJ"]


@pytest.mark.parametrize(
    ("folders", "expected"),
    [
        (["train/happy", "train/contempt", "val/sad", "val/Contempt"], ["happy", "sad"]),
        (["train/0_angry", "val/4_sad", "test/6-neutral"], ["angry", "sad", "neutral"]),
        (["a/b/Train/Suprise", "a/b/Validation/FEARFUL"], ["surprise", "fear"]),
    ],
)
def test_folders_of_splits(tmp_path: Path, folders: list[str], expected: list[str]) -> None:
    found = counts(write_folder(tmp_path / "f", tree(*folders)))
    assert [name for split in found.values() for name in split] == expected


@pytest.mark.parametrize(
    ("folders", "says"),
    [
        (["happy", "sad", "hapyp"], "hapyp.* lies in 'hapyp', which is none of angry"),
        (["train/happy", "train/people"], "lies in 'people'"),
        (["train/1", "train/2"], "lies in '1', and every data set numbers .* --labels fer2013"),
        (["contempt", "other"], "holds no faces"),
        (["holiday"], "holds no faces: neither .* images in train/<emotion>/"),
    ],
)
def test_folders_that_mean_nothing_are_named(tmp_path: Path, folders: list[str], says: str) -> None:
    with pytest.raises(DataError, match=says):
        load_dataset(write_folder(tmp_path / "f", tree(*folders)), "train")


@pytest.mark.parametrize(
    ("labels", "folders", "expected"),
    [
        ("raf-db", "1234567", "surprise fear disgust happy sad angry neutral"),
        ("affectnet", "01234567", "neutral happy sad surprise fear disgust angry"),
        ("fer2013", "0123456", "angry disgust fear happy sad surprise neutral"),
        ("3=joy, 5=anger,9=contempt", "359", "happy angry"),
    ],
)
@pytest.mark.parametrize("layout", ["{}", "train/{}", "DATASET/train/{}"])
def test_numbered_folders_mean_what_is_said(
    tmp_path: Path, labels: str, folders: str, expected: str, layout: str
) -> None:
    path = write_folder(tmp_path / "f", tree(*(layout.format(number) for number in folders)))
    assert set(counts(path, labels)["train"]) == set(expected.split())
    with pytest.raises(DataError):
        load_dataset(path, "train")
    with pytest.raises(DataError):
        load_dataset(path, "train", labels="77=happy")


@pytest.mark.parametrize("labels", ["raff-db", "", "1=hapy", "x=sad", "1=sad,", "1"])
def test_labels_that_mean_nothing(tmp_path: Path, labels: str) -> None:
    path = write_folder(tmp_path / "f", tree("train/1"))
    with pytest.raises(UsageError, match=r"^--labels "):
        load_dataset(path, "train", labels=labels)


def raf_db(name: str) -> bytes:
    return "".join(f"{name}_{i:05d}.jpg {i % 7 + 1}\n" for i in range(21)).encode()


def test_raf_db_takes_the_aligned_faces(tmp_path: Path) -> None:
    jpeg = encode(FACES[1], "jpeg")
    files = {"basic/EmoLabel/list_patition_label.txt": raf_db("train") + raf_db("test")}
    for split in ("train", "test"):
        for i in range(21):
            files[f"basic/Image/original/{split}_{i:05d}.jpg"] = b"not looked at"
            files[f"basic/Image/aligned/{split}_{i:05d}_aligned.jpg"] = jpeg
    found = counts(write_zip(tmp_path / "raf.zip", files))
    assert found["test"] == dict.fromkeys(EMOTIONS, 3)
    assert found["val"] == dict.fromkeys(EMOTIONS, 1)
    assert found["train"] == dict.fromkeys(EMOTIONS, 2)


def test_raf_db_in_numbered_folders_is_known_by_its_names(tmp_path: Path) -> None:
    names = [f"train/{i}/train_{i:05d}_aligned.jpg" for i in range(1, 8)]
    found = counts(write_folder(tmp_path / "f", dict.fromkeys(names, encode(FACES[0], "jpeg"))))
    assert sum(found["train"].values()) == 7


def test_two_legends_and_numbers(tmp_path: Path) -> None:
    files = {f"all/{s}_{i}.png": FACE for s in ("train", "test") for i in (1, 4)}
    for s in ("train", "test"):
        files[f"{s}_labels.csv"] = f"image,label\n{s}_1.png,1\n{s}_4.png,4\n".encode()
    path = write_folder(tmp_path / "f", files)
    assert counts(path, "raf-db") == {s: {"happy": 1, "surprise": 1} for s in ("train", "test")}
    with pytest.raises(DataError, match=r"labels are '1', '4'.*--labels fer2013, .*raf-db"):
        load_dataset(path, "train")


def test_expw_faces_are_cut_out_by_their_boxes(tmp_path: Path) -> None:
    photo = np.zeros((200, 300), np.uint8)
    photo[20:80, 30:90] = 200  # angry
    photo[100:160, 200:260] = 90  # neutral
    files = {
        "data/image/a.jpg": encode(photo, "png"),
        "data/label/label.lst": b"a.jpg 0 20 30 90 80 56.5 0\r\na.jpg 1 100 200 260 160 9 6\r\n",
    }
    path = write_folder(tmp_path / "f", files)
    data = load_dataset(path, "train")
    assert data.labels.tolist() == [0, 6]
    assert data.faces[:, 24, 24].tolist() == [200, 90]
    assert data.names is not None
    assert data.names.tolist() == ["data/image/a.jpg#0", "data/image/a.jpg#1"]


@pytest.mark.parametrize(
    "names",
    [
        ["KA.AN1.39.tiff", "KM.HA2.5.tiff", "YM.FE3.69.tiff", "YM.NE1.1.tiff"],
        ["AF01ANS.JPG", "BM35HAHL.JPG", "AF02AFFR.JPG", "AF02NES.JPG"],
    ],
    ids=["jaffe", "kdef"],
)
def test_names_tell_the_emotion(
    names: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listings, "decode_photo", lambda *_: (FACES[0], True))
    path = write_folder(tmp_path / "f", {f"some/{name}": FACE for name in [*names, "x.png"]})
    assert counts(path) == {"train": {"angry": 1, "fear": 1, "happy": 1, "neutral": 1}}


def test_affectnets_csv_beside_its_folders(tmp_path: Path) -> None:
    files = tree("anger", "contempt", "happy", n=2)
    lines = [
        f"{i},{name},{'surprise' if i == 0 else name.partition('/')[0]},0.7"
        for i, name in enumerate(files)
    ]
    files["labels.csv"] = "\n".join([",pth,label,relFCs", *lines]).encode()
    path = write_folder(tmp_path / "f", files)
    # The csv has the labels of a later version than the folders.
    assert counts(path) == {"train": {"angry": 1, "happy": 2, "surprise": 1}}
    report = describe_source(path)
    assert report is not None
    assert report.dropped == {"contempt": 2}


HEADER = "emotion,pixels,Usage"
ROWS = [f"{i % 7},{pixels(i % 12)},{'Training' if i < 10 else 'PublicTest'}" for i in range(14)]


@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_spellings_of_a_csv(tmp_path: Path, ends: str, delimiter: str, encoding: str) -> None:
    text = ends.join([HEADER, *ROWS, ""]).replace(",", delimiter)
    path = tmp_path / "faces.csv"
    path.write_bytes(text.encode(encoding))
    data = load_dataset(path, "val")
    assert data.labels.tolist() == [3, 4, 5, 6]
    assert (data.faces == FACES[[10, 11, 0, 1]]).all()


def test_a_csv_without_usage_is_split_by_emotion(tmp_path: Path) -> None:
    rows = [f"{i % 7},{pixels(i % 12)}" for i in range(70)]
    files = {
        "train.csv": "\n".join(["emotion,pixels", *rows]).encode(),
        "test.csv": f"pixels\n{pixels(0)}\n".encode(),
        "example_submission.csv": b"id,emotion\n",
    }
    found = counts(write_zip(tmp_path / "challenge.zip", files))
    assert found == {
        "train": dict.fromkeys(EMOTIONS, 8),
        "val": dict.fromkeys(EMOTIONS, 1),
        "test": dict.fromkeys(EMOTIONS, 1),
    }


def test_other_numbers_of_a_csv(tmp_path: Path) -> None:
    path = tmp_path / "ckextended.csv"
    path.write_text("\n".join([HEADER, *ROWS, f"7,{pixels(0)},Training"]))
    with pytest.raises(DataError, match=r"line 16: emotion is '7'.*--labels ckextended"):
        load_dataset(path, "train")
    assert sum(counts(path, "ckextended")["train"].values()) == 10
    report = describe_source(path, labels="ckextended")
    assert report == LegendReport(14, {"contempt": 1}, 0)


@pytest.mark.parametrize(
    ("emotion", "spell"),
    [
        ("3.0", str),
        ("Happy", str),
        ("3", lambda text: f"[{text.replace(' ', ', ')}]"),
        ("3", lambda text: text.replace(" ", ".0 ") + ".0"),
    ],
)
def test_what_other_programs_make_of_a_line(tmp_path: Path, emotion: str, spell: type) -> None:
    path = tmp_path / "faces.csv"
    path.write_text(f'{HEADER}\n{emotion},"{spell(pixels(1))}",train\n')
    data = load_dataset(path, "train")
    assert (data.labels.tolist(), (data.faces == FACES[1]).all()) == ([3], True)


def tar(path: Path, files: dict[str, bytes], mode: str) -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        link = tarfile.TarInfo("train/happy/link.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    return path


@pytest.mark.parametrize(
    ("name", "mode"),
    [("a.tar", "w"), ("a.tar.gz", "w:gz"), ("a.tgz", "w:gz"), ("a.tar.bz2", "w:bz2"),
     ("a.tar.xz", "w:xz"), ("download", "w:gz")],
)  # fmt: skip
def test_tars(tmp_path: Path, name: str, mode: str) -> None:
    inside = {"../train/sad/out.png": FACE, "./s/train/happy/a.png": FACE, "s/val/sad/b.png": FACE}
    path = tar(tmp_path / name, inside, mode)
    assert counts(path) == {"train": {"happy": 1}, "val": {"sad": 1}}
    assert not (tmp_path.parent / "train").exists()
    csv = tar(tmp_path / f"csv-{name}", {"fer2013/fer2013.csv": _csv()}, mode)
    assert sum(counts(csv)["val"].values()) == 4
    csv.write_bytes(csv.read_bytes()[: csv.stat().st_size // 2])
    with pytest.raises(DataError, match=f"csv-{name}"):
        counts(csv)


def _csv() -> bytes:
    return "\n".join([HEADER, *ROWS]).encode()


def test_a_packed_csv_and_a_tar_under_its_name(tmp_path: Path) -> None:
    (tmp_path / "fer2013.csv.gz").write_bytes(gzip.compress(_csv()))
    assert sum(counts(tmp_path / "fer2013.csv.gz")["train"].values()) == 10
    (tmp_path / "f").mkdir()
    tar(tmp_path / "f" / "fer2013.csv", {"fer2013/fer2013.csv": _csv()}, "w")
    assert sum(counts(tmp_path / "f")["train"].values()) == 10


def test_backslashes_and_litter_in_zips(tmp_path: Path) -> None:
    files = tree("train/happy", "val/sad")
    litter = ("FER/__MACOSX/train/fear/x.png", "train/.ipynb_checkpoints/y.png", ".DS_Store")
    path = write_zip(
        tmp_path / "a.zip",
        {name.replace("/", "\\"): data for name, data in files.items()}
        | dict.fromkeys(litter, b"x"),
    )
    assert counts(path) == {"train": {"happy": 1}, "val": {"sad": 1}}


@pytest.mark.parametrize(
    "foreign",
    [
        b"1,a.jpg,fear\r2,b.jpg,happiness\r",
        b"",
        b"\0" * 5000,
        b"\xff\xfe\0",
        b'"' * 5000,
        b"image,emotion\r\n" + b"\xff" * 50,
        b"x" * 200_000,
    ],
    ids=["mac", "empty", "nul", "utf16", "quotes", "header", "long"],
)
@pytest.mark.parametrize("suffix", ["csv", "tsv", "txt", "lst"])
def test_foreign_files_beside_a_tree_are_let_be(
    tmp_path: Path, foreign: bytes, suffix: str
) -> None:
    files = {**tree("train/happy", "val/sad"), f"notes.{suffix}": foreign}
    assert counts(write_folder(tmp_path / "f", files)) == {"train": {"happy": 1}, "val": {"sad": 1}}


def test_a_csv_that_is_no_legend_is_told_what_one_has(tmp_path: Path) -> None:
    files = {"labels.csv": b"id;feeling\n1;sad\n", "1.png": FACE}
    with pytest.raises(FerEdgeError) as caught:
        load_dataset(write_folder(tmp_path / "f", files), "train")
    message = str(caught.value)
    assert "labels.csv has the columns 'id', 'feeling'" in message
    assert "one of image, imagename" in message
    assert "one of emotion, expression" in message


def test_a_photo_of_any_kind_may_lie_in_a_tree(tmp_path: Path) -> None:
    stream = io.BytesIO()
    Image.fromarray(FACES[0]).save(stream, "GIF")
    path = write_folder(tmp_path / "f", {"train/sad/a.gif": stream.getvalue()})
    assert (load_dataset(path, "train").faces == FACES[:1]).all()


@pytest.mark.parametrize("name", ["dev", "Eval", "evaluation"])
def test_names_of_the_validation_split(tmp_path: Path, name: str) -> None:
    files = tree("train/happy", "train/sad", f"{name}/happy", n=3)
    found = counts(write_folder(tmp_path / "f", files))
    assert found == {"train": {"happy": 3, "sad": 3}, "val": {"happy": 3}}


@pytest.mark.parametrize(
    ("folders", "left"),
    [
        (["train/happy", "train/sad", "extra/happy"], "extra/happy/extra_happy_0.png"),
        (["happy", "sad", "more/happy"], "more/happy/more_happy_0.png"),
        (["train/happy", "train/sad", "new/train/sad"], "new/train/sad/new_train_sad_0.png"),
    ],
)
def test_images_that_fit_nowhere_are_told(tmp_path: Path, folders: list[str], left: str) -> None:
    report = describe_source(write_folder(tmp_path / "f", tree(*folders, n=2)))
    assert report is not None
    assert "2 images in no folder of an emotion were not read, such as " + left in report.tell()


def test_a_copy_of_all_in_itself_is_no_loss(tmp_path: Path) -> None:
    files = tree("train/happy", "train/sad", n=2)
    files |= {f"again/{name}": data for name, data in files.items()}
    assert describe_source(write_folder(tmp_path / "f", files)) is None


def test_photos_that_are_squeezed_are_told(tmp_path: Path) -> None:
    files = tree("train/happy", "train/sad", n=3)
    files["train/happy/wide.png"] = encode(np.zeros((60, 100), np.uint8))
    files["train/happy/nearly.png"] = encode(np.zeros((50, 48), np.uint8))
    report = describe_source(write_folder(tmp_path / "f", files))
    assert report is not None
    assert "; 1 images that are no squares were squeezed" in report.tell()


def test_linked_folders_are_read_once(tmp_path: Path) -> None:
    elsewhere = write_folder(tmp_path / "elsewhere", tree("sad", "angry", n=4))
    path = write_folder(tmp_path / "f", tree("train/happy", n=4))
    (path / "train" / "sad").symlink_to(elsewhere / "sad")
    (path / "train" / "angry").symlink_to(elsewhere / "angry")
    (path / "train" / "happy" / "round").symlink_to(path)
    (path / "latest").symlink_to(path / "train")
    assert counts(path) == {
        "train": {"happy": 3, "sad": 3, "angry": 3},
        "val": {"happy": 1, "sad": 1, "angry": 1},
    }
