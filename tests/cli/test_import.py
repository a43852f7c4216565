"""Somebody's network from the shell."""

import importlib.metadata
import shutil
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from fer_edge import Recognizer
from fer_edge.artifact import Artifact
from fer_edge.contract import EMOTIONS
from fer_edge.data import synthetic_dataset
from tests.export.importing.networks import EIGHT, NETWORKS

NAMES = ",".join(EMOTIONS)


@pytest.fixture
def ferplus(tmp_path: Path) -> Path:
    NETWORKS["opset 9, SAME, batch of 1, CNTK"].write(tmp_path / "ferplus.onnx")
    return tmp_path / "ferplus.onnx"


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    NETWORKS["opset 11"].write(tmp_path / "net.v2.onnx")
    return tmp_path / "net.v2.onnx"


def test_a_network_becomes_an_artifact_and_what_was_seen_is_said(fer_edge, ferplus) -> None:
    done = fer_edge("import", ferplus, "--labels", ",".join(EIGHT), "--out", "build/theirs")
    assert done.code == 0
    for line in (
        "input 'Input3': NCHW, float32, 1 channel, 64x64, a batch of 1",
        "batch: any, though the file says one number",
        "takes raw pixels, 0 to 255: it begins with (x - 127.5) / 255",
        "output 'Plus692_Output_0': 8 logits",
        "labels: neutral, happy",
        "Next: fer-edge export build/theirs --int8",
    ):
        assert line in done.out
    contract = Artifact.load(Path("build/theirs")).contract
    assert (contract.size, contract.color, contract.labels) == (64, "gray", EIGHT)


def test_it_is_exported_benched_and_asked_like_any_other(fer_edge, plain, csv, face) -> None:
    fer_edge("import", plain, "--scale", 255, "--labels", NAMES)
    done = fer_edge("export", "build/net", "--fp16", "--int8", "--data", csv, "--out", "build/int8")
    assert done.code == 0
    assert "int8.onnx" in done.out
    assert fer_edge("bench", "build/int8", "--batch", 1, "--seconds", 0.1).code == 0
    assert fer_edge("predict", face, "--model", "build/int8").code == 0
    assert fer_edge("inspect", "build/int8").code == 0


def test_labels_in_another_order_than_the_faces_are_told_with_the_order_that_fits(
    fer_edge, plain, tmp_path
) -> None:
    faces = synthetic_dataset(140, seed=3)
    told = ("--scale", 255, "--mean", 0.5, "--std", 0.25)
    fer_edge("import", plain, *told, "--labels", NAMES, "--out", "build/right")
    with Recognizer("build/right") as recognizer:
        truth = recognizer(faces.faces).labels
    rows = [
        f"{label},{' '.join(map(str, face.ravel()))},PublicTest"
        for label, face in zip(truth, faces.faces, strict=True)
    ]
    data = tmp_path / "fer2013.csv"
    data.write_text("\n".join(["emotion,pixels,Usage", *rows, ""]))
    right = fer_edge("import", plain, *told, "--labels", NAMES, "--data", data)
    assert "100.00 % of 140 faces of val are right" in right.out
    assert "another order" not in right.out
    turned = [*EMOTIONS[1:], EMOTIONS[0]]
    wrong = fer_edge(
        *("import", plain, *told, "--labels", ",".join(turned)),
        *("--data", data, "--out", "build/wrong"),
    )
    assert "another order" in wrong.out
    # Classes that the network gives to no face may stand anywhere.
    named = wrong.out.split("again with: --labels ")[1].split()[0].split(",")
    assert all(named[label] == EMOTIONS[label] for label in set(truth))
    assert "another order" in fer_edge("evaluate", "build/wrong", "--data", data).out


def test_what_nothing_tells_has_to_be_said(fer_edge, plain) -> None:
    error = fer_edge("import", plain, "--labels", NAMES).error()
    assert "does not say which numbers it wants for a pixel" in error
    assert "--scale 255" in error
    assert (
        "nor what its outputs are; it has input 'input': NCHW" in fer_edge("import", plain).error()
    )
    assert "--labels angry,disgust" in fer_edge("import", plain, "--scale", 255).error()
    error = fer_edge("import", plain, "--scale", 255, "--labels", "a,b").error()
    assert "7 outputs, and 2 labels are named: a, b" in error
    assert not Path("build").exists()


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        (["--color", "purple"], 2, "choose from gray, rgb, bgr"),
        (["--color", "rgb"], 2, "takes one channel"),
        (["--mean", "a"], 2, "--mean a: not numbers"),
        (["--mean", "1,2,3"], 1, "--mean has 3 numbers and the network 1 channels"),
        (["--std", "0"], 1, "neither may be 0"),
        (["--size", 1000], 2, "24 to 260"),
        (["--input", "x"], 1, "no input 'x'; it has input (float32 nx1x48x48)"),
        (["--output", "x"], 1, "no output 'x'; it has output (float32 nx7)"),
        (["--probabilities"], 1, "no probabilities"),
        (["--model", "compact"], 2, "Leave --model out"),
    ],
)
def test_what_cannot_be_is_named(fer_edge, plain, options, code, says) -> None:
    assert says in fer_edge("import", plain, "--scale", 255, "--labels", NAMES, *options).error(
        code
    )


def test_several_outputs_are_listed_with_the_option(fer_edge, tmp_path) -> None:
    NETWORKS["two outputs"].write(tmp_path / "two.onnx")
    error = fer_edge("import", "two.onnx", "--scale", 255, "--labels", NAMES).error()
    assert "emotion (float32 nx7); valence (float32 nx2)" in error
    assert "--output emotion" in error


def test_weights_beside_the_file_are_missed_by_name(fer_edge, tmp_path) -> None:
    NETWORKS["external data"].write(tmp_path / "far.onnx")
    Path("far.onnx.data").unlink()
    error = fer_edge("import", "far.onnx", "--scale", 255, "--labels", NAMES).error()
    assert "far.onnx has weights in far.onnx.data, which is not there" in error


def test_weights_beside_the_file_are_found_through_the_links_of_a_cache(fer_edge, tmp_path) -> None:
    """Hugging Face keeps files as links from snapshots to blobs."""
    NETWORKS["external data"].write(tmp_path / "far.onnx")
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshot"
    blobs.mkdir()
    snapshot.mkdir()
    for name in ("far.onnx", "far.onnx.data"):
        Path(name).rename(blobs / name[::-1])
        (snapshot / name).symlink_to(blobs / name[::-1])
    made = fer_edge("import", snapshot / "far.onnx", "--scale", 255, "--labels", NAMES)
    assert made.code == 0, made


def _archive(path: Path, *names: str) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, b"x")


KINDS = {
    "model.h5": (b"\x89HDF\r\n\x1a\n" + bytes(99), "a Keras model or weights", "tf2onnx"),
    "model.tflite": (b"\x1c\0\0\0TFL3" + bytes(99), "a TensorFlow Lite model", "--tflite"),
    "model.engine": (b"ftrt" + bytes(99), "a serialised TensorRT engine", "built from"),
    "model.safetensors": (b'\x10\0\0\0\0\0\0\0{"a":1}', "weights (safetensors)", "--model"),
    "model.t7": (b"\x80\x02}q\0" + bytes(99), "a torch file of weights", "--model"),
    "empty.onnx": (b"", "an empty file", "again"),
    "half.onnx": (b"\x08\x08\x12\x07pyt", "cannot be read as ONNX", "cut short"),
    "text.onnx": (b"<html>not found</html>", "cannot be read as ONNX", "download"),
}


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("command", ["import", "export"])
def test_every_kind_of_file_is_called_what_it_is(fer_edge, command, name) -> None:
    content, what, way = KINDS[name]
    Path(name).write_bytes(content)
    outcome = fer_edge(command, name)
    error = outcome.error(outcome.code)
    if command == "import" or name not in ("half.onnx", "text.onnx"):
        assert what in error
        assert way in error
    assert not Path("build").exists()


@pytest.mark.parametrize("command", ["bench", "info", "inspect", "tune"])
@pytest.mark.parametrize("name", ["model.h5", "model.tflite", "model.safetensors", "model.engine"])
def test_commands_that_want_an_artifact_say_what_they_got(fer_edge, command, name) -> None:
    content, what, way = KINDS[name]
    Path(name).write_bytes(content)
    error = fer_edge(command, name).error()
    assert f"{name} is not an artifact: it is {what}" in error
    assert way in error


def test_archives_are_told_apart(fer_edge) -> None:
    _archive(Path("model.keras"), "config.json", "metadata.json", "model.weights.h5")
    assert "a Keras model" in fer_edge("import", "model.keras").error()
    _archive(Path("jit.pt"), "jit/data.pkl", "jit/code/net.py", "jit/constants.pkl")
    assert "a TorchScript module" in fer_edge("import", "jit.pt").error()
    _archive(Path("net.pth"), "net/data.pkl", "net/data/0")
    assert "Say which network" in fer_edge("import", "net.pth").error(2)
    Path("saved").mkdir()
    Path("saved/saved_model.pb").write_bytes(b"x")
    assert "--saved-model saved" in fer_edge("import", "saved").error()


def test_export_of_a_foreign_file_leads_to_import(fer_edge, plain) -> None:
    assert "fer-edge import" in fer_edge("export", plain).error()


def test_logits_called_probabilities_name_the_option(fer_edge, plain) -> None:
    """A graph with the contract's names whose rows do not sum to 1."""
    fer_edge("import", plain, "--scale", 255, "--labels", NAMES, "--out", "ours")
    model = onnx.load("ours/fp32.onnx")
    del model.metadata_props[:]
    end = next(node for node in model.graph.node if node.op_type == "Softmax")
    end.CopyFrom(helper.make_node("Identity", end.input, end.output, end.name))
    onnx.save(model, "logits.onnx")
    assert "fer-edge import logits.onnx --logits" in fer_edge("export", "logits.onnx").error()


class TestWithTorch:
    @pytest.fixture(autouse=True)
    def _torch(self) -> None:
        pytest.importorskip("torch", reason="needs pip install 'fer-edge[train]'")

    @pytest.mark.parametrize("how", ["flat", "module", "net", "ema", "compiled", "safetensors"])
    def test_weights_as_people_save_them(self, fer_edge, how) -> None:
        import torch
        from safetensors.torch import save_file

        from fer_edge.models import build_model

        torch.manual_seed(0)
        state = build_model("compact").state_dict()
        other = build_model("compact").state_dict()
        saved = {
            "flat": state,
            "module": {"state_dict": {f"module.{k}": v for k, v in state.items()}, "epoch": 3},
            "net": {"net": state, "best_PrivateTest_acc": 71.2},
            "ema": {"model_state_dict": other, "ema_state_dict": state},
            "compiled": {f"_orig_mod.{k}": v for k, v in state.items()},
        }
        if how == "safetensors":
            save_file(state, "w.safetensors")
        else:
            torch.save(saved[how], "w.pth")
        file = "w.safetensors" if how == "safetensors" else "w.pth"
        done = fer_edge("import", file, "--model", "compact", "--out", "theirs", "--json")
        assert done.code == 0
        weights = {t.name: t for t in onnx.load("theirs/fp32.onnx").graph.initializer}[
            "classifier.weight"
        ]
        np.testing.assert_allclose(
            onnx.numpy_helper.to_array(weights), state["classifier.weight"], atol=1e-7
        )

    def test_a_pickled_module_is_refused_with_the_way_out(self, fer_edge) -> None:
        import torch

        from fer_edge.models import build_model

        torch.save(build_model("compact"), "whole.pth")
        error = fer_edge("import", "whole.pth", "--model", "compact").error()
        assert "a whole module" in error
        assert "state_dict()" in error

    def test_a_file_cut_short_is_named(self, fer_edge) -> None:
        import torch

        torch.save({"a": torch.zeros(100_000)}, "w.pth")
        Path("half.pth").write_bytes(Path("w.pth").read_bytes()[:50_000])
        assert "cut short" in fer_edge("import", "half.pth", "--model", "compact").error()

    def test_weights_without_a_network_name_it(self, fer_edge) -> None:
        import torch

        torch.save({"a": torch.zeros(3)}, "w.pth")
        assert "--model resnet50-linear" in fer_edge("import", "w.pth").error(2)
        assert "has no tensor" in fer_edge("import", "w.pth", "--model", "compact").error()

    def test_another_packages_network_is_trained_by_name(self, fer_edge, csv, monkeypatch) -> None:
        from fer_edge.models import registry

        point = importlib.metadata.EntryPoint(
            "tiny-mobile", "examples.own_network:tiny_mobile", registry.GROUP
        )
        monkeypatch.setattr(registry, "entry_points", lambda group: [point])  # noqa: ARG005
        small = ("--epochs", 1, "--batch", 35)
        done = fer_edge("train", "--model", "tiny-mobile", "--data", csv, "--out", "r", *small)
        assert done.code == 0, done
        assert fer_edge("export", "r", "--out", "built", "--engine", "none").code == 0
        manifest = Artifact.load(Path("built")).manifest
        assert manifest.model == "tiny-mobile"
        assert manifest.training["config"]["model"] == "tiny-mobile"
        shutil.rmtree("r")
