"""The calibration methods there are, by name: those of this package, and other packages' own."""

import importlib
import math
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points

from fer_edge.errors import CalibrationError
from fer_edge.export.quantization.magnitudes import BINS, Magnitudes

GROUP = "fer_edge.calibrators"
"""Entry points of this group are methods of other packages: name to ``module:function``."""

Range = Callable[[Magnitudes], float]


class FewValuesError(CalibrationError):
    """A tensor of too few values for a method that goes by their histogram."""


@dataclass(frozen=True)
class _Calibrator:
    name: str
    range: Range
    histogram: bool


_REGISTERED: dict[Range, _Calibrator] = {}


def calibrator(name: str, *, histogram: bool = True) -> Callable[[Range], Range]:
    """Register a function as the calibration method ``name``.

    The function is given what was seen of one tensor, with a magnitude above 0 in it, and returns
    the largest one that is represented; larger ones saturate.

    Parameters
    ----------
    name : str
        What ``--method`` takes.
    histogram : bool
        It goes by the shape of the histogram, and so needs as many values as there are bins.
    """

    def register(function: Range) -> Range:
        _REGISTERED[function] = _Calibrator(name, function, histogram)
        return function

    return register


def methods() -> tuple[str, ...]:
    """The names of all methods, this package's first."""
    own = _own()
    return (*own, *(name for name in sorted(_others()) if name not in own))


def largest_magnitude(method: str, seen: Magnitudes, tensor: str) -> float:
    """The largest magnitude of a tensor that ``method`` has INT8 represent.

    Parameters
    ----------
    method : str
        One of :func:`methods`.
    seen : Magnitudes
    tensor : str
        Its name, for errors.

    Raises
    ------
    CalibrationError
        There is no such method, or it cannot be imported or gives no magnitude.
    FewValuesError
        The tensor had too few values for the histogram that the method goes by to mean anything.
    """
    found = _calibrator(method)
    count = int(seen.counts.sum())
    if found.histogram and count < BINS:
        raise FewValuesError(
            f"{tensor} has {count} values, too few for the histogram that {method} goes by "
            f"({BINS} bins).",
            hint="Calibrate on more faces with --samples, or with --method minmax.",
        )
    if seen.maximum == 0.0:
        return 0.0
    largest = float(found.range(seen))
    if not (math.isfinite(largest) and largest > 0):
        raise CalibrationError(
            f"The calibration method {method} gives {largest} as the largest magnitude of "
            f"{tensor}.",
            hint="It has to give a number above 0.",
        )
    return min(largest, seen.maximum)


@cache
def _own() -> dict[str, _Calibrator]:
    """Those of the files beside this one."""
    package = __package__ or ""
    for module in pkgutil.iter_modules(importlib.import_module(package).__path__):
        importlib.import_module(f"{package}.{module.name}")
    found = [one for one in _REGISTERED.values() if one.range.__module__.startswith(package)]
    return {one.name: one for one in sorted(found, key=lambda one: one.name)}


def _others() -> dict[str, str]:
    return {point.name: point.value for point in entry_points(group=GROUP)}


def _calibrator(name: str) -> _Calibrator:
    if name in (own := _own()):
        return own[name]
    place = _others().get(name)
    if place is None:
        raise CalibrationError(
            f"There is no calibration method {name!r}.", hint=f"There are {', '.join(methods())}."
        )
    module, _, function = place.partition(":")
    try:
        found: Range = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise CalibrationError(
            f"The calibration method {name} is registered as {place}, which cannot be had: "
            f"{error}.",
            hint=f"Correct the entry point of the group {GROUP} in its pyproject.toml.",
        ) from error
    return _REGISTERED.get(found, _Calibrator(name, found, histogram=True))
