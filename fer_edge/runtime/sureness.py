"""From which probability on an emotion is named, so that names are right as often as wanted."""

from pathlib import Path

from fer_edge.artifact import Artifact
from fer_edge.errors import UsageError


def sure_threshold(model: Path, precision: str, wanted: float) -> float:
    """The threshold that the manifest records for a model in a precision.

    It was found on val, on single faces: see :func:`fer_edge.metrics.sure_point`. What is recorded
    for more than ``wanted`` holds for that, too.

    Parameters
    ----------
    model : Path
        Artifact folder.
    precision : str
        That the model runs in.
    wanted : float
        Share of the named emotions that should be right, above 0 and below 1.

    Returns
    -------
    float
        Smallest probability of an emotion that is named, 0..1.

    Raises
    ------
    UsageError
        ``wanted`` is no such share, or nothing recorded reaches it.
    """
    if not 0 < wanted < 1:
        raise UsageError(
            f"sure must be above 0 and below 1, got {wanted:g}.", hint="Say 0.9 for 90 %."
        )
    if not model.is_dir():
        raise UsageError(
            f"{model} is a lone graph: nothing tells from which probability on it is right.",
            hint=f"Score it: fer-edge export {model} --data FER2013 --out build/scored",
        )
    scores = {str(name): score for name, score in Artifact.load(model).manifest.scores.items()}
    score = scores.get(precision)
    if score is None or not score.sure:
        raise UsageError(
            f"{model} records no thresholds for {precision}.",
            hint=f"Score it on val: fer-edge export {model} --data FER2013 --out build/scored",
        )
    enough = [point for point in score.sure if point.wanted >= wanted]
    if not enough:
        raise UsageError(
            f"No threshold makes {100 * wanted:g} % of the answers of {model} in {precision} right "
            f"on val.",
            hint=f"Ask for {max(point.wanted for point in score.sure):g} at most.",
        )
    return min(enough, key=lambda point: point.wanted).threshold
