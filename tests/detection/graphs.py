"""Detectors small enough to be made in no time, which say what a test wants."""

from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from fer_edge.artifact import GraphRecord
from fer_edge.detector_artifact import DetectorArtifact, DetectorManifest, seal_detector
from fer_edge.detector_contract import (
    BOXES,
    DETECTOR,
    FRAMES,
    KIND_KEY,
    LANDMARKS,
    SCORES,
    Bucket,
)
from fer_edge.engines.network import PRECISION_KEY

Face = tuple[tuple[float, float, float, float], float]
"""Box (x0, y0, x1, y1) and score."""
SMALL, WIDE = Bucket(64, 48), Bucket(128, 96)


def detector_graph(
    bucket: Bucket,
    faces: list[Face],
    *,
    precision: str = "fp32",
) -> bytes:
    """A graph that finds the same boxes (x0, y0, x1, y1) and scores in every frame.

    A pixel of the frame is added to all coordinates, times nought, so that the frame matters.
    """
    boxes = np.zeros((1, bucket.anchors, 4), np.float32)
    scores = np.zeros((1, bucket.anchors), np.float32)
    for i, (box, score) in enumerate(faces):
        boxes[0, i], scores[0, i] = box, score
    constants = {
        "found.boxes": boxes,
        "found.scores": scores,
        "nought": np.zeros(1, np.float32),
        "axes": np.array([1, 2, 3], np.int64),
        "flat": np.array([-1, 1, 1], np.int64),
        "row": np.array([-1, 1], np.int64),
        "five": np.array([1, 1, 5], np.int64),
        "first": np.array([0], np.int64),
        "second": np.array([2], np.int64),
        "last": np.array([2], np.int64),
    }
    nodes = [
        helper.make_node("Cast", [FRAMES], ["real"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMax", ["real", "axes"], ["top"], keepdims=0),
        helper.make_node("Mul", ["top", "nought"], ["none"]),
        helper.make_node("Reshape", ["none", "flat"], ["none.boxes"]),
        helper.make_node("Reshape", ["none", "row"], ["none.scores"]),
        helper.make_node("Add", ["found.boxes", "none.boxes"], [BOXES]),
        helper.make_node("Add", ["found.scores", "none.scores"], [SCORES]),
        helper.make_node("Slice", [BOXES, "first", "second", "last"], ["corners"]),
        helper.make_node("Tile", ["corners", "five"], [LANDMARKS]),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "detector",
        [value(FRAMES, TensorProto.UINT8, ["batch", bucket.height, bucket.width, 3])],
        [
            value(BOXES, TensorProto.FLOAT, ["batch", bucket.anchors, 4]),
            value(SCORES, TensorProto.FLOAT, ["batch", bucket.anchors]),
            value(LANDMARKS, TensorProto.FLOAT, ["batch", bucket.anchors, 10]),
        ],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = 8
    for key, text in ((KIND_KEY, DETECTOR), (PRECISION_KEY, precision)):
        model.metadata_props.add(key=key, value=text)
    return model.SerializeToString()


FACES = [
    ((8.0, 4.0, 28.0, 24.0), 0.9),
    ((9.0, 5.0, 29.0, 25.0), 0.8),
    ((40.0, 20.0, 60.0, 40.0), 0.6),
]
"""Two boxes on one face, and a face that is less sure."""


def tiny_detector(
    folder: Path, *buckets: Bucket, faces: list[Face] | None = None
) -> DetectorArtifact:
    """An artifact that finds ``faces``, by default :data:`FACES`, in frames of these sizes."""
    folder.mkdir(parents=True)
    graphs = {}
    for bucket in buckets or (SMALL,):
        (folder / f"{bucket}.onnx").write_bytes(
            detector_graph(bucket, FACES if faces is None else faces)
        )
        graphs[str(bucket)] = GraphRecord(file=f"{bucket}.onnx")
    manifest = DetectorManifest(
        model="tiny",
        weights="0" * 64,
        parameters=0,
        multiply_adds=dict.fromkeys(graphs, 0),
        graphs={"fp32": graphs},
    )
    return seal_detector(folder, manifest)
