from pathlib import Path

import numpy as np
import pytest

from fer_edge.contract import EMOTIONS
from fer_edge.data import FaceDataset, load_dataset, synthetic_dataset
from fer_edge.data.analysis import analyse, likely_labels
from fer_edge.data.labels import Split
from fer_edge.data.report import DataReport, flagged
from fer_edge.errors import DataError, InputError, StorageError, UsageError

Splits = dict[Split, FaceDataset]

RNG = np.random.default_rng(0)
# Noise: unlike synthetic faces, no two correlate.
NOISE = RNG.integers(0, 256, (20, 48, 48), dtype=np.uint8)


@pytest.fixture
def splits() -> Splits:
    """Train 12 copies train 1 under another label, train 13 is blank, val 6 copies train 2."""
    train = np.concatenate([NOISE[:12], NOISE[[1]], np.zeros((1, 48, 48), np.uint8)])
    train_labels = np.array([*range(7), *range(5), 5, 6])
    val = np.concatenate([NOISE[12:18], NOISE[[2]]])
    names = np.array([f"face {i}" for i in range(14)])
    return {
        "val": FaceDataset.from_arrays(val, np.array([0, 1, 2, 3, 4, 5, 2]), "val"),
        "train": FaceDataset.from_arrays(train, train_labels, "train", names=names),
    }


def sure(labels: list[int], confidence: float = 0.9) -> np.ndarray:
    probabilities = np.full((len(labels), 7), (1 - confidence) / 6, np.float32)
    probabilities[np.arange(len(labels)), labels] = confidence
    return probabilities


def reasons(report: DataReport) -> dict[tuple[str, int], list[str]]:
    return {(face.split, face.index): list(face.reasons) for face in report.faces}


def test_copies_conflicts_and_blank_faces_are_flagged(splits: Splits) -> None:
    report = analyse(splits)
    assert reasons(report) == {
        ("train", 1): ["label-conflict"],
        ("train", 2): ["cross-split"],
        ("train", 12): ["duplicate", "label-conflict"],
        ("train", 13): ["blank"],
        ("val", 6): ["cross-split"],
    }
    assert [(group.cross_split, group.label_conflict) for group in report.duplicates] == [
        (False, True),
        (True, False),
    ]
    assert (report.exact_copies, report.near_copies) == (2, 0)
    assert report.splits["train"].flagged["label-conflict"] == 2
    assert [face.name for face in report.faces[:2]] == ["face 1", "face 2"]


def test_most_copies_suggest_the_label() -> None:
    data = FaceDataset.from_arrays(NOISE[[0, 0, 0, 1]], np.array([4, 2, 4, 0]), "train")
    suggested = [(face.label, face.suggested) for face in analyse({"train": data}).faces]
    assert suggested == [("sad", None), ("fear", "sad"), ("sad", None)]


def test_statistics_are_those_of_the_pixels() -> None:
    data = synthetic_dataset(21)
    (summary,) = analyse({"train": data}).splits.values()
    happy = data.faces[data.labels == EMOTIONS.index("happy")].mean(axis=(1, 2))
    light = summary.classes["happy"].brightness
    assert light is not None
    assert (light.mean, light.std) == pytest.approx((happy.mean(), happy.std()), abs=0.01)
    assert summary.contrast.mean == pytest.approx(data.faces.std(axis=(1, 2)).mean(), abs=0.01)
    assert sum(summary.brightness_histogram) == summary.faces == 21


def test_an_emotion_without_faces_has_no_light() -> None:
    data = FaceDataset.from_arrays(NOISE[:2], np.array([3, 3]), "val")
    classes = analyse({"val": data}, {"val": sure([3, 3])}).splits["val"].classes
    assert classes["fear"].model_dump() == {
        "faces": 0,
        "brightness": None,
        "contrast": None,
        "threshold": None,
    }
    assert classes["happy"].threshold == 0.9


def test_labels_are_doubted_where_another_class_reaches_its_threshold() -> None:
    labels = np.array([0, 0, 0, 1, 1])
    probabilities = np.zeros((5, 7), np.float32)
    # Thresholds: (0.9 + 0.1 + 0.5) / 3 = 0.5 for angry, 0.7 for disgust.
    probabilities[:, 0] = [0.9, 0.1, 0.5, 0.2, 0.4]
    probabilities[:, 1] = [0.1, 0.9, 0.5, 0.8, 0.6]
    assert likely_labels(probabilities, labels).tolist() == [0, 1, 0, 1, 1]


def test_mislabelled_faces_come_least_believed_first(splits: Splits) -> None:
    answers = sure([0, 1, 2, 3, 4, 5, 2])
    answers[0], answers[1] = sure([3], 0.97)[0], sure([4], 0.94)[0]
    report = analyse(splits, {"val": answers}, model="m")
    found = report.mislabelled()
    assert [(face.index, face.label, face.suggested) for face in found] == [
        (0, "angry", "happy"),
        (1, "disgust", "sad"),
    ]
    assert (found[0].self_confidence, found[0].confidence) == (0.005, 0.97)
    assert report.splits["val"].accuracy == round(5 / 7, 4)
    assert report.splits["train"].accuracy is None


def test_a_report_is_read_as_it_was_written(splits: Splits, tmp_path: Path) -> None:
    report = analyse(splits, {"val": sure([0] * 7)}, source="fer2013.zip", model="m")
    path = tmp_path / "new" / "report.json"
    report.save(path)
    assert DataReport.load(path) == report


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is not a data report"),
        ("{}", "source: Field required"),
        ('{"schema_version": 2}', "schema_version: Input should be 1"),
    ],
)
def test_a_file_that_is_no_report_is_named(text: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text(text)
    with pytest.raises(DataError, match=says) as error:
        DataReport.load(path)
    assert str(path) in error.value.message
    assert "fer-edge data" in (error.value.hint or "")


def test_a_missing_report_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"nothing\.json"):
        DataReport.load(tmp_path / "nothing.json")


def test_flagged_is_a_mask_of_the_reasons_that_count(splits: Splits) -> None:
    report = analyse(splits)
    assert np.flatnonzero(flagged(report, splits["train"])).tolist() == [1, 2, 12, 13]
    chosen = flagged(report, splits["train"], ["duplicate", "blank"])
    assert np.flatnonzero(chosen).tolist() == [12, 13]
    assert not flagged(report, splits["train"], []).any()
    assert np.flatnonzero(flagged(report, splits["val"])).tolist() == [6]


def test_flagged_refuses_other_data(splits: Splits) -> None:
    report = analyse(splits, source="a.zip")
    for other in (splits["train"].subset(range(5)), synthetic_dataset(7, split="test")):
        with pytest.raises(DataError, match=r"report on a\.zip is not for these") as error:
            flagged(report, other)
        assert "fer-edge data" in (error.value.hint or "")


def test_flagged_refuses_a_face_that_is_not_there(splits: Splits) -> None:
    report = analyse(splits)
    report.faces[0].index = 99
    with pytest.raises(DataError, match="flags face 99"):
        flagged(report, splits["train"])


def test_flagged_refuses_reasons_that_it_cannot_know(splits: Splits) -> None:
    report = analyse(splits)
    with pytest.raises(UsageError, match="no reason 'ugly'"):
        flagged(report, splits["train"], ["ugly"])
    with pytest.raises(UsageError, match="without a model"):
        flagged(report, splits["train"], ["mislabelled"])


def test_what_cannot_be_analysed_is_refused(splits: Splits) -> None:
    for nothing in ({}, {"train": splits["train"].subset(np.zeros(14, np.bool_))}):
        with pytest.raises(DataError, match="no faces"):
            analyse(nothing)
    with pytest.raises(InputError, match="split val has 7 faces"):
        analyse(splits, {"val": sure([0] * 6)})


def test_official_validation_faces(fer2013: Path) -> None:
    report = analyse({"val": load_dataset(fer2013, "val")})
    assert report.splits["val"].flagged["duplicate"] == 36
    assert report.splits["val"].flagged["blank"] == 2
