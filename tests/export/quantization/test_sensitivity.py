import numpy as np
import pytest

from fer_edge.errors import CalibrationError
from fer_edge.export.quantization import sensitivity
from fer_edge.export.quantization.calibration import calibrate
from fer_edge.export.quantization.forms.quantize import quantize
from fer_edge.export.quantization.sensitivity import GatedGraph, divergence, measure_sensitivity
from tests.export.conftest import run
from tests.export.graphs import with_outliers

OUTLIERS = [(["one.a"], ["one.b"])]


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FER_EDGE_CACHE", str(tmp_path / "cache"))


def test_gates_choose_between_float32_and_the_graph_of_record(residual, residual_table, faces):
    graph = GatedGraph(residual, residual_table)
    pixels = faces.faces[:, None]
    for gates, expected in (((), residual), (graph.layers, quantize(residual, residual_table))):
        (probabilities,) = run(expected, faces.faces, optimise=False)
        np.testing.assert_allclose(graph.run(pixels, gates), probabilities, atol=2e-3)


def test_one_gate_is_the_graph_that_keeps_all_other_layers(residual, residual_table, faces):
    graph = GatedGraph(residual, residual_table)
    kept = {layer: "" for layer in graph.layers if layer != "two.b"}
    table = residual_table.model_copy(update={"kept": kept})
    (expected,) = run(quantize(residual, table), faces.faces, optimise=False)
    np.testing.assert_allclose(graph.run(faces.faces[:, None], {"two.b"}), expected, atol=1e-4)


def test_divergence_is_zero_for_equal_and_positive_for_other_probabilities():
    p = np.array([[0.5, 0.5], [1.0, 0.0]], np.float32)
    assert divergence(p, p) == 0.0
    assert divergence(p, p[::-1]) > 1.0


def test_the_layer_behind_an_outlier_channel_is_the_most_sensitive(residual, faces):
    broken = with_outliers(residual, OUTLIERS, 2.0**9)
    table = calibrate(broken, "broken", faces, method="minmax", samples=70, equalised=False)
    found = measure_sensitivity(broken, table, faces, samples=70)
    assert list(found) == list(GatedGraph(broken, table).layers)
    assert max(found, key=lambda layer: found[layer].divergence) == "one.b"
    assert set(found["one.b"].recall_drop) == {
        "angry",
        "disgust",
        "fear",
        "happy",
        "sad",
        "surprise",
        "neutral",
    }


def test_an_interrupted_measurement_goes_on(residual, residual_table, faces, monkeypatch):
    complete = measure_sensitivity(residual, residual_table, faces, samples=35)

    def refuse(*_):
        raise AssertionError("measured again")

    monkeypatch.setattr(sensitivity, "_compare", refuse)
    assert measure_sensitivity(residual, residual_table, faces, samples=35) == complete
    with pytest.raises(AssertionError, match="measured again"):
        measure_sensitivity(residual, residual_table, faces, samples=42)


def test_a_table_of_another_graph_is_refused(plain, residual_table):
    with pytest.raises(CalibrationError, match="another model"):
        GatedGraph(plain, residual_table)
