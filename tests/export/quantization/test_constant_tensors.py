"""Layers that calibration saw only one number of: they stay in floating point and say so."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from fer_edge.errors import CalibrationError, ExportError
from fer_edge.export.graph.view import copy_of, set_constant
from fer_edge.export.importing.source import Source
from fer_edge.export.inspection.layers import describe_layers
from fer_edge.export.pipeline import export_model
from fer_edge.export.quantization.calibration import calibrate
from fer_edge.export.quantization.forms.cpu_form import cpu_form
from fer_edge.export.quantization.forms.float8 import kept_from_float8, quantize_float8
from fer_edge.export.quantization.forms.quantize import quantize
from fer_edge.export.quantization.observation import Observation, observe_ranges
from fer_edge.export.quantization.search import search
from tests.export.conftest import run
from tests.export.graphs import (
    Builder,
    branching_graph,
    plain_graph,
    residual_graph,
    squeezing_graph,
)

ZERO = "zero on all 140 calibration faces, so it has no range"


class Case(NamedTuple):
    graph: Callable[[], onnx.ModelProto]
    layer: str
    """It gives ``bias``, whatever it takes."""
    bias: float
    kept: set[str]
    """Layers that INT8 leaves out."""


CASES = {
    "a ReLU never fires": Case(plain_graph, "a", -1, {"b"}),
    "one number": Case(plain_graph, "a", 0.5, {"b"}),
    # As residual networks are initialised, and left by pruning.
    "a branch gives nothing": Case(residual_graph, "one.b", 0, set()),
    "a skip gives nothing": Case(residual_graph, "two.skip", 0, set()),
    "inside a block": Case(residual_graph, "one.a", -1, {"one.b"}),
    "gate": Case(squeezing_graph, "reduce", -1, {"excite"}),
    "part of a concatenation": Case(branching_graph, "two.a", -1, {"two.b"}),
    "depthwise": Case(squeezing_graph, "depthwise", 0, {"reduce", "project"}),
}


def emptied(model: onnx.ModelProto, layer: str, bias: float) -> onnx.ModelProto:
    out = copy_of(model)
    values = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    set_constant(out, f"{layer}.weight", np.zeros_like(values[f"{layer}.weight"]))
    set_constant(out, f"{layer}.bias", np.full_like(values[f"{layer}.bias"], bias))
    return out


@pytest.fixture(scope="module", params=CASES)
def case(request):
    chosen = CASES[request.param]
    return emptied(chosen.graph(), chosen.layer, chosen.bias), chosen


def test_layers_that_take_one_number_stay_in_floating_point_and_the_rest_is_int8(case, faces):
    graph, chosen = case
    table = calibrate(graph, "dead", faces, method="minmax", samples=140)
    assert set(table.kept) == chosen.kept
    for reason in table.kept.values():
        assert reason.endswith("on all 140 calibration faces, so it has no range")
    (expected,) = run(graph, faces.faces)
    for form in (quantize(graph, table), cpu_form(graph, table)):
        # That of a graph without dead layers: test_quantize.py.
        (found,) = run(form, faces.faces)
        assert np.abs(found - expected).max() < 0.1
        assert any(node.op_type == "DequantizeLinear" for node in form.graph.node)


def test_what_never_fired_fires_in_int8_as_in_float32(plain, faces):
    """A scale made up for a tensor that was zero would cut off what it is on other faces."""
    silent = copy_of(plain)
    biases = np.full(16, -run(plain, faces.faces, "a")[0].max(), np.float32)
    set_constant(silent, "a.bias", biases + numpy_helper.to_array(
        next(t for t in plain.graph.initializer if t.name == "a.bias")))  # fmt: skip
    table = calibrate(silent, "silent", faces, method="minmax", samples=140)
    assert table.floating["pool"] == ZERO
    noise = np.random.default_rng(0).choice(np.array([0, 255], np.uint8), (16, 1, 48, 48))
    (fired,) = run(silent, noise, "a/relu")
    assert fired.max() > 1
    (expected,) = run(silent, noise)
    for form in (quantize(silent, table), cpu_form(silent, table)):
        assert np.abs(run(form, noise)[0] - expected).max() < 0.1


def test_a_channel_that_is_dead_costs_nothing(plain, faces):
    values = {t.name: numpy_helper.to_array(t).copy() for t in plain.graph.initializer}
    pruned = copy_of(plain)
    for name, value in (("a.weight", 0), ("a.bias", -1)):
        values[name][::2] = value
        set_constant(pruned, name, values[name])
    table = calibrate(pruned, "pruned", faces, method="minmax", samples=140)
    assert (table.kept, set(table.floating)) == ({}, {"average"})


def test_the_export_its_report_and_the_table_name_the_layer(tmp_path, faces):
    graph = emptied(plain_graph(), "a", -1)
    artifact = export_model(
        Source("dead", graph), tmp_path / "dead", precisions=["int8"], data=faces,
        method="minmax", samples=140,
    )  # fmt: skip
    reason = f"its input pool is {ZERO}"
    assert artifact.manifest.graphs["int8"].kept == {"b": reason}
    layers = {layer.name: layer for layer in describe_layers(artifact, "int8")}
    assert layers["b"].kept == reason
    assert layers["b"].precision == "fp32"
    assert layers["a"].precision == "int8"
    assert reason in (artifact.folder / "calibration.json").read_text()
    # Exported again by its own table.
    again = export_model(artifact.folder, tmp_path / "again", precisions=["int8"])
    assert (again.folder / "int8.cpu.onnx").read_bytes() == (
        artifact.folder / "int8.cpu.onnx"
    ).read_bytes()


def test_fp8_leaves_it_out_too(faces):
    graph = emptied(_wide(), "b", -1)
    table = calibrate(graph, "dead", faces, method="minmax", samples=140)
    assert kept_from_float8(graph, table)["c"] == f"its input b/relu is {ZERO}"
    quantised = {n.input[0] for n in quantize_float8(graph, table).graph.node
                 if n.op_type == "QuantizeLinear"}  # fmt: skip
    assert quantised == {"stem/relu", "a/relu"}


def _wide() -> onnx.ModelProto:
    """Convolutions of 16 channels, which FP8 takes."""
    b = Builder(5)
    x = b.relu(b.conv(b.centred(), "stem", 1, 16, 3, 2))
    x = b.relu(b.conv(x, "a", 16, 16, 3, 2))
    x = b.relu(b.conv(x, "b", 16, 16, 3, 1))
    x = b.relu(b.conv(x, "c", 16, 16, 3, 1))
    x = b.node("Flatten", [b.node("GlobalAveragePool", [x], "average")], "flat", axis=1)
    return b.model(b.gemm(x, "classifier", 16, 7))


def test_the_search_keeps_what_it_cannot_put_back(faces):
    graph = emptied(plain_graph(), "a", -1)
    table = search(graph, "dead", faces, max_drop=100, method="minmax", samples=140)
    assert set(table.kept) == {"b"}
    assert set(table.sensitivity) == {"stem", "a"}


def test_histograms_remember_it(tmp_path, faces):
    seen = observe_ranges(emptied(plain_graph(), "a", -1), "dead", faces, samples=140)
    seen.save(tmp_path / "seen.npz")
    assert Observation.load(tmp_path / "seen.npz").table("minmax") == seen.table("minmax")


def test_a_network_that_sees_nothing_is_an_error(faces):
    blind = plain_graph()
    for layer in ("stem", "a", "b"):
        blind = emptied(blind, layer, 0.5)
    with pytest.raises(CalibrationError, match="and so is every other that INT8 of blind would"):
        observe_ranges(blind, "blind", faces, samples=21)


def test_a_graph_of_which_nothing_can_be_int8_is_an_error(faces):
    b = Builder(1)
    x = b.node("Flatten", [b.centred()], "flat", axis=1)
    graph = b.model(b.gemm(x, "classifier", 2304, 7))
    with pytest.raises(ExportError, match=r"no layer of linear\. classifier stays in floating"):
        calibrate(graph, "linear", faces, method="minmax", samples=140)


def test_a_table_that_keeps_every_layer_is_an_error(plain, plain_table):
    every = plain_table.model_copy(update={"kept": dict.fromkeys(("stem", "a", "b"), "by hand")})
    with pytest.raises(ExportError, match=r"no layer of plain\. stem stays in .*: by hand"):
        quantize(plain, every)
