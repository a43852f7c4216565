import json
from pathlib import Path

import pytest

from fer_edge.training.plots import plot_curves
from tests.pictures import assert_picture


@pytest.mark.parametrize("epochs", [1, 12])
def test_curves_are_a_picture(tmp_path: Path, epochs: int) -> None:
    rows = [
        {
            "epoch": i + 1,
            "train_loss": 2 - i / 10,
            "val_loss": 2 - i / 12,
            "train_accuracy": 0.2 + i / 30,
            "val_accuracy": 0.2 + i / 40,
        }
        for i in range(epochs)
    ]
    metrics = tmp_path / "metrics.jsonl"
    metrics.write_text("".join(json.dumps(row) + "\n" for row in rows))
    plot_curves(metrics, tmp_path / "curves.png")
    assert_picture(tmp_path / "curves.png")
