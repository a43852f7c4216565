from dataclasses import replace

import numpy as np
import onnx
import pytest

from fer_edge.data import FaceDataset
from fer_edge.errors import CalibrationError
from fer_edge.export.graph.view import GraphView, copy_of, set_constant
from fer_edge.export.quantization.forms.cpu_form import cpu_form
from fer_edge.export.quantization.search import search
from tests.export.conftest import run
from tests.export.graphs import residual_graph


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FER_EDGE_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def model(faces: FaceDataset) -> onnx.ModelProto:
    """Random weights that see all seven emotions."""
    graph = residual_graph()
    logits, hidden = run(graph, faces.faces, "classifier", "hidden/relu")
    weights = np.linalg.lstsq(
        np.c_[hidden, np.ones(len(hidden))], 4 * np.eye(7)[faces.labels], rcond=None
    )[0].astype(np.float32)
    assert logits.shape[1] == weights.shape[1]
    out = copy_of(graph)
    set_constant(out, "classifier.weight", weights[:-1].T)
    set_constant(out, "classifier.bias", weights[-1])
    return out


@pytest.fixture(scope="module")
def data(model: onnx.ModelProto, faces: FaceDataset) -> FaceDataset:
    """Faces that the float32 graph is always right about."""
    labels = run(model, faces.faces)[0].argmax(axis=1)
    assert len(set(labels)) == 7
    return replace(faces, labels=labels)


def drop(model: onnx.ModelProto, table, data: FaceDataset) -> float:
    found = run(cpu_form(model, table), data.faces)[0].argmax(axis=1)
    return 100 * float((found != data.labels).mean())


def test_a_budget_that_plain_int8_keeps_leaves_all_layers_in_int8(model, data):
    table = search(model, "residual", data, max_drop=50, method="minmax", samples=70)
    assert table.kept == {}
    assert len(table.sensitivity) == 7


def test_layers_are_kept_where_nothing_else_helps(model, data):
    """Large weights on a channel that never fires take the steps of all others."""
    broken = copy_of(model)
    view = GraphView(model)
    bias, weights = view.array("one.a.bias").copy(), view.array("one.b.weight").copy()
    bias[0] = -1e6
    weights[:, 0] = 2.0**9
    set_constant(broken, "one.a.bias", bias)
    set_constant(broken, "one.b.weight", weights)
    expected = run(broken, data.faces)[0].argmax(axis=1)
    data = replace(data, labels=np.concatenate([np.arange(7), expected[7:]]))
    float_drop = 100 * float((expected != data.labels).mean())
    plain = search(broken, "x", data, max_drop=100, method="minmax", samples=70)
    allowed = drop(broken, plain, data) - float_drop - 10
    assert allowed > 0
    table = search(broken, "x", data, max_drop=allowed, method="minmax", samples=70)
    assert drop(broken, table, data) - float_drop <= allowed
    assert 0 < len(table.kept) < 7
    assert "one.b" in table.kept
    assert all("nats" in reason for reason in table.kept.values())


def test_a_budget_that_cannot_be_met_tells_the_best(model, data):
    with pytest.raises(CalibrationError, match=r"within -200 points of fp32: the best loses"):
        search(model, "x", data, max_drop=-200, method="minmax", samples=70)
    best = search(model, "x", data, max_drop=-200, best_effort=True, method="minmax", samples=70)
    plain = search(model, "x", data, max_drop=100, method="minmax", samples=70)
    assert drop(model, best, data) <= drop(model, plain, data)
