import numpy as np
import pytest

from fer_edge.errors import UsageError
from fer_edge.runtime.smoothing import Smoother

HAPPY, SAD = 3, 4


def of(label: int, probability: float = 0.7) -> np.ndarray:
    found = np.full(7, (1 - probability) / 6, np.float32)
    found[label] = probability
    return found


def test_the_first_answer_stands_as_it_is() -> None:
    probabilities, label = Smoother().update(0, of(HAPPY), 5.0)
    np.testing.assert_array_equal(probabilities, of(HAPPY))
    assert label == HAPPY


@pytest.mark.parametrize("rate", [5, 30, 200])
def test_the_frame_rate_does_not_change_what_a_second_does(rate: int) -> None:
    smoother = Smoother(seconds=0.5)
    smoother.update(0, of(HAPPY), 0.0)
    for i in range(1, rate + 1):
        probabilities, _ = smoother.update(0, of(SAD), i / rate)
    expected = of(SAD) + np.exp(-2) * (of(HAPPY) - of(SAD))
    np.testing.assert_allclose(probabilities, expected, atol=1e-4)
    assert probabilities.sum() == pytest.approx(1, abs=1e-5)


def test_a_label_near_the_border_does_not_flicker() -> None:
    noise = np.random.default_rng(0).normal(0, 0.05, 300)
    raw = [of(HAPPY if x > 0 else SAD, 0.4) for x in noise]
    smoother = Smoother()
    labels = [smoother.update(0, p, i / 30)[1] for i, p in enumerate(raw)]
    flicker = np.count_nonzero(np.diff([p.argmax() for p in raw]))
    assert flicker > 100
    assert np.count_nonzero(np.diff(labels)) <= flicker / 20


def test_a_real_change_is_taken_over_within_a_second() -> None:
    smoother = Smoother()
    smoother.update(0, of(HAPPY), 0.0)
    labels = [smoother.update(0, of(SAD), i / 30)[1] for i in range(1, 31)]
    assert labels[0] == HAPPY
    assert labels[-1] == SAD


def test_without_smoothing_everything_passes() -> None:
    smoother = Smoother(seconds=0, margin=0)
    for i, emotion in enumerate([HAPPY, SAD, HAPPY]):
        probabilities, label = smoother.update(0, of(emotion), float(i))
        np.testing.assert_allclose(probabilities, of(emotion), atol=1e-6)
        assert label == emotion


def test_tracks_do_not_mix_and_ended_ones_are_forgotten() -> None:
    smoother = Smoother()
    smoother.update(1, of(HAPPY), 0.0)
    smoother.update(2, of(SAD), 0.0)
    smoother.keep({2})
    _, fresh = smoother.update(1, of(SAD), 0.01)
    _, kept = smoother.update(2, of(HAPPY), 0.01)
    assert (fresh, kept) == (SAD, SAD)


@pytest.mark.parametrize("bad", [{"seconds": -1}, {"margin": -0.1}, {"seconds": float("nan")}])
def test_values_are_checked(bad: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=next(iter(bad))):
        Smoother(**bad)
