"""What the pass at the entrance leaves for no other to know."""

from collections import Counter

import numpy as np
import onnx
import pytest

from fer_edge.export.graph.view import GraphView
from fer_edge.export.importing import ImportOptions, folding, import_onnx
from fer_edge.export.quantization.calibration import calibrate
from fer_edge.export.quantization.forms.cpu_form import cpu_form
from fer_edge.export.quantization.scales import integers, weight_scales
from tests.export.conftest import run
from tests.export.importing.networks import (
    GRAY3,
    NETWORKS,
    SEVEN,
    UNIT,
    Hand,
    images,
    raw,
    rendered,
)


def imported(name, tmp_path, options=None):
    NETWORKS[name].write(tmp_path / "x.onnx")
    return import_onnx(tmp_path / "x.onnx", options or NETWORKS[name].options).source.graph


def operators(graph):
    return Counter(node.op_type for node in graph.graph.node)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_form_is_the_same_for_all(name, tmp_path):
    graph = imported(name, tmp_path)
    view = GraphView(graph)
    onnx.checker.check_model(graph)
    nodes = [node.name for node in view.nodes]
    assert len(set(nodes)) == len(nodes)
    assert all(nodes)
    found = operators(graph)
    assert not {"Constant", "Identity", "Dropout", "BatchNormalization", "Squeeze"} & found.keys()
    assert found["Cast"] == 1
    assert found["Sub"] <= 1
    for node in view.nodes:
        constants = [n for n in node.input if n in view.constants]
        assert all(view.consumers[n] == [node] for n in constants), "each has its own"
        if node.op_type == "Gemm":
            assert [(a.name, a.i) for a in node.attribute] == [("transB", 1)]
            assert len(node.input) == 3


def test_the_names_of_layers_are_those_of_their_weights(tmp_path):
    h = Hand(1, "input", images(1))
    x = h.conv("input", 1, 4, 2)
    h.nodes[-1].input[1] = h.constants[-2].name = "features.0.weight"
    row = h.n("Flatten", [h.n("GlobalAveragePool", [x])])
    h.nodes.append(onnx.helper.make_node("Gemm", [row, h.w(4, 7), h.b(7)], ["output"]))
    h.save(tmp_path / "x.onnx", ["n", 1, 48, 48], {"output": ["n", 7]})
    graph = import_onnx(tmp_path / "x.onnx", UNIT).source.graph
    assert "features.0" in {node.name for node in graph.graph.node}


def test_keras_transpositions_leave_nothing(tmp_path):
    assert "Transpose" not in operators(imported("keras, colour", tmp_path))
    found = operators(imported("keras, gray, mini-Xception", tmp_path))
    assert not {"Transpose", "Reshape"} & found.keys()


def test_pools_that_overhang_are_on_integers_what_they_are(tmp_path):
    graph = imported("pools that overhang", tmp_path)
    faces = rendered(140, 3)
    integers = cpu_form(graph, calibrate(graph, "pools", faces, method="minmax", samples=140))
    (fused,), (plain,) = (run(integers, faces.faces, optimise=one) for one in (True, False))
    # A step of an integer may fall to the other side where sums have another order.
    assert np.mean(np.abs(fused - plain) < 1e-3) > 0.99


def test_mean_and_deviation_are_a_subtraction_and_weights(tmp_path):
    view = GraphView(imported("keras, colour", tmp_path))
    cast, less, layer = view.nodes[:3]
    assert (cast.op_type, less.op_type, layer.op_type) == ("Cast", "Sub", "Conv")
    mean = 255 * np.array([0.485, 0.456, 0.406], np.float32)
    np.testing.assert_allclose(view.array(less.input[1]).reshape(-1), mean, rtol=1e-6)


def test_weights_of_large_kernels_over_pixels_keep_their_steps(tmp_path):
    """Divided by 255, these of 12x12 pixels would be of some twenty steps of INT8, not of 127."""
    network = imported("transformer, class token, batch of 1", tmp_path)
    view = GraphView(network)
    layer = next(node for node in view.nodes if node.op_type == "Conv")
    weights = view.array(layer.input[1])
    steps = integers(weights, weight_scales(weights))
    assert (np.abs(steps).reshape(len(steps), -1).max(1) == 127).all()
    scale = view.array(view.producer[layer.input[0]].input[1])
    assert np.log2(scale) == np.round(np.log2(scale))


def test_one_mean_of_gray_for_three_channels_is_one_channel(tmp_path):
    """Three copies of gray are summed in the weights: no copy is made."""
    view = GraphView(imported("transformer trained on gray", tmp_path, GRAY3))
    first = next(node for node in view.nodes if node.op_type == "Conv")
    assert view.array(first.input[1]).shape[1] == 1
    assert "Concat" not in [view.producer[first.input[0]].op_type]


def test_pixels_less_128_are_found_whoever_wrote_them(tmp_path):
    options = ImportOptions(SEVEN, scale=1.0, mean=[128.0], std=[64.0])
    view = GraphView(imported("opset 11", tmp_path, options))
    assert view.array(view.nodes[1].input[1]) == 128


def test_the_same_file_gives_the_same_bytes(tmp_path):
    one, two = (imported("every Gemm", tmp_path) for _ in range(2))
    assert one.SerializeToString(deterministic=True) == two.SerializeToString(deterministic=True)


def test_large_weights_behind_a_transposition_are_folded(tmp_path, monkeypatch):
    monkeypatch.setattr(folding, "_LARGEST", 10)
    h = Hand(1, "input", images(1))
    x = h.n("Conv", ["input", h.n("Transpose", [h.w(3, 3, 1, 4)], perm=[3, 2, 0, 1]), h.b(4)])
    row = h.n("Flatten", [h.n("GlobalAveragePool", [x])])
    h.nodes.append(onnx.helper.make_node("Gemm", [row, h.w(4, 7), h.b(7)], ["output"]))
    h.save(tmp_path / "x.onnx", ["n", 1, 48, 48], {"output": ["n", 7]})
    graph = import_onnx(tmp_path / "x.onnx", UNIT).source.graph
    assert "Transpose" not in operators(graph)


def test_a_class_token_that_is_expanded_to_one_face_becomes_any_number(tmp_path):
    h = Hand(1, "input", images(1))
    rows = h.n("Reshape", [h.conv("input", 1, 8, 4), h.c(np.array([1, 8, 144]))])
    rows = h.n("Transpose", [rows], perm=[0, 2, 1])
    shape = h.c(np.array([1, 1, 8]))
    token = h.n("Expand", [h.w(1, 1, 8), shape])
    x = h.n("Concat", [token, rows], axis=1)
    x = h.n("ReduceMean", [h.n("LayerNormalization", [x, h.w(8), h.b(8)])], axes=[1], keepdims=0)
    h.nodes.append(onnx.helper.make_node("Gemm", [x, h.w(8, 7), h.b(7)], ["output"]))
    h.save(tmp_path / "x.onnx", [1, 1, 48, 48], {"output": [1, 7]})
    graph = import_onnx(tmp_path / "x.onnx", UNIT).source.graph
    assert run(graph, raw(1)[:5, 0])[0].shape == (5, 7)
