"""Passes over what is linear: Gemm in one form, batch norms and scales inside the weights."""

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from fer_edge.export.importing.editing import Array, Editable, attributes

Values = NDArray[np.float32]
LINEAR = ("Conv", "ConvTranspose", "Gemm")
_SCALED = {"Add": 1, "Sub": 1, "Mul": 0, "Div": 0}


def own_weights(graph: Editable) -> bool:
    """Constants that several nodes take are copied, so that each can be changed for itself."""
    changed, taken = False, set()
    for node in graph.nodes:
        for index, name in enumerate(node.input):
            if name in graph.constants:
                if name in taken:
                    node.input[index] = graph.constant(graph.constants[name], name)
                    changed = True
                taken.add(node.input[index])
    graph.touch()
    return changed


def plain_products(graph: Editable) -> bool:
    """Gemm(x, w, b) with w outputs first, whatever transpositions, alpha and beta it had.

    A MatMul of rows with a constant becomes one, and takes in the constant that is added to it.
    """
    for node in list(graph.nodes):
        if node.op_type == "Gemm" and _mend_gemm(graph, node):
            return True
        if node.op_type == "MatMul" and graph.rank(node.input[0]) == 2:
            weight = graph.value(node.input[1])
            if weight is not None and weight.ndim == 2:
                gemm = _gemm(graph, node, node.input[0], weight.T, None)
                graph.replace([node], [gemm])
                return True
    return False


def _mend_gemm(graph: Editable, node: onnx.NodeProto) -> bool:
    found = attributes(node)
    weight = graph.value(node.input[1])
    if weight is None:
        return False
    if len(node.input) > 2 and not _is_bias(graph.value(node.input[2])):
        _add_after(graph, node)
        return True
    bias = graph.value(node.input[2]) if len(node.input) > 2 else None
    rows = weight if found.get("transB") else weight.T
    plain = {k: v for k, v in found.items() if not _neutral(k, v)} == {"transB": 1}
    if plain and bias is not None and bias.shape == (len(rows),):
        return False
    if bias is not None:
        bias = found.get("beta", 1.0) * np.broadcast_to(bias, (1, len(rows)))[0]
    source, before = node.input[0], []
    if found.get("transA"):
        source = graph.unique(f"{node.name}/turned")
        before = [helper.make_node("Transpose", [node.input[0]], [source], source, perm=[1, 0])]
    gemm = _gemm(graph, node, source, found.get("alpha", 1.0) * rows, bias)
    graph.replace([node], [*before, gemm])
    return True


def _is_bias(value: Array | None) -> bool:
    """Whether it is the same for each face, and not computed."""
    return value is not None and (value.ndim < 2 or len(value) == 1)


def _add_after(graph: Editable, node: onnx.NodeProto) -> None:
    """Add what a Gemm adds after it."""
    product, scaled = (graph.unique(f"{node.name}/{what}") for what in ("product", "scaled"))
    values = attributes(node)
    beta = graph.constant(np.array(values.pop("beta", 1.0), np.float32), "beta")
    graph.replace(
        [node],
        [
            helper.make_node("Gemm", node.input[:2], [product], node.name, **values),
            helper.make_node("Mul", [node.input[2], beta], [scaled], scaled),
            helper.make_node("Add", [product, scaled], node.output, product),
        ],
    )


def _neutral(name: str, value: object) -> bool:
    return (name in ("alpha", "beta") and value == 1) or (name == "transA" and value == 0)


def _gemm(
    graph: Editable, node: onnx.NodeProto, source: str, rows: Array, bias: Array | None
) -> onnx.NodeProto:
    if bias is None:
        bias = np.zeros(len(rows))
    inputs = [
        source,
        graph.constant(np.ascontiguousarray(rows, np.float32), node.input[1]),
        graph.constant(np.asarray(bias, np.float32), f"{node.input[1]}/bias"),
    ]
    return helper.make_node("Gemm", inputs, node.output, node.name, transB=1)


def plain_norms(graph: Editable) -> bool:
    """A batch norm is a multiplication and an addition."""
    for node in list(graph.nodes):
        rank = graph.rank(node.input[0]) if node.op_type == "BatchNormalization" else None
        if rank is None or any(name not in graph.constants for name in node.input[1:]):
            continue
        scale, bias, mean, variance = (
            graph.constants[n].astype(np.float64) for n in node.input[1:]
        )
        factor = scale / np.sqrt(variance + attributes(node).get("epsilon", 1e-5))
        product = graph.unique(f"{node.name}/scaled")
        shape = (-1,) + (1,) * (rank - 2)
        values = [v.astype(np.float32).reshape(shape) for v in (factor, bias - mean * factor)]
        names = [graph.constant(v, f"{node.name}/norm") for v in values]
        graph.replace(
            [node],
            [
                helper.make_node("Mul", [node.input[0], names[0]], [product], product),
                helper.make_node("Add", [product, names[1]], node.output[:1], node.name),
            ],
        )
        return True
    return False


def constants_second(graph: Editable) -> bool:
    """c + x is x + c, x - c is x + (-c), x / c is x * (1 / c): fewer forms to look for.

    The subtraction of the pixels' mean is made of these again at the end.
    """
    changed = False
    for node in graph.nodes:
        if node.op_type not in _SCALED or len(node.input) != 2:
            continue
        first, second = (name in graph.constants for name in node.input)
        if node.op_type in ("Add", "Mul") and first and not second:
            node.input[0], node.input[1] = node.input[1], node.input[0]
            changed = True
        elif node.op_type in ("Sub", "Div") and second and not first:
            value = graph.constants[node.input[1]]
            if value.dtype != np.float32:
                continue
            taker = graph.only_taker(node.output[0])
            if node.op_type == "Div" and (
                not np.all(value) or (taker is not None and taker.op_type == "Erf")
            ):
                continue  # Runtimes know GELU by its division.
            with np.errstate(over="ignore"):
                new = -value if node.op_type == "Sub" else np.float32(1) / value
            if not np.isfinite(new).all():
                continue
            node.input[1] = graph.constant(new, node.input[1])
            node.op_type = "Add" if node.op_type == "Sub" else "Mul"
            changed = True
    graph.touch()
    return changed


def absorb_after(graph: Editable) -> bool:
    """Multiplications by and additions of constants per channel go into the layer before them."""
    for node in list(graph.nodes):
        if node.op_type not in ("Add", "Mul") or node.input[1] not in graph.constants:
            continue
        layer = graph.producer.get(node.input[0])
        if layer is None or layer.op_type not in LINEAR or not _constant_layer(graph, layer):
            continue
        rank = graph.rank(node.input[0])
        if graph.only_taker(node.input[0]) is None or rank is None:
            continue
        width = outputs(graph, layer)
        value = _per_channel(graph.constants[node.input[1]], rank, width)
        if value is None:
            continue
        weight, bias = _parts(graph, layer, width)
        if node.op_type == "Add":
            bias = bias + value
        else:
            weight = weight * _along(layer, value, weight.ndim)
            bias = bias * value
        _give(graph, layer, weight, bias, list(node.output))
        graph.replace([layer, node], [layer])
        return True
    return False


def absorb_before(graph: Editable) -> bool:
    """A multiplication by constants per channel goes into the layers that read it.

    Zeros at padded borders stay zeros, so it may go there; an addition may not.
    """
    for node in list(graph.nodes):
        if node.op_type != "Mul" or node.input[1] not in graph.constants:
            continue
        takers = graph.takers.get(node.output[0], [])
        shape = graph.shape(node.output[0])
        if (
            not takers
            or shape is None
            or node.output[0] in graph.given
            or any(
                t.op_type not in ("Conv", "Gemm")
                or t.input[0] != node.output[0]
                or not _constant_layer(graph, t)
                for t in takers
            )
            or graph.shape(node.input[0]) != shape
        ):
            continue
        value = _per_channel(graph.constants[node.input[1]], len(shape), shape[1])
        if value is None or not np.all(value):
            continue
        for taker in takers:
            groups = attributes(taker).get("group", 1)
            weight = graph.constants[taker.input[1]].astype(np.float64)
            columns = value.reshape(groups, -1)
            if groups == 1:
                scaled = weight * columns[0].reshape(1, -1, *[1] * (weight.ndim - 2))
            else:
                each = np.repeat(columns, len(weight) // groups, axis=0)
                scaled = weight * each.reshape(*each.shape, *[1] * (weight.ndim - 2))
            taker.input[1] = graph.constant(scaled.astype(np.float32), taker.input[1])
        graph.bypass(node)
        return True
    return False


def merge_constants(graph: Editable) -> bool:
    """(x + a) + b is x + (a + b), and (x * a) * b is x * (a * b)."""
    for node in list(graph.nodes):
        if node.op_type not in ("Add", "Mul") or node.input[1] not in graph.constants:
            continue
        before = graph.producer.get(node.input[0])
        if (
            before is None
            or before.op_type != node.op_type
            or before.input[1] not in graph.constants
            or graph.only_taker(node.input[0]) is None
        ):
            continue
        both = [graph.constants[n.input[1]] for n in (before, node)]
        if any(value.dtype != np.float32 for value in both):
            continue
        one, two = (value.astype(np.float64) for value in both)
        source = before.input[0]
        value = (one + two if node.op_type == "Add" else one * two).astype(np.float32)
        name = graph.constant(value, node.input[1])
        new = helper.make_node(node.op_type, [source, name], node.output, node.name)
        graph.replace([before, node], [new])
        return True
    return False


def outputs(graph: Editable, layer: onnx.NodeProto) -> int:
    """Output channels of a Conv, ConvTranspose or Gemm of the plain form."""
    shape = graph.constants[layer.input[1]].shape
    if layer.op_type == "ConvTranspose":
        return int(shape[1]) * int(attributes(layer).get("group", 1))
    return int(shape[0])


def _constant_layer(graph: Editable, layer: onnx.NodeProto) -> bool:
    if any(name and name not in graph.constants for name in layer.input[1:]):
        return False
    if layer.op_type == "ConvTranspose":
        return bool(attributes(layer).get("group", 1) == 1)
    return layer.op_type != "Gemm" or attributes(layer).get("transB", 0) == 1


def _parts(graph: Editable, layer: onnx.NodeProto, width: int) -> tuple[Array, Array]:
    weight = graph.constants[layer.input[1]].astype(np.float64)
    has_bias = len(layer.input) > 2 and layer.input[2]
    bias = graph.constants[layer.input[2]].astype(np.float64) if has_bias else np.zeros(width)
    return weight, bias


def _give(
    graph: Editable, layer: onnx.NodeProto, weight: Array, bias: Array, target: list[str]
) -> None:
    names = [
        graph.constant(weight.astype(np.float32), layer.input[1]),
        graph.constant(bias.astype(np.float32), f"{layer.input[1]}/bias"),
    ]
    del layer.input[1:], layer.output[:]
    layer.input.extend(names)
    layer.output.extend(target)


def _along(layer: onnx.NodeProto, value: Array, rank: int) -> Array:
    axis = 1 if layer.op_type == "ConvTranspose" else 0
    shape = [1] * rank
    shape[axis] = -1
    return value.reshape(shape)


def _per_channel(value: Array, rank: int, width: int) -> Array | None:
    """A constant as one number for each channel (axis 1); None if it is something else."""
    if value.dtype != np.float32 or value.ndim > rank:
        return None
    whole = value.reshape((1,) * (rank - value.ndim) + value.shape).astype(np.float64)
    if any(size != 1 for axis, size in enumerate(whole.shape) if axis != 1):
        return None
    if whole.shape[1] not in (1, width):
        return None
    return np.broadcast_to(whole.reshape(-1), (width,))
