import numpy as np
import pytest

from fer_edge.contract import EMOTIONS
from fer_edge.data import FaceDataset
from fer_edge.evaluation import Evaluation, evaluate
from tests.tiny import FakeEngine, classify

FACES = np.random.default_rng(1).integers(0, 256, (300, 48, 48), dtype=np.uint8)
PREDICTED = classify(FACES).argmax(1)
# Every third face that looks happy is said to be sad.
LABELS = np.where((PREDICTED == 3) & (np.arange(300) % 3 == 0), 4, PREDICTED)
DATASET = FaceDataset.from_arrays(FACES, LABELS, "val")


def test_an_evaluation_says_what_is_taken_for_what_and_is_json() -> None:
    seen = []
    evaluation, probabilities = evaluate(
        FakeEngine(precision="int8"), DATASET, "tiny", progress=lambda *step: seen.append(step)
    )
    assert (evaluation.model, evaluation.precision) == ("tiny", "int8")
    assert evaluation.support == DATASET.counts()
    sad = LABELS == 4
    wrong = float((PREDICTED[sad] == 3).mean())
    assert wrong > 0
    assert evaluation.taken_for == {name: {} for name in EMOTIONS} | {"sad": {"happy": wrong}}
    assert evaluation.confusion[4][3] == (PREDICTED[sad] == 3).sum()
    assert sum(bin_.n for bin_ in evaluation.reliability) == seen[-1][0] == 300
    np.testing.assert_allclose(probabilities, classify(FACES), atol=1e-5)
    assert Evaluation.model_validate_json(evaluation.model_dump_json()) == evaluation


class Certain(FakeEngine):
    """Puts everything on happy: six probabilities are exactly 0."""

    def run(self, faces: np.ndarray) -> np.ndarray:
        return np.repeat(np.eye(7, dtype=np.float32)[3:4], len(faces), axis=0)


@pytest.mark.filterwarnings("error")
def test_certainty_that_is_often_wrong_asks_for_the_highest_temperature() -> None:
    evaluation, _ = evaluate(Certain(), DATASET, "certain")
    assert evaluation.temperature == pytest.approx(20.0)
    assert evaluation.score.ece == pytest.approx(1 - evaluation.score.accuracy)
