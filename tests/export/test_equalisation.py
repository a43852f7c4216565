import numpy as np

from fer_edge.export.equalisation import equalise
from fer_edge.export.graph import GraphView
from tests.export.conftest import run
from tests.export.graphs import with_outliers

PAIRS = {"one.a": "one.b", "two.a": "two.b"}


def test_the_function_is_the_same_bit_for_bit(residual, faces):
    broken = with_outliers(residual, PAIRS, 2.0**12)
    (expected,) = run(residual, faces.faces, optimise=False)
    for graph in (broken, equalise(broken), equalise(residual)):
        np.testing.assert_array_equal(run(graph, faces.faces, optimise=False)[0], expected)


def test_an_outlier_channel_is_taken_back(residual):
    broken = equalise(with_outliers(residual, PAIRS, 2.0**12))
    view = GraphView(broken)
    for first, second in PAIRS.items():
        out = np.abs(view.array(f"{first}.weight")).max(axis=(1, 2, 3))
        into = np.abs(view.array(f"{second}.weight")).max(axis=(0, 2, 3))
        assert (out / into < 4).all()
        assert (into / out < 4).all()


def test_layers_that_others_read_too_are_left_alone(residual):
    before, after = GraphView(residual), GraphView(equalise(residual))
    for layer in ("stem", "two.skip", "one.b"):
        # Rows are outputs: an add or a second reader takes these.
        rows = (view.array(f"{layer}.bias") for view in (before, after))
        np.testing.assert_array_equal(*rows)
