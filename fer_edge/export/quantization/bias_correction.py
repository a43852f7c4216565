"""Bias correction: take back the mean error that rounded weights make.

References
----------
Nagel et al. 2019, "Data-Free Quantization Through Weight Equalization and Bias Correction",
arXiv:1906.04721, section 4.2, here with the mean inputs of the calibration faces.
"""

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from fer_edge.export.graph.bounds import attribute
from fer_edge.export.graph.view import (
    IR_VERSION,
    GraphView,
    copy_of,
    outputs_axis,
    set_constant,
)
from fer_edge.export.quantization.scales import quantized_weights

Values = NDArray[np.float32]


def corrected(
    model: onnx.ModelProto, shifts: Mapping[str, Sequence[float]], layers: Collection[str]
) -> onnx.ModelProto:
    """The float32 graph with the shifts of those layers in their biases."""
    out = copy_of(model)
    view = GraphView(model)
    for node in out.graph.node:
        if node.name in layers and node.name in shifts:
            name = node.input[2]
            set_constant(out, name, shifted(view.array(name), shifts[node.name]))
    return out


def shifted(bias: Values, shift: Sequence[float]) -> Values:
    return bias + np.asarray(shift, np.float32)


class RoundedWeights:
    """How far the rounding of its weights moves the mean of each output channel of each layer.

    A layer is linear, so that is what the layer itself makes of the mean of its inputs with the
    rounding errors as weights: borders, dilations and all other attributes are as the layer has
    them.

    Parameters
    ----------
    model : onnx.ModelProto
        The float32 graph.
    layers : collection of str
        Layers (Conv, ConvTranspose, Gemm) to be quantised; those without a constant bias that
        counts are left out.
    """

    def __init__(self, model: onnx.ModelProto, layers: Collection[str]) -> None:
        view = GraphView(model)
        self._nodes = [n for n in view.nodes if n.name in layers and _has_bias(view, n)]
        self._opsets = model.opset_import
        self._errors = {node.name: _rounding_error(view, node) for node in self._nodes}
        self._sums: dict[str, NDArray[np.float64]] = {}
        self._faces: dict[str, int] = {}

    @property
    def inputs(self) -> list[str]:
        """Tensors that :meth:`add` needs."""
        return list(dict.fromkeys(node.input[0] for node in self._nodes))

    def add(self, values: Mapping[str, Values]) -> None:
        """Take the inputs of the layers for a batch of faces, by tensor name."""
        for node in self._nodes:
            inputs, axis = values[node.input[0]], attribute(node, "transA", 0)
            total = inputs.sum(axis=axis, keepdims=True, dtype=np.float64)
            self._sums[node.name] = self._sums.get(node.name, 0.0) + total
            self._faces[node.name] = self._faces.get(node.name, 0) + inputs.shape[axis]

    def shifts(self) -> dict[str, list[float]]:
        """What takes the error back, per output channel, in five digits."""
        found = {}
        for node in self._nodes:
            mean = self._sums[node.name] / self._faces[node.name]
            shift = self._run(node, mean.astype(np.float32)) / attribute(node, "beta", 1.0)
            found[node.name] = [float(f"{value:.5g}") for value in shift]
        return found

    def _run(self, node: onnx.NodeProto, inputs: Values) -> NDArray[np.float64]:
        """Mean of each channel of what a layer gives without bias, its weights the errors."""
        layer = onnx.NodeProto()
        layer.CopyFrom(node)
        del layer.input[:]
        layer.input.extend(["inputs", "errors"])
        graph = helper.make_graph(
            [layer],
            "layer",
            [helper.make_tensor_value_info("inputs", TensorProto.FLOAT, inputs.shape)],
            [helper.make_tensor_value_info(layer.output[0], TensorProto.FLOAT, None)],
            [numpy_helper.from_array(self._errors[node.name], "errors")],
        )
        model = helper.make_model(graph, ir_version=IR_VERSION, opset_imports=self._opsets)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        (result,) = session.run(None, {"inputs": inputs})
        others = tuple(axis for axis in range(result.ndim) if axis != 1)
        means: NDArray[np.float64] = result.mean(axis=others, dtype=np.float64)
        return means


def _has_bias(view: GraphView, node: onnx.NodeProto) -> bool:
    """Whether a layer has a constant bias, and not one that is multiplied by zero."""
    return (
        len(node.input) > 2
        and node.input[2] in view.constants
        and attribute(node, "beta", 1.0) != 0
    )


def _rounding_error(view: GraphView, node: onnx.NodeProto) -> Values:
    """What INT8 takes from the weights of a layer, in their layout."""
    weights = view.array(node.input[1])
    return np.ascontiguousarray(weights - quantized_weights(weights, outputs_axis(node)))
