"""Engines and artifacts small enough to test with."""

import math
import time
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from fer_edge.artifact import Artifact, GraphRecord, InputContract, Manifest, seal
from fer_edge.contract import FER2013, INPUT_NAME, LABELS_KEY, OUTPUT_NAME, Contract, Precision
from fer_edge.engines.base import EngineInfo, Faces, Probabilities, check_faces
from fer_edge.engines.network import PRECISION_KEY

RGB = Contract(112, "rgb", ("sad", "happy", "neutral", "fear", "disgust", "angry", "surprise"))
EIGHT = Contract(
    64,
    "gray",
    ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt"),
)
FIVE = Contract(48, "rgb", ("awe", "Happy", "sad", "neutral", "bored"))
CONTRACTS = (RGB, EIGHT, FIVE)
"""Of networks of somebody else: another size, colour, order, spelling and number of labels."""


def weights(seed: int = 0, contract: Contract = FER2013) -> np.ndarray:
    """Linear classifier of a face, shape (2304, 7) or as the contract has it."""
    shape = (math.prod(contract.face_shape), len(contract.labels))
    return np.random.default_rng(seed).normal(0, 0.0005, shape).astype(np.float32)


def classify(faces: Faces, contract: Contract = FER2013) -> Probabilities:
    """What the tiny graph of seed 0 and the fake engine answer, the same in any batch.

    Each face is multiplied alone: a matrix product rounds by the kernel that its shape selects,
    which differs from CPU to CPU.
    """
    matrix = weights(0, contract)
    rows = [row @ matrix for row in faces.reshape(-1, len(matrix)).astype(np.float32)]
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
        contract: Contract = FER2013,
    ) -> None:
        self.info = EngineInfo(
            "fake", "1.0", precision, "none", min_batch, max_batch, contract=contract
        )
        self.delay = delay
        self.batches: list[int] = []

    def run(self, faces: Faces) -> Probabilities:
        check_faces(faces, self.info)
        self.batches.append(len(faces))
        time.sleep(self.delay)
        return classify(faces, self.info.contract)

    def describe(self) -> EngineInfo:
        return self.info

    def close(self) -> None: ...

    def __enter__(self) -> "FakeEngine":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def tiny_graph(seed: int = 0, contract: Contract = FER2013) -> onnx.ModelProto:
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
                INPUT_NAME, TensorProto.UINT8, ["batch", *contract.face_shape]
            )
        ],
        [
            helper.make_tensor_value_info(
                OUTPUT_NAME, TensorProto.FLOAT, ["batch", len(contract.labels)]
            )
        ],
        [numpy_helper.from_array(weights(seed, contract), "weights")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def tiny_artifact(folder: Path, *precisions: Precision, contract: Contract = FER2013) -> Artifact:
    """Artifact of tiny graphs; each precision after the first has other weights."""
    folder.mkdir(parents=True)
    manifest = Manifest(model="tiny", labels=contract.labels, input=InputContract.of(contract))
    for seed, precision in enumerate(precisions):
        graph = tiny_graph(seed, contract)
        facts = {PRECISION_KEY: precision, LABELS_KEY: ",".join(contract.labels)}
        helper.set_model_props(graph, facts)
        onnx.save(graph, folder / f"{precision}.onnx")
        manifest.graphs[precision] = GraphRecord(file=f"{precision}.onnx")
    return seal(folder, manifest)
