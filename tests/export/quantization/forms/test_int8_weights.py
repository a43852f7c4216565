import numpy as np
import onnx
import pytest

from fer_edge.data import FaceDataset
from fer_edge.errors import ExportError
from fer_edge.export.graph.view import copy_of, graph_hash, set_constant
from fer_edge.export.quantization.calibration import calibrate
from fer_edge.export.quantization.forms.int8_weights import (
    check_restored,
    round_to_int8,
    without_pairs,
)
from fer_edge.export.quantization.forms.quantize import quantize
from tests.export.conftest import run


def quantised(model: onnx.ModelProto, faces: FaceDataset) -> onnx.ModelProto:
    table = calibrate(model, "test", faces, method="minmax", samples=140, equalised=False)
    return quantize(model, table)


@pytest.mark.parametrize("name", ["residual", "plain"])
def test_the_float32_graph_is_in_the_int8_graph(
    name: str, faces: FaceDataset, request: pytest.FixtureRequest
) -> None:
    rounded = round_to_int8(request.getfixturevalue(name))
    back = without_pairs(quantised(rounded, faces))
    assert graph_hash(back) == graph_hash(rounded)
    np.testing.assert_array_equal(run(back, faces.faces)[0], run(rounded, faces.faces)[0])


def test_rounding_twice_is_rounding_once(residual: onnx.ModelProto) -> None:
    once = round_to_int8(residual)
    assert graph_hash(once) != graph_hash(residual)
    assert graph_hash(round_to_int8(once)) == graph_hash(once)


@pytest.mark.parametrize("seed", range(5))
def test_rounding_twice_is_rounding_once_where_small_weights_are_left(
    residual: onnx.ModelProto, seed: int
) -> None:
    random = np.random.default_rng(seed)
    spread = copy_of(residual)
    for tensor in residual.graph.initializer:
        if tensor.name.endswith(".weight"):
            weights = onnx.numpy_helper.to_array(tensor)
            rows = random.uniform(-16, 2, (len(weights), *[1] * (weights.ndim - 1)))
            set_constant(spread, tensor.name, (weights * np.exp2(rows)).astype(np.float32))
    once = round_to_int8(spread)
    assert graph_hash(round_to_int8(once)) == graph_hash(once)


def test_the_classifier_keeps_its_weights(residual: onnx.ModelProto) -> None:
    def classifier(model: onnx.ModelProto) -> np.ndarray:
        (found,) = (t for t in model.graph.initializer if t.name == "classifier.weight")
        return onnx.numpy_helper.to_array(found)

    np.testing.assert_array_equal(classifier(round_to_int8(residual)), classifier(residual))


def test_weights_between_the_steps_are_noticed(
    residual: onnx.ModelProto, faces: FaceDataset
) -> None:
    rounded = round_to_int8(residual)
    graph = quantised(rounded, faces)
    check_restored(graph, rounded)
    between = copy_of(rounded)
    (stem,) = (t for t in between.graph.initializer if t.name == "stem.weight")
    set_constant(between, "stem.weight", onnx.numpy_helper.to_array(stem) * np.float32(1.001))
    with pytest.raises(ExportError, match="cannot be made again"):
        check_restored(graph, between)
