import collections

import numpy as np
import onnx
import onnxruntime
import pytest

from fer_edge.detector_contract import BOXES, FRAMES, SCORES, Bucket
from fer_edge.engines.ort import OnnxRuntimeNetwork
from fer_edge.engines.tensorrt import build_engine
from fer_edge.errors import CalibrationError
from fer_edge.export.detector.calibration import carried_table, detector_cpu_form
from fer_edge.export.detector.network import detector_graph
from fer_edge.export.detector.pipeline import decoding
from fer_edge.export.graph.view import GraphView
from fer_edge.export.quantization.forms.cpu_form import cpu_form, kept_on_cpus
from fer_edge.export.quantization.forms.float16 import to_float16
from fer_edge.export.quantization.forms.integer_layout import laid_out
from fer_edge.export.quantization.forms.quantize import quantize

from .conftest import SMALL
from .reference import picture


def answers(model, frames):
    with OnnxRuntimeNetwork(model.SerializeToString()) as network:
        return network.compute({FRAMES: frames})


def kernels(model, tmp_path):
    """What ONNX Runtime runs, by operator."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    nodes = onnx.load(options.optimized_model_filepath).graph.node
    return collections.Counter(node.op_type for node in nodes)


@pytest.fixture(scope="module")
def form(graph, table):
    return cpu_form(graph, table, means_in_bias=True)


def test_all_between_pixels_and_heads_is_on_integers(graph, table, form, tmp_path):
    assert kept_on_cpus(graph, table) == {}
    run = kernels(form, tmp_path)
    assert run["QLinearConv"] == len(table.layers) - 3
    assert run["QLinearLeakyRelu"] > 30
    assert run["QuantizeLinear"] == run["Cast"] == 0
    assert run["LeakyRelu"] == run["Relu"] == 0


@pytest.mark.parametrize(
    "form_of", [quantize, cpu_form, detector_cpu_form], ids=["record", "cpu", "pixels as they are"]
)
def test_int8_is_near_float32(graph, table, frames, form_of):
    reference, found = answers(graph, frames), answers(form_of(graph, table), frames)
    scores, others = reference[SCORES], found[SCORES]
    assert np.abs(scores - others).mean() < 0.05
    # Of a network of random weights, where no channel matters more than another.
    assert np.corrcoef(scores.ravel(), others.ravel())[0, 1] > 0.95


def test_the_layout_changes_no_integer(form, frames, tmp_path):
    faster = laid_out(form)
    wanted, found = answers(form, frames), answers(faster, frames)
    for name, values in wanted.items():
        # The heads are in float32, whose sums come in another order.
        np.testing.assert_allclose(found[name], values, rtol=1e-4, atol=1e-3)
    run = kernels(faster, tmp_path)
    assert run["Resize"] == 0
    assert run["Transpose"] == 0


@pytest.mark.parametrize("size", ["120x88", "72x56"])
def test_sizes_that_do_not_divide_are_laid_out_as_far_as_they_go(random_layers, table, size):
    size = Bucket(*map(int, size.split("x")))
    graph = detector_graph(random_layers, size)
    form = cpu_form(graph, table.moved_to(graph), means_in_bias=True)
    frames = picture(size)[None]
    wanted, found = answers(form, frames), answers(laid_out(form), frames)
    for name, values in wanted.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-4, atol=1e-3)


def test_a_table_moves_to_other_sizes_and_not_to_other_weights(random_layers, table):
    other = detector_graph(random_layers, Bucket(64, 64))
    table.moved_to(other).check(other)
    changed = dict(random_layers, **{"merge1.0": random_layers["merge2.0"]})
    with pytest.raises(CalibrationError, match="other weights"):
        table.moved_to(detector_graph(changed, Bucket(64, 64)))


def test_fp16_keeps_the_decoding_in_float32(graph, frames):
    kept = decoding(GraphView(graph))
    half = to_float16(graph, kept)
    reference, found = answers(graph, frames), answers(half, frames)
    assert np.abs(reference[SCORES] - found[SCORES]).max() < 0.02
    assert np.abs(reference[BOXES] - found[BOXES]).max() < 1


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_tensorrt_rtx_builds_the_engine(graph, table, precision):
    pytest.importorskip("tensorrt_rtx")
    made = graph if precision == "fp16" else quantize(graph, table)
    half = to_float16(made, decoding(GraphView(graph)))
    plan = build_engine(half.SerializeToString(), "tensorrt-rtx", opt_batch=1, max_batch=4)
    assert len(plan) > 100_000


def test_the_carried_table_is_of_these_weights(layers):
    graph = detector_graph(layers, SMALL)
    table = carried_table().moved_to(graph)
    table.check(graph)
    frames = picture(SMALL)[None]
    scores = answers(graph, frames)[SCORES]
    found = answers(detector_cpu_form(graph, table), frames)[SCORES]
    assert np.abs(scores - found).max() < 0.2
