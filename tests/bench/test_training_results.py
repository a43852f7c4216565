"""The table of trainings in bench/README.md is that of the records."""

import importlib
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[2] / "bench"


def test_the_table_is_that_of_the_records(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch", reason="needs pip install 'fer-edge[train]'")
    if not (BENCH / "results").is_dir():
        pytest.skip("the sdist has no records")
    monkeypatch.syspath_prepend(BENCH)
    results = importlib.import_module("training_results")
    _, _, rest = (BENCH / "README.md").read_text().partition(results.BEGIN)
    table, _, _ = rest.partition(results.END)
    assert table == results.table(), "Run: python bench/training_results.py table"
