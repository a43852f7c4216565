"""A calibration method of another package."""

import math
from importlib.metadata import EntryPoint

import numpy as np
import onnx
import pytest

from fer_edge.data import FaceDataset
from fer_edge.errors import CalibrationError
from fer_edge.export.quantization.calibration import calibrate, choices
from fer_edge.export.quantization.calibrators import (
    GROUP,
    calibrator,
    largest_magnitude,
    methods,
    registry,
)
from fer_edge.export.quantization.magnitudes import BINS, Magnitudes
from fer_edge.export.quantization.table import CalibrationTable


def half(seen: Magnitudes) -> float:
    """What an author writes, without the decorator."""
    return seen.maximum / 2


@calibrator("third", histogram=False)
def third(seen: Magnitudes) -> float:
    return seen.maximum / 3


def nothing(seen: Magnitudes) -> float:  # noqa: ARG001
    return math.nan


def vast(seen: Magnitudes) -> float:
    return seen.maximum * 10


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch):
    def register(**functions: str) -> None:
        points = [EntryPoint(name, value, GROUP) for name, value in functions.items()]
        monkeypatch.setattr(
            registry, "entry_points", lambda group: points if group == GROUP else []
        )

    return register


def seen(*values: float) -> Magnitudes:
    magnitudes = Magnitudes()
    magnitudes.add(np.array(values, np.float32))
    return magnitudes


def test_it_is_taken_by_name(
    installed, residual: onnx.ModelProto, faces: FaceDataset, tmp_path
) -> None:
    installed(third=f"{__name__}:third")
    assert choices()[-1] == "third"
    table = calibrate(residual, "residual", faces, method="third", samples=70)
    whole = calibrate(residual, "residual", faces, method="minmax", samples=70)
    assert table.method == "third"
    # Of pixels the scale is always 1, and of what reaches both sides both ends count. Scales are
    # float16 numbers: 11 bits.
    measured = {name for name, scale in whole.scales.items() if scale != 1} - {*whole.zero_points}
    assert measured
    for name in measured:
        assert table.scales[name] == pytest.approx(whole.scales[name] / 3, rel=2**-10)
    # Its table needs it no more.
    table.save(tmp_path / "table.json")
    installed()
    assert CalibrationTable.load(tmp_path / "table.json") == table


def test_auto_tries_it(installed, residual: onnx.ModelProto, faces: FaceDataset) -> None:
    installed(broken=f"{__name__}:nothing")
    with pytest.raises(CalibrationError, match="method broken gives nan"):
        calibrate(residual, "residual", faces, method="auto", samples=140)


def test_without_the_decorator_it_goes_by_the_histogram(installed) -> None:
    installed(half=f"{__name__}:half", third=f"{__name__}:third")
    assert methods()[-2:] == ("half", "third")
    assert largest_magnitude("half", seen(*np.ones(BINS)), "conv1") == 0.5
    with pytest.raises(CalibrationError, match="conv1 has 1 values, too few"):
        largest_magnitude("half", seen(1.0), "conv1")
    assert largest_magnitude("third", seen(3.0), "conv1") == 1.0


def test_it_represents_no_more_than_was_seen(installed) -> None:
    installed(vast=f"{__name__}:vast")
    assert largest_magnitude("vast", seen(*np.ones(BINS)), "conv1") == 1.0


def test_it_takes_no_name_of_this_package(installed) -> None:
    installed(minmax=f"{__name__}:half")
    assert methods().count("minmax") == 1
    assert largest_magnitude("minmax", seen(2.0), "conv1") == 2.0


@pytest.mark.parametrize("place", ["nowhere_at_all:half", f"{__name__}:missing"])
def test_what_cannot_be_had_is_named(place: str, installed) -> None:
    installed(half=place)
    with pytest.raises(CalibrationError, match=f"half is registered as {place}") as caught:
        largest_magnitude("half", seen(1.0), "conv1")
    assert GROUP in (caught.value.hint or "")


def test_an_unknown_name_lists_what_there_is() -> None:
    with pytest.raises(CalibrationError, match=r"no calibration method .best.") as caught:
        largest_magnitude("best", seen(1.0), "conv1")
    assert "minmax" in (caught.value.hint or "")
