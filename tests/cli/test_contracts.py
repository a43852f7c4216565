"""Every command on a network of somebody else."""

import csv as csv_format
import json
from pathlib import Path

import onnx
import pytest

from fer_edge.artifact import Artifact
from fer_edge.contract import FER2013, LABELS_KEY, Contract
from tests.export.graphs import plain_graph
from tests.pictures import assert_picture
from tests.tiny import CONTRACTS, EIGHT, FIVE

from .conftest import Command

pytestmark = pytest.mark.usefixtures("one_face_each")
IDS = ["rgb", "eight", "five"]
of_each = pytest.mark.parametrize("contract", CONTRACTS, ids=IDS)


@pytest.fixture(scope="module")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> dict[Contract, Path]:
    """A lone graph for each contract."""
    folder = tmp_path_factory.mktemp("foreign")
    made = {}
    for name, contract in zip(IDS, CONTRACTS, strict=True):
        graph = plain_graph(0, contract)
        onnx.helper.set_model_props(graph, {LABELS_KEY: ",".join(contract.labels)})
        made[contract] = folder / f"{name}.onnx"
        onnx.save(graph, made[contract])
    return made


@of_each
def test_exported_scored_and_told(
    fer_edge: Command, graphs: dict[Contract, Path], contract: Contract, csv: Path, tmp_path: Path
) -> None:
    options = ("--int8", "--data", csv, "--method", "minmax", "--samples", 35, "--proof", "p.png")
    result = fer_edge("export", graphs[contract], *options, "--engine", "none", "--out", "build")
    assert (result.code, result.err) == (0, "")
    artifact = Artifact.load(tmp_path / "build")
    assert artifact.contract == contract
    score = artifact.manifest.scores["int8"]
    shared = 3 if contract is FIVE else 7
    assert score.n == 10 * shared
    assert sum(score.left_out.values()) == 70 - score.n
    assert set(score.recall) == {*contract.labels} - {"awe", "bored", "contempt"}
    assert (tmp_path / "p.png").is_file()

    told = fer_edge("info", "build").out
    assert contract.input_text in told
    assert contract.output_text in told

    evaluated = fer_edge("evaluate", "build", "--data", csv, "--out", "errors")
    assert (evaluated.code, evaluated.err) == (0, "")
    assert all(f"\n{label} " in evaluated.out for label in contract.labels)
    left_out = "Left out, as the model has no label for them: 10 faces of angry" in evaluated.out
    assert left_out == (contract is FIVE)
    with (tmp_path / "errors" / "predictions.csv").open(newline="") as stream:
        rows = list(csv_format.DictReader(stream))
    assert list(rows[0]) == ["name", "label", "predicted", *contract.labels]
    assert len(rows) == score.n

    options = ("--data", csv, "--batch", "1,4", "--seconds", 0.1, "--json")
    found = fer_edge("bench", "build", *options)
    assert found.err == ""
    bench = json.loads(found.out)
    assert tuple(bench["labels"]) == contract.labels
    assert bench["precisions"][0]["score"]["n"] == score.n
    assert bench["precisions"][0]["peak_memory_mib"] is None or (
        bench["precisions"][0]["peak_memory_mib"] > 10
    )

    inspected = fer_edge("inspect", "build", "--data", csv)
    assert (inspected.code, inspected.err) == (0, "")


@of_each
def test_calibrated_on_its_own_faces(
    fer_edge: Command, graphs: dict[Contract, Path], contract: Contract, csv: Path
) -> None:
    options = ("--data", csv, "--samples", 35, "--method", "minmax", "--out", "table.json")
    result = fer_edge("calibrate", graphs[contract], *options)
    assert (result.code, result.err) == (0, "")


@of_each
def test_predicted_watched_and_analyzed(
    fer_edge: Command,
    graphs: dict[Contract, Path],
    contract: Contract,
    face: Path,
    film: Path,
    tmp_path: Path,
) -> None:
    told = fer_edge("predict", face, "-m", graphs[contract], "--json")
    (answer,) = json.loads(told.out)
    assert list(answer["probabilities"]) == list(contract.labels)
    found = fer_edge("predict", face, "-m", graphs[contract], "--find")
    assert all(f"  {label} " in found.out for label in contract.labels)

    result = fer_edge("analyze", film, "--out", "a.csv", "-m", graphs[contract], "--json")
    assert list(json.loads(result.out)["shares"]) == list(contract.labels)
    with (tmp_path / "a.csv").open(newline="") as stream:
        rows = list(csv_format.DictReader(stream))
    assert [name for name in rows[0] if name.startswith("p_")] == [
        f"p_{label}" for label in contract.labels
    ]
    assert_picture(tmp_path / "a.png")

    seen = fer_edge("camera", film, "--headless", "-m", graphs[contract])
    moments = [json.loads(line) for line in seen.out.splitlines()]
    assert len(moments) == 20
    assert {tuple(moment["faces"][0]["probabilities"]) for moment in moments} == {contract.labels}


def test_predictions_of_what_the_data_do_not_know_are_told(
    fer_edge: Command, csv: Path, tmp_path: Path
) -> None:
    """A network that says contempt of everybody."""
    graph = plain_graph(0, EIGHT)
    onnx.helper.set_model_props(graph, {LABELS_KEY: ",".join(EIGHT.labels)})
    (bias,) = (one for one in graph.graph.initializer if one.name == "classifier.bias")
    values = onnx.numpy_helper.to_array(bias).copy()
    values[-1] += 50
    bias.CopyFrom(onnx.numpy_helper.from_array(values, bias.name))
    onnx.save(graph, tmp_path / "haughty.onnx")
    result = fer_edge("evaluate", tmp_path / "haughty.onnx", "--data", csv)
    assert "accuracy  0.00 ± 0.00 %" in result.out
    assert "Wrong, as the data have no such faces: 70 faces of contempt." in result.out


def test_data_are_looked_at_by_models_that_know_all_seven(
    fer_edge: Command, graphs: dict[Contract, Path], csv: Path
) -> None:
    for contract in (EIGHT, CONTRACTS[0]):
        result = fer_edge("data", csv, "--model", graphs[contract])
        assert (result.code, result.err) == (0, "")
    error = fer_edge("data", csv, "--model", graphs[FIVE]).error(2)
    assert "has no label for angry, disgust, fear, surprise" in error


def test_labels_are_text_and_no_markup(fer_edge: Command, csv: Path, tmp_path: Path) -> None:
    contract = Contract(48, "gray", ("angry[/x]", "[red]", *FER2013.labels[2:]))
    graph = plain_graph(0, contract)
    onnx.helper.set_model_props(graph, {LABELS_KEY: ",".join(contract.labels)})
    onnx.save(graph, tmp_path / "odd.onnx")
    evaluated = fer_edge("evaluate", tmp_path / "odd.onnx", "--data", csv)
    assert evaluated.code == 0
    assert all(f"\n{label} " in evaluated.out for label in contract.labels)
