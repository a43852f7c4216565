import numpy as np
import pytest

from fer_edge.export.bias_correction import corrected
from fer_edge.export.calibration import calibrate
from fer_edge.export.cpu_form import cpu_form
from fer_edge.export.graph import GraphView, copy_of, set_constant
from fer_edge.export.observation import calibration_faces
from fer_edge.export.placement import place
from fer_edge.export.quantize import quantize
from fer_edge.export.scales import quantized_weights
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
