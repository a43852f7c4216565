"""Gst-nvinfer's configuration of a classifier, for NVIDIA's DeepStream.

https://docs.nvidia.com/metropolis/deepstream/dev-guide/text/DS_plugin_gst-nvinfer.html
"""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from fer_edge.contract import INPUT_NAME, OUTPUT_NAME, Contract, Precision
from fer_edge.export.graph.view import copy_of, finish, load_graph, set_constant

CONFIG = "config_infer.txt"
GRAPH = "model.onnx"
LABELS = "labels.txt"

BT601 = np.array([19595, 38470, 7471], np.float32) / 65536
"""Red, green and blue in gray, as Pillow has them: in float32 products and sums are exact."""

_MODES: dict[Precision, int] = {"fp32": 0, "int8": 1, "fp16": 2}
"""``network-mode``; FP8 has none."""


def write_nvinfer(
    graph: bytes, folder: Path, contract: Contract, precision: Precision, *, max_batch: int
) -> None:
    """Write what DeepStream's ``nvinfer`` needs to classify the faces that a detector has found.

    Parameters
    ----------
    graph : bytes
        Of an artifact, as TensorRT takes it.
    folder : Path
        Is made.
    contract : Contract
        The graph's.
    precision : {"fp32", "fp16", "int8", "fp8"}
        The graph's.
    max_batch : int
        Most faces in a call.

    Raises
    ------
    ExportError
        It is no such graph.
    """
    folder.mkdir()
    made = for_nvinfer(load_graph(graph), contract)
    (folder / GRAPH).write_bytes(made.SerializeToString(deterministic=True))
    # A line is an output of the network. A comma is in no label, so none becomes like another.
    names = ";".join(label.replace(";", ",") for label in contract.labels)
    (folder / LABELS).write_text(f"{names}\n", encoding="utf-8")
    text = _config(contract, precision, max_batch)
    (folder / CONFIG).write_text(text, encoding="utf-8")


def for_nvinfer(model: onnx.ModelProto, contract: Contract) -> onnx.ModelProto:
    """The same function of float32 RGB, 0 to 255: what ``nvinfer`` feeds a network with.

    Gray is made of it in the graph, bit for bit as Pillow makes it: the gray of ``nvinfer`` itself
    is, on Jetson at least, the luma of the video, which mostly is 16 to 235.

    Parameters
    ----------
    model : onnx.ModelProto
        Takes uint8 faces, which it casts.
    contract : Contract
        Its own.

    Returns
    -------
    onnx.ModelProto
        Takes float32 ``(N, 3, size, size)``.
    """
    out = copy_of(model)
    taken = out.graph.input[0].type.tensor_type
    taken.elem_type = TensorProto.FLOAT
    if contract.color == "rgb":
        return finish(out)
    taken.shape.dim[1].dim_value = 3
    gray = f"{INPUT_NAME}/gray"
    for node in out.graph.node:
        node.input[:] = [gray if name == INPUT_NAME else name for name in node.input]
    shares, axis, half = (
        set_constant(out, f"{gray}/{name}", value)
        for name, value in (
            ("shares", BT601.reshape(1, 3, 1, 1)),
            ("axis", np.array([1], np.int64)),
            ("half", np.array(0.5, np.float32)),
        )
    )
    steps = [
        helper.make_node("Mul", [INPUT_NAME, shares], [f"{gray}/parts"]),
        helper.make_node("ReduceSum", [f"{gray}/parts", axis], [f"{gray}/sum"], keepdims=1),
        helper.make_node("Add", [f"{gray}/sum", half], [f"{gray}/more"]),
        helper.make_node("Floor", [f"{gray}/more"], [gray]),
    ]
    for node in steps:
        node.name = node.output[0]
    for node in reversed(steps):
        out.graph.node.insert(0, node)
    return finish(out)


def _config(contract: Contract, precision: Precision, max_batch: int) -> str:
    size = contract.size
    engine = f"{GRAPH}_b{max_batch}_gpu0_{precision}.engine"
    if precision == "fp32":
        source = f"""# Built from the graph at the first start, and kept.
onnx-file={GRAPH}"""
    else:
        shapes = " ".join(
            f"--{end}Shapes={INPUT_NAME}:{batch}x3x{size}x{size}"
            for end, batch in (("min", 1), ("opt", max_batch), ("max", max_batch))
        )
        trtexec = f"trtexec --onnx={GRAPH} --stronglyTyped --saveEngine={engine} {shapes}"
        source = f"""# nvinfer's own builder keeps no types that a graph has, and wants a table for
# INT8. Make the engine once, in this folder, on the GPU that it is for (TensorRT 10):
# /usr/src/tensorrt/bin/{trtexec}"""
    mode = f"network-mode={_MODES[precision]}\n" if precision in _MODES else ""
    return f"""# Written by fer-edge for Gst-nvinfer, to classify the faces that a detector finds.
[property]
gie-unique-id=2
process-mode=2
network-type=1
classifier-type=emotion

# The detector's gie-unique-id, and which of its classes is the face.
operate-on-gie-id=1
operate-on-class-ids=0

{source}
model-engine-file={engine}
{mode}batch-size={max_batch}
output-blob-names={OUTPUT_NAME}

# The graph takes RGB of 0 to 255, and normalises it.
infer-dims=3;{size};{size}
model-color-format=0
net-scale-factor=1

# The detector's box as it is, in the middle of a black square; 1 is bilinear.
maintain-aspect-ratio=1
symmetric-padding=1
scaling-filter=1

# The likeliest label, however likely; in the frame that it is of, and anew in every frame.
labelfile-path={LABELS}
classifier-threshold=0
classifier-async-mode=0
secondary-reinfer-interval=0
"""
