"""NVIDIA's own parser and builder take every graph that is published, of every model."""

import pytest

from fer_edge.export.graph.counting import count_parameters
from fer_edge.export.quantization.calibration import calibrate
from fer_edge.export.quantization.forms.float8 import kept_from_float8, quantize_float8
from fer_edge.export.quantization.forms.float16 import needs_float32, to_float16
from fer_edge.export.quantization.forms.quantize import quantize


@pytest.fixture(scope="session")
def table(exported, faces):
    name, _, graph = exported
    return calibrate(graph, name, faces, method="minmax", samples=7)


def builds(graph, exported):
    pytest.importorskip("tensorrt_rtx", reason="needs the extra rtx")
    from fer_edge.engines.tensorrt import build_engine

    plan = build_engine(graph.SerializeToString(), "tensorrt-rtx", opt_batch=8, max_batch=64)
    return len(plan) > count_parameters(exported[2])


def test_float16_builds(exported):
    assert builds(to_float16(exported[2]), exported)


def test_int8_builds(exported, table):
    assert builds(to_float16(quantize(exported[2], table)), exported)


def test_float8_builds(exported, table):
    assert builds(to_float16(quantize_float8(exported[2], table)), exported)


def test_a_graph_with_nodes_in_float32_builds(exported, table):
    """Where float16 and float32 meet, strong typing forgives nothing."""
    name, _, graph = exported
    if name != "compact":
        pytest.skip("one model has every place where the two meet")
    kept = {node.name for node in graph.graph.node[4::3]}
    for form in (graph, quantize(graph, table), quantize_float8(graph, table)):
        assert builds(to_float16(form, kept), exported)


def test_float16_loses_nothing_in_any_model(exported, faces):
    assert needs_float32(exported[2], faces.faces[:8, None]) == {}


def test_most_layers_run_in_float8(exported, table):
    name, _, graph = exported
    convolutions = [node for node in graph.graph.node if node.op_type == "Conv"]
    kept = kept_from_float8(graph, table)
    # More than half of EfficientNet's are depthwise or of odd widths.
    assert len(kept) <= (0.6 if name.startswith("efficientnet") else 0.1) * len(convolutions)
