"""The plan for many machines is what the recorded runs come to."""

import importlib.util
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_the_page_has_the_figures_of_the_recorded_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "bench"))
    spec = importlib.util.spec_from_file_location("scale", ROOT / "bench" / "scale.py")
    assert spec is not None
    assert spec.loader is not None
    scale = importlib.util.module_from_spec(spec)
    # Dataclasses look for their module.
    monkeypatch.setitem(sys.modules, "scale", scale)
    spec.loader.exec_module(scale)
    page = (ROOT / "docs" / "explanation" / "scale.md").read_text()
    written = page.partition(scale.BEGIN)[2].partition(scale.END)[0]
    assert written.strip() == scale.tables()
    costs = scale.measured()
    parts = scale.camera_parts(costs)
    # What the page says of what saturates first.
    assert max(parts, key=lambda name: parts[name]) == "decode"
    assert parts["crop and classify"] < 0.05 * sum(parts.values())
    assert costs.detect > 2 * (costs.decode + costs.crop + costs.classify + costs.follow)
