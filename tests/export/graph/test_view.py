from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from fer_edge.contract import FER2013, Contract
from fer_edge.errors import ExportError, StorageError
from fer_edge.export.graph.counting import count_multiply_adds, count_parameters
from fer_edge.export.graph.view import (
    copy_of,
    graph_hash,
    load_graph,
    read_contract,
    set_constant,
    set_metadata,
)


def test_load_graph_takes_what_keeps_the_contract(residual, tmp_path):
    path = tmp_path / "model.onnx"
    onnx.save(residual, path)
    assert graph_hash(load_graph(path)) == graph_hash(residual)


@pytest.mark.parametrize("content", [b"", b"not a graph", b"\x08\x07" * 50])
def test_load_graph_refuses_what_is_no_onnx(content, tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(ExportError, match=r"model\.onnx"):
        load_graph(path)


def test_load_graph_names_a_missing_file():
    with pytest.raises(StorageError, match=r"none\.onnx"):
        load_graph(Path("none.onnx"))


def test_load_graph_reads_weights_from_a_file_beside_it(residual, tmp_path):
    path = tmp_path / "apart.onnx"
    kept = copy_of(residual)
    onnx.save(kept, path, save_as_external_data=True, location="weights", size_threshold=0)
    assert graph_hash(load_graph(path)) == graph_hash(residual)


def test_load_graph_refuses_another_input(residual):
    other = copy_of(residual)
    other.graph.input[0].type.tensor_type.shape.dim[2].dim_value = 64
    with pytest.raises(
        ExportError, match=r"does not take uint8 'faces' \(N, 1 or 3, S, S\).*faces are not"
    ) as caught:
        load_graph(other.SerializeToString())
    assert "fer-edge import FILE" in caught.value.hint


def test_the_contract_is_read_from_shapes_and_metadata(residual):
    assert read_contract(residual) == FER2013
    other = copy_of(residual)
    labels = "neutral,happy,surprise,sad,angry,disgust,contempt"
    set_metadata(other, {"labels": labels})
    for dim in other.graph.input[0].type.tensor_type.shape.dim[2:]:
        dim.dim_value = 64
    assert read_contract(other) == Contract(64, "gray", tuple(labels.split(",")))


@pytest.mark.parametrize(
    ("classes", "labels", "message"),
    [
        (8, "", "nothing tells the labels of its 8 outputs"),
        (8, "happy,sad", r"2 labels \(happy, sad\) for 8 outputs"),
        (2, "happy,happy", "each may stand only once"),
    ],
)
def test_labels_and_outputs_go_together(residual, classes, labels, message):
    other = copy_of(residual)
    set_metadata(other, {"labels": labels})
    other.graph.output[0].type.tensor_type.shape.dim[1].dim_value = classes
    with pytest.raises(ExportError, match=message):
        read_contract(other)


def test_hash_sees_weights_and_attributes_but_not_metadata(residual):
    same = copy_of(residual)
    set_metadata(same, {"model": "x"})
    assert graph_hash(same) == graph_hash(residual)

    weights = copy_of(residual)
    value = numpy_helper.to_array(weights.graph.initializer[1]).copy()
    value.flat[0] += 1e-3
    set_constant(weights, weights.graph.initializer[1].name, value)
    assert graph_hash(weights) != graph_hash(residual)

    strides = copy_of(residual)
    conv = next(n for n in strides.graph.node if n.op_type == "Conv")
    conv.attribute.remove(next(a for a in conv.attribute if a.name == "strides"))
    conv.attribute.append(helper.make_attribute("strides", [1, 1]))
    assert graph_hash(strides) != graph_hash(residual)


def test_counts_by_hand(plain):
    parameters = (9 + 1) * 8 + (8 * 9 + 1) * 16 + (16 * 9 + 1) * 32 + (32 + 1) * 7
    assert count_parameters(plain) == parameters
    multiply_adds = 9 * 8 * 24**2 + 8 * 9 * 16 * 12**2 + 16 * 9 * 32 * 6**2 + 32 * 7
    assert count_multiply_adds(plain) == multiply_adds


def test_set_constant_replaces(plain):
    changed = copy_of(plain)
    set_constant(changed, "mean", np.array(1, np.float32))
    values = [numpy_helper.to_array(t) for t in changed.graph.initializer if t.name == "mean"]
    assert values == [1]
