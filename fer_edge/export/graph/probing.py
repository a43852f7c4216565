"""A graph run on faces made up for it: are its values shares, and are they another graph's?"""

import numpy as np
import onnx

from fer_edge.contract import FER2013, PIXEL_MEAN, Contract
from fer_edge.engines.base import Faces
from fer_edge.engines.ort import OnnxRuntimeEngine


def check_values(graph: onnx.ModelProto, faces: Faces) -> None:
    """Run a graph once, before anything is made of it.

    Raises
    ------
    InferenceError
        It gives no probabilities, but logits, say.
    EngineLoadError
        ONNX Runtime cannot run it.
    """
    with OnnxRuntimeEngine(graph.SerializeToString()) as engine:
        engine.run(faces)


def largest_difference(one: onnx.ModelProto, other: onnx.ModelProto, contract: Contract) -> float:
    """Largest difference of a probability between two graphs, on :func:`probe_faces`."""
    faces = probe_faces(contract)
    probabilities = []
    for graph in (one, other):
        with OnnxRuntimeEngine(graph.SerializeToString()) as engine:
            probabilities.append(engine.run(faces))
    return float(np.abs(probabilities[0] - probabilities[1]).max())


def probe_faces(contract: Contract = FER2013) -> Faces:
    """Gradients in all directions and contrasts, uint8 (16, channels, size, size)."""
    steps = complex(0, contract.size)
    y, x = np.mgrid[-1:1:steps, -1:1:steps]
    angles = np.arange(16) * np.pi / 8
    ramps = np.cos(angles)[:, None, None] * x + np.sin(angles)[:, None, None] * y
    contrast = np.linspace(10, 90, 16)[:, None, None]
    pixels = np.clip(ramps * contrast + PIXEL_MEAN, 0, 255).astype(np.uint8)[:, None]
    # Channels that differ, as a graph that swaps them would show no difference otherwise.
    return np.concatenate(
        [np.roll(pixels, channel, axis=0) for channel in range(contract.channels)], axis=1
    )
