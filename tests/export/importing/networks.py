"""Foreign networks: small, of fixed seeds, as other people's tools write them.

Their inner weights are random, and their classifiers fitted to rendered faces, so that agreement of
labels says something: a classifier that is random, too, goes by what hardly differs from face to
face, and its labels change whatever computes them.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from fer_edge.data import FaceDataset, synthetic_dataset
from fer_edge.export.importing import ImportOptions

SEVEN = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
EIGHT = ("neutral", "happy", "surprise", "sad", "angry", "disgust", "fear", "contempt")

FITTED, TESTED = 6, 5
"""Seeds of the rendered faces that classifiers are fitted to, and of those that networks are held
against."""
RIDGE = 1.0


class Foreign(NamedTuple):
    """A network and what a person has to say of it."""

    write: Callable[[Path], None]
    options: ImportOptions
    torch: bool = False
    """Whether torch writes it."""


class Hand:
    """Writes nodes by hand; each method returns the name of its output."""

    def __init__(self, seed: int, x: str, images: np.ndarray, opset: int = 17) -> None:
        self.x, self.images, self.opset = x, images, opset
        self.generator = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def c(self, value: Any) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def w(self, *shape: int, inputs: int | None = None) -> str:
        deviation = np.sqrt(2 / (inputs or np.prod(shape[1:])))
        return self.c(self.generator.normal(0, deviation, shape).astype(np.float32))

    def b(self, n: int) -> str:
        return self.c(self.generator.normal(0, 0.1, n).astype(np.float32))

    def n(self, operator: str, inputs: list[str], **attributes: Any) -> str:
        name = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [name], **attributes))
        return name

    def conv(self, x: str, inputs: int, outputs: int, stride: int = 1, **attributes: Any) -> str:
        kernel = attributes.pop("kernel", 3)
        weights = self.w(outputs, inputs // attributes.get("group", 1), kernel, kernel)
        if "auto_pad" not in attributes:
            attributes.setdefault("pads", [kernel // 2] * 4)
        return self.n("Conv", [x, weights, self.b(outputs)], strides=[stride] * 2, **attributes)

    def values(self, tensor: str) -> np.ndarray:
        """A tensor as computed so far, of the rendered faces."""
        kind = helper.np_dtype_to_tensor_dtype(self.images.dtype)
        shape = [None, *self.images.shape[1:]]
        graph = helper.make_graph(
            self.nodes,
            "so far",
            [helper.make_tensor_value_info(self.x, kind, shape)],
            [onnx.ValueInfoProto(name=tensor)],
            self.constants,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)])
        model.ir_version = 9 if self.opset < 23 else 11
        session = onnxruntime.InferenceSession(model.SerializeToString())
        step = 1 if self.single else len(self.images)
        parts = np.array_split(self.images, len(self.images) // step)
        return np.concatenate([session.run(None, {self.x: part})[0] for part in parts])

    single = False
    """Whether the graph takes one face at a time."""

    def deciding(self, row: str, classes: int = 7) -> tuple[np.ndarray, np.ndarray]:
        """Weights (inputs, classes) and bias of a classifier of what a row has of the faces."""
        return fitted(self.values(row), classes)

    def save(
        self,
        path: Path,
        shape: list[Any],
        outputs: dict[str, list[Any]],
        *,
        kind: int = TensorProto.FLOAT,
        names: bool = False,
        metadata: dict[str, str] | None = None,
        external: bool = False,
    ) -> None:
        for index, node in enumerate(self.nodes):
            node.name = f"node{index}" if names else ""
        graph = helper.make_graph(
            self.nodes,
            "theirs",
            [helper.make_tensor_value_info(self.x, kind, shape)],
            [helper.make_tensor_value_info(k, TensorProto.FLOAT, v) for k, v in outputs.items()],
            self.constants,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)])
        model.ir_version = 9 if self.opset < 23 else 11
        helper.set_model_props(model, metadata or {})
        if external:
            where = f"{path.name}.data"
            onnx.save(model, path, save_as_external_data=True, location=where, size_threshold=0)
        else:
            onnx.save(model, path)


def _head(h: Hand, x: str, classes: int = 7) -> str:
    """Logits of a map in three parts each way: one mean of all differs too little by face."""
    side = h.values(x).shape[2] // 3
    row = h.n("Flatten", [h.n("AveragePool", [x], kernel_shape=[side] * 2, strides=[side] * 2)])
    weights, bias = h.deciding(row, classes)
    return h.n("Gemm", [row, h.c(weights.T.copy()), h.c(bias)], transB=1)


def fitted(rows: np.ndarray, classes: int = 7) -> tuple[np.ndarray, np.ndarray]:
    """Weights (inputs, classes) and bias by least squares, from rows of the faces of :func:`raw`.

    Logits have a deviation of 3, as those of trained networks.
    """
    truth = np.eye(classes)[rendered(len(rows), FITTED).labels % classes]
    centred = rows - rows.mean(0)
    # As weight decay does: what hardly varies counts little.
    ridge = RIDGE * len(rows) * rows.var(0).mean() * np.eye(rows.shape[1])
    weights = np.linalg.solve(centred.T @ centred + ridge, centred.T @ (truth - truth.mean(0)))
    weights *= 3 / (centred @ weights).std()
    return weights.astype(np.float32), -(rows.mean(0) @ weights).astype(np.float32)


@lru_cache
def rendered(n: int, seed: int) -> FaceDataset:
    return synthetic_dataset(n, seed=seed)


def raw(channels: int, size: int = 48, n: int = 168, seed: int = FITTED) -> np.ndarray:
    """Rendered faces, uint8 (n, channels, size, size); colours differ from face to face."""
    faces = resized(rendered(n, seed).faces[:, None].astype(np.float64), size)
    if channels == 3:
        faces = faces * np.random.default_rng(0).uniform(0.7, 1.2, (n, 3, 1, 1))
    return np.clip(faces, 0, 255).astype(np.uint8)


def images(channels: int, size: int = 48) -> np.ndarray:
    """The same about as networks want them, float32."""
    return normalised(raw(channels, size))


def normalised(faces: np.ndarray) -> np.ndarray:
    return ((faces / 255 - 0.45) / 0.25).astype(np.float32)


def resized(faces: np.ndarray, size: int) -> np.ndarray:
    """Bilinear, with the centres of pixels where they are; float (N, channels, size, size)."""
    for axis in (2, 3):
        length = faces.shape[axis]
        at = np.clip((np.arange(size) + 0.5) * length / size - 0.5, 0, length - 1)
        low = at.astype(int)
        high = np.minimum(low + 1, length - 1)
        share = np.reshape(at - low, [-1 if a == axis else 1 for a in range(4)])
        faces = faces.take(low, axis) * (1 - share) + faces.take(high, axis) * share
    return faces


def _named(h: Hand, output: str, name: str) -> None:
    for node in h.nodes:
        for index, tensor in enumerate(node.output):
            if tensor == output:
                node.output[index] = name


def _plain(path: Path, *, opset: int = 17, stem: Callable[[Hand, str], str] | None = None,
           tail: Callable[[Hand, str], str] | None = None, batch: Any = "n", classes: int = 7,
           kind: int = TensorProto.FLOAT, size: int = 48, through: int = 48,
           activation: str = "Relu", body: Callable[[Hand, str], str] | None = None,
           **save: Any) -> None:  # fmt: skip
    """Two strided convolutions, whatever ``body`` does, a pool, a Gemm."""
    faces = raw(1, through)
    # Faces of another size, as they are when they have been resized inside.
    seen = normalised(resized(faces, size)) if kind == TensorProto.FLOAT else faces
    h = Hand(1, "input", seen, opset)
    x = stem(h, "input") if stem else "input"
    x = h.n(activation, [h.conv(x, 1, 16, 2)])
    x = body(h, x) if body else h.n(activation, [h.conv(x, 16, 16, 2)])
    x = _head(h, x, classes)
    if tail:
        x = tail(h, x)
    _named(h, x, "output")
    h.save(path, [batch, 1, size, size], {"output": [batch, classes]}, kind=kind, **save)


def _residual(h: Hand, x: str) -> str:
    y = h.conv(h.n("Relu", [h.conv(x, 16, 16)]), 16, 16)
    return h.n("Relu", [h.n("Add", [y, x])])


def _norm(h: Hand, x: str) -> str:
    values = [
        h.generator.uniform(low, 1.5, 16).astype(np.float32) for low in (0.5, -0.5, -0.5, 0.5)
    ]
    y = h.n("BatchNormalization", [h.conv(x, 16, 16, 2), *map(h.c, values)])
    return h.n("Relu", [y])


def _transposed(h: Hand, x: str) -> str:
    y = h.n("ConvTranspose", [x, h.w(16, 16, 3, 3), h.b(16)], strides=[2, 2], pads=[1] * 4)
    return h.n("Relu", [h.conv(h.n("Relu", [y]), 16, 16, 2)])


def _split(h: Hand, x: str) -> str:
    left, right = "left", "right"
    h.nodes.append(helper.make_node("Split", [x, h.c(np.array([8, 8]))], [left, right], axis=1))
    parts = [h.n("Relu", [h.conv(right, 8, 8)]), left]
    return h.n("Relu", [h.conv(h.n("Concat", parts, axis=1), 16, 16, 2)])


def _shared(h: Hand, x: str) -> str:
    weight, bias = h.w(16, 16, 3, 3), h.b(16)
    for _ in range(2):
        x = h.n("Relu", [h.n("Conv", [x, weight, bias], pads=[1] * 4)])
    return x


def _swish(h: Hand, x: str) -> str:
    y = h.conv(x, 16, 16, 2)
    return h.n("Mul", [y, h.n("Sigmoid", [y])])


def _celu(h: Hand, x: str) -> str:
    return h.n("Celu", [h.conv(x, 16, 16, 2)], alpha=0.5)


def _masked(h: Hand, x: str) -> str:
    rows = h.n("Reshape", [h.conv(x, 16, 16, 2), h.c(np.array([0, 16, 144]))])
    mask = np.triu(np.full((144, 144), -np.inf, np.float32), 1)
    score = h.n("MatMul", [h.n("Transpose", [rows], perm=[0, 2, 1]), rows])
    parts = h.n("Softmax", [h.n("Add", [score, h.c(mask)])], axis=-1)
    mixed = h.n("MatMul", [rows, h.n("Transpose", [parts], perm=[0, 2, 1])])
    return h.n("Reshape", [mixed, h.c(np.array([0, 16, 12, 12]))])


def _overhanging(h: Hand, x: str) -> str:
    """Pools whose last windows reach beyond what is padded, or need not all of it."""
    x = h.n("Relu", [h.conv(x, 16, 16)])
    for kernel, pads in ((3, [1, 1, 0, 0]), (2, [1, 0, 0, 1]), (3, [0] * 4)):
        x = h.n("AveragePool", [x], kernel_shape=[kernel] * 2, strides=[2] * 2, pads=pads,
                ceil_mode=1, count_include_pad=1)  # fmt: skip
        x = h.n("Relu", [h.conv(x, 16, 16)])
    return x


def _grouped(h: Hand, x: str) -> str:
    y = h.n("ConvTranspose", [x, h.w(16, 4, 3, 3), h.b(16)], strides=[2, 2], pads=[1] * 4, group=4)
    y = h.n("ConvTranspose", [h.n("Relu", [y]), h.w(16, 4, 3, 3), ""], pads=[1] * 4, group=4)
    return h.n("Relu", [h.conv(h.n("Relu", [y]), 16, 16, 2)])


def _enlarged(mode: str) -> Callable[[Hand, str], str]:
    def body(h: Hand, x: str) -> str:
        factors = h.c(np.array([1, 1, 2, 2], np.float32))
        operator = "Upsample" if h.opset < 10 else "Resize"
        x = h.n(operator, [h.n("Relu", [h.conv(x, 16, 16, 2)]), factors], mode=mode)
        return h.n("Relu", [h.conv(x, 16, 16, 2)])

    return body


def _computed_bias(h: Hand, x: str) -> str:
    """A Gemm that adds what another computes, and one that leaves it out."""
    other = h.n("Gemm", [x, h.w(7, 7), ""])
    return h.n("Gemm", [x, h.c(np.eye(7, dtype=np.float32)), other], alpha=0.9, beta=0.1)


def _excited(h: Hand, x: str) -> str:
    x = h.n("HardSwish", [h.conv(x, 16, 16, 2, group=16)])
    gate = h.n("Relu", [h.conv(h.n("GlobalAveragePool", [x]), 16, 4, kernel=1)])
    gate = h.n("HardSigmoid", [h.conv(gate, 4, 16, kernel=1)], alpha=1 / 6, beta=0.5)
    return h.n("Relu", [h.conv(h.n("Mul", [x, gate]), 16, 16, kernel=1)])


def _same_padding(h: Hand, x: str) -> str:
    padded = h.n("Pad", [x, h.c(np.array([0, 0, 1, 1, 0, 0, 1, 1]))])
    return h.n("Relu", [h.conv(padded, 16, 16, 2, pads=[0] * 4)])


def _gemms(h: Hand, x: str) -> str:
    """Gemm in every form on top of logits: transposed, with factors, without a bias."""
    one = h.n("Gemm", [x, h.w(7, 12, inputs=7), h.b(12)], alpha=0.5, beta=2.0)
    two = h.n("Relu", [h.n("Gemm", [h.n("Relu", [one]), h.w(9, 12)], transB=1)])
    weights, bias = h.deciding(two)
    return h.n("Add", [h.n("MatMul", [two, h.c(weights)]), h.c(bias[None])])


def _keras(path: Path) -> None:
    """As tf2onnx writes a Keras model: channels last, padding apart, a dense layer of a map."""
    h = Hand(3, "input_1", images(3).transpose(0, 2, 3, 1))
    x = h.n("Transpose", ["input_1"], perm=[0, 3, 1, 2])
    x = h.n("Relu", [h.conv(x, 3, 12, 2, auto_pad="SAME_UPPER")])
    x = h.n("Transpose", [x], perm=[0, 2, 3, 1])
    x = h.n("Mul", [x, h.c(np.linspace(0.5, 1.5, 12).astype(np.float32))])
    x = h.n("Transpose", [x], perm=[0, 3, 1, 2])
    x = h.n("Relu", [h.conv(x, 12, 6, 2)])
    x = h.n("MaxPool", [x], kernel_shape=[2, 2], strides=[2, 2])
    x = h.n("Transpose", [x], perm=[0, 2, 3, 1])
    x = h.n("Reshape", [x, h.c(np.array([-1, 216]))])
    weights, bias = h.deciding(x)
    x = h.n("Add", [h.n("MatMul", [x, h.c(weights)]), h.c(bias)])
    _named(h, h.n("Softmax", [x], axis=-1), "predictions")
    h.save(path, ["unk", 48, 48, 3], {"predictions": ["unk", 7]})


def _keras_gray(path: Path) -> None:
    """One channel last, as mini-Xception of Keras: a Reshape where a Transpose would do."""
    h = Hand(4, "input_1", images(1, 64).transpose(0, 2, 3, 1), 13)
    x = h.n("Reshape", ["input_1", h.c(np.array([-1, 1, 64, 64]))])
    x = h.n("Relu", [h.conv(x, 1, 8, 2)])
    y = h.conv(h.conv(x, 8, 8, group=8), 8, 16, kernel=1)
    y = h.n("MaxPool", [h.n("Relu", [y])], kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    x = h.n("Add", [y, h.conv(x, 8, 16, 2, kernel=1)])
    x = h.n("ReduceMean", [h.conv(x, 16, 7)], axes=[2, 3], keepdims=0)
    weights = h.values(x)
    x = h.n("Sub", [x, h.c(weights.mean(0))])
    x = h.n("Mul", [x, h.c(2 / weights.std(0))])
    _named(h, h.n("Softmax", [x], axis=1), "predictions")
    h.save(path, [None, 64, 64, 1], {"predictions": [None, 7]})


def _ferplus(path: Path) -> None:
    """As CNTK wrote emotion-ferplus: a batch of one, pixels of 0 to 255, its own constants."""
    h = Hand(5, "Input3", raw(1, 64).astype(np.float32), 9)
    h.single = True
    x = h.n("Sub", ["Input3", h.c(np.array(127.5, np.float32))])
    x = h.n("Mul", [x, h.c(np.array(1 / 255, np.float32))])
    x = h.n("Relu", [h.conv(x, 1, 8, 2, auto_pad="SAME_UPPER")])
    x = h.n("Dropout", [h.n("MaxPool", [x], kernel_shape=[2, 2], strides=[2, 2])])
    x = h.n("Relu", [h.conv(x, 8, 6, 2)])
    x = h.n("Reshape", [x, h.c(np.array([1, 384]))])
    weights, bias = h.deciding(x, 8)
    _named(h, h.n("Gemm", [x, h.c(weights), h.c(bias)]), "Plus692_Output_0")
    h.save(path, [1, 1, 64, 64], {"Plus692_Output_0": [1, 8]})


def _token(path: Path) -> None:
    """A transformer of one block with a class token, exported at a batch of one."""
    h = Hand(6, "pixels", images(3))
    h.single = True
    x = h.n("Conv", ["pixels", h.w(24, 3, 12, 12), h.b(24)], strides=[12, 12])
    x = h.n("Transpose", [h.n("Reshape", [x, h.c(np.array([1, 24, 16]))])], perm=[0, 2, 1])
    token = h.c(h.generator.normal(0, 1, (1, 1, 24)).astype(np.float32))
    x = h.n("Add", [h.n("Concat", [token, x], axis=1), h.w(1, 17, 24)])
    ones, zeros = h.c(np.ones(24, np.float32)), h.c(np.zeros(24, np.float32))
    y = h.n("LayerNormalization", [x, ones, zeros])
    parts = [h.n("Add", [h.n("MatMul", [y, h.w(24, 24)]), h.b(24)]) for _ in range(3)]
    key = h.n("Transpose", [parts[1]], perm=[0, 2, 1])
    score = h.n("Div", [h.n("MatMul", [parts[0], key]), h.c(np.array(4.9, np.float32))])
    mixed = h.n("MatMul", [h.n("Softmax", [score], axis=-1), parts[2]])
    x = h.n("Add", [x, h.n("MatMul", [mixed, h.w(24, 24)])])
    y = h.n("Add", [h.n("MatMul", [h.n("LayerNormalization", [x, ones, zeros]), h.w(24, 48)]),
                    h.b(48)])  # fmt: skip
    half = h.n("Add", [h.n("Erf", [h.n("Div", [y, h.c(np.array(2**0.5, np.float32))])]),
                       h.c(np.array(1, np.float32))])  # fmt: skip
    y = h.n("Mul", [h.n("Mul", [y, half]), h.c(np.array(0.5, np.float32))])
    x = h.n("Add", [x, h.n("MatMul", [y, h.w(48, 24)])])
    x = h.n("Gather", [x, h.c(np.array(0))], axis=1)
    weights, bias = h.deciding(x)
    _named(h, h.n("Gemm", [x, h.c(weights.T.copy()), h.c(bias)], transB=1), "logits")
    h.save(path, [1, 3, 48, 48], {"logits": [1, 7]})


def _two_outputs(path: Path) -> None:
    h = Hand(7, "input", images(1))
    x = h.n("Relu", [h.conv("input", 1, 16, 2)])
    for name, width in (("emotion", 7), ("valence", 2)):
        _named(h, _head(h, x, width), name)
    h.save(path, ["n", 1, 48, 48], {"emotion": ["n", 7], "valence": ["n", 2]})


def _raw(h: Hand, x: str) -> str:
    x = h.n("Cast", [x], to=TensorProto.FLOAT)
    return h.n("Div", [x, h.c(np.array(255, np.float32))])


def _exp_of_log(h: Hand, x: str) -> str:
    return h.n("Exp", [h.n("LogSoftmax", [x], axis=1)])


def _doubled(path: Path) -> None:
    """Every node has the same name, and the order is not that of computation."""
    _plain(path)
    model = onnx.load(path)
    nodes = list(model.graph.node)[::-1]
    for node in nodes:
        node.name = "node"
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    path.write_bytes(model.SerializeToString())


def _hand(**options: Any) -> Callable[[Path], None]:
    return lambda path: _plain(path, **options)


UNIT = ImportOptions(SEVEN, scale=255.0, mean=[0.5], std=[0.25])
COLOR = ImportOptions(SEVEN, scale=255.0, mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225])
GRAY3 = ImportOptions(SEVEN, scale=255.0, mean=[0.5], std=[0.25], color="gray")
BGR = ImportOptions(SEVEN, scale=1.0, mean=[110.0, 115.0, 120.0], std=[64.0], color="bgr")

NETWORKS: dict[str, Foreign] = {
    "opset 9, SAME, batch of 1, CNTK": Foreign(_ferplus, ImportOptions(EIGHT)),
    "opset 11": Foreign(_hand(opset=11), UNIT),
    "opset 22": Foreign(_hand(opset=22), UNIT),
    "opset 24, residual": Foreign(_hand(opset=24, body=_residual), UNIT),
    "batch norm": Foreign(_hand(body=_norm), UNIT),
    "transposed convolution": Foreign(_hand(body=_transposed), UNIT),
    "split and concat": Foreign(_hand(body=_split), UNIT),
    "shared weights": Foreign(_hand(body=_shared), UNIT),
    "swish": Foreign(_hand(body=_swish), UNIT),
    "squeeze and excitation, hard swish": Foreign(_hand(body=_excited), UNIT),
    "Celu": Foreign(_hand(body=_celu), UNIT),
    "mask of infinity": Foreign(_hand(body=_masked), UNIT),
    "pools that overhang": Foreign(_hand(body=_overhanging), UNIT),
    "transposed convolutions in groups": Foreign(_hand(body=_grouped), UNIT),
    "opset 9, linear Upsample": Foreign(_hand(opset=9, body=_enlarged("linear")), UNIT),
    "opset 10, nearest Resize": Foreign(_hand(opset=10, body=_enlarged("nearest")), UNIT),
    "Gemm that adds another": Foreign(_hand(tail=_computed_bias), UNIT),
    "padding apart": Foreign(_hand(body=_same_padding), UNIT),
    "every Gemm": Foreign(_hand(tail=_gemms), UNIT),
    "log-softmax and exp": Foreign(_hand(tail=_exp_of_log), UNIT),
    "uint8 divided by 255": Foreign(_hand(stem=_raw, kind=TensorProto.UINT8), ImportOptions(SEVEN)),
    "external data": Foreign(_hand(external=True), UNIT),
    "doubled names, disorder": Foreign(_doubled, UNIT),
    "another size, resized inside": Foreign(_hand(through=96), replace(UNIT, size=96)),
    "two outputs": Foreign(_two_outputs, replace(UNIT, output="emotion")),
    "keras, colour": Foreign(_keras, COLOR),
    "keras, gray, mini-Xception": Foreign(_keras_gray, ImportOptions(SEVEN, scale=255.0)),
    "transformer, class token, batch of 1": Foreign(_token, COLOR),
    "transformer trained on gray": Foreign(_token, GRAY3),
    "transformer trained on BGR": Foreign(_token, BGR),
}
