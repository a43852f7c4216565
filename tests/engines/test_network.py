import numpy as np
import pytest

from fer_edge.detector_contract import BOXES, FRAMES, LANDMARKS, SCORES
from fer_edge.engines.network import Network
from fer_edge.engines.openvino import OpenVinoNetwork
from fer_edge.engines.ort import OnnxRuntimeEngine, OnnxRuntimeNetwork
from fer_edge.errors import EngineLoadError, InferenceError, InputError
from tests.detection.graphs import FACES, SMALL, detector_graph

from .graphs import make_graph

BACKENDS = (OnnxRuntimeNetwork, OpenVinoNetwork)
FRAME = np.zeros((2, SMALL.height, SMALL.width, 3), np.uint8)


@pytest.mark.parametrize("backend", BACKENDS)
def test_any_graph_runs_by_the_names_of_its_inputs_and_outputs(backend: type) -> None:
    with backend(detector_graph(SMALL, FACES), threads=1) as network:
        assert isinstance(network, Network)
        info = network.describe()
        found = network.run({FRAMES: FRAME})
    assert [str(tensor) for tensor in info.inputs] == ["frames uint8 (N, 48, 64, 3)"]
    assert [tensor.name for tensor in info.outputs] == [BOXES, SCORES, LANDMARKS]
    assert (info.precision, info.metadata["fer_edge.kind"]) == ("fp32", "detector")
    assert found.keys() == {BOXES, SCORES, LANDMARKS}
    assert found[LANDMARKS].shape == (2, SMALL.anchors, 10)
    np.testing.assert_allclose(found[BOXES][1, 0], FACES[0][0])
    np.testing.assert_allclose(found[SCORES][0, :3], [0.9, 0.8, 0.6])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("inputs", "says"),
    [
        ({}, "takes frames, got nothing"),
        ({"faces": FRAME}, "takes frames, got faces"),
        ({FRAMES: FRAME.tolist()}, "frames must be a numpy array, got list"),
        ({FRAMES: FRAME.astype(np.float32)}, r"takes frames uint8 \(N, 48, 64, 3\), got float32"),
        ({FRAMES: FRAME[:, 1:]}, r"got uint8 \(2, 47, 64, 3\)"),
        ({FRAMES: FRAME[0]}, r"got uint8 \(48, 64, 3\)"),
    ],
)
def test_other_inputs_are_refused_in_a_line(backend: type, inputs: dict, says: str) -> None:
    with backend(detector_graph(SMALL, FACES)) as network, pytest.raises(InputError, match=says):
        network.run(inputs)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_closed_network_says_so(backend: type) -> None:
    network = backend(make_graph())
    network.close()
    network.close()
    with pytest.raises(InferenceError, match="closed"):
        network.run({"faces": np.zeros((1, 1, 48, 48), np.uint8)})


def test_a_detector_is_no_classifier() -> None:
    with pytest.raises(EngineLoadError, match="takes frames uint8"):
        OnnxRuntimeEngine(detector_graph(SMALL, FACES))
