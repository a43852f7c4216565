"""FP8 (E4M3) written in the graph: Q/DQ pairs for GPUs of compute capability 8.9 and later.

References
----------
Micikevicius et al. 2022, "FP8 Formats for Deep Learning", arXiv:2209.05433.
https://docs.nvidia.com/deeplearning/tensorrt/latest/inference-library/quantized-types-schemes.html
"""

import ml_dtypes
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from fer_edge.errors import ExportError
from fer_edge.export.graph.view import (
    GraphView,
    outputs_axis,
    set_constant,
)
from fer_edge.export.quantization.forms.pairs import dequantized, with_pairs
from fer_edge.export.quantization.opening import open_graph
from fer_edge.export.quantization.scales import SMALLEST_SCALE, per_channel, row_maxima
from fer_edge.export.quantization.table import CalibrationTable

FLOAT8_MAX = 448.0
"""Largest number of E4M3, which has no infinity."""
_CHANNELS = 16
"""TensorRT's FP8 convolutions take channels in sixteens, and kernels of up to 32 weights:
https://github.com/NVIDIA/TensorRT-Model-Optimizer/blob/main/modelopt/onnx/quantization/fp8.py"""
_KERNEL = 32


def quantize_float8(model: onnx.ModelProto, table: CalibrationTable) -> onnx.ModelProto:
    """Insert E4M3 Q/DQ pairs: per tensor for activations, per output channel for weights.

    Placement and ranges are those of INT8, without the layers of :func:`kept_from_float8`. A scale
    takes the range's end to 448. Biases stay float32.

    Parameters
    ----------
    model : onnx.ModelProto
        The float32 graph.
    table : CalibrationTable
        Made from this graph.

    Raises
    ------
    CalibrationError
        The table belongs to another graph.
    ExportError
        FP8 can run no layer of this graph.
    """
    opened = open_graph(model, table, kept=kept_from_float8(model, table), shifted=False)
    if not opened.placement.layers:
        raise ExportError(
            "FP8 can run no layer of this model.", hint="Export it in fp16 or int8 instead."
        )
    return with_pairs(
        opened,
        lambda out, tensor: _pair(out, tensor, table.scales[tensor] * 127),
        _quantize_weights,
    )


def kept_from_float8(model: onnx.ModelProto, table: CalibrationTable) -> dict[str, str]:
    """Layers that stay in floating point of 16 bits or more, and why."""
    view = GraphView(model)
    kept = dict(table.kept)
    for node in view.layers:
        if node.op_type == "ConvTranspose":
            kept[node.name] = "TensorRT has no transposed convolution in FP8"
        elif node.op_type == "Conv":
            outputs, inputs, *kernel = view.array(node.input[1]).shape
            groups = next((a.i for a in node.attribute if a.name == "group"), 1)
            if inputs % _CHANNELS or (outputs // groups) % _CHANNELS:
                each = f" in each of {groups} groups" if groups > 1 else ""
                kept[node.name] = (
                    f"{inputs} channels in and {outputs // groups} out{each}, and TensorRT's FP8 "
                    f"convolutions take multiples of {_CHANNELS}"
                )
            elif np.prod(kernel) > _KERNEL:
                kept[node.name] = (
                    f"a kernel of {'x'.join(map(str, kernel))}, and TensorRT's FP8 convolutions "
                    f"take up to {_KERNEL} weights"
                )
    return kept


def float8_scales(largest: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scales that take magnitudes up to ``largest`` to 448 or less; all are float16 numbers."""
    scales = np.maximum(largest / FLOAT8_MAX, SMALLEST_SCALE).astype(np.float16)
    short = scales.astype(np.float32) * np.float32(FLOAT8_MAX) < largest
    return np.where(short, np.nextafter(scales, np.float16(np.inf)), scales).astype(np.float32)


def _pair(model: onnx.ModelProto, tensor: str, largest: float) -> list[onnx.NodeProto]:
    scale = set_constant(model, f"{tensor}/scale", float8_scales(np.array(largest, np.float32)))
    zero = _set_float8(model, f"{tensor}/zero_point", np.zeros((), np.float32))
    quantized, restored = f"{tensor}/quantized", dequantized(tensor)
    return [
        helper.make_node("QuantizeLinear", [tensor, scale, zero], [quantized], name=quantized),
        helper.make_node("DequantizeLinear", [quantized, scale, zero], [restored], name=restored),
    ]


def _quantize_weights(
    model: onnx.ModelProto, view: GraphView, node: onnx.NodeProto
) -> onnx.NodeProto:
    """Store the weight as E4M3; the node returned turns it back into float."""
    name = node.input[1]
    weights = view.array(name)
    axis = outputs_axis(node)
    scales = float8_scales(row_maxima(np.moveaxis(weights, axis, 0)))
    inputs = [
        _set_float8(model, f"{name}/quantized", weights / per_channel(scales, weights.ndim, axis)),
        set_constant(model, f"{name}/scale", scales),
        _set_float8(model, f"{name}/zero_point", np.zeros(len(scales), np.float32)),
    ]
    node.input[1] = dequantized(name)
    target = node.input[1]
    return helper.make_node("DequantizeLinear", inputs, [target], name=target, axis=axis)


def _set_float8(model: onnx.ModelProto, name: str, value: NDArray[np.floating]) -> str:
    """Add an E4M3 initializer, rounded to nearest even; returns its name."""
    data = np.asarray(value, np.float32).astype(ml_dtypes.float8_e4m3fn).tobytes()
    model.graph.initializer.append(
        helper.make_tensor(name, TensorProto.FLOAT8E4M3FN, value.shape, data, raw=True)
    )
    return name
