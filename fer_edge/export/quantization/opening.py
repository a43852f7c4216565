"""What every form in eight bits and every measure of one begins with."""

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property

import onnx

from fer_edge.errors import ExportError
from fer_edge.export.graph.view import GraphView
from fer_edge.export.quantization.bias_correction import corrected
from fer_edge.export.quantization.placement import Placement
from fer_edge.export.quantization.table import CalibrationTable


@dataclass(frozen=True)
class Opened:
    """A float32 graph that is going to be quantised."""

    model: onnx.ModelProto
    """The float32 graph that the scales are of: equalised, and its biases shifted if asked for."""
    placement: Placement
    table: CalibrationTable

    @cached_property
    def view(self) -> GraphView:
        return GraphView(self.model)


def open_graph(
    model: onnx.ModelProto,
    table: CalibrationTable,
    *,
    kept: Collection[str] | None = None,
    shifted: bool,
) -> Opened:
    """Check that a table belongs to a graph, decide what is quantised, and prepare the graph.

    Parameters
    ----------
    model : onnx.ModelProto
        The float32 graph.
    table : CalibrationTable
        Made from this graph.
    kept : collection of str, optional
        Layers that stay in floating point; by default the table's.
    shifted : bool
        Move the biases of layers by what their weights lose in INT8.

    Raises
    ------
    CalibrationError
        The table belongs to another graph.
    ExportError
        The graph is quantised already.
    """
    if any(node.op_type == "QuantizeLinear" for node in model.graph.node):
        raise ExportError("The graph has Q/DQ nodes already.", hint="Export from the fp32 graph.")
    table.check(model)
    placement = table.placement(model, kept)
    prepared = table.prepared(model)
    if shifted:
        prepared = corrected(prepared, table.shifts, placement.layers)
    return Opened(prepared, placement, table)
