from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fer_edge.contract import Contract
from fer_edge.data import FaceDataset, synthetic_dataset
from fer_edge.evaluation.plots import plot_robustness
from fer_edge.evaluation.robustness import FAULTS, robustness, spoil
from fer_edge.evaluation.scoring import score
from tests.tiny import RGB, FakeEngine

GRID = np.linspace(-1, 1, 48)
FACE = 128 + 60 * np.sin(9 * GRID)[:, None] + 50 * (np.hypot(GRID[:, None], GRID) < 0.6)
FACES = np.repeat(FACE.clip(0, 255).astype(np.uint8)[None], 3, 0)
LEVELS = [(fault, level) for fault, (_, _, levels) in FAULTS.items() for level in levels]


def distance(fault: str, level: float) -> float:
    return float(np.abs(spoil(FACES, fault, level).astype(float) - FACES).mean())


@pytest.mark.parametrize("fault", FAULTS)
def test_every_level_spoils_more_than_the_one_before(fault: str) -> None:
    levels = FAULTS[fault][2]
    first, second, third = (distance(fault, level) for level in levels)
    assert 0 < first < second < third


@pytest.mark.parametrize(("fault", "level"), LEVELS)
@pytest.mark.parametrize("shape", [(2, 48, 48), (2, 3, 112, 112), (0, 48, 48)])
def test_shape_and_type_stay_and_it_is_the_same_twice(
    fault: str, level: float, shape: tuple[int, ...]
) -> None:
    faces = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    before = faces.copy()
    first, second = spoil(faces, fault, level), spoil(faces, fault, level)
    assert first.shape == shape
    assert first.dtype == np.uint8
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(faces, before)


def test_levels_are_in_their_unit() -> None:
    flat = np.full((1, 48, 48), 100, np.uint8)
    assert (spoil(flat, "dark", 0.25) == 25).all()
    # 2,304 pixels tell a standard deviation to 1.5 %.
    assert spoil(flat, "noisy", 16).std() == pytest.approx(16, rel=0.06)
    dot = np.zeros((1, 48, 48), np.uint8)
    dot[0, 24, 34] = 255
    turned = np.unravel_index(spoil(dot, "rotated", 30)[0].argmax(), (48, 48))
    angle = np.degrees(np.arctan2(23.5 - turned[0], turned[1] - 23.5))
    assert angle == pytest.approx(30 - np.degrees(np.arctan2(0.5, 10.5)), abs=5)


def test_larger_faces_are_spoilt_as_much_more() -> None:
    def waves(side: int) -> np.ndarray:
        grid = (np.arange(side) + 0.5) / side * 20
        return (128 + 100 * np.sin(grid)[:, None] * np.cos(grid)).astype(np.uint8)[None]

    for fault, level in (("blurred", 1.5), ("small", 16)):
        spread = spoil(waves(48), fault, level).std()
        assert spread < 0.95 * waves(48).std()
        # A pixel is a pixel: filters sample the same waves elsewhere.
        assert spoil(waves(96), fault, level).std() == pytest.approx(spread, rel=0.03)


@pytest.mark.parametrize("contract", [Contract(48), RGB])
def test_every_level_is_scored(contract: Contract) -> None:
    data = synthetic_dataset(21, split="val", contract=contract)
    calls: list[tuple[int, int]] = []
    engine = FakeEngine(contract=contract)
    found = robustness(engine, data, progress=lambda *told: calls.append(told))
    assert [(one.fault, one.level) for one in found] == LEVELS
    assert calls[-1] == (21 * 18, 21 * 18)
    assert all(0 <= one.accuracy <= 1 for one in found)


def test_accuracy_is_of_the_spoilt_faces() -> None:
    """An engine that tells light from dark is right until the light is gone."""

    class Light(FakeEngine):
        def run(self, faces: np.ndarray) -> np.ndarray:
            bright = faces.reshape(len(faces), -1).mean(1) > 40
            return np.eye(7, dtype=np.float32)[np.where(bright, 3, 4)]

    data = FaceDataset.from_arrays(FACES, np.array([3, 3, 3]), "val")
    found = robustness(Light(), data)
    dark = [one.accuracy for one in found if one.fault == "dark"]
    assert dark == [1, 0, 0]
    assert all(one.accuracy == 1 for one in found if one.fault != "dark")


def test_the_picture(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    data = synthetic_dataset(14, split="val")
    result, _ = score(FakeEngine(), data)
    result.faults = robustness(FakeEngine(), data)
    plot_robustness(result, tmp_path / "r.png")
    with Image.open(tmp_path / "r.png") as picture:
        assert picture.width > 800
