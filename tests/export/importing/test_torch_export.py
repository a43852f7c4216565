import json

import numpy as np
import pytest
import torch

from fer_edge.artifact import GraphRecord, Manifest, seal
from fer_edge.errors import ExportError, ModelError, TrainingError
from fer_edge.export.graph.counting import count_multiply_adds, count_parameters
from fer_edge.export.graph.view import GraphView
from fer_edge.export.importing import torch_export
from fer_edge.export.importing.sources import open_source
from fer_edge.export.importing.torch_export import compare, export_run, torch_to_onnx
from fer_edge.export.quantization.calibration import calibrate
from fer_edge.export.quantization.forms.cpu_form import cpu_form
from fer_edge.export.quantization.forms.quantize import quantize
from fer_edge.models import MODELS, build_model
from fer_edge.models.exported import load_exported
from fer_edge.training.checkpoint import BEST, save_model
from tests.export.conftest import run


def test_probabilities_are_those_of_torch(exported):
    _, model, graph = exported
    assert compare(model, graph) < torch_export.PARITY_LIMIT


def test_an_artifact_can_be_trained_on(exported, tmp_path):
    name, _, graph = exported
    (tmp_path / "fp32.onnx").write_bytes(graph.SerializeToString())
    seal(tmp_path, Manifest(model=name, graphs={"fp32": GraphRecord(file="fp32.onnx")}))
    assert compare(load_exported(tmp_path), graph) < torch_export.PARITY_LIMIT


def test_batch_is_dynamic(exported, faces):
    _, _, graph = exported
    (all_at_once,) = run(graph, faces.faces[:5])
    one_by_one = np.concatenate([run(graph, faces.faces[i : i + 1])[0] for i in range(5)])
    np.testing.assert_allclose(all_at_once, one_by_one, atol=1e-5)


def test_names_come_from_layers(exported):
    name, _, graph = exported
    first = GraphView(graph).consumers["faces/sub"][0]
    assert first.name == MODELS[name].first_convolution.removeprefix("network.")


def test_first_convolution_takes_one_channel_of_raw_pixels(exported):
    _, _, graph = exported
    view = GraphView(graph)
    first = view.consumers["faces/sub"][0]
    assert view.array(first.input[1]).shape[1] == 1
    assert view.array(view.producer["faces/sub"].input[1]) == 128


def test_int8_of_every_model_runs(exported, faces):
    name, _, graph = exported
    table = calibrate(graph, name, faces, method="minmax", samples=70)
    (expected,) = run(graph, faces.faces[:20])
    for form in (quantize(graph, table), cpu_form(graph, table)):
        (actual,) = run(form, faces.faces[:20])
        assert np.abs(actual - expected).max() < 0.1


def test_compact_keeps_its_budget(exported):
    name, _, graph = exported
    if name == "compact":
        assert count_parameters(graph) <= 3e6
        assert count_multiply_adds(graph) <= 90e6


@pytest.fixture
def trained(tmp_path):
    """A run folder of an untrained compact."""
    torch.manual_seed(1)
    save_model(tmp_path / BEST, build_model("compact"), {"model": "compact", "epoch": 1})
    (tmp_path / "config.json").write_text('{"model": "compact", "data": "/home/me/fer.zip"}')
    (tmp_path / "metrics.jsonl").write_text(
        "".join(json.dumps({"epoch": i, "val_accuracy": a}) + "\n" for i, a in ((1, 0.6), (2, 0.5)))
    )
    return tmp_path


def test_a_run_is_exported_with_its_history(trained):
    exported = export_run(trained)
    assert exported.name == "compact"
    assert exported.training["best_epoch"]["epoch"] == 1
    assert exported.training["config"]["data"] == ["fer.zip"]
    assert exported.difference < torch_export.PARITY_LIMIT


def with_temperature(run, value):
    torch.manual_seed(1)
    facts = {"model": "compact", "epoch": 1, "temperature": value}
    save_model(run / BEST, build_model("compact"), facts)


def test_a_temperature_is_folded_without_a_node(trained, faces):
    plain = export_run(trained)
    assert plain.training["temperature"] == 1.0
    with_temperature(trained, 0.25)
    exported = export_run(trained)
    assert exported.training["temperature"] == 0.25
    assert exported.difference < torch_export.PARITY_LIMIT
    operators = [[n.op_type for n in graph.graph.node] for graph in (plain.graph, exported.graph)]
    assert operators[0] == operators[1]
    (before,), (after,) = (run(e.graph, faces.faces[:20]) for e in (plain, exported))
    expected = before**4 / (before**4).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(after, expected, atol=1e-5)
    assert np.abs(after - before).max() > 1e-3


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), "hot"])
def test_a_temperature_that_is_none_is_refused(trained, value):
    with_temperature(trained, value)
    with pytest.raises(TrainingError, match="is damaged"):
        export_run(trained)


def test_a_temperature_needs_one_layer_to_go_into(trained, monkeypatch):
    def two_heads(name, _contract):
        model = build_model(name)
        model.other = torch.nn.Linear(3, 7)
        return model

    with_temperature(trained, 2.0)
    monkeypatch.setattr(torch_export, "build_model", two_heads)
    monkeypatch.setattr(torch_export, "load_weights", lambda *_: None)
    with pytest.raises(ModelError, match=r"linear layer with 7 outputs, and this model has 2"):
        export_run(trained)


def test_a_graph_that_differs_from_torch_is_refused(trained, monkeypatch):
    def other_weights(_model, name, *_):
        torch.manual_seed(2)
        return torch_to_onnx(build_model(name), name)

    monkeypatch.setattr(torch_export, "torch_to_onnx", other_weights)
    with pytest.raises(ExportError, match="differs from torch by"):
        export_run(trained)


def test_a_folder_without_a_config_is_no_run(tmp_path):
    with pytest.raises(TrainingError, match=r"no config\.json"):
        open_source(tmp_path)


def test_a_run_without_an_epoch_is_told_to_go_on(trained):
    (trained / "metrics.jsonl").unlink()
    with pytest.raises(TrainingError, match="no finished epoch"):
        export_run(trained)


def test_damaged_metrics_are_named(trained):
    (trained / "metrics.jsonl").write_text("{")
    with pytest.raises(TrainingError, match="is damaged"):
        export_run(trained)


def test_damaged_weights_are_named(trained):
    (trained / "best.safetensors").write_bytes(b"x" * 100)
    with pytest.raises(TrainingError, match="is damaged"):
        export_run(trained)


def test_weights_without_metrics_are_not_passed_off_as_another_epoch(trained):
    (trained / "metrics.jsonl").write_text('{"epoch": 2, "val_accuracy": 0.5}\n')
    with pytest.raises(TrainingError, match="no metrics of epoch 1"):
        export_run(trained)
