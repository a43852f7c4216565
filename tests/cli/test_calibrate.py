import json
from pathlib import Path

import pytest

from .conftest import Command, leftovers

BARE = ("--engine", "none")


def test_a_table_gives_the_same_bytes_as_the_data(
    fer_edge: Command, exported: Path, csv: Path, tmp_path: Path
) -> None:
    how = ("--method", "entropy", "--samples", 70, "--seed", 3)
    done = fer_edge("calibrate", exported, "--data", csv, *how, "--out", "table.json")
    assert (done.code, done.err) == (0, "")
    assert "Next: fer-edge export MODEL --int8 --calibration table.json" in done.out
    with_data = ("export", exported, "--int8", "--data", csv, *how, "--out", "a", *BARE)
    assert fer_edge(*with_data).code == 0
    with_table = ("export", exported, "--int8", "--calibration", "table.json", "--out", "b", *BARE)
    assert fer_edge(*with_table).code == 0
    for name in ("int8.onnx", "int8.cpu.onnx", "calibration.json"):
        assert Path("a", name).read_bytes() == Path("b", name).read_bytes()
    assert leftovers(tmp_path) == []


def test_another_method_takes_the_histograms_alone(
    fer_edge: Command, exported: Path, csv: Path
) -> None:
    assert (
        fer_edge("calibrate", exported, "--data", csv, "--samples", 70, "--out", "a.json").code == 0
    )
    again = fer_edge(
        "calibrate", "--histograms", "a.npz", "--method", "minmax", "--out", "b.json", "--json"
    )
    told = json.loads(again.out)
    assert (told["method"], told["samples"]) == ("minmax", 70)
    assert told["scales"] == json.loads(Path("b.json").read_text())["scales"]
    assert told["scales"] != json.loads(Path("a.json").read_text())["scales"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ([], "Calibration needs faces. Pass --data fer2013.zip"),
        (["--method", "best"], "--method best: choose from auto, "),
        (["--out", "table.txt"], "--out table.txt is not a name for a table. End it in .json"),
        (["--histograms", "a.npz"], "--method auto compares graphs, and --histograms has none."),
        (["--histograms", "a.npz", "--data", "b"], "--histograms stands for a model"),
        (["--histograms", "a.npz", "--no-equalise"], "--histograms stands for a model"),
    ],
)
def test_usage(options: list[str], says: str, fer_edge: Command) -> None:
    assert says in fer_edge("calibrate", *options).error(2)


def test_too_few_faces_write_nothing(
    fer_edge: Command, exported: Path, csv: Path, tmp_path: Path
) -> None:
    options = ("--data", csv, "--samples", 2, "--method", "mse", "--out", "table.json")
    assert "too few for the histogram" in fer_edge("calibrate", exported, *options).error()
    assert list(tmp_path.iterdir()) == []
