"""How good answers are: faces found by detectors, and expressions of known faces."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.frames import ON_FACE
from fer_edge.contract import EMOTIONS
from fer_edge.emotions import meaning
from fer_edge.evaluation.detections import Boxes, Found, match, overlaps
from fer_edge.metrics import expected_calibration_error, mcnemar_p, standard_error

AGREE = 2
"""Methods that must see a face where nobody knows the faces."""


def agreed(by_method: Mapping[str, Boxes]) -> Boxes:
    """Places of a photo where at least two methods of different kind see a face, (K, 4).

    Of the boxes on a face that stands which shares most with those of the other methods.
    """
    names = [name for name, boxes in by_method.items() for _ in boxes]
    if not names:
        return np.empty((0, 4), np.float32)
    boxes = np.concatenate([boxes.reshape(-1, 4) for boxes in by_method.values()])
    shares = overlaps(boxes, boxes)
    support = np.zeros(len(boxes))
    common = np.zeros(len(boxes))
    for name in by_method:
        of_it = np.array([one == name for one in names])
        best = shares[:, of_it].max(axis=1) if of_it.any() else np.zeros(len(boxes))
        support += best >= ON_FACE
        common += best
    chosen: list[int] = []
    for index in sorted(range(len(boxes)), key=lambda i: (-support[i], -common[i])):
        taken = any(shares[index, other] >= ON_FACE for other in chosen)
        if support[index] >= AGREE and not taken:
            chosen.append(index)
    return boxes[chosen]


def joined(founds: Sequence[Found]) -> Boxes:
    """The boxes of several variants of one method."""
    return np.concatenate([boxes.reshape(-1, 4) for boxes, _ in founds]).astype(np.float32)


def against_agreed(found: Sequence[Found], faces: Sequence[Boxes]) -> dict[str, float]:
    """The share of agreed faces that is found, and boxes which no other method confirms."""
    covered = [match(boxes, truth, ON_FACE) for (boxes, _), truth in zip(found, faces, strict=True)]
    total = sum(map(len, faces))
    return {
        "faces": total,
        "found": round(sum(int((one >= 0).sum()) for one in covered) / max(total, 1), 4),
        "unconfirmed": sum(int((one < 0).sum()) for one in covered),
    }


def in_order(labels: Sequence[str], answers: Sequence[Sequence[float]]) -> NDArray[np.float64]:
    """Probabilities (N, 7) in FER2013's order; what is none of its emotions is left out.

    Raises
    ------
    ValueError
        An emotion of FER2013 is not among the labels.
    """
    meanings = [meaning(label) for label in labels]
    missing = set(EMOTIONS) - set(meanings)
    if missing:
        raise ValueError(f"no {', '.join(sorted(missing))} among {', '.join(labels)}")
    kept = np.array(answers, np.float64)[:, [meanings.index(emotion) for emotion in EMOTIONS]]
    total = kept.sum(axis=1, keepdims=True)
    return np.divide(kept, total, out=np.full_like(kept, 1 / len(EMOTIONS)), where=total > 0)


def against_labels(
    found: NDArray[np.float64], labels: NDArray[np.integer], reference: NDArray[np.float64] | None
) -> dict[str, Any]:
    """Accuracy, calibration, and beside a reference on the same faces agreement and McNemar's p."""
    right = found.argmax(axis=1) == labels
    told: dict[str, Any] = {
        "n": len(labels),
        "accuracy": round(float(right.mean()), 4),
        "standard_error": round(standard_error(float(right.mean()), len(labels)), 4),
        "ece": round(expected_calibration_error(found, labels), 4),
    }
    if reference is not None:
        other = reference.argmax(axis=1)
        told["same_label"] = round(float((found.argmax(axis=1) == other).mean()), 4)
        told["p"] = mcnemar_p(right, other == labels)
    return told
