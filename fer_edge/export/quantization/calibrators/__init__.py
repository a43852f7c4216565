"""Calibration methods: a file each, found by being here.

A file has a function under :func:`calibrator` that takes what was seen of a tensor, its
:class:`~fer_edge.export.quantization.magnitudes.Magnitudes`, and returns the largest magnitude that
INT8 is to represent.
"""

from fer_edge.export.quantization.calibrators.registry import (
    GROUP,
    FewValuesError,
    calibrator,
    largest_magnitude,
    methods,
)

__all__ = ["GROUP", "FewValuesError", "calibrator", "largest_magnitude", "methods"]
