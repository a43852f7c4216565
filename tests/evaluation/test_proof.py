import numpy as np

from fer_edge.artifact import Score
from fer_edge.evaluation.proof import changed_faces, verdict

REFERENCE = np.eye(7, dtype=np.float32)[[0, 1, 2, 3]] * 0.9 + 0.1 / 7
LABELS = np.array([0, 1, 6, 3])


def test_only_faces_with_another_label_count_and_the_largest_change_is_first() -> None:
    after = REFERENCE.copy()
    after[0] = after[0] * 0.9 + 0.1 / 7  # less certain, same label
    after[1, [1, 4]] = 0.4, 0.5
    after[2] = np.roll(after[2], 1)
    found = changed_faces(REFERENCE, after, LABELS)
    assert [(face.index, face.label, face.fp32, face.now) for face in found] == [
        (2, "neutral", "fear", "happy"),
        (1, "disgust", "disgust", "sad"),
    ]
    np.testing.assert_allclose(
        [face.change for face in found], [0.9, 0.9 + 0.1 / 7 - 0.4], atol=1e-4
    )


def a_score(accuracy: float, **more: object) -> Score:
    recall = more.pop("recall", {"angry": 0.5, "sad": 0.5})
    return Score(
        split="val",
        n=1000,
        accuracy=accuracy,
        standard_error=0.01,
        macro_f1=0.5,
        recall=recall,
        backend="fake",
        data="x",
        **more,
    )


def test_a_loss_inside_noise_is_called_that_with_the_emotion_that_paid() -> None:
    lower = a_score(
        0.698,
        recall={"angry": 0.51, "sad": 0.475},
        mcnemar_p=0.31,
        agreement_with_fp32=0.99,
        changed=10,
    )
    assert verdict(a_score(0.7), lower) == (
        "loses 0.20 points of val accuracy; within noise (McNemar's p 0.31); 99.00 % of labels are "
        "equal, 10 of 1,000 changed; the largest loss of recall is 2.5 points of sad"
    )


def test_nothing_changed() -> None:
    same = a_score(0.7, mcnemar_p=1, agreement_with_fp32=1, changed=0)
    assert verdict(a_score(0.7), same) == "gives all 1,000 faces of val the label of fp32"


def test_a_loss_beyond_noise_is_no_noise() -> None:
    assert "more than noise (McNemar's p 0.001)" in verdict(
        a_score(0.7), a_score(0.65, mcnemar_p=0.001)
    )


def test_a_gain_loses_nothing() -> None:
    assert verdict(a_score(0.7), a_score(0.71)) == "gains 1.00 points of val accuracy"
