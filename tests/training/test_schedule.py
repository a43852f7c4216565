from collections.abc import Callable

import pytest

from fer_edge.training.config import TrainConfig
from fer_edge.training.schedule import face_size, learning_rate

STEPS = 400


@pytest.mark.parametrize(
    ("schedule", "points"),
    [
        # The rise ends at a quarter, or at 2 %; the fall is half done half-way to the end.
        ("one-cycle", {0: 0.04, 50: 0.52, 100: 1.0, 250: 0.5, 400: 0.0}),
        ("cosine", {0: 0.04, 4: 0.52, 8: 1.0, 204: 0.5, 400: 0.0}),
    ],
)
def test_rates_at_points_worked_out_by_hand(
    config: Callable[..., TrainConfig], schedule: str, points: dict[int, float]
) -> None:
    chosen = config(schedule=schedule, lr=0.5)
    for step, share in points.items():
        assert learning_rate(chosen, step, STEPS) == pytest.approx(0.5 * share, abs=1e-12)


@pytest.mark.parametrize("schedule", ["one-cycle", "cosine"])
def test_the_rate_rises_to_its_peak_and_falls_to_nearly_zero(
    config: Callable[..., TrainConfig], schedule: str
) -> None:
    rates = [learning_rate(config(schedule=schedule, lr=1), i, STEPS) for i in range(STEPS)]
    peak = rates.index(max(rates))
    assert rates[: peak + 1] == sorted(rates[: peak + 1])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert rates[-1] < 1e-4


@pytest.mark.parametrize("schedule", ["one-cycle", "cosine"])
def test_a_run_of_one_step_has_a_rate(config: Callable[..., TrainConfig], schedule: str) -> None:
    assert 0 < learning_rate(config(schedule=schedule, lr=1), 0, 1) <= 1


def test_faces_grow_in_steps_of_eight_to_their_full_size(
    config: Callable[..., TrainConfig],
) -> None:
    sizes = [face_size(config(initial_size=24, epochs=20), epoch, 48) for epoch in range(20)]
    # 14 epochs from 24 to 48: 8 more pixels every 14 / 3 of them.
    assert sizes == [24] * 5 + [32] * 5 + [40] * 4 + [48] * 6


def test_faces_stay_whole_by_default(config: Callable[..., TrainConfig]) -> None:
    assert {face_size(config(epochs=3), epoch, 100) for epoch in range(3)} == {100}


def test_faces_begin_at_the_size_that_is_said(config: Callable[..., TrainConfig]) -> None:
    sizes = [face_size(config(initial_size=20, epochs=20), epoch, 48) for epoch in range(20)]
    assert (sizes[0], sizes[-1]) == (20, 48)
    assert sorted(set(sizes)) == [20, 24, 32, 40, 48]
    assert sizes == sorted(sizes)
