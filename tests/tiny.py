"""Engines and artifacts small enough to test with."""

import time
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from fer_edge.artifact import Artifact, GraphRecord, Manifest, seal
from fer_edge.contract import FACE_SIZE, INPUT_NAME, OUTPUT_NAME, Precision
from fer_edge.engines.base import EngineInfo, Faces, Probabilities, check_faces
from fer_edge.engines.ort import PRECISION_KEY


def weights(seed: int = 0) -> np.ndarray:
    """Linear classifier of a face, shape (2304, 7)."""
    return np.random.default_rng(seed).normal(0, 0.0005, (FACE_SIZE**2, 7)).astype(np.float32)


def classify(faces: Faces) -> Probabilities:
    """What the tiny graph of seed 0 and the fake engine answer, the same in any batch.

    Each face is multiplied alone: a matrix product rounds by the kernel that its shape selects,
    which differs from CPU to CPU.
    """
    matrix = weights()
    rows = [row @ matrix for row in faces.reshape(-1, FACE_SIZE**2).astype(np.float32)]
    logits = np.array(rows, np.float32).reshape(-1, matrix.shape[1])
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


class FakeEngine:
    """Answers as :func:`classify`, after ``delay`` seconds; notes the batches it was given."""

    def __init__(
        self,
        *,
        precision: str = "fp32",
        min_batch: int = 1,
        max_batch: int | None = None,
        delay: float = 0.0,
    ) -> None:
        self.info = EngineInfo("fake", "1.0", precision, "none", min_batch, max_batch)
        self.delay = delay
        self.batches: list[int] = []

    def run(self, faces: Faces) -> Probabilities:
        check_faces(faces, self.info)
        self.batches.append(len(faces))
        time.sleep(self.delay)
        return classify(faces)

    def describe(self) -> EngineInfo:
        return self.info

    def close(self) -> None: ...

    def __enter__(self) -> "FakeEngine":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def tiny_graph(seed: int = 0) -> onnx.ModelProto:
    """ONNX graph of :func:`classify` that keeps the input contract."""
    graph = helper.make_graph(
        [
            helper.make_node("Cast", [INPUT_NAME], ["pixels"], to=TensorProto.FLOAT),
            helper.make_node("Flatten", ["pixels"], ["flat"]),
            helper.make_node("MatMul", ["flat", "weights"], ["logits"]),
            helper.make_node("Softmax", ["logits"], [OUTPUT_NAME], axis=1),
        ],
        "tiny",
        [
            helper.make_tensor_value_info(
                INPUT_NAME, TensorProto.UINT8, ["batch", 1, FACE_SIZE, FACE_SIZE]
            )
        ],
        [helper.make_tensor_value_info(OUTPUT_NAME, TensorProto.FLOAT, ["batch", 7])],
        [numpy_helper.from_array(weights(seed), "weights")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def tiny_artifact(folder: Path, *precisions: Precision) -> Artifact:
    """Artifact of tiny graphs; each precision after the first has other weights."""
    folder.mkdir(parents=True)
    manifest = Manifest(model="tiny")
    for seed, precision in enumerate(precisions):
        graph = tiny_graph(seed)
        helper.set_model_props(graph, {PRECISION_KEY: precision})
        onnx.save(graph, folder / f"{precision}.onnx")
        manifest.graphs[precision] = GraphRecord(file=f"{precision}.onnx")
    return seal(folder, manifest)
