"""What a graph does to the pixels before its first layer."""

import onnx

from fer_edge.contract import INPUT_NAME
from fer_edge.export.graph import GraphView


def centred_pixels(view: GraphView) -> tuple[str, int] | None:
    """The tensor of pixels less one whole number, and the number; None where there is none.

    Without a subtraction it is that of the pixels as they are, less 0.
    """
    cast = _only(view, INPUT_NAME, "Cast")
    if cast is None:
        return None
    pixels = str(cast.output[0])
    less = _only(view, pixels, "Sub")
    if less is None:
        return pixels, 0
    if less.input[0] != pixels or less.input[1] not in view.constants:
        return None
    mean = view.array(less.input[1])
    if mean.size != 1 or mean.item() != round(mean.item()) or not 0 <= mean.item() <= 255:
        return None
    return str(less.output[0]), round(mean.item())


def _only(view: GraphView, tensor: str, operator: str) -> onnx.NodeProto | None:
    taker = view.only_consumer(tensor)
    return taker if taker is not None and taker.op_type == operator else None
