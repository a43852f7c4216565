"""The INT8 scales of a detector: the table that the package carries, or one measured on frames."""

from collections.abc import Callable

import numpy as np
import onnx
from numpy.typing import NDArray

from fer_edge.data.scenes import Scenes
from fer_edge.detector_contract import BOXES, FRAMES, SCORES, Bucket
from fer_edge.engines.ort import OnnxRuntimeNetwork
from fer_edge.evaluation.detections import overlaps
from fer_edge.export.quantization.calibration import nearest_table
from fer_edge.export.quantization.forms.cpu_form import cpu_form
from fer_edge.export.quantization.forms.integer_layout import laid_out
from fer_edge.export.quantization.observation import observe_samples
from fer_edge.export.quantization.table import CalibrationTable
from fer_edge.models.carried import FOLDER

SIZE = Bucket(640, 480)
"""Of the frames that are looked at; the scales are those of all sizes."""
FRAMES_SEEN = 48
FRAMES_CHOSEN_BY = 24
SURE = 0.5
"""Anchors with at least this score count by their boxes, too."""
_NEGLIGIBLE = 1e-4
_CARRIED = "retinaface.calibration.json"

Progress = Callable[[str, float], None]
_Answers = list[tuple[NDArray[np.float32], NDArray[np.float32]]]


def detector_cpu_form(model: onnx.ModelProto, table: CalibrationTable) -> onnx.ModelProto:
    """The INT8 graph as CPUs run it.

    Parameters
    ----------
    model : onnx.ModelProto
        The float32 graph.
    table : CalibrationTable
        Made from this graph, or moved to it.
    """
    return laid_out(cpu_form(model, table, means_in_bias=True))


def carried_table() -> CalibrationTable:
    """The table of RetinaFace's weights that the package carries, measured on 640x480."""
    return CalibrationTable.load(FOLDER / _CARRIED)


def measure_table(
    model: onnx.ModelProto,
    name: str,
    faces: NDArray[np.uint8],
    *,
    seed: int,
    fingerprint: str,
    progress: Progress | None = None,
) -> CalibrationTable:
    """Measure a scale for every tensor on frames made of faces.

    Of all methods that is taken whose INT8 graph says most nearly what float32 says.

    Parameters
    ----------
    model : onnx.ModelProto
        The float32 graph for frames of :data:`SIZE`.
    name : str
        Of the model, for the table.
    faces : uint8 array, shape (N, channels, H, W)
    seed : int
        Decides which faces lie where.
    fingerprint : str
        Of the data set.
    progress : callable, optional
    """
    tell = progress or (lambda _stage, _done: None)
    observed = observe_samples(
        model,
        name,
        Scenes(faces, SIZE, FRAMES_SEEN, seed=seed).frames(),
        seed=seed,
        fingerprint=fingerprint,
        progress=lambda done, total: tell("Calibration", done / total),
    )
    frames = Scenes(faces, SIZE, FRAMES_CHOSEN_BY, seed=seed + 1).frames()
    reference = _answers(model, frames)
    return nearest_table(
        observed,
        lambda table: divergence(reference, _answers(detector_cpu_form(model, table), frames)),
        lambda done, total: tell("Choice of the method", done / total),
    )


def _answers(model: onnx.ModelProto, frames: NDArray[np.uint8]) -> _Answers:
    with OnnxRuntimeNetwork(model.SerializeToString()) as network:
        found = [network.compute({FRAMES: frame[None]}) for frame in frames]
    return [(one[BOXES][0], one[SCORES][0]) for one in found]


def divergence(reference: _Answers, other: _Answers) -> float:
    """How far the answers of one graph are from those of another, for each frame.

    The sum over the anchors of the Kullback-Leibler divergence of "a face or none", in nats, and of
    what the boxes of faces lack in overlap (1 - intersection over union).
    """
    total = 0.0
    for (boxes, scores), (others, found) in zip(reference, other, strict=True):
        sure, told = (
            np.clip(s.astype(np.float64), _NEGLIGIBLE, 1 - _NEGLIGIBLE) for s in (scores, found)
        )
        total += float(
            (sure * np.log(sure / told) + (1 - sure) * np.log((1 - sure) / (1 - told))).sum()
        )
        for index in np.flatnonzero(scores >= SURE):
            total += 1 - float(overlaps(boxes[index][None], others[index][None])[0, 0])
    return total / max(len(reference), 1)
