import json
from pathlib import Path

import pytest
from PIL import Image

from .conftest import Command


def test_layer_by_layer_with_what_is_kept_and_why(fer_edge: Command, exported: Path) -> None:
    result = fer_edge("inspect", exported)
    assert (result.code, result.err) == (0, "")
    rows = {line.split()[0]: line.split() for line in result.out.splitlines() if line.strip()}
    assert rows["a"][:5] == ["a", "Conv", "3x3", "8>16", "int8"]
    assert "classifier stays in fp32: the classifier" in result.out
    assert "--data FER2013 measures what each layer costs" in result.out
    assert max(map(len, result.out.splitlines()[:12])) <= 80


def test_json_and_picture_have_the_measured_sensitivity(
    fer_edge: Command, exported: Path, csv: Path, tmp_path: Path
) -> None:
    options = ("--data", csv, "--plot", tmp_path / "layers.png", "--json")
    told = json.loads(fer_edge("inspect", exported, *options).out)
    layers = {layer["name"]: layer for layer in told["layers"]}
    assert told["precision"] == "int8"
    assert layers["a"]["divergence"] > 0
    with Image.open(tmp_path / "layers.png") as image:
        assert image.format == "PNG"


def test_another_precision(fer_edge: Command, exported: Path) -> None:
    told = json.loads(fer_edge("inspect", exported, "--precision", "fp16", "--json").out)
    assert {layer["name"]: layer["precision"] for layer in told["layers"]}["b"] == "fp16"


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        (["--precision", "int4"], 2, "--precision int4: choose from fp32, fp16, int8, fp8."),
        (["--plot", "layers.txt"], 2, "--plot layers.txt is not a name for a PNG."),
        (["--precision", "fp8"], 1, "has no fp8 graph"),
    ],
)
def test_what_cannot_be_shown(
    options: list[str], code: int, says: str, fer_edge: Command, exported: Path
) -> None:
    assert says in fer_edge("inspect", exported, *options).error(code)
