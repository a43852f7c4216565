from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fer_edge.archive import work
from fer_edge.archive.tasks import Settings

from .fakes import Finding

pytest.importorskip("pyarrow", reason="needs the extra analyze")
pytest.importorskip("av", reason="needs the extra camera")


@pytest.fixture(autouse=True)
def _worker() -> Iterator[None]:
    """None of another test."""
    yield
    if work._worker is not None:
        work._worker[1].close()
        work._worker = None


@pytest.fixture
def settings(tmp_path: Path) -> Callable[..., Settings]:
    """Settings into ``rows`` with a detector that finds one face in each frame."""

    def make(**changes: object) -> Settings:
        values: dict = {
            "out": str(tmp_path / "rows"),
            "detector": Finding(),
            "precision": "fp32",
            "backend": "onnxruntime-cpu",
            "span_seconds": 1.5,
            "facts": {"detector": "one face"},
        }
        return Settings(**values | changes)

    return make
