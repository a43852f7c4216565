"""Score an engine on a data set, alone and against fp32: what export records and bench shows."""

import math
from collections.abc import Callable, Collection

import numpy as np

from fer_edge import metrics
from fer_edge.artifact import Score
from fer_edge.data import FaceDataset
from fer_edge.engines import Engine, run_all
from fer_edge.engines.base import Faces, Probabilities
from fer_edge.errors import DataError, InputError
from fer_edge.evaluation.class_order import fitting_order
from fer_edge.evaluation.proof import changed_faces

Progress = Callable[[int, int], None]
"""Called with the faces done and the faces in all."""

SURE = (0.8, 0.85, 0.9, 0.95)
"""Shares of right answers for which a threshold is recorded."""
_STEP = 256
_MOST_CHANGED = 200


def classify(
    engine: Engine, faces: Faces, *, batch: int = 64, progress: Progress | None = None
) -> Probabilities:
    """Probabilities of any number of faces, as :func:`fer_edge.engines.run_all` gives them."""
    n = len(faces)
    found = np.empty((n, len(engine.describe().contract.labels)), np.float32)
    step = math.ceil(_STEP / batch) * batch
    for start in range(0, n, step):
        part = slice(start, start + step)
        found[part] = run_all(engine, faces[part], batch)
        if progress is not None:
            progress(min(start + step, n), n)
    return found


def score(
    engine: Engine,
    dataset: FaceDataset,
    *,
    reference: Probabilities | None = None,
    batch: int = 64,
    progress: Progress | None = None,
) -> tuple[Score, Probabilities]:
    """Classify every face of ``dataset`` once, as it is, and compare with its labels.

    A face that the model gives a label which the data do not know, such as contempt on FER2013, is
    wrong; that label has no recall, precision or F1. Faces that the model has no label for were
    left out when the data were read, and the score says how many.

    Parameters
    ----------
    dataset : FaceDataset
        Read for the engine's contract.
    reference : float32 array, shape (N, labels), optional
        The fp32 model's probabilities for the same faces. With them the score has the agreement
        (share of faces with the same label), the exact McNemar p-value, and the faces that
        changed label.
    batch : int
        Most faces in one call of the engine.
    progress : callable, optional

    Returns
    -------
    Score
        The standard error is the binomial one, sqrt(p (1 - p) / N). Precision, recall and F1 leave
        out emotions for which they are not defined: never predicted, without faces, or both.
    float32 array, shape (N, labels)
        The probabilities.

    Raises
    ------
    DataError
        The data set is empty, or was read for another contract.
    InputError
        ``reference`` is for another number of faces.
    InferenceError
        The engine failed, or returned NaN.
    """
    n = len(dataset.faces)
    if n == 0:
        raise DataError(f"The {dataset.split} split has no faces to score on.")
    dataset.require(engine.describe().contract)
    classes, unknown = dataset.classes, dataset.unknown
    if reference is not None and reference.shape != (n, len(classes)):
        raise InputError(
            f"The reference is for {len(reference)} faces, the {dataset.split} split has {n}."
        )
    probabilities = classify(engine, dataset.faces, batch=batch, progress=progress)
    predicted = probabilities.argmax(axis=1)
    matrix = metrics.confusion_matrix(dataset.labels, predicted, len(classes))
    accuracy = metrics.accuracy(matrix)
    result = Score(
        split=dataset.split,
        n=n,
        accuracy=accuracy,
        standard_error=metrics.standard_error(accuracy, n),
        macro_f1=metrics.macro_f1(matrix, classes, unknown),
        precision=_defined(metrics.precisions(matrix, classes), unknown),
        recall=_defined(metrics.recalls(matrix, classes), unknown),
        f1=_defined(metrics.f1s(matrix, classes), unknown),
        ece=metrics.expected_calibration_error(probabilities, dataset.labels),
        support=dataset.counts(),
        sure=[
            point
            for wanted in SURE
            if (point := metrics.sure_point(probabilities, dataset.labels, wanted)) is not None
        ],
        backend=engine.describe().backend,
        data=dataset.fingerprint,
        left_out=dict(dataset.left_out),
        fitting_labels=fitting_order(matrix, classes),
    )
    if reference is not None:
        expected = reference.argmax(axis=1)
        result.agreement_with_fp32 = float((predicted == expected).mean())
        result.mcnemar_p = metrics.mcnemar_p(
            expected == dataset.labels, predicted == dataset.labels
        )
        changed = changed_faces(reference, probabilities, np.asarray(dataset.labels), classes)
        result.changed = len(changed)
        result.changed_faces = changed[:_MOST_CHANGED]
    return result, probabilities


def _defined(values: dict[str, float], unknown: Collection[str]) -> dict[str, float]:
    return {
        emotion: value
        for emotion, value in values.items()
        if emotion not in unknown and not math.isnan(value)
    }
