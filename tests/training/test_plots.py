import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fer_edge.training.plots import plot_curves


def assert_picture(path: Path) -> None:
    with Image.open(path) as image:
        assert image.format == "PNG"
        pixels = np.asarray(image.convert("L"))
    assert min(pixels.shape) > 400
    assert pixels.min() < 50 < 200 < pixels.max()


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
