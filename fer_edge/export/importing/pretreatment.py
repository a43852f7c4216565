"""What a network wants done to the faces: told, or read from its own first steps."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from fer_edge.contract import INPUT_NAME, OUTPUT_NAME, Contract
from fer_edge.errors import ExportError
from fer_edge.export.importing.editing import Editable, attributes
from fer_edge.export.importing.pixels import Affine, first_steps
from fer_edge.export.importing.signature import Signature

_WIDEST = 12.0
"""Networks are trained on numbers about as large as their standard deviations are: the ends of
black and white that (pixel / 255 - mean) / std makes of the usual means are below 3, those of a
pixel taken for one of 0 to 1 above 100."""
_NARROWEST = 0.4


@dataclass(frozen=True)
class Normalisation:
    """(pixel / scale - mean) / std, per channel of the network, in the order that it has them."""

    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]
    said: str
    """Where it comes from, for people."""

    def __call__(self, pixels: NDArray[np.floating]) -> NDArray[np.float32]:
        """Apply it to float pixels (N, channels, S, S)."""
        shape = (1, -1, 1, 1)
        mean, std = (np.reshape(v, shape).astype(np.float64) for v in (self.mean, self.std))
        return ((pixels / self.scale - mean) / std).astype(np.float32)


_RAW = (1.0, (0.0,), (1.0,))


def told(
    scale: float | None,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
    channels: int,
) -> Normalisation | None:
    """The normalisation that options state; None where none does.

    Raises
    ------
    ExportError
        Not one number or one for each channel, or a division by zero.
    """
    if scale is None and mean is None and std is None:
        return None
    for name, values in (("--mean", mean), ("--std", std)):
        if values is not None and len(values) not in (1, channels):
            raise ExportError(
                f"{name} has {len(values)} numbers and the network {channels} channels.",
                hint=f"Give one number, or {channels} separated by commas.",
            )
    if scale == 0 or 0 in (std or ()):
        raise ExportError("--scale and --std divide, so neither may be 0.")
    said = (1.0 if scale is None else scale, tuple(mean or (0.0,)), tuple(std or (1.0,)))
    return Normalisation(*said, f"(pixel / {said[0]:g} - {_list(said[1])}) / {_list(said[2])}")


def seen(graph: Editable, signature: Signature) -> Normalisation | None:
    """What the graph's own first steps and its type tell; None where they do not."""
    if signature.dtype == "uint8":
        return Normalisation(*_RAW, "takes raw pixels, 0 to 255, as its type says")
    affine, steps = _first_steps(graph, signature.input)
    if not steps:
        return None
    if _sensible(affine, 255.0):
        return Normalisation(*_RAW, f"takes raw pixels, 0 to 255: it begins with {_ways(affine)}")
    if _sensible(affine, 1.0):
        reason = f"takes 0 to 1: it begins with {_ways(affine)}"
        return Normalisation(255.0, (0.0,), (1.0,), f"{reason}, so pixels are divided by 255")
    return None


def _first_steps(graph: Editable, tensor: str) -> tuple[Affine, list[onnx.NodeProto]]:
    """As :func:`first_steps`, past what leaves the numbers as they are."""
    while (node := graph.only_taker(tensor)) is not None:
        if node.op_type not in ("Cast", "Transpose", "Reshape", "Identity", "Resize", "Unsqueeze"):
            break
        tensor = node.output[0]
    return first_steps(graph, tensor)


def _sensible(affine: Affine, white: float) -> bool:
    ends = np.concatenate([affine(0.0), affine(white)])
    spread = np.abs(affine(white) - affine(0.0))
    return bool(np.abs(ends).max() <= _WIDEST and spread.min() >= _NARROWEST)


def _ways(affine: Affine) -> str:
    if not np.all(affine.factor):
        return "a multiplication by 0"
    mean, std = -affine.offset / affine.factor, 1 / affine.factor
    return f"(x - {_list(mean)}) / {_list(std)}"


def _list(values: Sequence[float] | NDArray[np.float64]) -> str:
    found = [f"{value:.4g}" for value in np.atleast_1d(np.asarray(values, np.float64))]
    return found[0] if len(set(found)) == 1 else f"({', '.join(found)})"


def surround(
    graph: Editable,
    signature: Signature,
    contract: Contract,
    normalisation: Normalisation,
    *,
    reversed_channels: bool,
    ending: str | None,
) -> None:
    """Write the contract around a graph: raw faces in, probabilities out.

    Parameters
    ----------
    graph : Editable
        Changed.
    signature : Signature
        Of the graph as it came.
    contract : Contract
        Of the graph as it goes.
    normalisation : Normalisation
    reversed_channels : bool
        The network was trained on BGR.
    ending : str or None
        Operator that makes probabilities of what the graph gives; None if it gives them.
    """
    nodes: list[onnx.NodeProto] = []
    # No name of the graph itself; the contract's names come last.
    tensor = faces = graph.unique(INPUT_NAME)

    def add(operator: str, constants: Sequence[NDArray[np.generic]], **attributes: object) -> None:
        nonlocal tensor
        target = graph.unique(f"faces/{operator.lower()}")
        inputs = [tensor, *(graph.constant(v, f"{operator.lower()}") for v in constants)]
        nodes.append(helper.make_node(operator, inputs, [target], target, **attributes))
        tensor = target

    add("Cast", [], to=TensorProto.FLOAT)
    size = signature.size or contract.size
    if size != contract.size:
        target = graph.unique("faces/resize")
        ratio = np.array([1, 1, size / contract.size, size / contract.size], np.float32)
        inputs = [tensor, "", graph.constant(ratio, "scales")]
        mode = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
        nodes.append(helper.make_node("Resize", inputs, [target], target, **mode))
        tensor = target
        if signature.dtype == "uint8":
            add("Round", [])
    order = slice(None, None, -1) if reversed_channels else slice(None)
    mean, std = (np.asarray(v, np.float64) for v in (normalisation.mean, normalisation.std))
    for operator, value in (
        ("Sub", mean[order] * normalisation.scale),
        ("Mul", 1 / (std[order] * normalisation.scale)),
    ):
        if np.any(value != (1.0 if operator == "Mul" else 0.0)):
            shaped = value.reshape(()) if value.size == 1 else value.reshape(-1, 1, 1)
            add(operator, [shaped.astype(np.float32)])
    widened = max(mean.size, std.size) > 1
    if contract.channels < signature.channels and not widened:
        target = graph.unique("faces/rgb")
        copies = [tensor] * signature.channels
        nodes.append(helper.make_node("Concat", copies, [target], target, axis=1))
        tensor = target
    if reversed_channels:
        add("Gather", [np.array([2, 1, 0], np.int64)], axis=1)
    if signature.layout == "NHWC":
        add("Transpose", [], perm=[0, 2, 3, 1])
    # What a graph of uint8 does first is the cast that stands here already.
    same = {signature.input: tensor}
    if signature.dtype == "uint8":
        casts = graph.takers[signature.input]
        if all(_to_float(node) for node in casts):
            same |= {node.output[0]: tensor for node in casts}
        else:
            add("Cast", [], to=TensorProto.UINT8)
            same = {signature.input: tensor}
    for node in graph.nodes:
        for index, name in enumerate(node.input):
            node.input[index] = same.get(name, name)
    shape = ["batch", *contract.face_shape]
    graph.nodes = [*nodes, *graph.nodes]
    graph.inputs = [helper.make_tensor_value_info(faces, TensorProto.UINT8, shape)]
    _end(graph, signature, contract, ending)


def _to_float(node: onnx.NodeProto) -> bool:
    return node.op_type == "Cast" and attributes(node)["to"] == TensorProto.FLOAT


def _end(graph: Editable, signature: Signature, contract: Contract, ending: str | None) -> None:
    tensor = signature.output
    rank = graph.rank(tensor)
    if rank != 2:
        row = graph.constant(np.array([-1, len(contract.labels)], np.int64), "row")
        flat = graph.unique("row")
        graph.nodes.append(helper.make_node("Reshape", [tensor, row], [flat], flat))
        tensor = flat
    operator = ending or "Identity"
    attributes = {"axis": 1} if operator == "Softmax" else {}
    result = graph.unique(OUTPUT_NAME)
    graph.nodes.append(helper.make_node(operator, [tensor], [result], "", **attributes))
    shape = ["batch", len(contract.labels)]
    graph.outputs = [helper.make_tensor_value_info(result, TensorProto.FLOAT, shape)]
    graph.touch()
