"""Bias correction and adaptive rounding: do they bring plain INT8 nearer to FP32?

python bench/rounding.py MODEL --data fer2013.zip --name NAME

The export corrects biases by the mean inputs of each layer. Correcting them by the outputs, layer
after layer, and adaptive rounding are not part of it; this is the measurement that says why.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from quantization import Comparison, model_arguments, score_table
from recording import RESULTS, record
from rich.progress import track
from torch import Tensor
from torch.nn import functional

from fer_edge.data import load_dataset
from fer_edge.engines.base import Faces
from fer_edge.engines.ort import OnnxRuntimeEngine
from fer_edge.export.graph.inner_tensors import observe
from fer_edge.export.graph.view import GraphView, set_constant
from fer_edge.export.importing.sources import open_source
from fer_edge.export.quantization.calibration import calibrate
from fer_edge.export.quantization.forms.quantize import quantize
from fer_edge.export.quantization.observation import calibration_faces
from fer_edge.export.quantization.placement import place


def main() -> None:
    parser = model_arguments(__doc__)
    parser.add_argument("--steps", type=int, default=500, help="of adaptive rounding, a layer")
    arguments = parser.parse_args()
    val = load_dataset(arguments.data, "val")
    origin = open_source(arguments.model)
    corrected_table = calibrate(
        origin.graph, origin.name, val, method="percentile", equalised=False
    )
    table = corrected_table.model_copy(update={"shifts": {}})
    faces = calibration_faces(val, 256, 0)
    compare = Comparison(origin.graph, val)

    def score(graph: onnx.ModelProto) -> dict[str, Any]:
        return compare(OnnxRuntimeEngine(graph.SerializeToString()))

    plain = quantize(origin.graph, table)
    rows = {
        "plain": score(plain),
        "bias correction, as exported": score(quantize(origin.graph, corrected_table)),
    }
    corrected = quantize(origin.graph, table)
    for layer in track(convolutions(origin.graph), "Bias correction"):
        correct_bias(origin.graph, corrected, layer, faces)
    rows["bias correction, layer after layer"] = score(corrected)
    rounded = quantize(origin.graph, table)
    for layer in track(convolutions(origin.graph), "Adaptive rounding"):
        round_adaptively(origin.graph, rounded, layer, faces, arguments.steps)
    rows["adaptive rounding"] = score(rounded)
    result = {
        "model": origin.name,
        "n": len(val),
        "fp32_accuracy": compare.accuracy,
        "rows": rows,
    }
    record(RESULTS / f"rounding-{arguments.name}.json", result)
    print(score_table("graph of record", rows))


def convolutions(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    layers = place(model).layers
    return [n for n in GraphView(model).nodes if n.name in layers and n.op_type == "Conv"]


def values(model: onnx.ModelProto, tensor: str, faces: Faces) -> NDArray[np.float32]:
    return np.concatenate([found for (found,) in observe(model, [tensor], faces)])


def correct_bias(
    fp32: onnx.ModelProto, int8: onnx.ModelProto, layer: onnx.NodeProto, faces: Faces
) -> None:
    """Shift the bias so that each channel's mean is float32's (Nagel et al. 2019, section 4.2)."""
    shift = values(fp32, layer.output[0], faces) - values(int8, layer.output[0], faces)
    bias = GraphView(int8).array(layer.input[2])
    set_constant(int8, layer.input[2], (bias + shift.mean((0, 2, 3))).astype(np.float32))


def round_adaptively(
    fp32: onnx.ModelProto,
    int8: onnx.ModelProto,
    layer: onnx.NodeProto,
    faces: Faces,
    steps: int,
) -> None:
    """Choose up or down for each weight (AdaRound, Nagel et al. 2020, arXiv:2004.10568).

    The layer's output on INT8's own inputs is brought to float32's, layer after layer.
    """
    name = layer.input[1]
    inputs = torch.from_numpy(values(int8, f"{layer.input[0]}/dequantized", faces))
    wanted = torch.from_numpy(values(fp32, layer.output[0], faces))
    bias = torch.tensor(GraphView(int8).array(layer.input[2]))
    scales = torch.tensor(GraphView(int8).array(f"{name}/scale"))[:, None, None, None]
    weights = torch.tensor(GraphView(fp32).array(name)) / scales
    floor = weights.floor()
    # h(v) = clip(1.2 sigmoid(v) - 0.1) begins at the weight's own remainder.
    rest = ((weights - floor + 0.1) / 1.2).clamp(1e-4, 1 - 1e-4)
    v = torch.log(rest / (1 - rest)).requires_grad_()
    convolve = convolution(layer, bias)
    optimizer = torch.optim.Adam([v], lr=0.01)
    generator = torch.Generator().manual_seed(0)
    for step in range(steps):
        chosen = torch.randint(len(inputs), (16,), generator=generator)
        up = (torch.sigmoid(v) * 1.2 - 0.1).clamp(0, 1)
        found = convolve(inputs[chosen], (floor + up).clamp(-127, 127) * scales)
        loss = (found - wanted[chosen]).square().sum(1).mean()
        done = step / steps
        if done > 0.2:
            beta = 2 + 18 * (1 + np.cos(np.pi * (done - 0.2) / 0.8)) / 2
            loss = loss + 0.01 * (1 - (2 * up - 1).abs().pow(beta)).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    integers = (floor + (v > 0)).clamp(-127, 127).to(torch.int8).detach().numpy()
    set_constant(int8, f"{name}/quantized", integers)


def convolution(layer: onnx.NodeProto, bias: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in layer.attribute}

    def convolve(faces: Tensor, weights: Tensor) -> Tensor:
        return functional.conv2d(
            faces,
            weights,
            bias,
            tuple(attributes.get("strides", (1, 1))),
            tuple(attributes.get("pads", (0, 0))[:2]),
            groups=attributes.get("group", 1),
        )

    return convolve


if __name__ == "__main__":
    main()
