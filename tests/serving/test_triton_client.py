"""NVIDIA's client, which nobody here wrote."""

import numpy as np
import pytest

pytest.importorskip("httptools", reason="needs pip install 'fer-edge[serve]'")
pytest.importorskip("tritonclient.http", reason="needs pip install 'tritonclient[http]'")

from collections.abc import Iterator

from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException

from fer_edge import Recognizer
from fer_edge.serving import Service, Source

from .services import Served, some_faces


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    """The carried model on its own engine."""
    with Service([Source("compact")], port=0) as service:
        yield Served(service, [], service.start())


@pytest.fixture
def triton(served: Served) -> Iterator[InferenceServerClient]:
    client = InferenceServerClient(served.url.removeprefix("http://").rstrip("/"))
    yield client
    client.close()


def tensor(faces: np.ndarray, binary: bool = True) -> InferInput:
    one = InferInput("faces", list(faces.shape), "UINT8")
    one.set_data_from_numpy(faces, binary_data=binary)
    return one


@pytest.mark.parametrize("sent", [True, False])
@pytest.mark.parametrize("answered", [True, False, None])
@pytest.mark.parametrize("count", [1, 4, 200])
def test_what_a_recognizer_says(
    triton: InferenceServerClient, sent: bool, answered: bool | None, count: int
) -> None:
    faces = some_faces(count)
    with Recognizer() as recognizer:
        expected = recognizer(faces).probabilities
    outputs = None
    if answered is not None:
        outputs = [InferRequestedOutput("probabilities", binary_data=answered)]
    found = triton.infer("compact", [tensor(faces, sent)], outputs=outputs, request_id="a")
    assert found.get_response()["id"] == "a"
    np.testing.assert_array_equal(found.as_numpy("probabilities"), expected)


def test_labels_and_errors(triton: InferenceServerClient) -> None:
    labels = [InferRequestedOutput("probabilities", class_count=1)]
    (((best,),),) = [
        triton.infer("compact", [tensor(some_faces(1))], outputs=labels).as_numpy("probabilities")
    ]
    with Recognizer() as recognizer:
        (emotion,) = recognizer(some_faces(1)).emotions
    assert best.decode().endswith(f":{emotion}")
    with pytest.raises(InferenceServerException, match=r"\[400\] faces has shape"):
        triton.infer("compact", [tensor(np.zeros((1, 1, 24, 24), np.uint8))])
    with pytest.raises(InferenceServerException, match=r"\[404\] There is no model 'other'"):
        triton.infer("other", [tensor(some_faces(1))])


def test_all_that_it_asks_of_a_server(triton: InferenceServerClient) -> None:
    assert triton.is_server_live()
    assert triton.is_server_ready()
    assert triton.is_model_ready("compact")
    assert triton.is_model_ready("compact", "1")
    assert not triton.is_model_ready("other")
    assert triton.get_server_metadata()["name"] == "fer-edge"
    assert triton.get_model_metadata("compact")["inputs"][0]["shape"] == [-1, 1, 48, 48]
    assert [one["name"] for one in triton.get_model_repository_index()] == ["compact"]
    triton.load_model("compact")
