import numpy as np
import pytest
from onnx import TensorProto, numpy_helper

from fer_edge.errors import ExportError
from fer_edge.export.graph.view import copy_of, graph_hash, set_constant
from fer_edge.export.quantization.forms.float16 import (
    needs_float32,
    round_weights,
    store_half,
    to_float16,
    widen,
)
from fer_edge.export.quantization.forms.quantize import quantize
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


def with_large_values(model, layer, factor):
    """The same function of the faces, in which one layer's output exceeds float16."""
    large = copy_of(model)
    values = {t.name: numpy_helper.to_array(t) for t in large.graph.initializer}
    for name in (f"{layer}.weight", f"{layer}.bias"):
        set_constant(large, name, values[name] * np.float32(factor))
    return large


def test_a_healthy_model_is_float16_throughout(residual, faces):
    assert needs_float32(residual, faces.faces[:, None]) == {}


def test_what_float16_cannot_hold_is_named_with_its_reason(plain, faces):
    large = with_large_values(plain, "a", 1e5)
    set_constant(
        large,
        "b.weight",
        numpy_helper.to_array(next(t for t in plain.graph.initializer if t.name == "b.weight"))
        / np.float32(1e5),
    )
    needs = needs_float32(large, faces.faces[:, None])
    assert {"a", "a/relu", "pool", "b"} <= set(needs)
    assert "classifier" not in needs
    assert "more than float16 can (65,504)" in needs["a"]
    (expected,) = run(large, faces.faces)
    mixed = to_float16(large, needs)
    (actual,) = run(mixed, faces.faces)
    assert np.abs(actual - expected).max() < 5e-3
    types = {t.name.split("/")[0]: t.data_type for t in mixed.graph.initializer}
    assert types["a.weight"] == TensorProto.FLOAT
    assert types["classifier.weight"] == TensorProto.FLOAT16


def test_a_node_that_rounding_spoils_is_kept(plain, faces):
    # Weights below float16's smallest numbers round to nothing.
    small = with_large_values(plain, "b", 1e-8)
    needs = needs_float32(small, faces.faces[:, None])
    assert "float16 changes its output by" in needs["b"]


def test_a_model_that_is_not_finite_is_refused(plain, faces):
    broken = copy_of(plain)
    set_constant(broken, "a.bias", np.full(16, np.inf, np.float32))
    with pytest.raises(ExportError, match=r"b is not a number in float32"):
        needs_float32(broken, faces.faces[:, None])


def test_half_storage_is_half_the_size_and_widens_to_rounded_weights(residual, faces):
    stored = store_half(residual)
    assert stored.ByteSize() < 0.7 * residual.ByteSize()
    rounded = round_weights(residual)
    assert graph_hash(widen(stored)) == graph_hash(rounded)
    np.testing.assert_array_equal(run(stored, faces.faces)[0], run(rounded, faces.faces)[0])
