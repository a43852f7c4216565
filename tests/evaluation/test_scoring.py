import dataclasses

import numpy as np
import pytest

from fer_edge import metrics
from fer_edge.artifact import Score
from fer_edge.data import FaceDataset
from fer_edge.errors import DataError, InputError
from fer_edge.evaluation import score
from tests.tiny import EIGHT, FakeEngine, classify

RNG = np.random.default_rng(0)
FACES = RNG.integers(0, 256, (600, 48, 48), dtype=np.uint8)
TRUTH = np.where(RNG.random(600) < 0.7, classify(FACES).argmax(1), RNG.integers(0, 7, 600))
DATASET = FaceDataset.from_arrays(FACES, TRUTH, "val")


def test_a_score_says_what_the_engine_got_right():
    result, probabilities = score(FakeEngine(max_batch=50), DATASET)
    predicted = classify(FACES).argmax(1)
    p = float((predicted == TRUTH).mean())
    matrix = metrics.confusion_matrix(TRUTH, predicted)
    np.testing.assert_allclose(probabilities, classify(FACES), atol=1e-5)
    assert 0.6 < p < 0.9
    assert result == Score(
        split="val",
        n=600,
        accuracy=p,
        standard_error=(p * (1 - p) / 600) ** 0.5,
        macro_f1=metrics.macro_f1(matrix),
        # Disgust, fear and neutral are never predicted.
        precision={k: metrics.precisions(matrix)[k] for k in ("angry", "happy", "sad", "surprise")},
        recall=metrics.recalls(matrix),
        f1=metrics.f1s(matrix),
        ece=metrics.expected_calibration_error(probabilities, TRUTH),
        support=DATASET.counts(),
        backend="fake",
        data=DATASET.fingerprint,
    )


def test_a_reference_adds_agreement_and_mcnemar():
    _, reference = score(FakeEngine(), DATASET)
    same, _ = score(FakeEngine(), DATASET, reference=reference)
    assert (same.agreement_with_fp32, same.mcnemar_p) == (1.0, 1.0)

    reference[:150] = np.roll(reference[:150], 1, axis=1)
    other, _ = score(FakeEngine(), DATASET, reference=reference)
    right = [classify(FACES).argmax(1) == TRUTH, reference.argmax(1) == TRUTH]
    assert other.agreement_with_fp32 == 450 / 600
    assert other.mcnemar_p == metrics.mcnemar_p(*right) < 1e-6


def test_an_emotion_without_faces_has_no_recall_and_the_score_is_json():
    result, _ = score(FakeEngine(), DATASET.subset(TRUTH == 3))
    assert list(result.recall) == ["happy"]
    assert Score.model_validate_json(result.model_dump_json()) == result


def test_progress_ends_with_all_faces():
    seen = []
    score(FakeEngine(), DATASET, progress=lambda done, n: seen.append((done, n)))
    assert seen == sorted(set(seen))
    assert len(seen) > 1
    assert seen[-1] == (600, 600)


def test_what_cannot_be_scored_is_refused():
    with pytest.raises(DataError, match="val split has no faces"):
        score(FakeEngine(), DATASET.subset(TRUTH < 0))
    with pytest.raises(InputError, match="reference is for 5 faces, the val split has 600"):
        score(FakeEngine(), DATASET, reference=np.zeros((5, 7), np.float32))


def test_labels_that_the_data_do_not_know_are_wrong_and_have_no_figures():
    """EIGHT knows contempt; these data have faces of two emotions, and none of it."""
    faces = RNG.integers(0, 256, (300, 64, 64), dtype=np.uint8)
    said = classify(faces, EIGHT).argmax(1)
    truth = np.where(RNG.random(300) < 0.5, said, 1)
    truth[truth == 7] = 2
    data = FaceDataset.from_arrays(faces, truth, "val", classes=EIGHT.labels)
    data = dataclasses.replace(data, left_out={"pain": 4})
    result, probabilities = score(FakeEngine(contract=EIGHT), data)
    assert probabilities.shape == (300, 8)
    assert result.accuracy == (said == truth).mean()
    assert (said == 7).any()
    for figures in (result.recall, result.precision, result.f1):
        assert "contempt" not in figures
    assert result.macro_f1 == pytest.approx(np.mean(list(result.f1.values())))
    assert result.left_out == {"pain": 4}
    assert Score.model_validate_json(result.model_dump_json()) == result


def test_faces_for_another_model_are_refused():
    with pytest.raises(DataError, match=r"These faces are \(48, 48\).*the model takes uint8 gray"):
        score(FakeEngine(contract=EIGHT), DATASET)
