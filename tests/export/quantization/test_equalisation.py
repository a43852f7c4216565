import numpy as np
import onnx
import pytest

from fer_edge.errors import CalibrationError
from fer_edge.export.graph.view import GraphView, copy_of, graph_hash, set_constant
from fer_edge.export.quantization.equalisation import (
    _streams,
    channel_exponents,
    equalise,
    lift_small_weights,
)
from fer_edge.export.quantization.scales import quantized_weights
from tests.export.conftest import run
from tests.export.graphs import Builder, with_outliers

BETWEEN_LAYERS = [(["one.a"], ["one.b"]), (["two.a"], ["two.b"])]
IN_A_SUM = [(["stem", "one.b"], ["one.a", "two.a", "two.skip"])]
FACTOR = 2.0**10


@pytest.fixture(params=[BETWEEN_LAYERS, IN_A_SUM], ids=["between layers", "in a sum"])
def streams(request):
    return request.param


@pytest.fixture
def broken(residual, streams):
    return with_outliers(residual, streams, FACTOR)


def test_the_function_is_the_same_bit_for_bit(residual, broken, faces):
    (expected,) = run(residual, faces.faces, optimise=False)
    equalised = equalise(broken, channel_exponents(broken, faces.faces[:, None]))
    np.testing.assert_array_equal(run(equalised, faces.faces, optimise=False)[0], expected)


def test_an_outlier_channel_is_taken_back(broken, streams, faces):
    exponents = channel_exponents(broken, faces.faces[:, None])
    for makers, _takers in streams:
        outlier, *others = exponents[makers[0]]
        assert -10 <= outlier - np.mean(others) <= -8
    again = equalise(broken, exponents)
    left = channel_exponents(again, faces.faces[:, None])
    assert not left.keys() & {makers[0] for makers, _ in streams}


def test_even_channels_are_left_on_their_steps(residual, faces):
    exponents = channel_exponents(residual, faces.faces[:, None])
    assert exponents.keys() <= {"hidden"}
    view, equalised = GraphView(residual), GraphView(equalise(residual, exponents))
    for layer in ("one.b", "two.a", "two.b"):
        np.testing.assert_array_equal(
            view.array(f"{layer}.weight"), equalised.array(f"{layer}.weight")
        )


def test_a_layer_of_small_weights_is_lifted(residual, faces):
    small = copy_of(residual)
    for layer, factor in (("one.a", 2.0**10), ("one.b", 2.0**-10)):
        for part in ("weight", "bias") if layer == "one.a" else ("weight",):
            name = f"{layer}.{part}"
            set_constant(small, name, GraphView(residual).array(name) * np.float32(factor))
    lifted = lift_small_weights(small)
    np.testing.assert_array_equal(
        run(lifted, faces.faces, optimise=False)[0], run(residual, faces.faces, optimise=False)[0]
    )
    wanted = rounding_errors(residual, "one.b")
    np.testing.assert_allclose(rounding_errors(lifted, "one.b"), wanted, rtol=1e-5)
    assert rounding_errors(small, "one.b").max() > 2 * wanted.max()
    assert graph_hash(lift_small_weights(lifted)) == graph_hash(lifted)


def test_what_no_lift_helps_stays_within_float16(residual, faces):
    small = copy_of(residual)
    for layer in ("stem", "one.a", "one.b", "two.a", "two.b", "two.skip"):
        weights = GraphView(residual).array(f"{layer}.weight").copy()
        weights[::2] *= np.float32(2.0**-14)
        set_constant(small, f"{layer}.weight", weights)
    lifted = lift_small_weights(small)
    view = GraphView(lifted)
    assert max(np.abs(view.array(name)).max() for name in view.constants) < 1000
    np.testing.assert_array_equal(
        run(lifted, faces.faces, optimise=False)[0], run(small, faces.faces, optimise=False)[0]
    )


def test_a_convolution_that_reads_what_it_gives_ends_no_lift_and_no_export(faces):
    b = Builder(0)
    x = b.relu(b.conv(b.centred(), "stem", 1, 8, 3, 2))
    x = b.relu(b.node("Add", [b.conv(x, "loop", 8, 8, 3, 1), x], "add"))
    x = b.node("Flatten", [b.node("GlobalAveragePool", [x], "average")], "flat", axis=1)
    model = b.model(b.gemm(x, "classifier", 8, 7))
    weights = GraphView(model).array("loop.weight").copy()
    weights[0] = 2.0**-10
    set_constant(model, "loop.weight", weights)
    np.testing.assert_array_equal(
        run(lift_small_weights(model), faces.faces, optimise=False)[0],
        run(model, faces.faces, optimise=False)[0],
    )


def test_a_layer_whose_bias_is_computed_is_not_scaled():
    b = Builder(0)
    x = b.relu(b.conv(b.centred(), "stem", 1, 8, 3, 2))
    x = b.node("Flatten", [b.node("GlobalAveragePool", [x], "average")], "flat", axis=1)
    bias = b.relu(b.gemm(x, "bias", 8, 16))
    weight, _ = b.weights("both", (16, 8))
    x = b.relu(b.node("Gemm", [x, weight, bias], "both", transB=1))
    model = b.model(b.gemm(x, "classifier", 16, 7))
    assert _streams(GraphView(model)) == []


def rounding_errors(model, layer):
    """Of each output channel, in units of its largest weight."""
    weights = GraphView(model).array(f"{layer}.weight")
    largest = np.abs(weights).max(axis=(1, 2, 3))
    return np.abs(quantized_weights(weights) - weights).max(axis=(1, 2, 3)) / largest


def test_weights_are_not_scaled_below_their_smallest_steps(residual, faces):
    model = copy_of(residual)
    weights = GraphView(residual).array("one.a.weight").copy()
    weights[0] = 2.0**-5
    set_constant(model, "one.a.weight", weights)
    bias = GraphView(residual).array("one.a.bias").copy()
    bias[0] = 500.0
    set_constant(model, "one.a.bias", bias)
    assert channel_exponents(model, faces.faces[:, None])["one.a"][0] == -1


def test_a_channel_that_hardly_fires_is_scaled_within_bounds(residual, faces):
    model = copy_of(residual)
    for name in ("one.a.weight", "one.a.bias"):
        values = GraphView(residual).array(name).copy()
        values[0] *= np.float32(2.0**-100)
        set_constant(model, name, values)
    exponents = channel_exponents(model, faces.faces[:, None])
    assert exponents["one.a"][0] == 32
    equalise(model, exponents)


def test_a_channel_that_never_fires_is_left_alone(residual, faces):
    model = copy_of(residual)
    bias = GraphView(residual).array("one.a.bias").copy()
    bias[0] = -1e6
    set_constant(model, "one.a.bias", bias)
    assert "one.a" not in channel_exponents(model, faces.faces[:, None])


def test_exponents_of_what_begins_no_stream_are_refused(residual):
    with pytest.raises(CalibrationError, match=r"evens out what one\.b gives"):
        equalise(residual, {"one.b": [1] * 8})


@pytest.mark.parametrize("reader", ["convolution", "sigmoid", "grouped convolution"])
def test_streams_that_cannot_pass_a_scale_on_are_left_alone(reader, plain, faces):
    model = with_outliers(plain, [(["a"], ["b"])], FACTOR)
    if reader == "sigmoid":
        (node,) = (n for n in model.graph.node if n.name == "a/relu")
        node.op_type = "Sigmoid"
    elif reader == "grouped convolution":
        (node,) = (n for n in model.graph.node if n.name == "b")
        node.attribute.append(onnx.helper.make_attribute("group", 2))
        set_constant(model, "b.weight", GraphView(model).array("b.weight")[:, :8])
    scaled = "a" in channel_exponents(model, faces.faces[:, None])
    assert scaled == (reader == "convolution")


def gated(main: str) -> onnx.ModelProto:
    """A stream that something reads or gives which passes no scale on."""
    b = Builder()
    x = b.relu(b.conv(b.centred(), "stem", 1, 8, 3, 2))
    y = b.conv(x, "a", 8, 8, 3, 1)
    if main == "product":
        y = b.node("Mul", [y, b.node("Sigmoid", [x], "gate")], "product")
    elif main == "sum with a product":
        y = b.node("Add", [b.node("Mul", [y, b.node("Sigmoid", [x], "gate")], "product"), x], "sum")
    elif main == "sum with a constant":
        y = b.node("Add", [y, b.constant("c", np.ones((1, 8, 1, 1), np.float32))], "sum")
    else:
        y = b.node("Slice", [y, *(b.constant(n, np.array([v])) for n, v in SLICE)], "slice")
        y = b.node("Concat", [y, y], "concat", axis=1)
    x = b.conv(b.relu(y), "b", 8, 16, 3, 2)
    x = b.node("Flatten", [b.node("GlobalAveragePool", [x], "average")], "flat", axis=1)
    return b.model(b.gemm(x, "classifier", 16, 7))


SLICE = (("from", 0), ("to", 4), ("axis", 1))


@pytest.mark.parametrize(
    "main", ["product", "sum with a product", "sum with a constant", "concatenation"]
)
def test_any_exponents_keep_the_function_of_any_graph(main, faces):
    model = gated(main)
    streams = _streams(GraphView(model))
    assert streams
    generator = np.random.default_rng(0)
    exponents = {
        stream.makers[0].name: generator.integers(
            -4, 5, len(GraphView(model).array(stream.makers[0].input[1]))
        ).tolist()
        for stream in streams
    }
    (expected,) = run(model, faces.faces, optimise=False)
    (found,) = run(equalise(model, exponents), faces.faces, optimise=False)
    np.testing.assert_array_equal(found, expected)


def test_a_graph_without_streams_has_no_exponents(plain, faces):
    model = copy_of(plain)
    for node in model.graph.node:
        if node.op_type == "Relu":
            node.op_type = "Sigmoid"
    assert channel_exponents(model, faces.faces[:, None]) == {}


def test_a_stream_that_nothing_quantises_has_no_exponents(faces):
    b = Builder()
    x = b.relu(b.conv(b.centred(), "stem", 1, 8, 3, 2))
    x = b.node("Flatten", [b.node("GlobalAveragePool", [x], "average")], "flat", axis=1)
    model = b.model(b.gemm(b.gemm(x, "hidden", 8, 16), "classifier", 16, 7))
    assert "hidden" not in channel_exponents(model, faces.faces[:, None])
