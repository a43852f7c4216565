import json
import sys

import pytest

from fer_edge.cli import doctor

from .conftest import Command


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> dict[str, str | None]:
    """Versions that the doctor finds; None where a package is not installed."""
    versions: dict[str, str | None] = dict.fromkeys(doctor.TRAIN, "1.0")
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
