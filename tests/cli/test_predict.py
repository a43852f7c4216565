import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fer_edge import Recognizer
from fer_edge.contract import EMOTIONS
from fer_edge.data import FaceDataset
from fer_edge.runtime import RetinaFace, read_image
from tests.detection.graphs import SMALL, tiny_detector
from tests.engines.graphs import make_graph, make_nan_graph

from .conftest import Command, Edit
from .test_app import RUN


def test_label_and_probabilities_in_falling_order(
    fer_edge: Command, exported: Path, face: Path
) -> None:
    result = fer_edge("predict", face, "--model", exported)
    with Recognizer(exported) as recognizer:
        (emotion,) = recognizer([read_image(face)]).emotions
    assert (result.code, result.err) == (0, "")
    head, *rows = result.out.splitlines()
    assert head == f"{face}: {emotion}"
    assert rows[0].split()[0] == emotion
    shares = [float(row.split()[1]) for row in rows]
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) == pytest.approx(100, abs=0.05)


def test_json_has_one_entry_per_image(fer_edge: Command, exported: Path, face: Path) -> None:
    result = fer_edge("predict", face, face, "-m", exported, "--precision", "fp32", "--json")
    first, second = json.loads(result.out)
    assert first == second
    assert first["image"] == str(face)
    assert tuple(first["probabilities"]) == EMOTIONS
    assert first["probabilities"][first["emotion"]] == max(first["probabilities"].values())


def test_a_lone_graph_is_enough(fer_edge: Command, exported: Path, face: Path) -> None:
    assert fer_edge("predict", face, "-m", exported / "fp16.onnx").code == 0


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda _: None, "No such file"),
        (Path.mkdir, "Is a directory"),
        (lambda path: path.write_text("hello"), "cannot be read as an image: unknown format"),
        (Path.touch, "cannot be read as an image"),
        (lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n"), "cannot be read as an image"),
    ],
    ids=["missing", "folder", "text", "empty", "cut"],
)
def test_what_is_no_image_is_named(
    make: Callable[[Path], object],
    says: str,
    fer_edge: Command,
    exported: Path,
    face: Path,
    tmp_path: Path,
) -> None:
    path = tmp_path / "photo.jpg"
    make(path)
    error = fer_edge("predict", path, "--model", exported).error()
    assert says in error
    assert str(path) in error
    # Among others it costs its own answer alone.
    result = fer_edge("predict", face, path, face, "--model", exported)
    assert (result.code, result.err) == (1, f"error: {error}\n")
    names = [line.partition(": ")[0] for line in result.out.splitlines() if ": " in line]
    assert names == [str(face), str(path), str(face)]
    assert says in result.out
    result = fer_edge("predict", path, face, path, "--model", exported, "--json")
    first, second, third = json.loads(result.out)
    assert (result.code, result.err) == (1, 2 * f"error: {error}\n")
    assert first == third == {"image": str(path), "error": error}
    assert second["emotion"] in EMOTIONS


def test_answers_come_before_the_last_image_is_read(
    exported: Path, face: Path, python: Callable[..., subprocess.Popen[str]]
) -> None:
    os.mkfifo("later.png")
    process = python(RUN, "predict", face, face, "later.png", "--model", exported)
    assert process.stdout is not None
    assert process.stdout.readline().startswith(f"{face}: ")
    Path("later.png").write_bytes(face.read_bytes())
    out, err = process.communicate(timeout=300)
    assert (process.returncode, err) == (0, "")
    assert [line for line in out.splitlines() if line.startswith("later.png: ")]


def test_json_that_is_cut_short_is_json(
    exported: Path, face: Path, fer_edge: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    classify = Recognizer.__call__

    def interrupt(self: Recognizer, images: list) -> object:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return classify(self, images)

    monkeypatch.setattr(Recognizer, "__call__", interrupt)
    result = fer_edge("predict", face, face, face, face, "-m", exported, "--json")
    assert result.code == 1
    assert [one["image"] for one in json.loads(result.out)] == [str(face)] * 2


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        (["--precision", "fp64"], 2, "Unknown precision 'fp64'. Take auto, fp32, fp16, int8, fp8."),
        (["--backend", "tpu"], 2, "Unknown backend 'tpu'. Take auto, tensorrt"),
    ],
)
def test_what_cannot_be_had_says_what_can(
    options: list[str], code: int, says: str, fer_edge: Command, exported: Path, face: Path
) -> None:
    assert says in fer_edge("predict", face, "-m", exported, *options).error(code)


def test_a_backend_that_is_not_there_is_an_error(
    fer_edge: Command, exported: Path, face: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    error = fer_edge("predict", face, "-m", exported, "--backend", "tensorrt").error()
    assert "tensorrt cannot be imported" in error
    assert "pip install 'fer-edge[tensorrt]'" in error


def test_a_precision_that_was_not_exported_is_an_error(
    fer_edge: Command,
    artifact: Path,
    face: Path,
    edit: Edit,
) -> None:
    edit(lambda manifest: manifest["graphs"].pop("int8"))
    error = fer_edge("predict", face, "-m", artifact, "--precision", "int8").error()
    assert "has no int8 graph (it has: fp32, fp16)" in error
    assert f"fer-edge export {artifact} --int8" in error


@pytest.mark.parametrize(
    ("name", "graph", "says"),
    [
        ("shape.onnx", make_graph(size=16), "takes faces uint8 (N, 1, 16, 16)"),
        ("cut.onnx", make_graph()[:500], "cannot load this graph"),
        ("empty.onnx", b"", "cannot load this graph"),
        ("nan.onnx", make_nan_graph(), "returned NaN"),
    ],
)
def test_a_graph_that_cannot_be_run_is_an_error(
    name: str, graph: bytes, says: str, fer_edge: Command, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(graph)
    Image.new("L", (48, 48)).save(tmp_path / "black.png")
    error = fer_edge("predict", tmp_path / "black.png", "-m", tmp_path / name).error()
    assert says in error
    assert name in error or name == "nan.onnx"


def test_a_changed_graph_is_not_run(fer_edge: Command, artifact: Path, face: Path) -> None:
    with (artifact / "int8.cpu.onnx").open("ab") as stream:
        stream.write(b"x")
    error = fer_edge("predict", face, "-m", artifact, "--precision", "int8").error()
    assert f"{artifact}/int8.cpu.onnx does not match the hash" in error


def test_no_artifact_is_an_error(fer_edge: Command, face: Path, tmp_path: Path) -> None:
    assert "There is no model 'nowhere'" in fer_edge("predict", face, "-m", "nowhere").error()
    assert "no manifest.json" in fer_edge("predict", face, "-m", tmp_path).error()


@pytest.fixture
def photo(face: Path, tmp_path: Path) -> Path:
    """A photo in which :func:`one_face_each` finds a face."""
    image = Image.new("RGB", (320, 240), (127, 127, 127))
    with Image.open(face) as portrait:
        image.paste(portrait.resize((96, 96)), (100, 60))
    path = tmp_path / "photo.png"
    image.save(path)
    return path


@pytest.mark.usefixtures("one_face_each")
def test_faces_are_found_in_photos(fer_edge: Command, exported: Path, photo: Path) -> None:
    result = fer_edge("predict", photo, "--find", "-m", exported)
    with Recognizer(exported) as recognizer:
        (face,) = recognizer.find(read_image(photo))
        whole = recognizer([read_image(photo)]).probabilities[0]
    assert (result.code, result.err) == (0, "")
    head, first, *_ = result.out.splitlines()
    assert head == f"{photo}, 96x96 at 100, 60: {face.emotion}"
    assert first.split()[:2] == [face.emotion, f"{100 * face.probabilities.max():.2f}"]
    (told,) = json.loads(fer_edge("predict", photo, "--find", "-m", exported, "--json").out)
    assert told["image"] == str(photo)
    (one,) = told["faces"]
    assert (one["box"], one["score"], one["emotion"]) == ([100, 60, 96, 96], 0.7, face.emotion)
    assert one["probabilities"] == dict(zip(EMOTIONS, face.probabilities.tolist(), strict=True))
    assert not np.allclose(face.probabilities, whole)


def test_a_photo_without_a_face(
    fer_edge: Command, exported: Path, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RetinaFace, "__call__", lambda *_: [])
    assert fer_edge("predict", photo, "--find", "-m", exported).out == f"{photo}: no face found\n"
    told = fer_edge("predict", photo, "--find", "-m", exported, "--json").out
    assert json.loads(told) == [{"image": str(photo), "faces": []}]


@pytest.mark.parametrize(
    "option", [("--detector", "retinaface"), ("--detector-size", "320"), ("--min-score", "0.1")]
)
def test_a_detector_is_for_finding(fer_edge: Command, face: Path, option: tuple[str, str]) -> None:
    assert "no detector without --find. Add --find" in fer_edge("predict", face, *option).error(2)


def test_finding_without_a_detector_says_what_to_install(
    fer_edge: Command, face: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FER_EDGE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(sys.modules, "retinaface", None)
    error = fer_edge("predict", face, "--find").error()
    assert "pip install 'fer-edge[camera]'" in error


def test_a_detector_made_elsewhere(
    fer_edge: Command, exported: Path, photo: Path, tmp_path: Path
) -> None:
    folder = tiny_detector(tmp_path / "detector", SMALL).folder
    options = ["--find", "-m", exported, "--detector", folder, "--json"]
    (told,) = json.loads(fer_edge("predict", photo, *options).out)
    (one,) = told["faces"]
    assert one["score"] == pytest.approx(0.9)
    (told,) = json.loads(fer_edge("predict", photo, *options, "--min-score", "0.5").out)
    assert len(told["faces"]) == 2
    folder = tiny_detector(tmp_path / "damaged", SMALL).folder
    (folder / "64x48.onnx").write_bytes(b"damaged")
    error = fer_edge("predict", photo, "--find", "-m", exported, "--detector", folder).error()
    assert "64x48.onnx does not match the hash in the manifest" in error


@pytest.mark.parametrize("least", [0.8, 0.9])
def test_what_is_not_sure_is_said_to_be_unsure(
    fer_edge: Command, val: FaceDataset, tmp_path: Path, least: float
) -> None:
    paths = []
    for index, pixels in enumerate(val.faces[:8].reshape(8, 48, 48)):
        paths.append(tmp_path / f"{index}.png")
        Image.fromarray(pixels).save(paths[-1])
    with Recognizer(precision="fp32", sure=least) as recognizer:
        threshold = recognizer.threshold
    options = ("--precision", "fp32", "--sure", least)
    answers = json.loads(fer_edge("predict", *paths, *options, "--json").out)
    for answer in answers:
        probabilities = answer["probabilities"]
        best = max(probabilities, key=probabilities.__getitem__)
        assert answer["emotion"] == (best if probabilities[best] >= threshold else None)
    assert None in {answer["emotion"] for answer in answers}
    unsure = next(a["image"] for a in answers if a["emotion"] is None)
    assert fer_edge("predict", unsure, *options).out.splitlines()[0] == f"{unsure}: unsure"
    error = fer_edge("predict", *paths, "--precision", "fp32", "--sure", "0.99").error(2)
    assert "Ask for 0.9 at most" in error
