"""What a model gets wrong: per emotion, what it is taken for, and how honest probabilities are."""

import numpy as np
import pydantic

from fer_edge import metrics
from fer_edge.artifact import Score
from fer_edge.data import FaceDataset
from fer_edge.engines import Engine
from fer_edge.engines.base import Probabilities
from fer_edge.evaluation.groups import Audit
from fer_edge.evaluation.scoring import Progress, score


class Evaluation(pydantic.BaseModel):
    """One model on one split. ``model_dump(mode="json")`` makes it JSON; shares are 0..1."""

    model: str
    precision: str
    score: Score
    support: dict[str, int]
    """Faces per label of the model, in its order."""
    taken_for: dict[str, dict[str, float]]
    """For each emotion the two that it is mistaken for most, with the share of its faces."""
    confusion: list[list[int]]
    """Faces by the labels of the model: row = true label, column = predicted label."""
    reliability: list[metrics.ReliabilityBin]
    temperature: float
    """The temperature that would fit these faces best; 1 where the probabilities do already."""
    audit: Audit | None = None
    """Scores by group, where groups were given."""


def evaluate(
    engine: Engine, dataset: FaceDataset, model: str, *, progress: Progress | None = None
) -> tuple[Evaluation, Probabilities]:
    """Score an engine on ``dataset`` and analyse its errors.

    Parameters
    ----------
    engine : Engine
    dataset : FaceDataset
    model : str
        Name of the model, for the record.
    progress : callable(done, total), optional

    Returns
    -------
    Evaluation
    float32 array, shape (N, labels)
        The probabilities.

    Raises
    ------
    DataError
        The data set is empty, or was read for another contract.
    InferenceError
        The engine failed, or returned NaN.
    """
    scored, probabilities = score(engine, dataset, progress=progress)
    matrix = metrics.confusion_matrix(
        dataset.labels, probabilities.argmax(axis=1), len(dataset.classes)
    )
    smallest = np.finfo(np.float32).tiny
    evaluation = Evaluation(
        model=model,
        precision=engine.describe().precision,
        score=scored,
        support=dataset.counts(),
        taken_for=metrics.taken_for(matrix, classes=dataset.classes),
        confusion=matrix.tolist(),
        reliability=metrics.reliability(probabilities, dataset.labels),
        temperature=metrics.fit_temperature(
            np.log(np.maximum(probabilities, smallest)), dataset.labels
        ),
    )
    return evaluation, probabilities
