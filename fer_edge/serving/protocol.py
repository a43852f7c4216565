"""Requests and answers of the Open Inference Protocol v2, in JSON and with binary tensors.

https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_classification.md
"""

import json
import math
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
import pydantic
from numpy.typing import NDArray

from fer_edge.contract import INPUT_NAME, OUTPUT_NAME, Contract
from fer_edge.engines.base import EngineInfo, Faces, Probabilities
from fer_edge.serving.messages import VERSION, InferenceRequest, InputTensor
from fer_edge.serving.refusal import RefusalError

BINARY_HEADER = "Inference-Header-Content-Length"
EXTENSIONS = ["binary_tensor_data", "classification", "model_repository"]
_OCTETS = "application/octet-stream"
_encode = json.JSONEncoder(separators=(",", ":")).encode


@dataclass(frozen=True, eq=False)
class Asked:
    """A request for probabilities."""

    faces: Faces
    """(N, channels, size, size) of the model's contract."""
    id: str | None
    timeout: float | None
    """In seconds."""
    binary: bool
    """The answer's tensor comes after its JSON."""
    classes: int
    """So many labels, the most probable first, are asked for in the place of probabilities."""


def read_request(body: bytes, json_length: str | None, contract: Contract, most: int) -> Asked:
    """Read a request for inference.

    Parameters
    ----------
    body : bytes
        JSON, and what is binary after it.
    json_length : str, optional
        What the header ``Inference-Header-Content-Length`` says; without it, all is JSON.
    contract : Contract
        Of the model.
    most : int
        Faces that a request may have.

    Raises
    ------
    RefusalError
        400 or 413, and why.
    """
    text, rest = _split(body, json_length)
    try:
        asked = InferenceRequest.model_validate_json(text)
    except pydantic.ValidationError as error:
        raise RefusalError(400, _first_problem(error)) from error
    (tensor,) = asked.inputs
    _check_shape(tensor.shape, contract, most)
    parameters = asked.parameters
    outputs = asked.outputs[0].parameters if asked.outputs else None
    binary = outputs.binary_data if outputs is not None else None
    if binary is None:
        binary = parameters is not None and parameters.binary_data_output
    for extra in (tensor.parameters, outputs):
        if extra is not None and "shared_memory_region" in (extra.model_extra or {}):
            raise RefusalError(400, "This server has no shared memory. Send the tensor itself.")
    return Asked(
        faces=_pixels(tensor, rest),
        id=asked.id,
        timeout=parameters.timeout / 1e6 if parameters and parameters.timeout else None,
        binary=binary,
        classes=min(outputs.classification, len(contract.labels)) if outputs else 0,
    )


def write_answer(
    name: str, asked: Asked, probabilities: Probabilities, contract: Contract
) -> tuple[bytes, dict[str, str]]:
    """The answer's body and headers.

    Parameters
    ----------
    probabilities : float32 array, shape (N, labels)
    """
    values: NDArray[Any] = probabilities
    datatype = "FP32"
    if asked.classes:
        values, datatype = _classified(probabilities, asked.classes, contract), "BYTES"
    tensor: dict[str, object] = {
        "name": OUTPUT_NAME,
        "datatype": datatype,
        "shape": list(values.shape),
    }
    blob = b""
    if asked.binary:
        blob = _bytes(values)
        tensor["parameters"] = {"binary_data_size": len(blob)}
    else:
        tensor["data"] = values.ravel().tolist()
    answer: dict[str, object] = {"model_name": name, "model_version": VERSION}
    if asked.id is not None:
        answer["id"] = asked.id
    answer["outputs"] = [tensor]
    text = _encode(answer).encode()
    if not asked.binary:
        return text, {"Content-Type": "application/json"}
    return text + blob, {"Content-Type": _OCTETS, BINARY_HEADER: str(len(text))}


def model_metadata(name: str, info: EngineInfo) -> dict[str, object]:
    """What the protocol tells of a model; the labels are a parameter of the output."""
    contract = info.contract
    return {
        "name": name,
        "versions": [VERSION],
        "platform": info.backend,
        "inputs": [
            {"name": INPUT_NAME, "datatype": "UINT8", "shape": [-1, *contract.face_shape]},
        ],
        "outputs": [
            {
                "name": OUTPUT_NAME,
                "datatype": "FP32",
                "shape": [-1, len(contract.labels)],
                "parameters": {"labels": ",".join(contract.labels)},
            }
        ],
        "parameters": {
            "color": contract.color,
            "precision": info.precision,
            "backend": f"{info.backend} {info.backend_version}",
            "device": info.device,
        },
    }


def _split(body: bytes, json_length: str | None) -> tuple[bytes, bytes]:
    if json_length is None:
        return body, b""
    if not (json_length.isascii() and json_length.isdecimal()) or len(json_length) > 12:
        raise RefusalError(400, f"{BINARY_HEADER} must be a number of bytes, got {json_length!r}.")
    length = int(json_length)
    if length > len(body):
        raise RefusalError(400, f"{BINARY_HEADER} is {length}, but the body has {len(body)} bytes.")
    return body[:length], body[length:]


def _first_problem(error: pydantic.ValidationError) -> str:
    # One problem per pixel would be more than anyone reads.
    found = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join(map(str, found["loc"][:4]))
    return f"The request is wrong{f' at {where}' if where else ''}: {found['msg']}."


def _check_shape(shape: list[int], contract: Contract, most: int) -> None:
    if tuple(shape[1:]) != contract.face_shape:
        wanted = ", ".join(map(str, contract.face_shape))
        raise RefusalError(
            400,
            f"{INPUT_NAME} has shape {shape}, but this model takes [N, {wanted}]: one crop each.",
        )
    if shape[0] > most:
        raise RefusalError(
            413, f"{shape[0]} faces in one request; this server takes {most}. Send them in parts."
        )


def _pixels(tensor: InputTensor, rest: bytes) -> Faces:
    shape = tuple(tensor.shape)
    wanted = math.prod(shape)
    size = tensor.parameters.binary_data_size if tensor.parameters is not None else None
    if size is not None:
        if tensor.data is not None:
            raise RefusalError(
                400, f"{INPUT_NAME} has data and binary_data_size. Give one of them."
            )
        if not size == wanted == len(rest):
            raise RefusalError(
                400,
                f"{INPUT_NAME} of shape {tensor.shape} has {wanted} bytes; binary_data_size is "
                f"{size}, and {len(rest)} bytes follow the JSON.",
            )
        return np.frombuffer(rest, np.uint8).reshape(shape)
    if rest:
        raise RefusalError(400, f"{len(rest)} bytes follow the JSON. Give their binary_data_size.")
    if tensor.data is None:
        raise RefusalError(400, f"{INPUT_NAME} has neither data nor binary_data_size.")
    try:
        values = np.asarray(tensor.data, np.uint8)
    except ValueError as error:
        raise RefusalError(400, f"The rows of {INPUT_NAME} differ in length.") from error
    if values.size != wanted or (values.ndim > 1 and values.shape != shape):
        raise RefusalError(
            400,
            f"{INPUT_NAME} of shape {tensor.shape} takes {wanted} values, got {values.size}"
            f"{f' as {list(values.shape)}' if values.ndim > 1 else ''}.",
        )
    return values.reshape(shape)


def _classified(probabilities: Probabilities, classes: int, contract: Contract) -> NDArray[Any]:
    """Shape (N, classes) of text."""
    order = np.argsort(-probabilities, axis=1, kind="stable")[:, :classes]
    rows = [
        [f"{row[label]:f}:{label}:{contract.labels[label]}" for label in ranked]
        for row, ranked in zip(probabilities, order, strict=True)
    ]
    return np.array(rows, object).reshape(len(probabilities), classes)


def _bytes(values: NDArray[Any]) -> bytes:
    if values.dtype != object:
        return np.ascontiguousarray(values, "<f4").tobytes()
    texts = [text.encode() for text in values.ravel()]
    return b"".join(struct.pack("<I", len(text)) + text for text in texts)
