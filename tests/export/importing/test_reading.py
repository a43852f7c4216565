import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from fer_edge.errors import ExportError
from fer_edge.export.importing import ImportOptions, import_onnx
from fer_edge.export.importing.importer import rounding_limit
from tests.export.importing.networks import SEVEN, UNIT, Hand, images


def _group_norm(h, x):
    return h.n("GroupNormalization", [x, h.b(16), h.b(16)], num_groups=4)


def _attention(h, x):
    rows = h.n("Transpose", [h.n("Reshape", [x, h.c(np.array([0, 16, -1]))])], perm=[0, 2, 1])
    y = h.n("Attention", [rows, rows, rows], q_num_heads=2, kv_num_heads=2)
    y = h.n("RMSNormalization", [y, h.c(np.ones(16, np.float32))])
    y = h.n("Transpose", [y], perm=[0, 2, 1])
    return h.n("Reshape", [y, h.c(np.array([0, 16, 12, 12]))])


NEWER = {
    "Gelu": (20, lambda h, x: h.n("Gelu", [x])),
    "Gelu by tanh": (20, lambda h, x: h.n("Gelu", [x], approximate="tanh")),
    "GroupNormalization": (21, _group_norm),
    "attention": (23, _attention),
    "Swish": (24, lambda h, x: h.n("Swish", [x])),
}


def network(path, opset, body):
    """A convolution, ``body``, a mean and a classifier, without running it on the way."""
    h = Hand(2, "input", images(1), opset)
    x = body(h, h.conv(h.n("Relu", [h.conv("input", 1, 16, 2)]), 16, 16, 2))
    row = h.n("Flatten", [h.n("GlobalAveragePool", [x])])
    h.nodes.append(helper.make_node("Gemm", [row, h.w(7, 16), h.b(7)], ["output"], transB=1))
    h.save(path, ["n", 1, 48, 48], {"output": ["n", 7]})


@pytest.mark.parametrize("name", NEWER)
def test_operators_of_newer_opsets_become_what_they_are_defined_by(name, tmp_path):
    opset, body = NEWER[name]
    network(tmp_path / "x.onnx", opset, body)
    graph = import_onnx(tmp_path / "x.onnx", UNIT).source.graph
    assert graph.opset_import[0].version == 19
    onnx.checker.check_model(graph)


@pytest.mark.parametrize("opset", [7, 8])
def test_older_opsets_are_refused_with_the_range(opset, tmp_path):
    network(tmp_path / "x.onnx", 11, lambda _h, x: x)
    model = onnx.load(tmp_path / "x.onnx")
    model.opset_import[0].version = opset
    onnx.save(model, tmp_path / "x.onnx")
    with pytest.raises(ExportError, match=rf"opset {opset}; 9 to 24"):
        import_onnx(tmp_path / "x.onnx", UNIT)


def test_operators_of_one_runtime_and_control_flow_are_refused(tmp_path):
    network(tmp_path / "x.onnx", 17, lambda _h, x: x)
    model = onnx.load(tmp_path / "x.onnx")
    model.graph.node[1].op_type, model.graph.node[1].domain = "FusedRelu", "com.microsoft"
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    onnx.save(model, tmp_path / "other.onnx")
    with pytest.raises(ExportError, match=r"FusedRelu of the domain 'com\.microsoft'"):
        import_onnx(tmp_path / "other.onnx", UNIT)


def test_what_is_quantised_already_is_refused(tmp_path):
    def quantised(h, x):
        pair = [h.c(np.array(0.1, np.float32)), h.c(np.array(0, np.int8))]
        return h.n("DequantizeLinear", [h.n("QuantizeLinear", [x, *pair]), *pair])

    network(tmp_path / "x.onnx", 17, quantised)
    with pytest.raises(ExportError, match="quantised already"):
        import_onnx(tmp_path / "x.onnx", UNIT)


@pytest.mark.parametrize(
    ("largest", "kind", "limit"),
    [(5, "logits", 1e-5), (200, "logits", 2e-4), (1, "probabilities", 1e-5)],
)
def test_large_logits_may_round_further(largest, kind, limit):
    assert rounding_limit(np.array([[-largest, 0.0]]), kind) == pytest.approx(limit)


def test_half_precision_becomes_float32(tmp_path):
    network(tmp_path / "x.onnx", 17, lambda _h, x: x)
    model = onnx.load(tmp_path / "x.onnx")
    for tensor in model.graph.initializer:
        half = onnx.numpy_helper.to_array(tensor).astype(np.float16)
        tensor.CopyFrom(onnx.numpy_helper.from_array(half, tensor.name))
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = TensorProto.FLOAT16
    onnx.save(model, tmp_path / "half.onnx")
    imported = import_onnx(tmp_path / "half.onnx", UNIT)
    assert {t.data_type for t in imported.source.graph.graph.initializer} == {TensorProto.FLOAT}
    assert "float16" in imported.seen[0]


def test_a_network_of_any_size_needs_one(tmp_path):
    network(tmp_path / "x.onnx", 17, lambda _h, x: x)
    model = onnx.load(tmp_path / "x.onnx")
    for dim in model.graph.input[0].type.tensor_type.shape.dim[2:]:
        dim.dim_param = "side"
    onnx.save(model, tmp_path / "any.onnx")
    with pytest.raises(ExportError, match=r"images of any size.* --size 112"):
        import_onnx(tmp_path / "any.onnx", UNIT)
    options = ImportOptions(SEVEN, scale=255.0, size=64)
    assert import_onnx(tmp_path / "any.onnx", options).source.contract.size == 64


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("labels", "a, b,c,d,e,f,g"),
        ("names", "{0: 'a', 1: 'b', 2: 'c', 3: 'd', 4: 'e', 5: 'f', 6: 'g'}"),
        ("classes", '["a", "b", "c", "d", "e", "f", "g"]'),
    ],
)
def test_labels_in_the_metadata_are_read(key, text, tmp_path):
    network(tmp_path / "x.onnx", 17, lambda _h, x: x)
    model = onnx.load(tmp_path / "x.onnx")
    helper.set_model_props(model, {key: text})
    onnx.save(model, tmp_path / "x.onnx")
    imported = import_onnx(tmp_path / "x.onnx", ImportOptions(scale=255.0))
    assert imported.source.contract.labels == tuple("abcdefg")
