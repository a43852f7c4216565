import ml_dtypes
import numpy as np
import pytest
from onnx import TensorProto

from fer_edge.errors import CalibrationError, ExportError
from fer_edge.export.graph.view import GraphView
from fer_edge.export.quantization.calibration import calibrate
from fer_edge.export.quantization.forms.float8 import (
    FLOAT8_MAX,
    float8_scales,
    kept_from_float8,
    quantize_float8,
)
from tests.export.conftest import run
from tests.export.graphs import plain_graph, residual_graph

TYPE = TensorProto.FLOAT8E4M3FN


def test_scales_are_float16_numbers_that_reach_the_largest_value() -> None:
    largest = np.random.default_rng(0).uniform(1e-3, 1e4, 500).astype(np.float32)
    scales = float8_scales(largest)
    assert (scales == scales.astype(np.float16)).all()
    assert (scales * FLOAT8_MAX >= largest).all()
    assert (scales * FLOAT8_MAX <= 1.002 * largest).mean() > 0.9


def test_layers_that_float8_can_run_have_a_pair_on_both_inputs(residual, residual_table) -> None:
    graph = quantize_float8(residual, residual_table)
    view = GraphView(graph)
    found = set()
    for node in view.nodes:
        if node.op_type in ("Conv", "Gemm"):
            makers = [view.producer.get(name) for name in node.input[:2]]
            pairs = [m is not None and m.op_type == "DequantizeLinear" for m in makers]
            assert pairs[0] == pairs[1]
            if pairs[0]:
                found.add(node.name)
                assert view.constants[makers[1].input[0]].data_type == TYPE
    assert found == {"two.b", "hidden"}
    assert set(kept_from_float8(residual, residual_table)) == {
        "stem",
        "one.a",
        "one.b",
        "two.a",
        "two.skip",
    }


def test_weights_are_the_nearest_of_e4m3(residual, residual_table) -> None:
    graph = quantize_float8(residual, residual_table)
    stored = {t.name: t for t in graph.graph.initializer}
    raw = np.frombuffer(stored["two.b.weight/quantized"].raw_data, ml_dtypes.float8_e4m3fn)
    scale = GraphView(graph).array("two.b.weight/scale").reshape(-1, 1)
    weight = GraphView(residual).array("two.b.weight").reshape(16, -1)
    step = np.abs(raw.reshape(16, -1).astype(np.float32) * scale - weight)
    # Three bits of mantissa: half a step is a sixteenth of the value.
    assert (step <= np.maximum(np.abs(weight) / 16, scale * 2**-10) * 1.001).all()


def test_probabilities_stay_near(residual, residual_table, faces) -> None:
    (expected,) = run(residual, faces.faces)
    (actual,) = run(quantize_float8(residual, residual_table), faces.faces, optimise=False)
    assert 0 < np.abs(actual - expected).max() < 0.1


def test_a_table_of_another_graph_is_refused(plain_table) -> None:
    with pytest.raises(CalibrationError, match="of another model"):
        quantize_float8(residual_graph(), plain_table)


def test_a_model_without_a_layer_for_float8_is_refused(faces) -> None:
    model = plain_graph()
    table = calibrate(model, "plain", faces, method="minmax", samples=140)
    layers = [n.name for n in model.graph.node if n.op_type in ("Conv", "Gemm")]
    table.kept = {name: "no" for name in layers if name != "classifier"}
    with pytest.raises(ExportError, match="FP8 can run no layer of this model"):
        quantize_float8(model, table)
