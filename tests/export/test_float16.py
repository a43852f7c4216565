import numpy as np
import pytest
from onnx import TensorProto

from fer_edge.errors import ExportError
from fer_edge.export.float16 import round_weights, store_half, to_float16, widen
from fer_edge.export.graph import copy_of, graph_hash, set_constant
from fer_edge.export.quantize import quantize
from tests.export.conftest import run


def test_everything_inside_is_float16(residual):
    half = to_float16(residual)
    assert {t.data_type for t in half.graph.initializer} == {TensorProto.FLOAT16}
    assert half.graph.output[0].type.tensor_type.elem_type == TensorProto.FLOAT


def test_probabilities_stay_near(residual, faces):
    (expected,), (actual,) = run(residual, faces.faces), run(to_float16(residual), faces.faces)
    assert actual.dtype == np.float32
    assert 0 < np.abs(actual - expected).max() < 5e-3


def test_quantised_integers_are_those_of_float32(plain, plain_table, faces):
    record = quantize(plain, plain_table)
    scales = [
        n
        for n in plain_table.scales
        if f"{n}/quantized" in {o for node in record.graph.node for o in node.output}
    ]
    tensors = [f"{name}/quantized" for name in scales]
    exact = run(record, faces.faces, *tensors, optimise=False)
    half = run(to_float16(record), faces.faces, *tensors, optimise=False)
    for one, other in zip(exact, half, strict=True):
        difference = np.abs(one.astype(int) - other.astype(int))
        # float16 sums round: a value halfway between two steps may go either way.
        assert difference.max() <= 1
        assert (difference == 0).mean() > 0.98


def test_a_weight_beyond_float16_is_refused_by_name(plain):
    large = copy_of(plain)
    set_constant(large, "a.weight", np.full((16, 8, 3, 3), 1e5, np.float32))
    with pytest.raises(ExportError, match=r"a\.weight holds 100,000"):
        to_float16(large)


def test_half_storage_is_half_the_size_and_widens_to_rounded_weights(residual, faces):
    stored = store_half(residual)
    assert stored.ByteSize() < 0.7 * residual.ByteSize()
    rounded = round_weights(residual)
    assert graph_hash(widen(stored)) == graph_hash(rounded)
    np.testing.assert_array_equal(run(stored, faces.faces)[0], run(rounded, faces.faces)[0])
