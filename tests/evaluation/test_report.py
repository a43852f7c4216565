import csv
import json
from pathlib import Path

import numpy as np
import pytest

from fer_edge.contract import EMOTIONS
from fer_edge.data import FaceDataset, synthetic_dataset
from fer_edge.errors import StorageError
from fer_edge.evaluation import evaluate
from fer_edge.evaluation.report import predictions_csv, write_report
from tests.tiny import FakeEngine

DATASET = synthetic_dataset(30, split="val")


def test_everything_is_written_and_named(tmp_path: Path) -> None:
    evaluation, probabilities = evaluate(FakeEngine(), DATASET, "tiny")
    written = write_report(tmp_path / "new" / "out", evaluation, DATASET, probabilities)
    assert sorted(written) == sorted((tmp_path / "new" / "out").iterdir())
    assert {path.name for path in written} == {
        "evaluation.json",
        "predictions.csv",
        "confusion_matrix.png",
        "reliability.png",
        "worst.png",
    }
    record = json.loads((tmp_path / "new" / "out" / "evaluation.json").read_text())
    assert record == evaluation.model_dump(mode="json")


def test_predictions_can_be_read_back() -> None:
    evaluation, probabilities = evaluate(FakeEngine(), DATASET, "tiny")
    rows = list(csv.DictReader(predictions_csv(DATASET, probabilities).splitlines()))
    assert [row["name"] for row in rows] == list(DATASET.names)
    assert [row["label"] for row in rows] == [EMOTIONS[label] for label in DATASET.labels]
    right = np.mean([row["label"] == row["predicted"] for row in rows])
    assert right == pytest.approx(evaluation.score.accuracy)
    values = [[float(row[emotion]) for emotion in EMOTIONS] for row in rows]
    np.testing.assert_allclose(values, probabilities, atol=1e-6)


def test_a_face_without_a_name_goes_by_its_index() -> None:
    nameless = FaceDataset.from_arrays(DATASET.faces[:2], DATASET.labels[:2], "val")
    lines = predictions_csv(nameless, np.full((2, 7), 1 / 7, np.float32)).splitlines()
    assert [line.split(",")[0] for line in lines] == ["name", "0", "1"]


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    evaluation, probabilities = evaluate(FakeEngine(), DATASET, "tiny")
    with pytest.raises(StorageError, match=str(tmp_path / "file")):
        write_report(tmp_path / "file" / "out", evaluation, DATASET, probabilities)
