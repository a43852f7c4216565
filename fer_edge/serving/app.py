"""The routes of a service, as an ASGI application."""

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable, Mapping

import numpy as np
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from fer_edge.errors import FerEdgeError, InputError
from fer_edge.runtime.access import may_enter
from fer_edge.serving.answers import Answers, ClientGoneError, answered
from fer_edge.serving.body import Bodies
from fer_edge.serving.limits import Limits
from fer_edge.serving.messages import VERSION
from fer_edge.serving.metrics import CONTENT_TYPE, Metrics
from fer_edge.serving.models import Model
from fer_edge.serving.openapi import describe
from fer_edge.serving.photos import Photos
from fer_edge.serving.protocol import (
    BINARY_HEADER,
    EXTENSIONS,
    model_metadata,
    read_request,
    write_answer,
)
from fer_edge.serving.refusal import RefusalError
from fer_edge.version import __version__

_log = logging.getLogger(__name__)

_GONE = 499
"""As nginx counts clients that hung up; nobody sees it."""
_LARGE = 1 << 17
"""Bytes of a request that take so long to read that the loop does better meanwhile."""

Endpoint = Callable[[Request], Awaitable[Response]]


class Application:
    """What a service answers. ``app`` is the ASGI application.

    Parameters
    ----------
    models : mapping of str to Model
        The first is that of photos which name none.
    photos : Photos, optional
        None where nothing here finds faces.
    token : str, optional
        What clients must know.
    """

    def __init__(
        self,
        models: Mapping[str, Model],
        photos: Photos | None,
        *,
        limits: Limits,
        metrics: Metrics,
        token: str | None,
    ) -> None:
        self._models = models
        self._photos = photos
        self._limits = limits
        self._metrics = metrics
        self._token = token
        self._bodies = Bodies(limits)
        self._answers: Answers | None = None
        self.draining = False
        """The end is near: each connection closes with its next answer."""
        one = "/v2/models/{model}"
        # In the order in which they are looked for: those that are asked most come first.
        routes = [
            *(
                self._route(method, f"{path}{end}", endpoint)
                for method, end, endpoint in (
                    ("POST", "/infer", self._infer),
                    ("GET", "", self._metadata),
                    ("GET", "/ready", self._model_ready),
                )
                for path in (one, f"{one}/versions/{{version}}")
            ),
            self._route("POST", "/faces", self._faces),
            self._route("GET", "/v2/health/live", self._live, guarded=False),
            self._route("GET", "/v2/health/ready", self._ready, guarded=False),
            self._route("GET", "/v2", self._server),
            self._route("POST", "/v2/repository/index", self._index),
            self._route("POST", "/v2/repository/models/{model}/load", self._load),
            self._route("GET", "/metrics", self._text),
            self._route("GET", "/openapi.json", self._openapi),
        ]
        self._others = Starlette(routes=routes, exception_handlers={HTTPException: _unknown})
        infer = self._answered("POST", f"{one}/infer", self._infer)
        self._direct = {f"/v2/models/{name}/infer": (name, infer) for name in models}

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI application."""
        # To find the route of most requests takes Starlette longer than to read them.
        name, answer = self._direct.get(scope.get("path", ""), (None, None))
        if answer is None or scope.get("method") != "POST":
            await self._others(scope, receive, send)
            return
        scope["path_params"] = {"model": name}
        response = await answer(Request(scope, receive, send))
        await response(scope, receive, send)

    def _route(self, method: str, path: str, endpoint: Endpoint, *, guarded: bool = True) -> Route:
        answer = self._answered(method, path, endpoint, guarded=guarded)
        return Route(path, answer, methods=[method])

    def _answered(
        self, method: str, path: str, endpoint: Endpoint, *, guarded: bool = True
    ) -> Endpoint:
        """``endpoint`` with what all share: who may enter, errors as answers, counts."""
        route = path.replace("/versions/{version}", "")

        async def answer(request: Request) -> Response:
            began = time.perf_counter()
            known = request.path_params.get("model", "")
            known = known if known in self._models else ""
            try:
                if guarded and not may_enter(request, self._token):
                    raise self._stranger()
                response = await endpoint(request)
            except RefusalError as refusal:
                if refusal.dropped is not None:
                    self._metrics.dropped(known, refusal.dropped)
                response = _json({"error": refusal.message}, refusal.status, refusal.headers)
            except ClientGoneError:
                self._metrics.dropped(known, "client_gone")
                response = Response(status_code=_GONE)
            except InputError as error:
                response = _json({"error": str(error)}, 400)
            except FerEdgeError as error:
                response = _json({"error": str(error)}, 500)
            except Exception as error:  # the others' requests go on
                _log.exception("%s %s failed", method, path)
                told = f"This request failed: {type(error).__name__}. The server's log says more."
                response = _json({"error": told}, 500)
            if self.draining:
                response.headers["Connection"] = "close"
            spent = time.perf_counter() - began
            self._metrics.answered(known, route, response.status_code, spent)
            return response

        return answer

    def _stranger(self) -> RefusalError:
        if self._token is None:
            return RefusalError(
                403,
                "Without a token this server answers http://localhost alone, on the machine where "
                "it runs. Start it with --token.",
            )
        refusal = RefusalError(401, "Show the token: Authorization: Bearer TOKEN, or ?token=TOKEN.")
        refusal.headers["WWW-Authenticate"] = "Bearer"
        return refusal

    async def _live(self, _: Request) -> Response:
        return _json({"live": True})

    async def _ready(self, _: Request) -> Response:
        return _json({"ready": not self.draining}, 503 if self.draining else 200)

    async def _server(self, _: Request) -> Response:
        return _json({"name": "fer-edge", "version": __version__, "extensions": EXTENSIONS})

    async def _index(self, request: Request) -> Response:
        await self._read(request)
        told = [
            {"name": name, "version": VERSION, "state": "READY", "reason": ""}
            for name in self._models
        ]
        return _json(told)

    async def _load(self, request: Request) -> Response:
        model = self._model(request)
        body = await self._read(request)
        try:
            asked = json.loads(body or b"{}")
        except (ValueError, RecursionError) as error:
            raise RefusalError(400, "The body must be JSON, or empty.") from error
        if not isinstance(asked, dict) or asked.get("parameters"):
            raise RefusalError(400, "A model is loaded from where it was; there are no parameters.")
        try:
            await model.reload()
        except FerEdgeError as error:
            raise RefusalError(
                400, f"{model.name} cannot be loaded, and stays as it is. {error}"
            ) from error
        return _json({})

    async def _metadata(self, request: Request) -> Response:
        model = self._model(request)
        return _json(model_metadata(model.name, model.current.info))

    async def _model_ready(self, request: Request) -> Response:
        return _json({"name": self._model(request).name, "ready": True})

    async def _infer(self, request: Request) -> Response:
        deadline = self._deadline()
        model = self._model(request)
        header = request.headers.get(BINARY_HEADER)
        if header is None:
            _check_type(request, "application/json")
        body = await self._read(request)
        loaded = model.current
        with loaded.held():
            contract = loaded.info.contract
            arguments = (body, header, contract, self._limits.queue)
            if header is None and len(body) > _LARGE:
                asked = await asyncio.to_thread(read_request, *arguments)
            else:
                asked = read_request(*arguments)
            if asked.timeout is not None:
                deadline = min(deadline, self._deadline(asked.timeout))
            waiter, give_up = model.classify(loaded, asked.faces, request.client, self._bridge())
            found = await answered(waiter, give_up, request.receive, deadline)
        rows = [one.probabilities for one in found]
        probabilities = rows[0] if len(rows) == 1 else np.concatenate(rows)
        text, headers = write_answer(model.name, asked, probabilities, contract)
        return Response(text, headers=headers)

    async def _faces(self, request: Request) -> Response:
        name = request.query_params.get("model", next(iter(self._models)))
        request.path_params["model"] = name
        model = self._model(request)
        deadline = self._deadline(_seconds(request.query_params.get("timeout")))
        if self._photos is None:
            raise RefusalError(
                501, "This server finds no faces. Run: pip install 'fer-edge[photos]'"
            )
        _check_type(request, "image/", _OCTETS)
        # Before a large body is read for nothing.
        self._photos.check_room()
        body = await self._read(request)
        loaded = model.current
        waiter, give_up = self._photos.find(name, loaded, body, self._bridge())
        (found,) = await answered(waiter, give_up, request.receive, deadline)
        return _json(found)

    async def _text(self, _: Request) -> Response:
        return Response(self._metrics.text(), headers={"Content-Type": CONTENT_TYPE})

    async def _openapi(self, _: Request) -> Response:
        return _json(
            describe(
                {name: model.current.info.contract for name, model in self._models.items()},
                photos=self._photos is not None,
                token=self._token is not None,
                limits=self._limits,
            )
        )

    def _model(self, request: Request) -> Model:
        name = request.path_params["model"]
        model = self._models.get(name)
        if model is None:
            there = ", ".join(self._models)
            raise RefusalError(404, f"There is no model {name!r}. There are: {there}.")
        version = request.path_params.get("version", VERSION)
        if version != VERSION:
            raise RefusalError(404, f"{name} has no version {version!r}, only {VERSION}.")
        return model

    async def _read(self, request: Request) -> bytes:
        return await self._bodies.read(request)

    def _deadline(self, seconds: float | None = None) -> float:
        """In the loop's time."""
        allowed = self._limits.timeout
        return asyncio.get_running_loop().time() + min(seconds or allowed, allowed)

    def _bridge(self) -> Answers:
        if self._answers is None:
            self._answers = Answers()
        return self._answers


_OCTETS = "application/octet-stream"


def _json(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    text = json.dumps(value, separators=(",", ":"))
    return Response(text, status, dict(headers or {}), media_type="application/json")


async def _unknown(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _json({"error": f"{error.detail}."}, error.status_code, error.headers)


def _check_type(request: Request, *wanted: str) -> None:
    given = request.headers.get("content-type", wanted[0]).lower()
    if not given.startswith(wanted):
        kind = wanted[0] + "*" * wanted[0].endswith("/")
        raise RefusalError(415, f"Send {kind}, not {given!r}.")


def _seconds(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise RefusalError(400, f"timeout is in seconds and more than 0, got {text!r}.")
    return seconds
