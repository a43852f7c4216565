import pytest

from fer_edge.export.graph.layer_latency import layer_latencies
from fer_edge.export.quantization.forms.cpu_form import cpu_form
from fer_edge.export.quantization.placement import place


@pytest.mark.parametrize("form", ["float32", "int8"])
def test_every_layer_has_its_time(form, residual, residual_table, faces):
    graph = residual if form == "float32" else cpu_form(residual, residual_table)
    layers = place(residual).layers
    times = layer_latencies(graph, layers, faces.faces[:2, None])
    assert tuple(times) == layers
    # The timer counts whole microseconds, and the hidden layer takes less than one.
    assert all(1e-6 <= times[layer] < 1 for layer in layers if layer != "hidden")
