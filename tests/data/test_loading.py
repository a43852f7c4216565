import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fer_edge.contract import EMOTIONS
from fer_edge.data import LegendReport, describe_source, load_dataset
from fer_edge.data import listing as listings
from fer_edge.data.face_image import decode_face
from fer_edge.errors import DataError, UsageError
from tests.data.conftest import FACES, encode, pixels, write_folder, write_zip
from tests.data.test_ferplus import HEADER


def test_same_faces_from_every_layout(tmp_path: Path, fer_csv: Path) -> None:
    text = fer_csv.read_bytes()
    faces = {f"train/{e}/{i}.png": encode(FACES[i]) for i, e in enumerate(["angry", "disgust"])}
    faces["val/fear/v.png"] = encode(FACES[2])
    sources = [
        fer_csv.rename(tmp_path / "renamed.txt"),
        write_folder(tmp_path / "folder", {"in/fer2013.csv": text}),
        write_zip(tmp_path / "a.zip", {"in/icml_face_data.csv": text}),
    ]
    prints = {load_dataset(source, "train").fingerprint for source in sources}
    assert len(prints) == 1
    images = load_dataset(write_zip(tmp_path / "b.zip", faces), "train")
    assert images.fingerprint == load_dataset(sources[0], "train").subset([0, 1]).fingerprint


def test_cached_or_not_is_the_same(tmp_path: Path, fer_csv: Path, cache: Path) -> None:
    reports: list[int] = []

    def progress(done: int, _: int) -> None:
        reports.append(done)

    plain = load_dataset(fer_csv, "val", cache=False, progress=progress)
    assert not cache.exists()
    own = load_dataset(str(fer_csv), "val", cache_dir=tmp_path / "own", progress=progress)
    assert not cache.exists()
    assert len(reports) == 2
    again = load_dataset(fer_csv, "val", cache_dir=tmp_path / "own", progress=progress)
    assert len(reports) == 2
    assert plain.fingerprint == own.fingerprint == again.fingerprint


def test_fer_plus(tmp_path: Path, fer_csv: Path) -> None:
    votes = tmp_path / "fer2013new.csv"
    usages = ["Training"] * 6 + ["PublicTest"] * 4 + ["PrivateTest"] * 2
    votes.write_text("\n".join([HEADER, *(f"{u},,1,9,0,0,0,0,0,0,0,0" for u in usages)]))
    data = load_dataset(fer_csv, "test", fer_plus=votes, soft=True)
    assert data.labels.tolist() == [3, 3]
    assert data.soft_labels is not None
    assert data.soft_labels[0, 3] == pytest.approx(0.9)
    images = write_zip(tmp_path / "b.zip", {"train/sad/1.png": encode(FACES[0])})
    with pytest.raises(DataError, match="joined to FER2013 by row"):
        load_dataset(images, "train", fer_plus=votes)


def test_empty_split_says_which_there_are(write_csv: Callable[..., Path], fer_csv: Path) -> None:
    lines = fer_csv.read_text().splitlines()[1:11]
    with pytest.raises(DataError, match=r"no faces in split test; it has train \(6\), val \(4\)"):
        load_dataset(write_csv(lines), "test")


def test_no_faces(write_csv: Callable[..., Path], cache: Path) -> None:
    with pytest.raises(DataError, match="holds no faces"):
        load_dataset(write_csv([]), "train")
    assert not list(cache.rglob("*.npy"))


def test_bad_data_leaves_no_cache(write_csv: Callable[..., Path], cache: Path) -> None:
    with pytest.raises(DataError, match=r"fer2013\.csv, line 2: 3 pixels"):
        load_dataset(write_csv(["3,1 2 3,Training"]), "train")
    assert not [path for path in cache.rglob("*") if path.name != "faces"]


def test_bad_image_in_a_zip_is_named(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", {"train/sad/broken.jpg": b"no image"})
    with pytest.raises(DataError, match=r"a\.zip/train/sad/broken\.jpg is not an image"):
        load_dataset(path, "train")


def test_images_with_a_legend(tmp_path: Path, cache: Path) -> None:
    legend = b"image,emotion\na.png,sad\nb.png,contempt\n"
    files = {"legend.csv": legend, "a.png": encode(FACES[0])}
    path = write_zip(tmp_path / "a.zip", files)
    data = load_dataset(path, "train")
    assert (data.faces == FACES[:1]).all()
    decoded = {file: file.stat().st_mtime_ns for file in cache.rglob("*.npy")}
    assert describe_source(path) == LegendReport(1, {"contempt": 1}, 0)
    assert {file: file.stat().st_mtime_ns for file in cache.rglob("*.npy")} == decoded
    with pytest.raises(DataError, match=r"no faces in split val; it has train \(1\)"):
        load_dataset(path, "val")


def test_legend_without_its_images(tmp_path: Path) -> None:
    path = tmp_path / "legend.csv"
    path.write_text("image,emotion\na.png,sad\n")
    with pytest.raises(DataError, match=r"legend\.csv names images.* Give the folder or zip"):
        load_dataset(path, "train")


def test_source_without_legend_has_nothing_to_tell(fer_csv: Path) -> None:
    assert describe_source(fer_csv) is None


def test_usage(fer_csv: Path) -> None:
    with pytest.raises(UsageError, match="no split 'valid'"):
        load_dataset(fer_csv, "valid")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="Soft labels"):
        load_dataset(fer_csv, "val", soft=True)


def test_import_is_light() -> None:
    code = "import sys, fer_edge.data; print({'PIL', 'torch', 'pandas'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout == "set()\n"


def test_counts_of_fer2013(fer2013: Path) -> None:
    train, val = (load_dataset(fer2013, split) for split in ("train", "val"))
    assert list(train.counts().values()) == [3995, 436, 4097, 7215, 4830, 3171, 4965]
    assert list(val.counts().values()) == [467, 56, 496, 895, 653, 415, 607]
    assert 120 < val.faces.mean() < 140
    with pytest.raises(DataError, match=r"it has train \(28,709\), val \(3,589\)"):
        load_dataset(fer2013, "test")


RAF_DB_FROM_0 = ["surprise", "fear", "disgust", "happy", "sad", "angry", "neutral"]


@pytest.mark.parametrize("name", ["fer2013.csv", "in/icml_face_data.csv"])
def test_numbers_of_fer2013_keep_their_meaning_beside_other_data(
    tmp_path: Path, fer_csv: Path, name: str
) -> None:
    source = write_folder(tmp_path / "f", {name: fer_csv.read_bytes()})
    beside = load_dataset(source, "train", labels="raf-db-from-0", shared=True)
    assert beside.labels.tolist() == [0, 1, 2, 3, 4, 5]
    # Said of it alone, they mean what is said.
    alone = load_dataset(source, "train", labels="raf-db-from-0")
    assert [EMOTIONS[label] for label in alone.labels] == RAF_DB_FROM_0[:6]


def test_a_csv_that_may_be_fer2013_is_not_relabelled_for_the_sake_of_other_data(
    tmp_path: Path, fer_csv: Path
) -> None:
    path = fer_csv.rename(tmp_path / "mine.csv")
    for _ in range(2):  # the cache holds none that was read otherwise
        with pytest.raises(DataError, match=r"mine\.csv looks like FER2013's csv") as caught:
            load_dataset(path, "train", labels="raf-db-from-0", shared=True)
        assert "Call the file fer2013.csv" in str(caught.value.hint)
        assert load_dataset(path, "train", labels="raf-db-from-0").labels[0] == 5
    # Where both say the same there is nothing to ask.
    assert load_dataset(path, "train", labels="ckextended", shared=True).labels[0] == 0


@pytest.mark.parametrize(
    ("emotion", "usage"), [("1", "train"), ("7", "Training"), ("surprise", "Training")]
)
def test_a_csv_that_is_not_fer2013s_takes_the_numbering(
    write_csv: Callable[..., Path], emotion: str, usage: str
) -> None:
    lines = [f"{emotion},{pixels(0)},{usage}", f"2,{pixels(1)},{usage}"]
    data = load_dataset(write_csv(lines, "mine.csv"), "train", labels="raf-db", shared=True)
    assert EMOTIONS[data.labels[1]] == "fear"


def test_what_has_no_val_says_how_to_make_one(
    tmp_path: Path, write_csv: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    # No detector is needed to see which splits there are.
    monkeypatch.setattr(listings, "decode_photo", lambda *given: (decode_face(*given)[0], True))
    lines = [f"{i % 7},{pixels(i % 12)},Training" for i in range(28)]
    path = write_csv(lines)
    with pytest.raises(DataError, match="no faces in split val") as caught:
        load_dataset(path, "val")
    assert "remove that column" in str(caught.value.hint)
    path.write_text("\n".join(["emotion,pixels", *(line[: -len(",Training")] for line in lines)]))
    assert len(load_dataset(path, "val")) == 7

    files = {f"{i}.png": encode(FACES[i]) for i in range(6)}
    rows = [f"{i}.png,happy" for i in range(6)]
    files["legend.csv"] = "\n".join(["image,emotion", *rows]).encode()
    folder = write_folder(tmp_path / "images", files)
    with pytest.raises(DataError, match="no faces in split val") as caught:
        load_dataset(folder, "val")
    assert "column split (train, val or test) of the csv" in str(caught.value.hint)
    rows = [f"{row},{'val' if i < 2 else 'train'}" for i, row in enumerate(rows)]
    (folder / "legend.csv").write_text("\n".join(["image,emotion,split", *rows]))
    assert len(load_dataset(folder, "val")) == 2
