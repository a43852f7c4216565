"""Passes over the order of dimensions: what Keras writes channels last, and flattened maps."""

from typing import Any

import numpy as np
import onnx
from onnx import helper

from fer_edge.export.graph.activations import ACTIVATIONS
from fer_edge.export.importing.editing import Array, Editable, attributes

_ELEMENTWISE = (*ACTIVATIONS, "Exp", "Log", "Sqrt", "Neg", "Abs", "Cast")
_BINARY = ("Add", "Sub", "Mul", "Div", "Min", "Max", "Pow", "PRelu")


def meet_transposes(graph: Editable) -> bool:
    """Transpositions that take each other back, over what works on each number alone, go."""
    for node in list(graph.nodes):
        if node.op_type != "Transpose":
            continue
        perm = _perm(graph, node)
        chain, tensor = [], node.output[0]
        while (taker := graph.only_taker(tensor)) is not None and _alone(graph, taker, tensor):
            chain.append(taker)
            tensor = taker.output[0]
        if taker is None or taker.op_type != "Transpose" or perm is None:
            continue
        second = _perm(graph, taker)
        assert second is not None
        for one in chain:
            _turn_constants(graph, one, perm)
        last = chain[-1] if chain else None
        source = node.input[0]
        if chain:
            chain[0].input[list(chain[0].input).index(node.output[0])] = source
        both = [perm[axis] for axis in second]
        end = last.output[0] if last is not None else source
        new = helper.make_node("Transpose", [end], taker.output, taker.name, perm=both)
        graph.replace([taker], [new])
        graph.nodes = [one for one in graph.nodes if one is not node]
        graph.forget_shapes()
        return True
    return False


def _perm(graph: Editable, node: onnx.NodeProto) -> list[int] | None:
    found = attributes(node).get("perm")
    if found is not None:
        return [int(axis) for axis in found]
    rank = graph.rank(node.input[0])
    return None if rank is None else list(range(rank))[::-1]


def _alone(graph: Editable, node: onnx.NodeProto, tensor: str) -> bool:
    """Whether a node works on each number of ``tensor`` alone, with constants at most."""
    if node.op_type in _ELEMENTWISE:
        return node.input[0] == tensor
    rank = graph.rank(tensor)
    return (
        node.op_type in _BINARY
        and rank is not None
        and all(n == tensor or n in graph.constants for n in node.input)
        and all(graph.constants[n].ndim <= rank for n in node.input if n in graph.constants)
        and graph.shape(node.output[0]) == graph.shape(tensor)
    )


def _turn_constants(graph: Editable, node: onnx.NodeProto, perm: list[int]) -> None:
    if node.op_type not in _BINARY:
        return
    for index, name in enumerate(node.input):
        value = graph.value(name)
        if value is not None and value.size > 1:
            whole = value.reshape((1,) * (len(perm) - value.ndim) + value.shape)
            node.input[index] = graph.constant(whole.transpose(np.argsort(perm)), name)


def means_are_pools(graph: Editable) -> bool:
    """The mean over both sides of a map is a GlobalAveragePool."""
    for node in list(graph.nodes):
        shape = graph.shape(node.input[0]) if node.input else None
        if shape is None or len(shape) != 4:
            continue
        found = attributes(node)
        if node.op_type == "ReduceMean":
            axes = graph.value(node.input[1]) if len(node.input) > 1 else None
            if axes is None or sorted(int(a) % 4 for a in axes.reshape(-1)) != [2, 3]:
                continue
            keeps = bool(found.get("keepdims", 1))
        elif node.op_type == "AveragePool":
            if list(found.get("kernel_shape", ())) != list(shape[2:]) or any(found.get("pads", ())):
                continue
            if graph.shape(node.output[0]) != (*shape[:2], 1, 1):
                continue
            keeps = True
        else:
            continue
        target = node.output[0] if keeps else graph.unique(f"{node.name}/pool")
        new = [helper.make_node("GlobalAveragePool", [node.input[0]], [target], node.name)]
        if not keeps:
            new.append(helper.make_node("Flatten", [target], node.output, f"{node.name}/flat"))
        graph.replace([node], new)
        return True
    return False


def pools_within_pads(graph: Editable) -> bool:
    """The windows of an AveragePool do not reach beyond the zeros that it counts.

    ONNX Runtime's pool over integers counts what they reach there, too (ceil_mode with
    count_include_pad; 1.32). So the pool does, and a factor makes up for it.
    """
    for node in list(graph.nodes):
        if node.op_type != "AveragePool":
            continue
        found = attributes(node)
        shape = graph.shape(node.input[0])
        if shape is None or not (found.get("ceil_mode") and found.get("count_include_pad")):
            continue
        if set(found.get("dilations", [1])) != {1}:
            continue
        if not any(found.get("pads", ())):
            _set(node, count_include_pad=0)
            return True
        sides = np.array(shape[2:])
        begins, ends = np.split(np.array(found["pads"]), 2)
        kernel = np.array(found["kernel_shape"])
        strides = np.array(found.get("strides", np.ones_like(sides)))
        whole = sides + begins + ends
        # A window that would begin in the zeros at the end is none. ONNX's inference of shapes
        # (1.23) has it.
        last = -(-(whole - kernel) // strides)
        last -= last * strides >= sides + begins
        beyond = np.maximum(last * strides + kernel - whole, 0)
        _set(node, pads=[*begins, *(ends + beyond)], ceil_mode=0)
        if beyond.any():
            factor = np.ones((1, 1), np.float32)
            for side, stride, width, end in zip(whole, strides, kernel, last, strict=True):
                counted = np.minimum(width, side - stride * np.arange(end + 1))
                factor = np.multiply.outer(factor, width / counted)
            pooled, given = graph.unique(f"{node.name}/pooled"), node.output[0]
            node.output[0] = pooled
            inputs = [pooled, graph.constant(factor.astype(np.float32), f"{node.name}/factor")]
            graph.replace([node], [node, helper.make_node("Mul", inputs, [given], pooled)])
        graph.forget_shapes()
        return True
    return False


def turned_rows(graph: Editable) -> bool:
    """A transposition before a Flatten before a Gemm goes into the order of its weights."""
    for node in list(graph.nodes):
        if node.op_type != "Gemm" or attributes(node).get("transB") != 1:
            continue
        flat = graph.producer.get(node.input[0])
        turn = graph.producer.get(flat.input[0]) if flat is not None else None
        if (
            flat is None
            or turn is None
            or flat.op_type != "Flatten"
            or attributes(flat).get("axis", 1) != 1
            or turn.op_type != "Transpose"
            or graph.only_taker(flat.output[0]) is None
            or node.input[1] not in graph.constants
        ):
            continue
        perm, shape = _perm(graph, turn), graph.shape(turn.output[0])
        if perm is None or shape is None or perm[0] != 0:
            continue
        weight = graph.constants[node.input[1]]
        rows = weight.reshape(-1, *shape[1:])
        back = [0, *(1 + int(a) for a in np.argsort([p - 1 for p in perm[1:]]))]
        turned = np.ascontiguousarray(rows.transpose(back).reshape(weight.shape))
        node.input[1] = graph.constant(turned, node.input[1])
        flat.input[0] = turn.input[0]
        graph.touch()
        return True
    return False


def padded_convolutions(graph: Editable) -> bool:
    """Zeros that a Pad writes around a map are the padding of the convolution that reads it."""
    for node in list(graph.nodes):
        before = graph.producer.get(node.input[0]) if node.op_type == "Conv" else None
        if before is None or before.op_type != "Pad" or graph.only_taker(node.input[0]) is None:
            continue
        pads = _zeros_around(graph, before)
        found = attributes(node)
        if pads is None or found.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
            continue
        own = found.get("pads", [0] * len(pads)) if found.get("auto_pad") != "VALID" else None
        total = [a + b for a, b in zip(pads, own or [0] * len(pads), strict=True)]
        _set(node, pads=total)
        _unset(node, "auto_pad")
        node.input[0] = before.input[0]
        graph.touch()
        return True
    return False


def _zeros_around(graph: Editable, pad: onnx.NodeProto) -> list[int] | None:
    """Begins, then ends of the padded sides; None of what is no padding with zeros."""
    widths = graph.value(pad.input[1])
    value = graph.value(pad.input[2]) if len(pad.input) > 2 and pad.input[2] else None
    if (
        widths is None
        or attributes(pad).get("mode", "constant") != "constant"
        or (len(pad.input) > 2 and pad.input[2] and value is None)
        or (value is not None and np.any(value))
        or (len(pad.input) > 3 and pad.input[3])
        or np.any(widths < 0)
    ):
        return None
    begins, ends = np.split(widths, 2)
    if begins[:2].any() or ends[:2].any():
        return None
    return [int(width) for width in (*begins[2:], *ends[2:])]


def joined_channels(graph: Editable) -> bool:
    """A convolution of copies of one channel, or of channels in another order, reads those."""
    for node in list(graph.nodes):
        before = graph.producer.get(node.input[0]) if node.op_type == "Conv" else None
        weight = graph.value(node.input[1]) if before is not None else None
        if (
            before is None
            or weight is None
            or attributes(node).get("group", 1) != 1
            or graph.only_taker(node.input[0]) is None
        ):
            continue
        new = _over_original(graph, before, weight)
        if new is None:
            continue
        node.input[0] = before.input[0]
        node.input[1] = graph.constant(np.ascontiguousarray(new), node.input[1])
        graph.touch()
        return True
    return False


def _over_original(graph: Editable, before: onnx.NodeProto, weight: Array) -> Array | None:
    source, target = graph.shape(before.input[0]), graph.shape(before.output[0])
    if source is None or target is None or len(source) != 4:
        return None
    summed: Array = weight.astype(np.float64).sum(axis=1, keepdims=True).astype(np.float32)
    if before.op_type in ("Expand", "Tile"):
        alone = source[1] == 1 and source[2:] == target[2:] and target[1] == weight.shape[1]
        return summed if alone and source[0] == target[0] else None
    if before.op_type == "Concat":
        return summed if len(set(before.input)) == 1 and source[1] == 1 else None
    if before.op_type == "Gather" and attributes(before).get("axis", 0) == 1:
        order = graph.value(before.input[1])
        if order is None or sorted(order.reshape(-1).tolist()) != list(range(source[1])):
            return None
        return np.take(weight, np.argsort(order.reshape(-1)), axis=1)
    return None


def _set(node: onnx.NodeProto, **values: Any) -> None:
    _unset(node, *values)
    node.attribute.extend(helper.make_attribute(k, v) for k, v in values.items())


def _unset(node: onnx.NodeProto, *names: str) -> None:
    kept = [a for a in node.attribute if a.name not in names]
    del node.attribute[:]
    node.attribute.extend(kept)
