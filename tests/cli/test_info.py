import json
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import Command, Edit


def test_what_it_is_how_it_was_made_and_what_it_scored(fer_edge: Command, exported: Path) -> None:
    result = fer_edge("info", exported)
    assert (result.code, result.err) == (0, "")
    assert "plain" in result.out
    assert "minmax on 35 faces, calibration.json" in result.out
    assert "val 70" in result.out
    assert "ECE" in result.out
    for file in ("fp32.onnx", "fp16.onnx", "int8.onnx", "int8.cpu.onnx", "calibration.json"):
        assert f"│ {file} " in result.out
    assert max(map(len, result.out.splitlines())) <= 80


def test_training_is_told(fer_edge: Command, artifact: Path, edit: Edit) -> None:
    training = {
        "config": {"data": "fer2013.zip", "seed": 3},
        "epochs_run": 5,
        "best_epoch": {"epoch": 4, "val_accuracy": 0.6825},
    }
    told = "5 epochs on fer2013.zip, seed 3; epoch 4 was best on val (68.25 %)"
    edit(lambda manifest: manifest.update(training=training))
    assert f"{told} " in " ".join(fer_edge("info", artifact).out.split())
    training["config"]["keep"] = "last"
    edit(lambda manifest: manifest.update(training=training))
    kept = " ".join(fer_edge("info", artifact).out.split())
    assert "epoch 4 is kept, the last (68.25 %)" in kept
    assert "5 epochs; the last is kept." in fer_edge("info", artifact, "--card").out
    del training["config"]["keep"]
    training["temperature"] = 1.25
    edit(lambda manifest: manifest.update(training=training))
    line = " ".join(fer_edge("info", artifact).out.split())
    assert f"{told}; temperature 1.250" in line


def test_scores_of_older_artifacts_have_no_calibration_error(
    fer_edge: Command, artifact: Path, edit: Edit
) -> None:
    def age(manifest: dict) -> None:
        for score in manifest["scores"].values():
            for field in ("ece", "precision", "f1"):
                del score[field]

    edit(age)
    assert fer_edge("info", artifact).code == 0


def test_the_card_is_markdown(fer_edge: Command, exported: Path) -> None:
    done = fer_edge("info", exported, "--card")
    assert done.code == 0
    assert done.out.startswith("# ")
    assert "## Intended use\n" in done.out
    assert "--card is Markdown" in fer_edge("info", exported, "--card", "--json").error(2)


def test_json_is_the_manifest(fer_edge: Command, exported: Path) -> None:
    told = json.loads(fer_edge("info", exported, "--json").out)
    manifest = json.loads((exported / "manifest.json").read_text())
    assert told == {"artifact": str(exported), **manifest}


@pytest.mark.parametrize(
    ("lie", "says"),
    [
        (lambda m: m.update(schema_version=2), "schema version 2, this fer-edge reads 1"),
        (
            lambda m: m["labels"].pop(),
            "6 labels (angry, disgust, fear, happy, sad, surprise) for 7",
        ),
        (lambda m: m["input"].update(color="rgb"), "color is rgb, not grayscale"),
        (lambda m: m["graphs"]["fp32"].update(file="../x"), "not a path inside the artifact"),
        (lambda m: m["graphs"]["fp32"].update(file="x.onnx"), "it names x.onnx, and has no hash"),
        (lambda m: m.update(files={}), "has no hash"),
        (lambda m: m["files"]["fp32.onnx"].update(sha256="0" * 64), "fp32.onnx does not match"),
        (lambda m: m["scores"]["fp32"].update(accuracy="high"), "damaged: scores.fp32.accuracy"),
        (lambda m: m.update(training={"config": 1}), "no true record of the training"),
    ],
)
def test_a_manifest_that_lies_is_refused(
    lie: Callable[[dict], object], says: str, fer_edge: Command, artifact: Path, edit: Edit
) -> None:
    edit(lie)
    error = fer_edge("info", artifact).error()
    assert says in error
    assert str(artifact) in error


@pytest.mark.parametrize("content", [b"", b'{"schema_version"', b"\xff\xfe"])
def test_a_damaged_manifest_is_refused(content: bytes, fer_edge: Command, artifact: Path) -> None:
    (artifact / "manifest.json").write_bytes(content)
    assert "manifest.json is damaged" in fer_edge("info", artifact).error()


def test_a_missing_file_is_named(fer_edge: Command, artifact: Path) -> None:
    (artifact / "fp16.onnx").unlink()
    assert f"{artifact}/fp16.onnx is missing" in fer_edge("info", artifact).error()


def test_what_a_manifest_says_is_no_markup(fer_edge: Command, artifact: Path, edit: Edit) -> None:
    edit(lambda manifest: manifest.update(model="[/red]odd", versions={"[x]": "1"}))
    result = fer_edge("info", artifact)
    assert result.code == 0
    assert "[/red]odd" in result.out
    assert "[x] 1" in result.out


def test_no_artifact_is_an_error(fer_edge: Command, tmp_path: Path) -> None:
    assert "There is no model 'nowhere'" in fer_edge("info", "nowhere").error()
    assert f"{tmp_path} is not an artifact" in fer_edge("info", tmp_path).error()
