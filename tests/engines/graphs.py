"""Small ONNX graphs with the signature of real ones."""

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

CLASSES = 7
CHANNELS = 8


def make_graph(
    precision: str = "fp32",
    *,
    batch: int | str = "batch",
    size: int = 48,
    output: str = "probabilities",
    metadata: bool = True,
) -> bytes:
    """uint8 input, Cast, Sub 128, Conv, Relu, GlobalAveragePool, Gemm, Softmax.

    "fp16" is float16 up to the logits. "int8" has Q/DQ around the convolution, symmetric int8
    with one scale per output channel for the weights.
    """
    rng = np.random.default_rng(0)
    dtype = np.float16 if precision == "fp16" else np.float32
    constants: dict[str, np.ndarray] = {
        "mean": np.asarray(128, dtype),
        "bias": np.zeros(CHANNELS, dtype),
        "gemm_weight": rng.normal(size=(CHANNELS, CLASSES)).astype(dtype),
        "gemm_bias": np.zeros(CLASSES, dtype),
    }
    weight = (rng.normal(size=(CHANNELS, 1, 3, 3)) / 50).astype(dtype)
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    nodes = [
        helper.make_node("Cast", ["faces"], ["cast"], to=kind),
        helper.make_node("Sub", ["cast", "mean"], ["centred"]),
    ]
    image, kernel = "centred", "weight"
    if precision == "int8":
        scale = np.abs(weight).max(axis=(1, 2, 3)) / 127
        constants |= {
            "input_scale": np.float32(1),
            "input_zero": np.int8(0),
            "weight": np.round(weight / scale[:, None, None, None]).astype(np.int8),
            "weight_scale": scale.astype(np.float32),
            "weight_zero": np.zeros(CHANNELS, np.int8),
        }
        nodes += [
            helper.make_node(
                "QuantizeLinear", ["centred", "input_scale", "input_zero"], ["quantised"]
            ),
            helper.make_node(
                "DequantizeLinear", ["quantised", "input_scale", "input_zero"], ["image"]
            ),
            helper.make_node(
                "DequantizeLinear", ["weight", "weight_scale", "weight_zero"], ["kernel"], axis=0
            ),
        ]
        image, kernel = "image", "kernel"
    else:
        constants["weight"] = weight
    nodes += [
        helper.make_node(
            "Conv", [image, kernel, "bias"], ["conv"], pads=[1, 1, 1, 1], strides=[2, 2]
        ),
        helper.make_node("Relu", ["conv"], ["relu"]),
        helper.make_node("GlobalAveragePool", ["relu"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("Gemm", ["flat", "gemm_weight", "gemm_bias"], ["logits"]),
        helper.make_node("Cast", ["logits"], ["logits32"], to=TensorProto.FLOAT),
        helper.make_node("Softmax", ["logits32"], [output], axis=1),
    ]
    model = _model(nodes, batch, size, output, constants)
    if metadata:
        helper.set_model_props(model, {"fer_edge.precision": precision})
    return model.SerializeToString()


def make_nan_graph() -> bytes:
    """A graph whose probabilities are NaN on black faces: 0 / 0."""
    nodes = [
        helper.make_node("Cast", ["faces"], ["cast"], to=TensorProto.FLOAT),
        helper.make_node("GlobalAveragePool", ["cast"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("Div", ["flat", "flat"], ["ratio"]),
        helper.make_node("Mul", ["ratio", "seventh"], ["probabilities"]),
    ]
    constants = {"seventh": np.full((1, CLASSES), 1 / CLASSES, np.float32)}
    return _model(nodes, "batch", 48, "probabilities", constants).SerializeToString()


def make_unsupported_graph() -> bytes:
    """A graph with two nodes that TensorRT has no importer for."""
    nodes = [
        helper.make_node("Bogus", ["faces"], ["y"], name="first"),
        helper.make_node("Unique", ["y"], ["probabilities"], name="second"),
    ]
    return _model(nodes, "batch", 48, "probabilities", {}).SerializeToString()


def make_unbuildable_graph() -> bytes:
    """A graph that TensorRT reads, but that no batch other than 1 and 5 fits."""
    nodes = [
        helper.make_node("Cast", ["faces"], ["cast"], to=TensorProto.FLOAT),
        helper.make_node("GlobalAveragePool", ["cast"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("Mul", ["flat", "five_rows"], ["probabilities"]),
    ]
    constants = {"five_rows": np.ones((5, CLASSES), np.float32)}
    return _model(nodes, "batch", 48, "probabilities", constants).SerializeToString()


def make_mistyped_graph() -> bytes:
    """float32 minus float16, which strong typing forbids."""
    model = ModelProto.FromString(make_graph("fp16"))
    model.graph.node[0].attribute[0].i = TensorProto.FLOAT
    return model.SerializeToString()


def _model(
    nodes: list, batch: int | str, size: int, output: str, constants: dict[str, np.ndarray]
) -> ModelProto:
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("faces", TensorProto.UINT8, [batch, 1, size, size])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, [batch, CLASSES])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
