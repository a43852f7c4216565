"""Writes fer_edge/engines/integer_probe.onnx: ``python -m tests.engines.make_integer_probe``."""

from pathlib import Path

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

import fer_edge.engines.integer_products as products

TARGET = Path(products.__file__).with_name("integer_probe.onnx")
CHANNELS = 64
SIDE = 4


def make_probe() -> ModelProto:
    """One convolution of each kind that ONNX Runtime has a kernel for, and a Gemm.

    Pixels of 255 times weights of 127: every sum of two products passes 16 bits. The output scales
    are chosen so that the exact sums give :data:`fer_edge.engines.integer_products.EXACT`.
    """
    constants: dict[str, np.ndarray] = {
        "one": np.float32(1),
        "zero": np.uint8(0),
    }
    nodes: list[NodeProto] = [
        helper.make_node("DequantizeLinear", [name, "one", "zero"], [f"{name}/real"])
        for name in ("image", "row")
    ]
    layers = {
        "spatial": ("Conv", "image", (16, CHANNELS, 3, 3), {"pads": [0, 0, 0, 0]}),
        "pointwise": ("Conv", "image", (32, CHANNELS, 1, 1), {}),
        "depthwise": ("Conv", "image", (CHANNELS, 1, 3, 3), {"group": CHANNELS}),
        "gemm": ("Gemm", "row", (16, CHANNELS), {"transB": 1}),
    }
    outputs = []
    for name, (operator, source, shape, attributes) in layers.items():
        terms = int(np.prod(shape[1:]))
        constants |= {
            f"{name}/weight": np.full(shape, 127, np.int8),
            f"{name}/weight_scale": np.ones(shape[0], np.float32),
            f"{name}/weight_zero": np.zeros(shape[0], np.int8),
            f"{name}/scale": np.float32(terms * 255 * 127 / products.EXACT),
        }
        nodes += [
            helper.make_node(
                "DequantizeLinear",
                [f"{name}/weight", f"{name}/weight_scale", f"{name}/weight_zero"],
                [f"{name}/weight_real"],
                axis=0,
            ),
            helper.make_node(
                operator, [f"{source}/real", f"{name}/weight_real"], [f"{name}/sum"], **attributes
            ),
            helper.make_node("QuantizeLinear", [f"{name}/sum", f"{name}/scale", "zero"], [name]),
        ]
        side = {"spatial": SIDE - 2, "depthwise": SIDE - 2}.get(name, SIDE)
        size = [1, shape[0]] if operator == "Gemm" else [1, shape[0], side, side]
        outputs.append(helper.make_tensor_value_info(name, TensorProto.UINT8, size))
    graph = helper.make_graph(
        nodes,
        "integer_probe",
        [
            helper.make_tensor_value_info("image", TensorProto.UINT8, [1, CHANNELS, SIDE, SIDE]),
            helper.make_tensor_value_info("row", TensorProto.UINT8, [1, CHANNELS]),
        ],
        outputs,
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    # Old versions, so that every ONNX Runtime that the package allows reads it.
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7)


if __name__ == "__main__":
    TARGET.write_bytes(make_probe().SerializeToString(deterministic=True))
