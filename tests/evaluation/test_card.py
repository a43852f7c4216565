"""The model card tells what the manifest has, and says what it has not."""

from pathlib import Path

from fer_edge.artifact import Artifact, FaultScore, GraphRecord, Manifest, Score
from fer_edge.evaluation.card import model_card
from fer_edge.models.carried import carried_model

SCORE = Score(
    split="val",
    n=200,
    accuracy=0.7,
    standard_error=0.0324,
    macro_f1=0.6,
    recall={"angry": 0.5, "happy": 0.9},
    backend="onnxruntime-cpu",
    data="0" * 64,
)


def card(**fields: object) -> str:
    manifest = Manifest(model="theirs", graphs={"fp32": GraphRecord(file="fp32.onnx")})
    return model_card(Artifact(Path("nowhere"), manifest.model_copy(update=fields)))


def test_the_carried_models_card_has_scores_per_class_with_standard_errors() -> None:
    text = model_card(Artifact.load(carried_model()))
    # 34 of 56: sqrt(0.607 * 0.393 / 56) is 6.5 %.
    assert "| disgust | 56 | 60.7 ± 6.5 | 69.4 | 64.8 |" in text
    assert "| int8 | val, 3,589 | 70.08 ± 0.76 | 67.94 |" in text
    assert "expected calibration error 2.56 %" in text
    for heading in ("Intended use", "Law", "Training", "Limits", "Files"):
        assert f"## {heading}\n" in text
    assert "Article 5(1)(f)" in text
    assert "never cleared" in text


def test_what_is_not_recorded_is_said() -> None:
    text = card()
    assert "## Training\n\nNot recorded." in text
    assert "## Accuracy\n\nNot recorded." in text
    assert "## Speed\n\nNot recorded." in text
    assert "No score on a test split is recorded" in text
    # Nothing tells that FER2013 had a part in it.
    assert "never cleared" not in text


def test_without_counts_of_faces_there_are_no_standard_errors() -> None:
    assert "| angry | - | 50.0 | - | - |" in card(scores={"fp32": SCORE})
    with_counts = SCORE.model_copy(update={"support": {"angry": 100, "happy": 100}})
    assert "| angry | 100 | 50.0 ± 5.0 | - | - |" in card(scores={"fp32": with_counts})


def test_a_test_score_is_not_missed() -> None:
    text = card(scores={"fp32": SCORE.model_copy(update={"split": "test"})})
    assert "No score on a test split" not in text


def test_what_a_manifest_says_is_no_markup() -> None:
    text = card(model="a | b\n# <script>")
    assert text.startswith("# a b # script\n")
    assert "<script>" not in text


def test_accuracy_on_spoilt_faces() -> None:
    assert "## Robustness\n\nNot recorded." in card(scores={"fp32": SCORE})
    faults = [FaultScore(fault="dark", level=0.25, unit="of the light", accuracy=0.613)]
    text = card(scores={"fp32": SCORE.model_copy(update={"faults": faults})})
    assert "without a fault it is 70.0 %" in text
    assert "| dark | 0.25 of the light | 61.3 |" in text
