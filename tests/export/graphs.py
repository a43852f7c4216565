"""Small float32 graphs with every pattern that the rewrites meet."""

from collections.abc import Callable

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from fer_edge.contract import FER2013, Contract


class Builder:
    """Appends nodes with random weights; each method returns the name of its output."""

    def __init__(self, seed: int = 0) -> None:
        self.generator = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, name: str, value: np.ndarray) -> str:
        self.constants.append(numpy_helper.from_array(value, name))
        return name

    def node(self, operator: str, inputs: list[str], name: str, **attributes: object) -> str:
        self.nodes.append(helper.make_node(operator, inputs, [name], name=name, **attributes))
        return name

    def weights(self, layer: str, shape: tuple[int, ...], gain: float = 1.0) -> list[str]:
        deviation = gain * np.sqrt(2 / np.prod(shape[1:]))
        values = self.generator.normal(0, deviation, shape).astype(np.float32)
        bias = self.generator.normal(0, 0.1, shape[0]).astype(np.float32)
        return [
            self.constant(f"{layer}.weight", values),
            self.constant(f"{layer}.bias", bias),
        ]

    def conv(self, x: str, layer: str, inputs: int, outputs: int, kernel: int, stride: int) -> str:
        gain = 1 / 64 if layer == "stem" else 1.0
        weights = self.weights(layer, (outputs, inputs, kernel, kernel), gain)
        pads = [kernel // 2] * 4
        return self.node(
            "Conv", [x, *weights], layer, kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=pads
        )

    def relu(self, x: str) -> str:
        return self.node("Relu", [x], f"{x}/relu")

    def gemm(self, x: str, layer: str, inputs: int, outputs: int) -> str:
        return self.node("Gemm", [x, *self.weights(layer, (outputs, inputs))], layer, transB=1)

    def centred(self) -> str:
        self.node("Cast", ["faces"], "faces/cast", to=TensorProto.FLOAT)
        mean = self.constant("mean", np.array(128, np.float32))
        return self.node("Sub", ["faces/cast", mean], "faces/sub")

    def model(self, logits: str, contract: Contract = FER2013) -> onnx.ModelProto:
        self.nodes.append(
            helper.make_node("Softmax", [logits], ["probabilities"], name="softmax", axis=1)
        )
        graph = helper.make_graph(
            self.nodes,
            "test",
            [
                helper.make_tensor_value_info(
                    "faces", TensorProto.UINT8, ["batch", *contract.face_shape]
                )
            ],
            [
                helper.make_tensor_value_info(
                    "probabilities", TensorProto.FLOAT, ["batch", len(contract.labels)]
                )
            ],
            self.constants,
        )
        return helper.make_model(graph, ir_version=9, opset_imports=[helper.make_opsetid("", 19)])


def residual_graph(seed: int = 0, swap: bool = False) -> onnx.ModelProto:
    """Stem, max pool, an identity block, a downsampling block, a hidden layer, a classifier.

    ``swap`` exchanges the inputs of the adds.
    """
    b = Builder(seed)

    def add(main: str, skip: str, name: str) -> str:
        return b.node("Add", [skip, main] if swap else [main, skip], name)

    x = b.relu(b.conv(b.centred(), "stem", 1, 8, 3, 2))
    x = b.node("MaxPool", [x], "pool", kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    y = b.conv(b.relu(b.conv(x, "one.a", 8, 8, 3, 1)), "one.b", 8, 8, 3, 1)
    x = b.relu(add(y, x, "one.add"))
    y = b.conv(b.relu(b.conv(x, "two.a", 8, 16, 3, 2)), "two.b", 16, 16, 3, 1)
    x = b.relu(add(y, b.conv(x, "two.skip", 8, 16, 1, 2), "two.add"))
    x = b.node("Flatten", [b.node("GlobalAveragePool", [x], "average")], "flat", axis=1)
    x = b.relu(b.gemm(x, "hidden", 16, 32))
    return b.model(b.gemm(x, "classifier", 32, 7))


def plain_graph(seed: int = 0, contract: Contract = FER2013) -> onnx.ModelProto:
    """Convolutions, ReLUs and a pool in a row: all that only CPUs quantise is around the pool."""
    b = Builder(seed)
    x = b.relu(b.conv(b.centred(), "stem", contract.channels, 8, 3, 2))
    x = b.relu(b.conv(x, "a", 8, 16, 3, 2))
    x = b.node("MaxPool", [x], "pool", kernel_shape=[2, 2], strides=[2, 2])
    x = b.relu(b.conv(x, "b", 16, 32, 3, 1))
    x = b.node("Flatten", [b.node("GlobalAveragePool", [x], "average")], "flat", axis=1)
    return b.model(b.gemm(x, "classifier", 32, len(contract.labels)), contract)


def with_outliers(
    model: onnx.ModelProto, streams: list[tuple[list[str], list[str]]], factor: float
) -> onnx.ModelProto:
    """The same function, with a channel ``factor`` times the others from makers to takers."""
    out = onnx.ModelProto()
    out.CopyFrom(model)
    tensors = {tensor.name: tensor for tensor in out.graph.initializer}

    def scale(name: str, axis: int, by: float) -> None:
        value = numpy_helper.to_array(tensors[name]).copy()
        np.moveaxis(value, axis, 0)[0] *= by
        tensors[name].CopyFrom(numpy_helper.from_array(value, name))

    for makers, takers in streams:
        for layer in makers:
            scale(f"{layer}.weight", 0, factor)
            scale(f"{layer}.bias", 0, factor)
        for layer in takers:
            scale(f"{layer}.weight", 1, 1 / factor)
    return out


def activated_graph(
    activate: Callable[[Builder, str], str], classes: int = 7, opset: int = 19
) -> onnx.ModelProto:
    """Two convolutions of 3x3 with an activation after each, a pool and a classifier."""
    b = Builder(1)
    x = activate(b, b.conv(b.centred(), "stem", 1, 16, 3, 2))
    x = activate(b, b.conv(x, "second", 16, 16, 3, 2))
    x = b.node("Flatten", [b.node("GlobalAveragePool", [x], "average")], "flat", axis=1)
    model = b.model(b.gemm(x, "classifier", 16, classes))
    model.opset_import[0].version = opset
    return model


def clip(
    low: float | None, high: float | None, attributes: bool = False
) -> Callable[[Builder, str], str]:
    """A Clip with its bounds as inputs, or as attributes as before opset 11."""
    given = {"min": low, "max": high}

    def activate(b: Builder, x: str) -> str:
        if attributes:
            bounds = {name: value for name, value in given.items() if value is not None}
            return b.node("Clip", [x], f"{x}/clip", **bounds)
        names = [
            "" if value is None else b.constant(f"{x}/{name}", np.array(value, np.float32))
            for name, value in given.items()
        ]
        return b.node("Clip", [x, *names], f"{x}/clip")

    return activate


def unary(operator: str, **attributes: object) -> Callable[[Builder, str], str]:
    return lambda b, x: b.node(operator, [x], f"{x}/{operator.lower()}", **attributes)


def gated(gate: Callable[[Builder, str], str]) -> Callable[[Builder, str], str]:
    """x times what ``gate`` makes of it."""
    return lambda b, x: b.node("Mul", [x, gate(b, x)], f"{x}/mul")


def prelu(*slopes: float) -> Callable[[Builder, str], str]:
    def activate(b: Builder, x: str) -> str:
        values = np.resize(slopes, 16).astype(np.float32).reshape(16, 1, 1)
        return b.node("PRelu", [x, b.constant(f"{x}/slope", values)], f"{x}/prelu")

    return activate


def squeezing_graph() -> onnx.ModelProto:
    """As MobileNetV3 has it: expansion, depthwise convolution, squeeze and excitation, skip."""
    b = Builder(2)
    swish = unary("HardSwish")
    x = swish(b, b.conv(b.centred(), "stem", 1, 16, 3, 2))
    y = swish(b, b.conv(x, "expand", 16, 32, 1, 1))
    weights = b.weights("depthwise", (32, 1, 3, 3))
    y = b.node("Conv", [y, *weights], "depthwise", group=32, pads=[1] * 4)
    y = swish(b, y)
    s = b.node("GlobalAveragePool", [y], "squeeze")
    s = b.conv(b.relu(b.conv(s, "reduce", 32, 8, 1, 1)), "excite", 8, 32, 1, 1)
    y = b.node("Mul", [y, unary("HardSigmoid", alpha=1 / 6, beta=0.5)(b, s)], "scaled")
    x = b.node("Add", [b.conv(y, "project", 32, 16, 1, 1), x], "sum")
    x = b.node("Flatten", [b.node("GlobalAveragePool", [x], "average")], "flat", axis=1)
    return b.model(b.gemm(x, "classifier", 16, 7))


def branching_graph() -> onnx.ModelProto:
    """As Inception has it: branches with ReLUs and a max pool, concatenated."""
    b = Builder(3)
    x = b.relu(b.conv(b.centred(), "stem", 1, 16, 3, 2))
    one = b.relu(b.conv(x, "one", 16, 8, 1, 1))
    two = b.relu(b.conv(b.relu(b.conv(x, "two.a", 16, 8, 1, 1)), "two.b", 8, 8, 3, 1))
    pool = b.node("MaxPool", [x], "pool", kernel_shape=[3, 3], pads=[1] * 4)
    three = b.conv(pool, "three", 16, 8, 1, 1)
    x = b.node("Concat", [one, two, three], "all", axis=1)
    x = b.relu(b.conv(x, "last", 24, 16, 3, 2))
    x = b.node("Flatten", [b.node("GlobalAveragePool", [x], "average")], "flat", axis=1)
    return b.model(b.gemm(x, "classifier", 16, 7))
