"""What the networks see while one grows out of the other."""

from collections.abc import Callable

from torch import Tensor

Batches = Callable[[], Tensor]
"""Draws normalised, augmented faces: float32 (N, 1, 48, 48)."""
