"""Every activation in the form for CPUs: what it computes, and on what."""

import collections

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from fer_edge.export.graph.view import GraphView, copy_of, load_graph, set_constant
from fer_edge.export.quantization.calibration import calibrate
from fer_edge.export.quantization.forms.cpu_form import cpu_form, kept_on_cpus
from fer_edge.export.quantization.forms.quantize import quantize
from fer_edge.export.quantization.placement import place
from tests.export.conftest import run
from tests.export.graphs import (
    activated_graph,
    branching_graph,
    clip,
    gated,
    plain_graph,
    prelu,
    residual_graph,
    squeezing_graph,
    unary,
)

HARD = {"alpha": 1 / 6, "beta": 0.5}
ON_INTEGERS = {
    "relu": (unary("Relu"), {}),
    "relu6": (clip(0, 6), {}),
    "clip -1..3": (clip(-1, 3), {}),
    "clip 0..1": (clip(0, 1), {}),
    "clip -0.3..0.2": (clip(-0.3, 0.2), {}),
    "clip -1000..1000": (clip(-1000, 1000), {}),
    "clip to at least -0.5": (clip(-0.5, None), {}),
    "clip to at least 0.5": (clip(0.5, None), {"Clip": 2}),
    "clip to at most 0.7": (clip(None, 0.7), {}),
    "clip to at most -0.1": (clip(None, -0.1), {"Clip": 2}),
    "clip 0.2..0.9": (clip(0.2, 0.9), {"Clip": 2}),
    "clip without bounds": (clip(None, None), {}),
    "leaky relu": (unary("LeakyRelu", alpha=0.1), {"QLinearLeakyRelu": 2}),
    "prelu, one slope": (prelu(0.25), {"QLinearLeakyRelu": 2}),
    "sigmoid": (unary("Sigmoid"), {"QLinearSigmoid": 2}),
    "swish": (gated(unary("Sigmoid")), {"QLinearSigmoid": 2, "QLinearMul": 2}),
    "hard sigmoid": (unary("HardSigmoid", **HARD), {"Clip": 2}),
    "hard sigmoid, steep": (unary("HardSigmoid", alpha=0.9, beta=0.3), {"Clip": 2}),
    "hard swish": (unary("HardSwish"), {"Clip": 2, "QLinearMul": 2}),
    "hard swish in two": (
        gated(unary("HardSigmoid", **HARD)),
        {"Clip": 2, "QLinearMul": 2},
    ),
}
IN_FLOAT = {
    "prelu, slopes": (prelu(0.1, 0.3), "PRelu with a slope for each channel"),
    "tanh": (unary("Tanh"), "Tanh"),
    "elu": (unary("Elu"), "Elu"),
}


def table_of(graph, faces):
    return calibrate(graph, "test", faces, method="minmax", samples=140, equalised=False)


def exact(graph):
    """Weights as uint8: int8 ones saturate on CPUs with AVX2 that lack VNNI."""
    out = copy_of(graph)
    view = GraphView(out)
    for node in view.nodes:
        if node.op_type == "DequantizeLinear" and node.input[0] in view.constants:
            for name in (node.input[0], node.input[2]):
                value = view.array(name)
                if value.dtype == np.int8:
                    set_constant(out, name, (value.astype(np.int16) + 128).astype(np.uint8))
    return out


def optimised(graph, folder):
    """Operators that ONNX Runtime runs."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    onnxruntime.InferenceSession(graph.SerializeToString(), options)
    nodes = onnx.load(folder / "optimised.onnx").graph.node
    return collections.Counter(node.op_type for node in nodes)


def check_numbers(graph, table, faces):
    """The form for CPUs computes what the float32 graph does, tensor by tensor."""
    form = cpu_form(graph, table)
    made = {name for node in form.graph.node for name in node.output}
    tensors = [
        name
        for node in graph.graph.node
        for name in node.output
        if f"{name}/dequantized" in made and node.op_type not in ("Cast", "Sub")
    ]
    assert tensors
    wanted = run(graph, faces.faces, *tensors, optimise=False)
    found = run(form, faces.faces, *(f"{name}/dequantized" for name in tensors), optimise=False)
    producers = GraphView(graph).producer
    before = run(graph, faces.faces, *(producers[n].input[0] for n in tensors), optimise=False)
    for name, one, other, source in zip(tensors, wanted, found, before, strict=True):
        # A bound, a zero point or a scale that is not taken leaves a multiple of this.
        most = np.abs(one).max()
        if producers[name].op_type != "Conv":
            most = max(most, np.abs(source).max())
        assert np.abs(one - other).max() < 0.06 * most, name
    (expected,), (plain,) = run(graph, faces.faces), run(form, faces.faces, optimise=False)
    (fast,) = run(exact(form), faces.faces)
    assert np.abs(plain - expected).max() < 0.05
    # The runtime's integer operators round sums and products otherwise, by a step now and then.
    assert np.abs(fast - plain).max() < 0.02


@pytest.mark.parametrize("name", ON_INTEGERS)
def test_an_activation_computes_on_integers(name, faces, tmp_path):
    activate, expected = ON_INTEGERS[name]
    graph = activated_graph(activate)
    table = table_of(graph, faces)
    check_numbers(graph, table, faces)
    found = optimised(cpu_form(graph, table), tmp_path)
    assert found["QLinearConv"] == 2
    assert found["QuantizeLinear"] == 0
    assert found["DequantizeLinear"] == 1
    rest = found.keys() & {
        "Clip", "Relu", "Mul", "Sigmoid", "HardSigmoid", "HardSwish", "PRelu", "LeakyRelu",
        "QLinearMul", "QLinearSigmoid", "QLinearLeakyRelu", "FusedConv", "Conv",
    }  # fmt: skip
    assert {operator: found[operator] for operator in rest} == expected
    # What the classifier takes is not rounded, as it is not in the graph of record.
    assert set(kept_on_cpus(graph, table)) == {"average"}


@pytest.mark.parametrize("name", sorted(ON_INTEGERS | IN_FLOAT))
def test_the_record_has_nothing_between_a_layer_and_its_activation(name, faces):
    """TensorRT fuses what follows a convolution into it, unless Q/DQ nodes part them."""
    graph = activated_graph((ON_INTEGERS | IN_FLOAT)[name][0])
    assert not {"stem", "second"} & set(place(graph).activations)
    table = table_of(graph, faces)
    record = quantize(graph, table)
    (expected,), (actual,) = (run(g, faces.faces, optimise=False) for g in (graph, record))
    assert np.abs(actual - expected).max() < 0.05


@pytest.mark.parametrize("name", IN_FLOAT)
def test_an_activation_without_integers_is_named(name, faces, tmp_path):
    activate, described = IN_FLOAT[name]
    graph = activated_graph(activate)
    table = table_of(graph, faces)
    check_numbers(graph, table, faces)
    kept = kept_on_cpus(graph, table)
    operator = described.split()[0]
    # The stem has 9 multiply-adds for a value: float32 is faster.
    assert set(kept) == {"stem", f"second/{operator.lower()}"}
    assert "9 multiply-adds" in kept["stem"]
    assert f"no {described} on integers" in kept[f"second/{operator.lower()}"]
    found = optimised(cpu_form(graph, table), tmp_path)
    assert found["QLinearConv"] == 1
    assert found["Conv"] + found["FusedConv"] == 1


@pytest.mark.parametrize(("low", "high"), [(0.0, 6.0), (-1.0, 3.0), (None, 0.7), (0.5, None)])
def test_bounds_as_attributes_of_old_graphs(low, high, faces):
    old = activated_graph(clip(low, high, attributes=True), opset=10)
    graph = load_graph(old.SerializeToString())
    (expected,) = run(activated_graph(clip(low, high)), faces.faces)
    np.testing.assert_allclose(run(graph, faces.faces)[0], expected, atol=1e-6)
    check_numbers(graph, table_of(graph, faces), faces)


def test_means_that_floating_point_takes_are_not_rounded(faces):
    """A classifier goes by differences far below the 255th part of the largest mean."""
    graph = plain_graph()
    weights = next(t for t in graph.graph.initializer if t.name == "classifier.weight")
    values = numpy_helper.to_array(weights)
    (rows,) = run(graph, faces.faces, "flat")
    steep = copy_of(graph)
    set_constant(steep, "classifier.weight", (values / (rows.std(0) + 1e-3)).astype(np.float32))
    table = table_of(steep, faces)
    assert "average" not in table.scales
    (expected,) = run(steep, faces.faces)
    found = run(cpu_form(steep, table), faces.faces)[0], run(quantize(steep, table), faces.faces)[0]
    cpu, record = (np.abs(one - expected).mean() for one in found)
    assert cpu < 1.5 * record


def test_squeeze_and_excitation_with_hard_swish_is_integers_throughout(faces, tmp_path):
    graph = squeezing_graph()
    table = table_of(graph, faces)
    check_numbers(graph, table, faces)
    found = optimised(cpu_form(graph, table), tmp_path)
    assert found["QLinearConv"] == 6
    assert found["QLinearMul"] == 4
    assert (found["QuantizeLinear"], found["DequantizeLinear"]) == (0, 1)


def test_branches_are_integers_throughout(faces, tmp_path):
    graph = branching_graph()
    table = table_of(graph, faces)
    check_numbers(graph, table, faces)
    found = optimised(cpu_form(graph, table), tmp_path)
    assert found["QLinearConv"] == 6
    assert found["QLinearConcat"] == 1
    assert (found["QuantizeLinear"], found["DequantizeLinear"]) == (0, 1)
    assert not {"Conv", "FusedConv", "Concat"} & found.keys()


@pytest.mark.parametrize("graph", [squeezing_graph(), branching_graph(), residual_graph()])
def test_any_layer_can_be_kept(graph, faces):
    table = table_of(graph, faces)
    for layer in place(graph).layers:
        check_numbers(graph, table.model_copy(update={"kept": {layer: "a reason"}}), faces)


def test_what_others_read_before_a_clip_is_clipped_on_integers(faces, tmp_path):
    def activate(b, x):
        return b.node("Add", [clip(-0.4, 0.3)(b, x), x], f"{x}/sum")

    graph = activated_graph(activate)
    table = table_of(graph, faces)
    check_numbers(graph, table, faces)
    found = optimised(cpu_form(graph, table), tmp_path)
    assert (found["Clip"], found["QLinearAdd"], found["QuantizeLinear"]) == (2, 2, 0)


def test_bounds_that_are_computed_stay_in_float(faces):
    def activate(b, x):
        low = b.node("ReduceMin", [x], f"{x}/low", keepdims=0)
        return b.node("Clip", [x, low], f"{x}/clip")

    graph = activated_graph(activate)
    table = table_of(graph, faces)
    check_numbers(graph, table, faces)
    assert "bounds that are computed" in kept_on_cpus(graph, table)["second/clip"]


def test_a_relu6_has_all_256_steps_up_to_six(faces):
    graph = activated_graph(clip(0, 6))
    table = table_of(graph, faces)
    scales = {**table.scales, "stem/clip": float(np.float16(6 / 127))}
    view = GraphView(cpu_form(graph, table.model_copy(update={"scales": scales})))
    assert numpy_helper.to_array(view.constants["stem/clip/zero_point"]) == 0
    assert numpy_helper.to_array(view.constants["stem/clip/scale"]) == np.float32(6 / 255)
