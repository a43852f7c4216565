"""What the Open Inference Protocol says, said to a running service."""

import json
from typing import Any

import numpy as np
import pytest

pytest.importorskip("httptools", reason="needs pip install 'fer-edge[serve]'")

from fer_edge.contract import EMOTIONS, INPUT_NAME, OUTPUT_NAME
from fer_edge.serving import messages
from tests.tiny import RGB, classify

from .services import BINARY, Client, Serve, binary_request, request_of, some_faces


def test_names_are_those_of_the_contract() -> None:
    assert messages.InputTensor.model_fields["name"].annotation.__args__ == (INPUT_NAME,)
    assert messages.AskedOutput.model_fields["name"].annotation.__args__ == (OUTPUT_NAME,)


def test_health_and_metadata(client: Client) -> None:
    assert client.get("/v2/health/live").json == {"live": True}
    assert client.get("/v2/health/ready").json == {"ready": True}
    assert client.get("/v2").json["name"] == "fer-edge"
    assert "binary_tensor_data" in client.get("/v2").json["extensions"]
    for path in ("/v2/models/tiny", "/v2/models/tiny/versions/1"):
        assert client.get(f"{path}/ready").json == {"name": "tiny", "ready": True}
        told = client.get(path).json
        assert told["name"] == "tiny"
        assert told["versions"] == ["1"]
        assert told["inputs"] == [{"name": "faces", "datatype": "UINT8", "shape": [-1, 1, 48, 48]}]
        (output,) = told["outputs"]
        assert (output["datatype"], output["shape"]) == ("FP32", [-1, 7])
        assert output["parameters"]["labels"].split(",") == list(EMOTIONS)
        assert told["parameters"]["precision"] == "fp32"


@pytest.mark.parametrize("count", [0, 1, 5])
@pytest.mark.parametrize("version", ["", "/versions/1"])
def test_probabilities_in_json(client: Client, count: int, version: str) -> None:
    faces = some_faces(count)
    nested = request_of(faces, id="a")
    nested["inputs"][0]["data"] = faces.tolist()
    for asked in (request_of(faces, id="a"), nested):
        answer = client.post(f"/v2/models/tiny{version}/infer", asked)
        assert answer.status == 200, answer
        assert answer.headers["Content-Type"] == "application/json"
        told = answer.json
        assert (told["model_name"], told["model_version"], told["id"]) == ("tiny", "1", "a")
        (output,) = told["outputs"]
        assert (output["name"], output["datatype"]) == ("probabilities", "FP32")
        assert output["shape"] == [count, 7]
        # What JSON tells of a float32 is all of it.
        found = np.array(output["data"], np.float32).reshape(count, 7)
        np.testing.assert_array_equal(found, classify(faces))


@pytest.mark.parametrize("count", [0, 1, 5, 200])
def test_probabilities_in_binary(client: Client, count: int) -> None:
    faces = some_faces(count)
    np.testing.assert_array_equal(client.probabilities(faces), classify(faces))
    asked = client.infer(faces, outputs=[{"name": "probabilities"}])
    assert "data" in asked.json["outputs"][0]
    both = {"name": "probabilities", "parameters": {"binary_data": True}}
    answer = client.infer(faces, outputs=[both])
    assert answer.headers["Content-Type"] == "application/octet-stream"
    length = int(answer.headers[BINARY])
    (output,) = json.loads(answer.body[:length])["outputs"]
    assert output["parameters"] == {"binary_data_size": len(answer.body) - length}
    assert len(answer.body) - length == count * 7 * 4


def test_a_network_of_somebody_else(serve: Serve) -> None:
    client = serve("theirs", contract=RGB).client()
    told = client.get("/v2/models/theirs").json
    assert told["inputs"][0]["shape"] == [-1, 3, 112, 112]
    assert told["outputs"][0]["parameters"]["labels"] == ",".join(RGB.labels)
    assert told["parameters"]["color"] == "rgb"
    faces = some_faces(3, contract=RGB)
    np.testing.assert_array_equal(client.probabilities(faces, "theirs"), classify(faces, RGB))
    answer = client.infer(some_faces(1), "theirs")
    assert answer.status == 400
    assert "has shape [1, 1, 48, 48], but this model takes [N, 3, 112, 112]" in answer.error


def test_labels_by_the_classification_extension(client: Client) -> None:
    faces = some_faces(2)
    wanted = [{"name": "probabilities", "parameters": {"classification": 2}}]
    (output,) = client.infer(faces, outputs=wanted).json["outputs"]
    assert (output["datatype"], output["shape"]) == ("BYTES", [2, 2])
    expected = [
        f"{row[label]:f}:{label}:{EMOTIONS[label]}"
        for row in classify(faces)
        for label in np.argsort(-row)[:2]
    ]
    assert output["data"] == expected


def changed(**members: object) -> bytes:
    """A request for one face whose tensor has other members; None takes one away."""
    asked = request_of(some_faces(1))
    tensor = {**asked["inputs"][0], **members}
    asked["inputs"] = [{name: value for name, value in tensor.items() if value is not None}]
    return json.dumps(asked).encode()


FACE: Any = some_faces(1)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "Invalid JSON"),
        (b"{", "Invalid JSON"),
        (b"[]", "Input should be an object"),
        (b"[" * 100_000, "Invalid JSON"),
        (b"\xff\xfe", "Invalid JSON"),
        (b"{}", "wrong at inputs: Field required"),
        (b'{"inputs": []}', "at least 1 item"),
        (changed(name="pixels"), "wrong at inputs.0.name: Input should be 'faces'"),
        (changed(datatype="FP32"), "wrong at inputs.0.datatype: Input should be 'UINT8'"),
        (changed(datatype=None), "wrong at inputs.0.datatype: Field required"),
        (changed(shape=[1, 48, 48]), "wrong at inputs.0.shape"),
        (changed(shape=[1, 1, 48, 47]), "this model takes [N, 1, 48, 48]: one crop each"),
        (changed(shape=[1, 3, 48, 48]), "this model takes [N, 1, 48, 48]"),
        (changed(shape=[-1, 1, 48, 48]), "wrong at inputs.0.shape.0"),
        (changed(shape=["1", 1, 48, 48]), "wrong at inputs.0.shape.0"),
        (changed(shape=[2, 1, 48, 48]), "takes 4608 values, got 2304"),
        (changed(data=None), "neither data nor binary_data_size"),
        (changed(data=[1, 2, 3]), "takes 2304 values, got 3"),
        (changed(data=[0.5] * 2304), "wrong at inputs.0.data"),
        (changed(data=[256] * 2304), "wrong at inputs.0.data"),
        (changed(data=[True] * 2304), "wrong at inputs.0.data"),
        (changed(data=["1"] * 2304), "wrong at inputs.0.data"),
        (changed(data=[[[[1], [1, 2]]]]), "The rows of faces differ in length"),
        (changed(data=FACE.reshape(1, 48, 48, 1).tolist()), "got 2304 as [1, 48, 48, 1]"),
        (changed(parameters={"binary_data_size": 2304}), "data and binary_data_size"),
        (changed(parameters={"shared_memory_region": "a"}), "no shared memory"),
        (json.dumps(request_of(FACE, outputs=[{"name": "x"}])).encode(), "outputs.0.name"),
        (json.dumps(request_of(FACE, parameters={"timeout": -1})).encode(), "parameters.timeout"),
        (json.dumps(request_of(FACE, id=7)).encode(), "wrong at id"),
    ],
)
def test_what_is_no_request_is_told_so(client: Client, body: bytes, says: str) -> None:
    answer = client.post("/v2/models/tiny/infer", body)
    assert answer.status == 400, answer
    assert says in answer.error
    assert len(answer.error) < 400
    # And the connection is still good.
    np.testing.assert_array_equal(client.probabilities(FACE), classify(FACE))


@pytest.mark.parametrize(
    ("length", "cut", "says"),
    [
        ("-1", 0, "must be a number of bytes"),
        ("many", 0, "must be a number of bytes"),
        ("9" * 11, 0, "but the body has"),
        ("9" * 5000, 0, "must be a number of bytes"),
        (None, 1, "binary_data_size is 2304, and 2303 bytes follow"),
        (None, 2304, "binary_data_size is 2304, and 0 bytes follow"),
        ("0", 0, "Invalid JSON"),
    ],
)
def test_what_is_binary_has_its_length(
    client: Client, length: str | None, cut: int, says: str
) -> None:
    body, headers = binary_request(FACE)
    if length is not None:
        headers[BINARY] = length
    answer = client.ask("POST", "/v2/models/tiny/infer", body[: len(body) - cut], **headers)
    assert answer.status == 400, answer
    assert says in answer.error


def test_bytes_that_nobody_announced(client: Client) -> None:
    body, headers = binary_request(FACE)
    asked = json.dumps(request_of(FACE)).encode()
    headers[BINARY] = str(len(asked))
    answer = client.ask("POST", "/v2/models/tiny/infer", asked + b"more", **headers)
    assert (answer.status, "4 bytes follow the JSON" in answer.error) == (400, True), body[:0]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v2/models/other", 404),
        ("GET", "/v2/models/tiny/versions/2", 404),
        ("POST", "/v2/models/other/infer", 404),
        ("POST", "/v2/repository/models/other/load", 404),
        ("GET", "/v2/models/..%2f..%2fetc", 404),
        ("GET", "/nothing", 404),
        ("GET", "/v2/models/tiny/infer", 405),
        ("DELETE", "/v2/models/tiny", 405),
    ],
)
def test_what_is_not_there(client: Client, method: str, path: str, status: int) -> None:
    answer = client.ask(method, path)
    assert answer.status == status
    assert answer.error
    if status == 405:
        assert answer.headers["Allow"]


def test_a_body_in_another_form(client: Client) -> None:
    path = "/v2/models/tiny/infer"
    answer = client.post(path, request_of(FACE), Content_Type="text/csv")
    assert (answer.status, answer.error) == (415, "Send application/json, not 'text/csv'.")
    answer = client.post(path, request_of(FACE), Content_Encoding="gzip")
    assert (answer.status, answer.error) == (415, "Send the body as it is, not as gzip.")


def test_the_models_there_are(serve: Serve) -> None:
    served = serve("one", "two")
    client = served.client()
    told = client.post("/v2/repository/index", {}).json
    assert [(one["name"], one["state"]) for one in told] == [("one", "READY"), ("two", "READY")]
    client.probabilities(some_faces(3), "two")
    assert [engine.batches for engine in served.engines] == [[], [3]]
    answer = client.get("/v2/models/three")
    assert answer.error == "There is no model 'three'. There are: one, two."
