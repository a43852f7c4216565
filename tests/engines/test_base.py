from collections.abc import Callable

import numpy as np
import pytest

from fer_edge.engines import EngineInfo, run_all
from fer_edge.engines.base import Faces, Probabilities, check_faces, check_probabilities
from fer_edge.errors import InferenceError, InputError

from .fakes import expected_of_fake


class Recorder:
    """An engine that takes 2 to 8 faces and notes the batches that it got."""

    def __init__(self, min_batch: int = 2, max_batch: int | None = 8) -> None:
        self.info = EngineInfo("recorder", "1", "fp32", "none", min_batch, max_batch)
        self.batches: list[int] = []

    def run(self, faces: Faces) -> Probabilities:
        check_faces(faces, self.info)
        self.batches.append(len(faces))
        return expected_of_fake(faces)

    def describe(self) -> EngineInfo:
        return self.info

    def close(self) -> None: ...
    def __enter__(self) -> "Recorder":
        return self

    def __exit__(self, *exc: object) -> None: ...


@pytest.mark.parametrize(
    ("n", "batch", "batches"),
    [(17, 64, [8, 8, 2]), (5, 3, [3, 2]), (3, 1, [2, 2]), (1, 64, [2]), (0, 64, [])],
)
def test_run_all_splits_and_pads(
    n: int, batch: int, batches: list[int], faces: Callable[[int], Faces]
) -> None:
    engine = Recorder()
    images = faces(n)
    np.testing.assert_array_equal(run_all(engine, images[:, 0], batch), expected_of_fake(images))
    assert engine.batches == batches


def test_run_all_without_a_largest_batch(faces: Callable[[int], Faces]) -> None:
    engine = Recorder(1, None)
    run_all(engine, faces(10), batch=6)
    assert engine.batches == [6, 4]


@pytest.mark.parametrize("shape", [(4, 64, 36), (48, 48), (4, 3, 48, 48), (1, 4, 1, 48, 48)])
def test_run_all_never_reshapes_other_images_into_faces(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"must be \(N, 48, 48\), got"):
        run_all(Recorder(), np.zeros(shape, np.uint8))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.full((2, 7), np.nan, np.float32), "NaN or infinity"),
        (np.full((2, 7), np.inf, np.float32), "NaN or infinity"),
        (np.zeros((2, 8), np.float32), r"shape \(2, 8\)"),
    ],
)
def test_what_cannot_be_probabilities(bad: Probabilities, message: str) -> None:
    with pytest.raises(InferenceError, match=message):
        check_probabilities(bad, Recorder().info)


def test_faces_must_be_an_array() -> None:
    with pytest.raises(InputError, match="numpy array, got list"):
        check_faces([[0]], Recorder().info)  # type: ignore[arg-type]
