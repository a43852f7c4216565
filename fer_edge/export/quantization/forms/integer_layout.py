"""The form for CPUs laid out as its kernels run fastest; the integers stay the same.

ONNX Runtime's convolutions of integers work on rows of pixels with their channels side by side, and
take time for every pixel that they begin, more than for its channels. What this module rewrites is
written with a Transpose to that layout and back: ONNX Runtime's optimizer takes those out in pairs.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from fer_edge.export.graph.bounds import attribute
from fer_edge.export.graph.view import (
    GraphView,
    copy_of,
    drop_unused,
    finish,
    replace_nodes,
    set_constant,
)

WIDE = 32
"""Outputs that a convolution gives for each of its steps: those of several pixels at once where it
has fewer channels. Measured on 3 to 8 channels, 3x3, stride 2, of 640x480 (Xeon with VNNI, one
thread): 2.4 ms with 8 outputs a step, 1.3 with 16, 0.8 with 32, 0.8 with 64."""
NARROW = 8
"""Most channels of a convolution to which that is done: of a depthwise one with 8 at 320x240, 2.1
and 1.1 ms; with 16 or 32 it is no faster."""

_ROWS_LAST = [0, 2, 3, 1]
_CHANNELS_FIRST = [0, 3, 1, 2]


def laid_out(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same integers by faster steps.

    - Convolutions of few channels give several columns at once.
    - Maps of twice the size that are added to others are not made, but read twice.
    - Heads, which are in float32, take pixels as rows of a matrix.

    Parameters
    ----------
    model : onnx.ModelProto
        As :func:`~fer_edge.export.quantization.forms.cpu_form.cpu_form` gives it, all sizes but
        the first fixed.
    """
    out = copy_of(model)
    for rewrite in (_fold_columns, _read_twice, _multiply_rows):
        rewrite(_Layout(out))
        drop_unused(out)
    return finish(out)


class _Layout:
    """A graph under rewriting: nodes are replaced by others where they stand."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        self.view = GraphView(model)
        inferred = onnx.shape_inference.infer_shapes(model).graph
        self.shapes = {
            value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
            for value in (*inferred.value_info, *inferred.input, *inferred.output)
        }

    def rewrite(self, of: Callable[[onnx.NodeProto], list[onnx.NodeProto] | None]) -> None:
        """Put what ``of`` gives for a node in its place, where it gives something."""
        nodes = []
        for node in self.view.nodes:
            new = of(node)
            nodes += [node] if new is None else new
        replace_nodes(self.model, nodes)

    def constant(self, name: str, value: NDArray[Any]) -> str:
        return set_constant(self.model, name, value)

    def transpose(self, source: str, target: str, perm: Sequence[int]) -> onnx.NodeProto:
        return helper.make_node("Transpose", [source], [target], target, perm=perm)

    def reshape(self, source: str, target: str, *sizes: int) -> onnx.NodeProto:
        """To these sizes behind the first, which stays."""
        shape = self.constant(f"{target}/shape", np.array([0, *sizes], np.int64))
        return helper.make_node("Reshape", [source, shape], [target], target)

    def producer(self, tensor: str, operator: str) -> onnx.NodeProto | None:
        node = self.view.producer.get(tensor)
        return node if node is not None and node.op_type == operator else None

    def quantised(self, tensor: str) -> onnx.NodeProto | None:
        """The QuantizeLinear that alone takes a tensor."""
        taker = self.view.only_consumer(tensor)
        return taker if taker is not None and taker.op_type == "QuantizeLinear" else None


def _fold_columns(layout: _Layout) -> None:
    """Let convolutions of few channels give several columns at once.

    A row of W pixels with C channels is one of W/s pixels with s*C channels: the same numbers in
    memory. So a convolution that gives f columns of O channels for each s columns is one that gives
    f*O channels, most of whose weights are zero.
    """
    made: dict[str, list[onnx.NodeProto]] = {}
    for node in layout.view.nodes:
        if node.op_type == "Conv":
            made |= _folded(layout, node) or {}
    layout.rewrite(lambda node: made.get(node.name))


def _folded(layout: _Layout, conv: onnx.NodeProto) -> dict[str, list[onnx.NodeProto]] | None:
    """What stands in the place of a convolution and of what quantises it, by name."""
    view = layout.view
    given = layout.quantised(conv.output[0])
    real, weights, bias = (layout.producer(name, "DequantizeLinear") for name in conv.input[:3])
    if given is None or real is None or weights is None or bias is None:
        return None
    integers = view.array(weights.input[0])
    outputs, columns = len(integers), integers.shape[-1]
    if outputs > NARROW or columns == 1:
        return None
    pads = attribute(conv, "pads", [0] * 4)
    strides, dilations = attribute(conv, "strides", [1, 1]), attribute(conv, "dilations", [1, 1])
    _, channels, height, width = layout.shapes[conv.input[0]]
    _, _, rows, wide = layout.shapes[conv.output[0]]
    factor = WIDE // outputs
    cell = strides[1] * factor
    fits = width % cell == 0 and wide == width // strides[1] and dilations == [1, 1]
    if not fits:
        return None
    dense = _dense(integers, attribute(conv, "group", 1))
    folded, left, right = _folded_weights(dense, factor, strides[1], pads[1])
    name = conv.name
    again = {
        one: layout.constant(f"{one}/columns", np.tile(view.array(one), factor))
        for one in (*weights.input[1:], *bias.input)
    }
    stored = layout.constant(f"{weights.input[0]}/columns", folded)
    new = onnx.NodeProto()
    new.CopyFrom(conv)
    del new.attribute[:]
    new.attribute.extend(
        helper.make_attribute(key, value)
        for key, value in {
            "kernel_shape": list(folded.shape[2:]),
            "strides": [strides[0], 1],
            "pads": [pads[0], left, pads[2], right],
        }.items()
    )
    new.input[:] = [f"{name}/cells/real", f"{name}/weights/real", f"{name}/bias/real"]
    before = [
        layout.transpose(real.input[0], f"{name}/pixels", _ROWS_LAST),
        layout.reshape(f"{name}/pixels", f"{name}/cells", height, width // cell, cell * channels),
        layout.transpose(f"{name}/cells", f"{name}/cells/first", _CHANNELS_FIRST),
        helper.make_node(
            "DequantizeLinear", [f"{name}/cells/first", *real.input[1:]], [new.input[0]]
        ),
        helper.make_node(
            "DequantizeLinear", [stored, *(again[i] for i in weights.input[1:])], [new.input[1]],
            axis=0,
        ),
        helper.make_node(
            "DequantizeLinear", [again[i] for i in bias.input], [new.input[2]], axis=0
        ),
    ]  # fmt: skip
    quantise = onnx.NodeProto()
    quantise.CopyFrom(given)
    quantise.name = quantise.output[0] = f"{name}/folded"
    after = [
        quantise,
        layout.transpose(f"{name}/folded", f"{name}/folded/last", _ROWS_LAST),
        layout.reshape(f"{name}/folded/last", f"{name}/unfolded", rows, wide, outputs),
        layout.transpose(f"{name}/unfolded", given.output[0], _CHANNELS_FIRST),
    ]
    return {conv.name: [*before, new], given.name: after}


def _dense(weights: NDArray[np.int8], groups: int) -> NDArray[np.int8]:
    """Weights of a grouped convolution as those of one without groups."""
    outputs, per_group = weights.shape[:2]
    dense = np.zeros((outputs, per_group * groups, *weights.shape[2:]), weights.dtype)
    for index, row in enumerate(weights):
        first = index // (outputs // groups) * per_group
        dense[index, first : first + per_group] = row
    return dense


def _folded_weights(
    weights: NDArray[np.int8], factor: int, stride: int, pad: int
) -> tuple[NDArray[np.int8], int, int]:
    """Weights on cells of ``stride * factor`` columns, and the cells of padding left and right."""
    outputs, channels, height, width = weights.shape
    cell = stride * factor
    places = {
        (column, step): divmod(stride * column + step - pad, cell)
        for column in range(factor)
        for step in range(width)
    }
    cells = [which for which, _ in places.values()]
    first, last = min(cells), max(cells)
    folded = np.zeros((factor, outputs, cell, channels, height, last - first + 1), weights.dtype)
    for (column, step), (which, inside) in places.items():
        folded[column, :, inside, :, :, which - first] = weights[..., step]
    shape = (factor * outputs, cell * channels, height, last - first + 1)
    return folded.reshape(shape), -first, last


def _read_twice(layout: _Layout) -> None:
    """Add a map to one of twice its size without enlarging it: each of its pixels is read four
    times, as a sum of tensors with sizes of one has it."""
    made: dict[str, list[onnx.NodeProto]] = {}
    for node in layout.view.nodes:
        if node.op_type == "Add":
            made |= _sum_with_smaller(layout, node) or {}
    layout.rewrite(lambda node: made.get(node.name))


def _sum_with_smaller(
    layout: _Layout, add: onnx.NodeProto
) -> dict[str, list[onnx.NodeProto]] | None:
    given = layout.quantised(add.output[0])
    reals = [layout.producer(name, "DequantizeLinear") for name in add.input]
    resized = [real and layout.producer(real.input[0], "Resize") for real in reals]
    if given is None or None in reals or resized.count(None) != 1:
        return None
    index = 0 if resized[0] is not None else 1
    resize, small, large = resized[index], reals[index], reals[1 - index]
    assert resize is not None
    assert small is not None
    assert large is not None
    source = resize.input[0]
    _, channels, rows, columns = layout.shapes[source]
    twice = [channels, 2 * rows, 2 * columns]
    if layout.shapes[resize.output[0]][1:] != twice or layout.shapes[add.output[0]][1:] != twice:
        return None
    if not _repeats(resize):
        return None
    name = add.name
    before = [
        layout.transpose(source, f"{name}/small", _ROWS_LAST),
        layout.reshape(f"{name}/small", f"{name}/once", rows, 1, columns, 1, channels),
        helper.make_node("DequantizeLinear", [f"{name}/once", *small.input[1:]],
                         [f"{name}/once/real"]),
        layout.transpose(large.input[0], f"{name}/large", _ROWS_LAST),
        layout.reshape(f"{name}/large", f"{name}/twice", rows, 2, columns, 2, channels),
        helper.make_node("DequantizeLinear", [f"{name}/twice", *large.input[1:]],
                         [f"{name}/twice/real"]),
    ]  # fmt: skip
    total = helper.make_node(
        "Add", [f"{name}/twice/real", f"{name}/once/real"], [f"{name}/total"], name
    )
    quantise = onnx.NodeProto()
    quantise.CopyFrom(given)
    quantise.input[0] = f"{name}/total"
    quantise.name = quantise.output[0] = f"{name}/total/quantized"
    after = [
        quantise,
        layout.reshape(f"{name}/total/quantized", f"{name}/whole", 2 * rows, 2 * columns, channels),
        layout.transpose(f"{name}/whole", given.output[0], _CHANNELS_FIRST),
    ]
    return {add.name: [*before, total], given.name: after}


def _repeats(resize: onnx.NodeProto) -> bool:
    """Whether the nearest pixel of a map of half the size is the one at half the place."""
    how = (
        attribute(resize, "coordinate_transformation_mode", b"half_pixel"),
        attribute(resize, "nearest_mode", b"round_prefer_floor"),
    )
    return how == (b"asymmetric", b"floor")


def _multiply_rows(layout: _Layout) -> None:
    """1x1 convolutions in float32 whose outputs are turned to rows of pixels take rows, too."""
    made: dict[str, list[onnx.NodeProto]] = {}
    for node in layout.view.nodes:
        if node.op_type == "Conv":
            made |= _as_product(layout, node) or {}
    layout.rewrite(lambda node: made.get(node.name))


def _as_product(layout: _Layout, conv: onnx.NodeProto) -> dict[str, list[onnx.NodeProto]] | None:
    view = layout.view
    real = layout.producer(conv.input[0], "DequantizeLinear")
    turned = view.only_consumer(conv.output[0])
    if real is None or turned is None or turned.op_type != "Transpose" or len(conv.input) < 3:
        return None
    if attribute(turned, "perm", []) != _ROWS_LAST or conv.input[1] not in view.constants:
        return None
    weights = view.array(conv.input[1])
    plain = attribute(conv, "strides", [1, 1]) == [1, 1] and not any(attribute(conv, "pads", [0]))
    if weights.shape[2:] != (1, 1) or attribute(conv, "group", 1) != 1 or not plain:
        return None
    name = conv.name
    _, channels, rows, columns = layout.shapes[conv.input[0]]
    matrix = layout.constant(f"{name}/matrix", np.ascontiguousarray(weights[..., 0, 0].T))
    flat = layout.constant(f"{name}/rows/shape", np.array([-1, channels], np.int64))
    whole = layout.constant(
        f"{name}/whole/shape", np.array([-1, rows, columns, len(weights)], np.int64)
    )
    before = [
        layout.transpose(real.input[0], f"{name}/pixels", _ROWS_LAST),
        helper.make_node("Reshape", [f"{name}/pixels", flat], [f"{name}/rows"]),
        helper.make_node("DequantizeLinear", [f"{name}/rows", *_one_scale(layout, real)],
                         [f"{name}/rows/real"]),
        helper.make_node("Gemm", [f"{name}/rows/real", matrix, conv.input[2]], [f"{name}/product"],
                         name),
    ]  # fmt: skip
    after = [helper.make_node("Reshape", [f"{name}/product", whole], list(turned.output))]
    return {conv.name: before, turned.name: after}


def _one_scale(layout: _Layout, real: onnx.NodeProto) -> list[str]:
    """Scale and zero point of a tensor as two numbers, where they are the same in all channels."""
    names = []
    for name in real.input[1:]:
        value = layout.view.array(name)
        same = value.size > 1 and (value == value.flat[0]).all()
        names.append(layout.constant(f"{name}/one", value.reshape(-1)[0]) if same else name)
    return names
