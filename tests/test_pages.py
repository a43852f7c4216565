"""Pages of the site that are made."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from fer_edge.training.declaration import declared_in
from fer_edge.training.options import SvmOptions, TrainOptions


@pytest.fixture(scope="module")
def pages() -> ModuleType:
    path = Path(__file__).parents[1] / "docs" / "pages.py"
    spec = importlib.util.spec_from_file_location("pages", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_reference_has_every_option_of_a_training(pages: ModuleType) -> None:
    text = pages._training()
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    options = (*declared_in(TrainOptions), *declared_in(SvmOptions))
    assert len(rows) == len(options)
    for option in options:
        (row,) = (one for one in rows if f"| `{option.key}` |" in one and option.option.help in one)
        assert option.values in row
    row = "| `momentum` | `--momentum` | number, 0 to below 1 | `0.9` | Nesterov momentum. |"
    assert row in rows
    assert "one-cycle or cosine" in text
