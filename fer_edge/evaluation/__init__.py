"""How good a model is on labelled faces: scores, error analysis, and pictures of both."""

from fer_edge.evaluation.analysis import Evaluation, evaluate
from fer_edge.evaluation.proof import speed_verdict, verdict
from fer_edge.evaluation.scoring import score

__all__ = ["Evaluation", "evaluate", "score", "speed_verdict", "verdict"]
