"""The description of a service that programs read: OpenAPI 3.1."""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic.json_schema import models_json_schema

from fer_edge.contract import INPUT_NAME, Contract
from fer_edge.serving import messages
from fer_edge.serving.limits import Limits
from fer_edge.serving.messages import VERSION
from fer_edge.serving.protocol import BINARY_HEADER
from fer_edge.version import __version__

Json = dict[str, Any]

_SCHEMAS = (
    messages.InferenceRequest,
    messages.InferenceAnswer,
    messages.ModelMetadata,
    messages.ServerMetadata,
    messages.Live,
    messages.Ready,
    messages.ModelReady,
    messages.IndexEntry,
    messages.Photo,
    messages.Problem,
)
_WHY = {
    "400": "Not what was asked for",
    "401": "Without the token",
    "403": "Not from this machine, and there is no token",
    "404": "No such model or version",
    "408": "The body did not come in time",
    "413": "More bytes, faces or pixels than are taken",
    "415": "Another content type or coding",
    "429": "The queue is full",
    "500": "The engine failed",
    "503": "Not ready, or about to end",
    "504": "No answer in the time given",
}
_BODY = ("400", "408", "413", "415", "429")
_WORK = (*_BODY, "500", "504")
_OCTETS = "application/octet-stream"


def describe(models: Mapping[str, Contract], *, photos: bool, token: bool, limits: Limits) -> Json:
    """The OpenAPI document of a service that serves these models."""
    _, definitions = models_json_schema(
        [(schema, "validation") for schema in _SCHEMAS],
        ref_template="#/components/schemas/{model}",
    )
    model = _parameter("model", {"type": "string", "enum": list(models)})
    version = _parameter("version", {"type": "string", "enum": [VERSION]})
    one = "/v2/models/{model}"
    paths: Json = {
        "/v2/health/live": _get("Whether the server runs", "Live", open_to_all=True),
        "/v2/health/ready": _get("Whether it takes requests", "Ready", "503", open_to_all=True),
        "/v2": _get("Name, version and extensions", "ServerMetadata"),
        "/v2/repository/index": {"post": _index()},
        "/v2/repository/models/{model}/load": {"post": _load(model)},
    }
    for path, parameters in ((one, [model]), (f"{one}/versions/{{version}}", [model, version])):
        paths[path] = _get("Inputs, outputs and labels", "ModelMetadata", "404", where=parameters)
        paths[f"{path}/ready"] = _get("Whether it answers", "ModelReady", "404", where=parameters)
        paths[f"{path}/infer"] = {"post": _infer(parameters, next(iter(models.values())))}
    if photos:
        paths["/faces"] = {"post": _faces(list(models), limits)}
    paths["/metrics"] = {
        "get": _operation(
            "Counts for Prometheus", {"text/plain": {"schema": {"type": "string"}}}, ()
        )
    }
    paths["/openapi.json"] = {
        "get": _operation("This document", {"application/json": {"schema": {"type": "object"}}}, ())
    }
    document: Json = {
        "openapi": "3.1.0",
        "info": {
            "title": "FER-Edge",
            "version": __version__,
            "description": "Facial expressions by the Open Inference Protocol v2, and for people.",
        },
        "paths": paths,
        "components": {"schemas": definitions["$defs"]},
    }
    if token:
        document["components"]["securitySchemes"] = {
            "bearer": {"type": "http", "scheme": "bearer"},
            "query": {"type": "apiKey", "in": "query", "name": "token"},
        }
        document["security"] = [{"bearer": []}, {"query": []}]
    for operations in paths.values():
        for operation in operations.values():
            if "security" not in operation:
                code = "401" if token else "403"
                operation["responses"][code] = _problem(code)
    return document


def _schema(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def _parameter(name: str, schema: Json) -> Json:
    return {"name": name, "in": "path", "required": True, "schema": schema}


def _problem(code: str) -> Json:
    answer: Json = {
        "description": _WHY[code],
        "content": {"application/json": {"schema": _schema("Problem")}},
    }
    if code == "429":
        answer["headers"] = {
            "Retry-After": {"required": True, "schema": {"type": "integer", "minimum": 1}}
        }
    return answer


def _operation(summary: str, content: Json, problems: Sequence[str]) -> Json:
    return {
        "summary": summary,
        "responses": {
            "200": {"description": "As asked", "content": content},
            **{code: _problem(code) for code in problems},
        },
    }


def _get(
    summary: str,
    schema: str,
    *problems: str,
    where: Sequence[Json] = (),
    open_to_all: bool = False,
) -> Json:
    content = {"application/json": {"schema": _schema(schema)}}
    operation = _operation(summary, content, problems)
    if "503" in problems:
        operation["responses"]["503"]["content"] = content
    if open_to_all:
        operation["security"] = []
    if where:
        operation["parameters"] = list(where)
    return {"get": operation}


def _index() -> Json:
    entries = {"type": "array", "items": _schema("IndexEntry")}
    return _operation("The models", {"application/json": {"schema": entries}}, _BODY)


def _load(model: Json) -> Json:
    return {
        **_operation(
            "Load a model again, from where it was; requests under way end on the one before",
            {"application/json": {"schema": {"type": "object"}}},
            (*_BODY, "404"),
        ),
        "parameters": [model],
    }


def _infer(parameters: Sequence[Json], contract: Contract) -> Json:
    shape = [0, *contract.face_shape]
    nothing = {"name": INPUT_NAME, "datatype": "UINT8", "shape": shape, "data": []}
    return {
        **_operation(
            "Probabilities of faces",
            {
                "application/json": {"schema": _schema("InferenceAnswer")},
                _OCTETS: {"schema": {"type": "string", "format": "binary"}},
            },
            (*_WORK, "404"),
        ),
        "description": f"With {BINARY_HEADER}, the bytes of JSON, the tensor's follow them. The "
        "number of values is the product of the shape, whose last three are the model's.",
        "parameters": list(parameters),
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": _schema("InferenceRequest"),
                    "examples": {"no faces": {"value": {"inputs": [nothing]}}},
                }
            },
        },
    }


def _faces(models: Sequence[str], limits: Limits) -> Json:
    file = {"schema": {"type": "string", "format": "binary"}}
    return {
        **_operation(
            "Find the faces in a photo, and their expressions",
            {"application/json": {"schema": _schema("Photo")}},
            (*_WORK, "404"),
        ),
        "parameters": [
            {
                "name": "model",
                "in": "query",
                "required": False,
                "schema": {"type": "string", "enum": list(models), "default": models[0]},
            },
            {
                "name": "timeout",
                "in": "query",
                "required": False,
                "description": "Seconds until an answer is of no use",
                "schema": {
                    "type": "number",
                    "exclusiveMinimum": 0,
                    "default": limits.timeout,
                },
            },
        ],
        "requestBody": {
            "required": True,
            "description": f"A file of at most {limits.megabytes:g} MB and "
            f"{limits.megapixels:g} megapixels",
            "content": dict.fromkeys(("image/jpeg", "image/png"), file),
        },
    }
