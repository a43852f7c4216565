"""Passes over the fully connected layers of sequences: MatMul with a constant, and its bias."""

import numpy as np

from fer_edge.export.importing.editing import Array, Editable


def absorb_after(graph: Editable) -> bool:
    """Multiplications by a constant per output go into the weights and the bias before them.

    A constant that is multiplied after the bias was added is multiplied into both.
    """
    for node in list(graph.nodes):
        if node.op_type != "Mul" or node.input[1] not in graph.constants:
            continue
        before = graph.producer.get(node.input[0])
        bias = None
        if before is not None and before.op_type == "Add" and before.input[1] in graph.constants:
            bias, before = before, graph.producer.get(before.input[0])
        if (
            before is None
            or before.op_type != "MatMul"
            or before.input[1] not in graph.constants
            or graph.only_taker(before.output[0]) is None
            or graph.only_taker(node.input[0]) is None
        ):
            continue
        weight = graph.constants[before.input[1]]
        factor = _per_output(graph.constants[node.input[1]], weight.shape[-1])
        if weight.ndim != 2 or factor is None:
            continue
        before.input[1] = graph.constant(weight * factor, before.input[1])
        if bias is not None:
            value = graph.constants[bias.input[1]]
            bias.input[1] = graph.constant((value * factor).astype(np.float32), bias.input[1])
        graph.bypass(node)
        return True
    return False


def _per_output(value: Array, width: int) -> Array | None:
    """A constant as one number for each output (last axis); None if it is something else."""
    if value.dtype != np.float32 or value.size != (value.shape or (1,))[-1]:
        return None
    return value.reshape(-1) if value.size in (1, width) else None
