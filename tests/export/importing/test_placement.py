"""What INT8 does to a transformer: dense layers yes, attention's own products no."""

import onnx
import pytest

from fer_edge.export.graph.view import GraphView
from fer_edge.export.importing import import_onnx
from fer_edge.export.quantization.placement import kept_by_rule, place, quantised_layers
from tests.export.importing.networks import NETWORKS


@pytest.fixture(scope="module")
def transformer(tmp_path_factory) -> onnx.ModelProto:
    network = NETWORKS["transformer, class token, batch of 1"]
    path = tmp_path_factory.mktemp("transformer") / "x.onnx"
    network.write(path)
    return import_onnx(path, network.options).source.graph


def test_every_dense_layer_of_a_sequence_is_quantised(transformer):
    view = GraphView(transformer)
    layers = set(quantised_layers(view))
    dense = {n.name for n in view.layers if n.op_type == "MatMul"}
    assert len(dense) == 6
    assert dense <= layers


def test_attention_stays_in_floating_point_with_a_reason(transformer):
    view = GraphView(transformer)
    found = kept_by_rule(view)
    products = {n.name for n in view.nodes if n.op_type == "MatMul"} - {n.name for n in view.layers}
    assert set(found) == products
    assert len(products) == 2
    assert all("fuses it with the softmax" in reason for reason in found.values())


def test_sums_of_sequences_carry_no_pair(transformer):
    """TensorRT fuses a sum into a convolution, not into a product of matrices."""
    assert place(transformer).identities == ()
