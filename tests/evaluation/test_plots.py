import sys
from pathlib import Path

import numpy as np
import pytest

from fer_edge.errors import MissingDependencyError
from fer_edge.evaluation.groups import Audit, GroupScore
from fer_edge.evaluation.plots import plot_confusion, plot_groups, plot_reliability
from fer_edge.metrics import ReliabilityBin
from tests.pictures import assert_picture

BINS = [ReliabilityBin(0.2, 0.4, 10, 0.3, 0.5), ReliabilityBin(0.8, 1.0, 30, 0.9, 0.7)]


@pytest.mark.filterwarnings("error")
def test_confusion_is_a_picture_even_without_one_emotion(tmp_path: Path) -> None:
    matrix = np.diag([90, 0, 40, 300, 70, 80, 5000]) + 10
    matrix[1] = 0
    plot_confusion(matrix, tmp_path / "confusion.png")
    assert_picture(tmp_path / "confusion.png")


@pytest.mark.filterwarnings("error")
def test_names_are_no_formulas(tmp_path: Path) -> None:
    group = GroupScore(column="$x_$", group="under $10_$", n=60, accuracy=0.5, interval=(0.4, 0.6))
    audit = Audit(smallest=50, unnamed=0, groups=[group] * 8, gaps=[])
    plot_groups(audit, tmp_path / "groups.png")
    assert_picture(tmp_path / "groups.png")
    plot_confusion(np.eye(2, dtype=int) + 1, tmp_path / "confusion.png", ["$a_$", "b"])
    assert_picture(tmp_path / "confusion.png")


@pytest.mark.filterwarnings("error")
def test_reliability_is_a_picture_that_names_the_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from matplotlib.figure import Figure

    titles = []
    save = Figure.savefig

    def spy(figure: Figure, *args: object, **options: object) -> None:
        titles.append(figure.axes[0].get_title())
        save(figure, *args, **options)

    monkeypatch.setattr(Figure, "savefig", spy)
    plot_reliability(BINS, tmp_path / "reliability.png")
    assert_picture(tmp_path / "reliability.png")
    assert titles == ["Expected calibration error 20.00 % on 40 faces"]


def test_no_matplotlib_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'fer-edge\[plot\]'"):
        plot_reliability(BINS, tmp_path / "reliability.png")
    assert not list(tmp_path.iterdir())
