import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from fer_edge.export.graph.view import GraphView, copy_of, set_constant
from fer_edge.export.quantization.bias_correction import RoundedWeights, corrected
from fer_edge.export.quantization.calibration import calibrate
from fer_edge.export.quantization.forms.cpu_form import cpu_form
from fer_edge.export.quantization.forms.quantize import quantize
from fer_edge.export.quantization.observation import calibration_faces
from fer_edge.export.quantization.placement import place
from fer_edge.export.quantization.scales import quantized_weights
from tests.export.conftest import run


def with_rounded_weights(model, layer):
    out = copy_of(model)
    set_constant(
        out, f"{layer}.weight", quantized_weights(GraphView(model).array(f"{layer}.weight"))
    )
    return out


@pytest.mark.parametrize("layer", ["stem", "one.a", "two.a", "two.skip"])
def test_the_mean_of_every_channel_is_that_of_unrounded_weights(residual, faces, layer):
    """Strides, borders and all: each layer alone, on the faces that were observed."""
    table = calibrate(residual, "residual", faces, method="minmax", samples=28, equalised=False)
    seen = calibration_faces(faces, 28, 0)[:, 0]
    view = GraphView(residual)
    output = next(n.output[0] for n in view.nodes if n.name == layer)
    rounded = with_rounded_weights(residual, layer)
    repaired = corrected(rounded, table.shifts, [layer])
    wanted, off, mended = (
        run(graph, seen, output, optimise=False)[0].mean((0, 2, 3))
        for graph in (residual, rounded, repaired)
    )
    assert np.abs(off - wanted).max() > 1e-4
    np.testing.assert_allclose(mended, wanted, atol=0.02 * np.abs(off - wanted).max())


def test_every_quantised_convolution_is_corrected_in_both_forms(residual, residual_table):
    plain = GraphView(residual)
    layers = place(residual).layers
    assert set(residual_table.shifts) == set(layers)
    record = GraphView(quantize(residual, residual_table))
    cpu = GraphView(cpu_form(residual, residual_table))
    for layer in layers:
        wanted = plain.array(f"{layer}.bias") + np.float32(residual_table.shifts[layer])
        np.testing.assert_allclose(record.array(f"{layer}.bias"), wanted, atol=1e-6)
        steps = cpu.array(f"{layer}.bias/scale")
        found = cpu.array(f"{layer}.bias/quantized") * steps
        np.testing.assert_allclose(found, wanted, atol=steps.max())


def test_a_layer_in_floating_point_keeps_its_bias(residual, residual_table):
    table = residual_table.model_copy(update={"kept": {"one.a": "a reason"}})
    for form in (quantize, cpu_form):
        kept = GraphView(form(residual, table)).array("one.a.bias")
        np.testing.assert_array_equal(kept, GraphView(residual).array("one.a.bias"))


def test_a_table_without_shifts_changes_no_bias(residual, residual_table):
    old = residual_table.model_copy(update={"shifts": {}})
    record = GraphView(quantize(residual, old))
    for layer in place(residual).layers:
        np.testing.assert_array_equal(
            record.array(f"{layer}.bias"), GraphView(residual).array(f"{layer}.bias")
        )


CONVOLUTIONS = {
    "dilations": ("Conv", (8, 6, 3, 3), {"dilations": [4, 4]}),
    "same upper": ("Conv", (8, 6, 4, 4), {"auto_pad": "SAME_UPPER"}),
    "same lower": ("Conv", (8, 6, 4, 4), {"auto_pad": "SAME_LOWER", "strides": [2, 1]}),
    "valid": ("Conv", (8, 6, 3, 5), {"auto_pad": "VALID"}),
    "uneven borders": ("Conv", (8, 6, 3, 3), {"pads": [0, 1, 3, 2], "strides": [2, 3]}),
    "groups": ("Conv", (8, 3, 3, 3), {"group": 2, "pads": [1] * 4}),
    "depthwise": ("Conv", (12, 1, 3, 3), {"group": 6, "dilations": [2, 1], "pads": [1] * 4}),
    "one dimension": ("Conv", (8, 6, 5), {"dilations": [3], "pads": [1, 4]}),
    "three dimensions": ("Conv", (8, 6, 2, 3, 3), {"pads": [1, 0, 2, 1, 1, 0]}),
    "transposed": ("ConvTranspose", (6, 8, 3, 3), {"strides": [2, 2], "pads": [1, 0, 1, 1]}),
    "transposed, output padding": (
        "ConvTranspose",
        (6, 8, 3, 3),
        {"strides": [3, 2], "output_padding": [2, 1], "dilations": [2, 1]},
    ),
    "transposed, groups": ("ConvTranspose", (6, 4, 3, 3), {"group": 2, "auto_pad": "SAME_UPPER"}),
    "transposed, output shape": (
        "ConvTranspose",
        (6, 8, 3, 3),
        {"strides": [2, 2], "output_shape": [21, 22]},
    ),
    "matrix": ("Gemm", (8, 6), {"transB": 1}),
    "matrix, not transposed": ("Gemm", (6, 8), {}),
    "matrix, scaled": ("Gemm", (8, 6), {"transB": 1, "alpha": 0.25, "beta": 4.0}),
    "matrix, both transposed": ("Gemm", (8, 6), {"transA": 1, "transB": 1, "alpha": -2.0}),
}


def one_layer(operator, weights, bias, attributes, shape):
    graph = helper.make_graph(
        [helper.make_node(operator, ["x", "weights", "bias"], ["y"], "layer", **attributes)],
        "test",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(weights, "weights"), numpy_helper.from_array(bias, "bias")],
    )
    return helper.make_model(graph, ir_version=9, opset_imports=[helper.make_opsetid("", 19)])


@pytest.mark.parametrize("case", CONVOLUTIONS)
def test_every_attribute_of_a_layer_counts(case):
    """The correction takes the mean error of each output channel back, whatever the layer does."""
    operator, shape, attributes = CONVOLUTIONS[case]
    generator = np.random.default_rng(5)
    weights = generator.normal(0, 0.1, shape).astype(np.float32)
    channels = shape[1] * attributes.get("group", 1) if operator == "ConvTranspose" else shape[0]
    if operator == "Gemm" and not attributes.get("transB"):
        channels = shape[1]
    size = {1: (17,), 2: (11, 10), 3: (5, 8, 7), 0: ()}[len(shape) - 2]
    x = generator.normal(2, 1, (28, 6, *size)).astype(np.float32)
    if attributes.get("transA"):
        x = np.ascontiguousarray(x.T)
    bias = generator.normal(0, 1, channels).astype(np.float32)
    axis = 0 if operator == "Conv" or attributes.get("transB") else 1
    rounded = np.moveaxis(quantized_weights(np.moveaxis(weights, axis, 0)), 0, axis)
    model = one_layer(operator, weights, bias, attributes, x.shape)

    batch = 0 if not attributes.get("transA") else 1
    rounding = RoundedWeights(model, ["layer"])
    for part in np.array_split(x, [5, 19], axis=batch):
        rounding.add({"x": np.ascontiguousarray(part)})
    shifts = rounding.shifts()

    def means(graph):
        session = onnxruntime.InferenceSession(graph.SerializeToString())
        (found,) = session.run(None, {"x": x})
        return found.mean(axis=(0, *range(2, found.ndim)), dtype=np.float64)

    off = one_layer(operator, np.ascontiguousarray(rounded), bias, attributes, x.shape)
    wanted, before, after = map(means, (model, off, corrected(off, shifts, ["layer"])))
    assert np.abs(before - wanted).max() > 1e-4
    # Shifts have five digits, and sums of float32 six.
    np.testing.assert_allclose(after, wanted, atol=0.02 * np.abs(before - wanted).max())


def test_a_bias_that_counts_for_nothing_is_not_corrected():
    weights, bias = np.eye(4, dtype=np.float32) * 0.3, np.zeros(4, np.float32)
    model = one_layer("Gemm", weights, bias, {"beta": 0.0}, (1, 4))
    assert RoundedWeights(model, ["layer"]).shifts() == {}


@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"alpha": 0.5},
        {"beta": 3.0},
        {"alpha": 2.0, "beta": 0.5, "transB": 1},
        {"alpha": -0.5, "beta": 0.0},
    ],
)
@pytest.mark.parametrize("form", [quantize, cpu_form])
def test_a_gemm_with_any_attributes_is_quantised(form, attributes, residual, faces):
    model = copy_of(residual)
    node = next(n for n in model.graph.node if n.name == "hidden")
    del node.attribute[:]
    node.attribute.extend(helper.make_attribute(k, v) for k, v in attributes.items())
    if not attributes.get("transB"):
        set_constant(model, "hidden.weight", GraphView(model).array("hidden.weight").T)
    table = calibrate(model, "test", faces, method="minmax", samples=140)
    assert "hidden" in table.shifts
    graph = form(model, table)
    weights = GraphView(graph).producer["hidden.weight/dequantized"]
    assert GraphView(graph).array(weights.input[0]).shape == (32, 16)
    (expected,), (actual,) = (run(g, faces.faces, optimise=False) for g in (model, graph))
    assert np.abs(actual - expected).max() < 0.1
