"""What a lower precision changed, and whether that is more than noise."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fer_edge.artifact import ChangedFace, GraphRecord, Score, SpeedRecord
from fer_edge.contract import EMOTIONS, Precision
from fer_edge.engines.base import Probabilities
from fer_edge.engines.speed import TIE, cost
from fer_edge.metrics import SIGNIFICANT


def changed_faces(
    reference: Probabilities,
    probabilities: Probabilities,
    labels: NDArray[np.int64],
    classes: Sequence[str] = EMOTIONS,
) -> list[ChangedFace]:
    """Faces to which the two give different labels, the largest change of a probability first.

    Parameters
    ----------
    reference, probabilities : float32 arrays, shape (N, labels)
        Of fp32 and of the other precision.
    labels : int64 array, shape (N,)
    classes : sequence of str
        What labels are called.
    """
    before, after = reference.argmax(axis=1), probabilities.argmax(axis=1)
    change = np.abs(probabilities - reference).max(axis=1)
    indices = np.flatnonzero(before != after)
    return [
        ChangedFace(
            index=int(index),
            label=classes[labels[index]],
            fp32=classes[before[index]],
            now=classes[after[index]],
            change=round(float(change[index]), 4),
        )
        for index in indices[np.argsort(-change[indices], kind="stable")]
    ]


def verdict(base: Score, score: Score) -> str:
    """Say in a sentence what ``score`` lost against fp32's ``base``, on the same faces."""
    if score.changed == 0:
        return f"gives all {score.n:,} faces of {score.split} the label of fp32"
    drop = 100 * (base.accuracy - score.accuracy)
    parts = [f"{'loses' if drop > 0 else 'gains'} {abs(drop):.2f} points of {score.split} accuracy"]
    if score.mcnemar_p is not None:
        noise = score.mcnemar_p >= SIGNIFICANT
        parts.append(
            f"{'within' if noise else 'more than'} noise (McNemar's p {score.mcnemar_p:.2g})"
        )
    if score.agreement_with_fp32 is not None:
        faces = "" if score.changed is None else f", {score.changed:,} of {score.n:,} changed"
        parts.append(f"{100 * score.agreement_with_fp32:.2f} % of labels are equal{faces}")
    losses = {name: base.recall[name] - score.recall[name] for name in base.recall}
    worst = max(losses, key=lambda name: losses[name])
    if losses[worst] > 0:
        parts.append(f"the largest loss of recall is {100 * losses[worst]:.1f} points of {worst}")
    return "; ".join(parts)


def speed_verdict(record: SpeedRecord, precision: Precision, graph: GraphRecord) -> str | None:
    """Say that ``precision`` is slower than a wider one, and why; None if it is not."""
    own = cost(record.ms[precision])
    for other in ("fp16", "fp32"):
        if other in record.ms and other != precision and own > cost(record.ms[other]) * (1 + TIE):
            break
    else:
        return None
    causes = []
    if precision == "int8" and record.integers is not None and ":" in record.integers:
        causes.append(record.integers)
    if graph.kept:
        causes.append(f"{len(graph.kept)} layers stay in floating point")
    return (
        f"{precision} is slower than {other} with {record.backend} here: {own:.2g} against "
        f"{cost(record.ms[other]):.2g} ms a face" + (f" ({'; '.join(causes)})" if causes else "")
    )
