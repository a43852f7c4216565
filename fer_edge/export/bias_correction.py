"""Bias correction: take back the mean error that rounded weights make.

References
----------
Nagel et al. 2019, "Data-Free Quantization Through Weight Equalization and Bias Correction",
arXiv:1906.04721, section 4.2, here with the mean inputs of the calibration faces.
"""

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from fer_edge.export.graph import GraphView, copy_of, set_constant
from fer_edge.export.scales import quantized_weights

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

    Parameters
    ----------
    model : onnx.ModelProto
        The float32 graph.
    layers : collection of str
        Layers to be quantised; those without a bias are left out.
    """

    def __init__(self, model: onnx.ModelProto, layers: Collection[str]) -> None:
        view = GraphView(model)
        self._nodes = [n for n in view.nodes if n.name in layers and len(n.input) > 2]
        self._errors = {}
        self._sums: dict[str, NDArray[np.float64]] = {}
        self._faces = 0
        for node in self._nodes:
            weights = view.array(node.input[1])
            self._errors[node.name] = weights - quantized_weights(weights)

    @property
    def inputs(self) -> list[str]:
        """Tensors that :meth:`add` needs."""
        return list(dict.fromkeys(node.input[0] for node in self._nodes))

    def add(self, values: Mapping[str, Values]) -> None:
        """Take the inputs of the layers for a batch of faces, by tensor name."""
        for node in self._nodes:
            inputs = values[node.input[0]]
            error = self._errors[node.name]
            if error.ndim == 4:
                means = _tap_means(inputs, node, error.shape[2:])
                groups = len(means) // error.shape[1]
                by_group = error.reshape(groups, -1, *error.shape[1:])
                means = means.reshape(groups, *error.shape[1:])
                shift = np.einsum("goikl,gikl->go", by_group, means).reshape(-1)
            else:
                shift = error @ inputs.mean(axis=0, dtype=np.float64)
            self._sums[node.name] = self._sums.get(node.name, 0.0) + len(inputs) * shift
        self._faces += len(inputs)

    def shifts(self) -> dict[str, list[float]]:
        """What takes the error back, per output channel, in five digits."""
        return {
            name: [float(f"{value:.5g}") for value in total / self._faces]
            for name, total in self._sums.items()
        }


def _tap_means(
    inputs: Values, node: onnx.NodeProto, kernel: tuple[int, int]
) -> NDArray[np.float64]:
    """Mean of what each weight of a convolution sees, borders included: (channels, *kernel)."""
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    down, right = attributes.get("strides", (1, 1))
    top, left, bottom, end = attributes.get("pads", (0, 0, 0, 0))
    padded = np.pad(inputs, ((0, 0), (0, 0), (top, bottom), (left, end)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, kernel, axis=(2, 3))
    means: NDArray[np.float64] = windows[:, :, ::down, ::right].mean(
        axis=(0, 2, 3), dtype=np.float64
    )
    return means
