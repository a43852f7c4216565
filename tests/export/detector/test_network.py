import numpy as np
import onnxruntime
import pytest

from fer_edge.detector_contract import BOXES, FRAMES, LANDMARKS, SCORES, Bucket
from fer_edge.export.detector.network import detector_graph
from tests.export.detector.reference import package_says, picture

PIXELS = 1e-3
"""What the coordinates may differ by: the order of sums differs, and nothing else."""


@pytest.mark.parametrize("size", ["320x240", "240x320", "200x136"], ids=str)
def test_it_says_what_the_package_says(layers, size):
    size = Bucket(*map(int, size.split("x")))
    frames = np.stack([picture(size, seed) for seed in range(2)])
    graph = detector_graph(layers, size)
    session = onnxruntime.InferenceSession(
        graph.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    boxes, scores, points = session.run([BOXES, SCORES, LANDMARKS], {FRAMES: frames})
    assert boxes.shape == (2, size.anchors, 4)
    for index, frame in enumerate(frames):
        wanted_boxes, wanted_scores, wanted_points = package_says(frame)
        np.testing.assert_allclose(boxes[index], wanted_boxes, atol=PIXELS)
        np.testing.assert_allclose(points[index], wanted_points, atol=PIXELS)
        np.testing.assert_allclose(scores[index], wanted_scores, atol=1e-5)


def test_no_shape_is_computed(random_layers):
    graph = detector_graph(random_layers, Bucket(320, 240))
    operators = {node.op_type for node in graph.graph.node}
    assert not operators & {"Shape", "Gather", "Slice", "Unsqueeze", "Constant", "Identity"}
