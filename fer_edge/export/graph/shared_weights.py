"""Weights that two graphs share, stored once: one has them as ONNX external data in the other."""

import onnx
from onnx.external_data_helper import set_external_data

from fer_edge.export.graph.view import copy_of

_WORTH = 1024
"""Bytes from which on the entry that says where they are is worth it."""
_BYTES = (onnx.TensorProto.INT8, onnx.TensorProto.UINT8)
"""Types that may begin at any offset of a file."""


def share_weights(model: onnx.ModelProto, other: bytes, file: str) -> onnx.ModelProto:
    """Leave those weights in ``other`` that it has, too.

    Parameters
    ----------
    model : onnx.ModelProto
    other : bytes
        A serialised graph, which will lie beside this one.
    file : str
        Its name.
    """
    out = copy_of(model)
    for tensor in out.graph.initializer:
        data = tensor.raw_data
        if tensor.data_type in _BYTES and len(data) >= _WORTH:
            start = other.find(data)
            if start >= 0:
                set_external_data(tensor, file, start, len(data))
                tensor.ClearField("raw_data")
    return out
