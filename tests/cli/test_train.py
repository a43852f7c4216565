import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fer_edge.artifact import Artifact

from .conftest import Command, leftovers

pytest.importorskip("torch", reason="needs pip install 'fer-edge[train]'")

RUN = "from fer_edge.cli import main; import sys; main(sys.argv[1:])"


def test_the_whole_chain(fer_edge: Command, csv: Path, face: Path, tmp_path: Path) -> None:
    """Train, export, ask, measure, predict: as the README has it."""
    small = ("--epochs", 1, "--batch", 35, "--seed", 5)
    trained = fer_edge("train", "--data", csv, "--out", "runs/x", *small)
    assert trained.code == 0
    assert "epoch   1" in trained.err
    assert "Next: fer-edge export runs/x" in trained.out
    for name in ("best.safetensors", "metrics.jsonl", "curves.png", "confusion_matrix.png"):
        assert (tmp_path / "runs" / "x" / name).stat().st_size > 0

    again = fer_edge("train", "--data", csv, "--out", "runs/x", *small).error()
    assert "runs/x holds a run already" in again

    options = ("--fp16", "--int8", "--data", csv, "--samples", 14, "--engine", "none")
    exported = fer_edge("export", "runs/x", *options)
    assert exported.code == 0
    artifact = Artifact.load(Path("build/x"))
    artifact.verify()
    assert artifact.manifest.training is not None
    assert artifact.manifest.training["config"]["seed"] == 5

    told = json.loads(fer_edge("info", "build/x", "--json").out)
    assert set(told["scores"]) == {"fp32", "fp16", "int8"}

    quick = ("--seconds", 0.1, "--batch", 1, "--json")
    measured = json.loads(fer_edge("bench", "build/x", "--data", csv, *quick).out)
    for row in measured["precisions"]:
        assert row["score"]["accuracy"] == told["scores"][row["precision"]]["accuracy"]

    (prediction,) = json.loads(fer_edge("predict", face, "-m", "build/x", "--json").out)
    assert sum(prediction["probabilities"].values()) == pytest.approx(1, abs=1e-3)
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ([], "Training needs faces. Pass --data fer2013.zip"),
        (["--data", "x", "--model", "resnet"], "no model 'resnet'. Did you mean resnet50?"),
        (["--data", "x", "--size", "20"], "--size 20: input should be greater than or equal to 24"),
        (["--data", "x", "--color", "bgr"], "--color bgr: input should be 'gray' or 'rgb'"),
        (["--data", "x", "--epochs", "0"], "--epochs 0: "),
        (["--data", "x", "--batch", "0"], "--batch 0: "),
        (["--data", "x", "--lr", "nan"], "--lr nan: "),
        (["--data", "x", "--weight-decay", "-1"], "--weight-decay -1.0: "),
        (["--data", "x", "--schedule", "step"], "--schedule step: "),
        (["--resume", "x", "--epochs", "60"], "takes everything from the run, --epochs included"),
        (["--resume", "x", "--weight-decay", "0"], "--weight-decay included"),
    ],
)
def test_usage(options: list[str], says: str, fer_edge: Command) -> None:
    assert says in fer_edge("train", *options, "--out", "runs/x").error(2)
    assert not Path("runs").exists()


RECIPE = """
[data]
sources = ["fer2013.csv"]
[model]
name = "compact"
[optimiser]
epochs = 3
batch = 35
lr = 0.05
"""
SVM = """
[data]
sources = ["fer2013.csv"]
[svm]
run = "runs/mine"
costs = [1e-3]
"""


def test_a_recipe_gives_the_values_and_options_come_first(
    fer_edge: Command, csv: Path, tmp_path: Path
) -> None:
    Path("mine.toml").write_text(RECIPE)
    done = fer_edge("train", "--recipe", "mine.toml", "--data", csv, "--epochs", 1)
    assert done.code == 0
    config = json.loads((tmp_path / "runs" / "mine" / "config.json").read_text())
    assert (config["lr"], config["batch"], config["epochs"]) == (0.05, 35, 1)
    assert config["data"] == [str(csv)]

    Path("svm.toml").write_text(SVM)
    fitted = fer_edge("train", "--recipe", "svm.toml", "--data", csv)
    assert fitted.code == 0
    assert "Next: fer-edge export runs/svm" in fitted.out
    error = fer_edge("train", "--recipe", "svm.toml", "--data", csv, "--lr", 1).error(2)
    assert "--lr is nothing for the SVM of svm.toml" in error


def test_what_a_recipe_turns_on_can_be_turned_off(
    fer_edge: Command, csv: Path, tmp_path: Path
) -> None:
    Path("mine.toml").write_text(RECIPE + "\n[run]\ncompile = true\n")
    options = ("--recipe", "mine.toml", "--data", csv, "--epochs", 1, "--no-compile")
    assert fer_edge("train", *options).code == 0
    config = json.loads((tmp_path / "runs" / "mine" / "config.json").read_text())
    assert config["compile"] is False


def test_a_training_keeps_its_memory(
    fer_edge: Command, csv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = []
    monkeypatch.setattr("fer_edge.training.memory.keep_memory", lambda: kept.append(True))
    run = tmp_path / "run"
    small = ("--model", "nano", "--epochs", 1, "--batch", 35)
    assert fer_edge("train", "--data", csv, "--out", run, *small).code == 0
    assert fer_edge("train", "--resume", run).code == 0
    assert kept == [True, True]


def test_a_recipe_may_name_a_size(fer_edge: Command, csv: Path, tmp_path: Path) -> None:
    large = RECIPE.replace('"compact"', '"compact"\nsize = 64').replace("epochs = 3", "epochs = 1")
    Path("large.toml").write_text(large)
    assert fer_edge("train", "--recipe", "large.toml", "--data", csv).code == 0
    config = json.loads((tmp_path / "runs" / "large" / "config.json").read_text())
    assert (config["size"], config["color"]) == (64, "gray")

    quick = ("--int8", "--data", csv, "--samples", 14, "--engine", "none")
    assert fer_edge("export", "runs/large", *quick).code == 0
    manifest = Artifact.load(Path("build/large")).manifest
    assert manifest.input.shape == ("batch", 1, 64, 64)
    assert manifest.training is not None
    assert manifest.training["config"]["size"] == 64
    # It teaches others at its own size.
    options = ("--epochs", 1, "--batch", 35, "--teacher", "runs/large/best.safetensors")
    taught = fer_edge("train", "--data", csv, "--out", "runs/small", *options)
    assert taught.code == 0


@pytest.mark.parametrize("command", ["--recipe", "--model"])
def test_a_model_that_cannot_take_a_size_or_colour_says_so(
    command: str, fer_edge: Command, csv: Path
) -> None:
    Path("mine.toml").write_text(RECIPE.replace('"compact"', '"compact"\ncolor = "rgb"'))
    options = ("mine.toml",) if command == "--recipe" else ("compact", "--color", "rgb")
    error = fer_edge("train", command, *options, "--data", csv, "--batch", 35).error(2)
    assert "compact cannot take rgb faces of 48x48: " in error
    assert not Path("runs").exists()


def test_a_recipe_without_data_takes_that_of_the_command_line(
    fer_edge: Command, csv: Path, tmp_path: Path
) -> None:
    Path("mine.toml").write_text("[optimiser]\nepochs = 1\nbatch = 35\n")
    assert "Training needs faces" in fer_edge("train", "--recipe", "mine.toml").error(2)
    assert fer_edge("train", "--recipe", "mine.toml", "--data", csv).code == 0
    config = json.loads((tmp_path / "runs" / "mine" / "config.json").read_text())
    assert config["data"] == [str(csv)]


@pytest.mark.parametrize("given", [0, 2])
def test_an_svm_wants_one_data_set(given: int, fer_edge: Command, csv: Path) -> None:
    Path("svm.toml").write_text('[svm]\nrun = "runs/mine"\n')
    error = fer_edge("train", "--recipe", "svm.toml", *["--data", csv] * given).error(2)
    assert f"fitted on one data set, not on {given}" in error


def test_a_recipe_whose_data_is_missing_says_which(fer_edge: Command) -> None:
    Path("mine.toml").write_text(RECIPE)
    assert "The recipe wants fer2013.csv" in fer_edge("train", "--recipe", "mine.toml").error(2)


def test_a_batch_beyond_the_data_is_refused(fer_edge: Command, csv: Path) -> None:
    error = fer_edge("train", "--data", csv, "--batch", 71, "--out", "runs/x").error(2)
    assert "--batch 71 is more than the 70 training faces" in error
    assert not Path("runs").exists()


def test_bad_data_is_named(fer_edge: Command, bad_data: tuple[Path, str]) -> None:
    path, says = bad_data
    error = fer_edge("train", "--data", path, "--out", "runs/x").error()
    assert says in error
    assert str(path) in error
    assert not Path("runs").exists()


def test_data_without_validation_faces_is_refused(
    fer_edge: Command, tmp_path: Path, fer_lines: list[str]
) -> None:
    path = tmp_path / "train.csv"
    path.write_text("\n".join(["emotion,pixels,Usage", *fer_lines[:70]]))
    error = fer_edge("train", "--data", path, "--batch", 35, "--out", "runs/x").error()
    assert "has no faces in split val; it has train (70)" in error


def test_labels_are_those_of_the_second_data_set(
    fer_edge: Command, csv: Path, face: Path, tmp_path: Path
) -> None:
    for number in "1234567":
        (tmp_path / "second" / number).mkdir(parents=True)
        (tmp_path / "second" / number / "one.png").write_bytes(face.read_bytes())
    data = ("--data", csv, "--data", tmp_path / "second", "--labels", "raf-db")
    small = ("--model", "nano", "--epochs", 1, "--batch", 35)
    assert fer_edge("train", *data, *small, "--out", "runs/x").code == 0
    other = tmp_path / "other.csv"
    other.write_bytes(csv.read_bytes())
    data = ("--data", csv, "--data", other, "--labels", "raf-db-from-0")
    error = fer_edge("train", *data, *small, "--out", "runs/y").error()
    assert "other.csv looks like FER2013's csv" in error


def test_what_is_not_read_is_told_before_the_first_epoch(
    fer_edge: Command, csv: Path, face: Path, tmp_path: Path
) -> None:
    for name in ("happy", "sad", "hapyp", "more/angry"):
        folder = tmp_path / "second" / ("train" if name in ("happy", "sad") else "") / name
        folder.mkdir(parents=True)
        (folder / "one.png").write_bytes(face.read_bytes())
    data = ("--data", csv, "--data", tmp_path / "second")
    small = ("--model", "nano", "--epochs", 1, "--batch", 35)
    told = fer_edge("train", *data, *small, "--out", "runs/x")
    assert told.code == 0
    says = "second: 2 faces; dropped none; 2 images in no folder of an emotion were not read, such"
    assert told.err.index(says) < told.err.index("epoch   1")


def test_a_run_goes_on_with_its_data_alone(fer_edge: Command, csv: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.csv"
    own.write_bytes(csv.read_bytes())
    small = ("--model", "nano", "--epochs", 1, "--batch", 35)
    assert fer_edge("train", "--data", own, *small, "--out", "runs/x").code == 0
    own.rename(tmp_path / "moved.csv")
    gone = fer_edge("train", "--resume", "runs/x").error()
    assert f"was trained on {own}, which is not there" in gone
    assert "fer-edge train --resume runs/x --data PATH" in gone

    lines = csv.read_text().splitlines(keepends=True)
    own.write_text("".join([*lines[:3], *lines[4:]]))
    other = fer_edge("train", "--resume", "runs/x").error()
    assert "was trained on other faces or labels than" in other
    both = ("--data", own, "--data", own)
    assert "has 1 of --data, and 2 were given" in fer_edge(
        "train", "--resume", "runs/x", *both
    ).error(2)
    assert json.loads(Path("runs/x/config.json").read_text())["data"] == [str(own)]

    assert fer_edge("train", "--resume", "runs/x", "--data", "moved.csv").code == 0
    assert json.loads(Path("runs/x/config.json").read_text())["data"] == [
        str(own.with_name("moved.csv"))
    ]
    assert fer_edge("train", "--resume", "runs/x").code == 0


def test_a_run_that_is_none_is_named(fer_edge: Command) -> None:
    error = fer_edge("train", "--resume", "nowhere").error()
    assert "nowhere is not a training run" in error


def test_weights_that_are_none_are_named(fer_edge: Command, csv: Path) -> None:
    options = ("--batch", 35, "--out", "runs/x", "--weights")
    error = fer_edge("train", "--data", csv, *options, "missing").error()
    assert "There is no model 'missing'" in error
    assert "the best.safetensors of a run" in error
    assert "ONNX" not in error
    Path("text.safetensors").write_text("hello")
    error = fer_edge("train", "--data", csv, *options, "text.safetensors").error()
    assert "text.safetensors cannot be read as weights" in error
    assert not Path("runs").exists()


def test_no_torch_says_what_to_install(
    fer_edge: Command, csv: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "fer_edge.training.run", None)
    assert "pip install 'fer-edge[train]'" in fer_edge("train", "--data", csv).error()


def test_ctrl_c_keeps_finished_epochs_and_says_how_to_go_on(
    python: Callable[..., subprocess.Popen[str]], csv: Path, tmp_path: Path
) -> None:
    options = ("--data", csv, "--epochs", 1000, "--batch", 35, "--out", "runs/a run")
    process = python(RUN, "train", *options)
    last = tmp_path / "runs" / "a run" / "last.safetensors"
    deadline = time.monotonic() + 300
    while not last.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (1, "")
    assert err.splitlines()[-1] == (
        "error: Interrupted; finished epochs are kept. "
        "Go on with: fer-edge train --resume 'runs/a run'"
    )
    assert leftovers(tmp_path) == []
    assert last.exists()


def test_ctrl_c_before_the_first_step_leaves_nothing(
    fer_edge: Command, csv: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("fer_edge.training.run.load_dataset", stop)
    error = fer_edge("train", "--data", csv, "--out", "runs/x").error()
    assert error == "Interrupted; nothing half-written is left."
    assert not Path("runs").exists()
