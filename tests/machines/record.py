"""Record what the carried model answers where nothing saturates, in ``recorded.npz``.

python -m tests.machines.record

The weights of the INT8 graph are rewritten as uint8 with zero point 128: the same integers, which
ONNX Runtime multiplies by uint8 without a saturating instruction on every CPU. The faces are kept,
too, because numpy's functions round differently from CPU to CPU: some of each label, none near the
border to another.
"""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from fer_edge.artifact import Artifact
from fer_edge.data.synthetic import synthetic_dataset
from fer_edge.engines.ort import OnnxRuntimeEngine
from fer_edge.models.carried import carried_model

RECORDED = Path(__file__).with_name("recorded.npz")
CANDIDATES = 700
PER_LABEL = 6
MARGIN = 0.05
"""Least distance of the two likeliest labels: more than the tests let two probabilities move."""


def exact(graph: bytes) -> bytes:
    """The same graph with uint8 weights of zero point 128 in place of int8 ones."""
    model = onnx.load_from_string(graph)
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type != "DequantizeLinear":
            continue
        for name in (node.input[0], node.input[2]):
            tensor = tensors.get(name)
            if tensor is not None and tensor.data_type == TensorProto.INT8:
                shifted = (numpy_helper.to_array(tensor).astype(np.int16) + 128).astype(np.uint8)
                tensor.CopyFrom(numpy_helper.from_array(shifted, name))
    return model.SerializeToString()


def answers(faces: np.ndarray) -> dict[str, np.ndarray]:
    """Probabilities of the carried model, (N, 7) by precision, for (N, 48, 48) faces."""
    artifact = Artifact.load(carried_model())
    int8, fp32 = artifact.graph("int8"), artifact.graph("fp32")
    assert int8.cpu_file is not None
    graphs = {"int8": exact(artifact.read(int8.cpu_file)), "fp32": artifact.read(fp32.file)}
    found = {}
    for precision, graph in graphs.items():
        with OnnxRuntimeEngine(graph) as engine:
            found[precision] = engine.run(faces[:, None])
    return found


def main() -> None:
    faces = synthetic_dataset(CANDIDATES, seed=20, split="val").faces
    found = answers(faces)
    ranked = {precision: np.sort(rows, axis=1) for precision, rows in found.items()}
    clear = np.all([rows[:, -1] - rows[:, -2] > MARGIN for rows in ranked.values()], axis=0)
    labels = found["fp32"].argmax(axis=1)
    # The first of every label, then the second of every label, ...
    ranks = np.array([clear[:i][labels[:i] == label].sum() for i, label in enumerate(labels)])
    order = np.argsort(ranks, kind="stable")
    chosen = order[(clear & (ranks < PER_LABEL))[order]]
    kept = {precision: rows[chosen] for precision, rows in found.items()}
    np.savez_compressed(RECORDED, faces=faces[chosen], **kept)


if __name__ == "__main__":
    main()
