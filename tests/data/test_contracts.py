"""Data sets as networks of somebody else take them."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fer_edge.contract import EMOTIONS, FER2013, Contract
from fer_edge.data import FaceDataset, describe_source, load_dataset
from fer_edge.data.relabel import emotion_shares, own_labels, relabel
from fer_edge.emotions import meaning
from fer_edge.errors import DataError
from fer_edge.pixels.crops import to_face
from tests.tiny import EIGHT, FIVE, RGB

from .conftest import FACES, pixels, write_folder, write_zip

DETAIL = np.random.default_rng(4).integers(0, 256, (150, 150, 3), dtype=np.uint8)


def encode(image: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "png")
    return stream.getvalue()


@pytest.mark.parametrize("cache", [True, False])
@pytest.mark.parametrize("contract", [RGB, EIGHT])
def test_a_csv_is_enlarged_and_renamed(fer_csv: Path, contract: Contract, cache: bool) -> None:
    plain = load_dataset(fer_csv, "val")
    for _ in range(2):
        data = load_dataset(fer_csv, "val", contract=contract, cache=cache)
        expected = [to_face(Image.fromarray(face), contract) for face in plain.faces]
        np.testing.assert_array_equal(data.faces, expected)
        assert data.classes == contract.labels
        named = [meaning(contract.labels[label]) for label in data.labels]
        assert named == [EMOTIONS[label] for label in plain.labels]
        assert data.left_out == {}
        assert (data.names == plain.names).all()
        data.require(contract)
        assert data.batch(slice(2)).shape == (2, *contract.face_shape)


@pytest.mark.parametrize("size", [48, 64, 112])
def test_a_csv_of_larger_faces_is_read_at_the_models_size(
    write_csv: Callable[..., Path], size: int
) -> None:
    large = np.random.default_rng(1).integers(0, 256, (7, 64, 64), np.uint8)
    rows = [f"{i},{' '.join(map(str, face.ravel()))},PublicTest" for i, face in enumerate(large)]
    contract = Contract(size)
    for _ in range(2):  # decoded, and from the cache
        data = load_dataset(write_csv(rows), "val", contract=contract)
        expected = [to_face(Image.fromarray(face), contract) for face in large]
        np.testing.assert_array_equal(data.faces, expected)


def test_what_is_left_out_is_told_without_reading_at_another_size(
    tmp_path: Path, cache: Path
) -> None:
    files = {f"train/{name}/{name}.png": encode(DETAIL) for name in (*EMOTIONS, "contempt")}
    folder = write_folder(tmp_path / "faces", files)
    load_dataset(folder, "train", contract=RGB)
    before = sorted(cache.rglob("*"))
    told = describe_source(folder, contract=RGB)
    assert told is not None
    assert told.dropped == {"contempt": 1}
    assert sorted(cache.rglob("*")) == before


def test_what_the_model_has_no_label_for_is_left_out_and_counted(fer_csv: Path) -> None:
    plain = load_dataset(fer_csv, "train")  # labels 0 to 5
    data = load_dataset(fer_csv, "train", contract=FIVE)
    assert data.left_out == {"angry": 1, "disgust": 1, "fear": 1, "surprise": 1}
    assert [FIVE.labels[i] for i in data.labels] == ["Happy", "sad"]
    kept = [EMOTIONS[i] in ("happy", "sad") for i in plain.labels]
    assert (data.names == plain.names[kept]).all()
    assert data.counts() == {"awe": 0, "Happy": 1, "sad": 1, "neutral": 0, "bored": 0}
    assert data.unknown == ("awe", "bored")


def test_photos_larger_than_the_model_keep_their_detail_and_colour(tmp_path: Path) -> None:
    files = {f"train/{name}/{name}.png": encode(DETAIL) for name in EMOTIONS}
    folder = write_folder(tmp_path / "faces", files)
    contract = Contract(150, "rgb", EMOTIONS)
    data = load_dataset(folder, "train", contract=contract)
    np.testing.assert_array_equal(data.faces[0], DETAIL.transpose(2, 0, 1))


@pytest.mark.parametrize("layout", ["folders", "legend", "csv"])
def test_contempt_is_read_for_those_that_know_it(
    layout: str, tmp_path: Path, write_csv: Callable[..., Path]
) -> None:
    names = [*EMOTIONS, "contempt"]
    if layout == "csv":
        source = write_csv(f"{name},{pixels(i)},PublicTest" for i, name in enumerate(names))
    elif layout == "folders":
        files = {f"val/{name}/{i}.png": encode(FACES[i]) for i, name in enumerate(names)}
        source = write_zip(tmp_path / "faces.zip", files)
    else:
        files = {f"{i}.png": encode(FACES[i]) for i in range(8)}
        lines = [f"{i}.png,{name},val" for i, name in enumerate(names)]
        files["legend.csv"] = "\n".join(["image,emotion,split", *lines]).encode()
        source = write_zip(tmp_path / "faces.zip", files)
    contract = Contract(48, "gray", EIGHT.labels)
    assert load_dataset(source, "val").counts() == dict.fromkeys(EMOTIONS, 1)
    data = load_dataset(source, "val", contract=contract)
    assert data.counts() == dict.fromkeys(EIGHT.labels, 1)
    (place,) = np.flatnonzero(data.labels == EIGHT.labels.index("contempt"))
    np.testing.assert_array_equal(data.faces[place], FACES[7])
    assert data.unknown == ()


def test_votes_for_contempt_count_where_it_is_known(fer_csv: Path, tmp_path: Path) -> None:
    choices = "neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"
    usages = ["Training"] * 6 + ["PublicTest"] * 4 + ["PrivateTest"] * 2
    votes = ["0,0,0,0,0,0,0,10,0,0"] * 7 + ["0,8,0,0,0,0,0,2,0,0"] + ["8,0,0,0,0,0,0,0,2,0"] * 4
    lines = [f"{usage},,{vote}" for usage, vote in zip(usages, votes, strict=True)]
    file = tmp_path / "fer2013new.csv"
    file.write_text("\n".join([f"Usage,Image name,{choices}", *lines]) + "\n")
    plain = load_dataset(fer_csv, "val", fer_plus=file, soft=True)
    assert [EMOTIONS[i] for i in plain.labels] == ["happy", "neutral", "neutral"]
    data = load_dataset(fer_csv, "val", fer_plus=file, soft=True, contract=EIGHT)
    told = [EIGHT.labels[i] for i in data.labels]
    assert told == ["contempt", "happiness", "neutral", "neutral"]
    assert data.soft_labels is not None
    np.testing.assert_allclose(data.soft_labels.sum(axis=1), 1)
    assert data.soft_labels[1, EIGHT.labels.index("contempt")] == pytest.approx(0.2)


def test_a_split_that_is_not_there_is_named_with_what_is(write_csv: Callable[..., Path]) -> None:
    source = write_csv(f"{i},{pixels(i)},PublicTest" for i in range(7))
    with pytest.raises(DataError, match=r"no faces in split test; it has val \(7\)"):
        load_dataset(source, "test", contract=RGB)


def test_a_model_that_knows_none_of_the_faces(fer_csv: Path) -> None:
    with pytest.raises(DataError, match="no label for a face of split test: it knows awe, bored"):
        load_dataset(fer_csv, "test", contract=Contract(48, "gray", ("awe", "bored")))


def test_the_label_that_is_spelled_as_the_emotion_comes_first() -> None:
    data = FaceDataset.from_arrays(FACES[:2], np.array([3, 4]), "val")
    labels = ("joy", "happy", "happiness", "sadness")
    named = relabel(data, labels)
    assert named.labels.tolist() == [1, 3]
    assert named.unknown == ("joy", "happiness")
    assert named.subset([1]).unknown == ()
    assert relabel(data, EMOTIONS) is data
    assert own_labels(EIGHT) == ("contempt",)
    assert own_labels(FIVE) == ("awe", "bored")


def test_faces_of_another_contract_are_refused(fer_csv: Path) -> None:
    data = load_dataset(fer_csv, "val")
    data.require(FER2013)
    for contract in (RGB, EIGHT, Contract(48, "gray", EMOTIONS[::-1])):
        with pytest.raises(DataError, match=r"These faces are \(48, 48\).*the model takes"):
            data.require(contract)


def test_shares_of_the_seven_emotions() -> None:
    said = np.array([[0.5, 0.1, 0, 0, 0, 0, 0, 0.4], [0, 0, 0, 0, 0, 0, 0, 1]], np.float32)
    shares = emotion_shares(said, EIGHT)
    assert shares[0, EMOTIONS.index("neutral")] == pytest.approx(0.5 / 0.6)
    assert shares[0, EMOTIONS.index("happy")] == pytest.approx(0.1 / 0.6)
    np.testing.assert_allclose(shares[1], 1 / 7)
    assert emotion_shares(shares, FER2013) is shares
