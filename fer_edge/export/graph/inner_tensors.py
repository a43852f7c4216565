"""Values of the inner tensors of a graph."""

from collections.abc import Iterator, Sequence
from typing import Any

import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper

from fer_edge.engines.base import Faces
from fer_edge.export.graph.view import copy_of

BATCH = 16
PIXELS = 4_000_000
"""Largest number of values in a batch of inputs: frames go through fewer at a time than faces."""


def observe(
    model: onnx.ModelProto, tensors: Sequence[str], faces: Faces
) -> Iterator[list[NDArray[Any]]]:
    """Run a float32 graph and yield the values of ``tensors``, 16 faces or some frames at a time.

    Parameters
    ----------
    model : onnx.ModelProto
    tensors : sequence of str
    faces : uint8 array, shape (N, ...)
        What the graph takes: faces (N, channels, size, size) or frames.
    """
    observed = copy_of(model)
    observed.graph.output.extend(
        helper.make_tensor_value_info(tensor, TensorProto.FLOAT, None) for tensor in tensors
    )
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        observed.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    (given,) = model.graph.input
    batch = max(min(BATCH, PIXELS // max(faces[0].size, 1)), 1) if len(faces) else BATCH
    for start in range(0, len(faces), batch):
        yield session.run(list(tensors), {given.name: faces[start : start + batch]})
