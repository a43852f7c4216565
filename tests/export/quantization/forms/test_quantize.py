import collections

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, numpy_helper

from fer_edge.errors import CalibrationError, ExportError
from fer_edge.export.graph.view import GraphView
from fer_edge.export.quantization.forms.cpu_form import cpu_form
from fer_edge.export.quantization.forms.quantize import quantize
from fer_edge.export.quantization.placement import place
from tests.export.conftest import run


@pytest.fixture(scope="module")
def record(residual, residual_table):
    return quantize(residual, residual_table)


def test_integers_are_symmetric_int8_with_zero_point_zero(record):
    view = GraphView(record)
    pairs = [n for n in view.nodes if n.op_type in ("QuantizeLinear", "DequantizeLinear")]
    assert pairs
    for node in pairs:
        zero = view.array(node.input[2])
        assert zero.dtype == np.int8
        assert not zero.any()


def test_weights_have_one_scale_per_output_channel(record, residual):
    view, original = GraphView(record), GraphView(residual)
    for layer in place(residual).layers:
        node = next(n for n in view.nodes if n.name == layer)
        dequantize = view.producer[node.input[1]]
        integers, scales = view.array(dequantize.input[0]), view.array(dequantize.input[1])
        assert [a.i for a in dequantize.attribute if a.name == "axis"] == [0]
        assert integers.dtype == np.int8
        assert np.abs(integers).max() <= 127
        restored = integers * scales.reshape(-1, *[1] * (integers.ndim - 1))
        error = np.abs(restored - original.array(f"{layer}.weight"))
        assert (error.max(axis=tuple(range(1, error.ndim))) <= scales / 2 * 1.001).all()


def test_biases_stay_float(record):
    biases = [t for t in record.graph.initializer if t.name.endswith(".bias")]
    assert len(biases) == 8
    assert {t.data_type for t in biases} == {TensorProto.FLOAT}


def test_probabilities_stay_near_float32(record, residual, faces):
    (expected,), (actual,) = run(residual, faces.faces), run(record, faces.faces)
    assert 0 < np.abs(actual - expected).max() < 0.1


def test_a_quantised_graph_is_not_quantised_again(record, residual_table):
    with pytest.raises(ExportError, match="Q/DQ nodes already"):
        quantize(record, residual_table)


@pytest.mark.parametrize("rewrite", [quantize, cpu_form])
def test_a_table_of_another_graph_is_refused(rewrite, plain, residual_table):
    with pytest.raises(CalibrationError, match="another model"):
        rewrite(plain, residual_table)


def test_cpu_form_with_steps_of_the_record_computes_its_integers(plain, plain_table, faces):
    """Without residual adds only the int32 biases round differently."""
    table = plain_table.model_copy(update={"reach": 255 / 127})
    record, cpu = quantize(plain, table), cpu_form(plain, table)
    tensors = ["stem/relu/quantized", "pool/quantized"]
    exact = run(record, faces.faces, *tensors, optimise=False)
    rewritten = run(cpu, faces.faces, *tensors, optimise=False)
    for one, other in zip(exact, rewritten, strict=True):
        assert other.dtype == np.uint8
        difference = np.abs(one.astype(int) - other.astype(int))
        assert difference.max() <= 1
        assert (difference == 0).mean() > 0.99


def test_cpu_form_rounds_finer_and_clips_later_than_the_record(plain, plain_table, faces):
    largest, small = 127 * plain_table.scales["stem/relu"], plain_table.scales["stem/relu"] / 2
    table = plain_table.model_copy(update={"reach": 1.25})
    (wanted,) = run(plain, faces.faces, "stem/relu", optimise=False)
    exact, finer = (
        run(graph, faces.faces, "stem/relu/dequantized", optimise=False)[0]
        for graph in (quantize(plain, table), cpu_form(plain, table))
    )
    inside = wanted < largest
    assert np.abs(finer - wanted)[inside].mean() < 0.8 * np.abs(exact - wanted)[inside].mean()
    assert exact.max() <= largest + small
    assert finer.max() == pytest.approx(min(wanted.max(), 1.25 * largest), abs=small)


def test_cpu_form_gives_the_labels_of_the_record(plain, plain_table, faces):
    (expected,) = run(quantize(plain, plain_table), faces.faces)
    (actual,) = run(cpu_form(plain, plain_table), faces.faces)
    certain = np.sort(expected, axis=1)
    certain = certain[:, -1] - certain[:, -2] > 0.01
    assert certain.sum() > 50
    np.testing.assert_array_equal(actual.argmax(1)[certain], expected.argmax(1)[certain])


def test_cpu_form_of_residual_adds_stays_near_the_record(record, residual, residual_table, faces):
    (expected,) = run(record, faces.faces)
    (actual,) = run(cpu_form(residual, residual_table), faces.faces)
    assert np.abs(actual - expected).max() < 0.06


@pytest.mark.parametrize("rewrite", [quantize, cpu_form])
@pytest.mark.parametrize("kept", ["stem", "one.b", "two.skip", "hidden"])
def test_a_kept_layer_computes_in_float(rewrite, kept, residual, residual_table, faces):
    table = residual_table.model_copy(update={"kept": {kept: "a reason"}})
    graph = rewrite(residual, table)
    view = GraphView(graph)
    (node,) = (n for n in view.nodes if n.name == kept)
    assert node.input[1] == f"{kept}.weight"
    whole = GraphView(rewrite(residual, residual_table))
    assert len(view.nodes) < len(whole.nodes)
    assert np.abs(run(graph, faces.faces)[0] - run(residual, faces.faces)[0]).max() < 0.1


def test_a_residual_add_with_a_kept_main_branch_has_no_q_dq(residual, residual_table):
    table = residual_table.model_copy(update={"kept": {"one.b": "a reason"}})
    view = GraphView(quantize(residual, table))
    (add,) = (node for node in view.nodes if node.name == "one.add")
    assert list(add.input) == ["one.b", "pool"]


def test_onnx_runtime_runs_the_cpu_form_in_integers(residual, residual_table, tmp_path):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    onnxruntime.InferenceSession(cpu_form(residual, residual_table).SerializeToString(), options)
    operators = collections.Counter(
        node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node
    )
    assert operators["QLinearConv"] == 6
    assert operators["QLinearAdd"] == 2
    assert operators["QLinearGlobalAveragePool"] == 1
    assert operators["QGemm"] == 1
    # To and from integers only at the ends: pixels are integers, and the classifier is float32.
    assert operators["QuantizeLinear"] == 0
    assert operators["DequantizeLinear"] == 1
    assert not {"Conv", "FusedConv", "Add", "GlobalAveragePool"} & operators.keys()


def test_cpu_form_takes_pixels_without_arithmetic(residual, residual_table):
    view = GraphView(cpu_form(residual, residual_table))
    (taker,) = view.consumers["faces"]
    assert taker.op_type == "DequantizeLinear"
    assert numpy_helper.to_array(view.constants[taker.input[1]]) == 1
    assert numpy_helper.to_array(view.constants[taker.input[2]]) == 128
