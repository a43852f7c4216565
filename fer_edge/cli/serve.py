"""fer-edge serve"""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fer_edge.cli.arguments import Finding, Running, model_name
from fer_edge.cli.console import stderr
from fer_edge.cli.groups import grouped
from fer_edge.errors import MissingDependencyError, UsageError

if TYPE_CHECKING:
    from fer_edge.runtime.detection import Detector

_LIMITS = "Limits"


@grouped
def serve(
    *,
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            "-m",
            help="A name of fer-edge models, an artifact folder or ONNX file; or NAME= and one of "
            "these, to call it so. Several are given one by one. (default: compact)",
        ),
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on; 0.0.0.0 lets other machines in.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8000,
    token: Annotated[
        str | None,
        typer.Option(
            envvar="FER_EDGE_TOKEN",
            help="What clients must know. (default: a random one if other machines are let in)",
        ),
    ] = None,
    batch: Annotated[
        int,
        typer.Option(min=1, help="Most faces in a call of the engine.", rich_help_panel=_LIMITS),
    ] = 64,
    queue: Annotated[
        int,
        typer.Option(
            min=1,
            help="Faces of a model that are accepted and not yet answered; more get 429.",
            rich_help_panel=_LIMITS,
        ),
    ] = 512,
    photos: Annotated[
        int,
        typer.Option(
            min=1,
            help="Photos that are accepted and not yet answered; more get 429.",
            rich_help_panel=_LIMITS,
        ),
    ] = 16,
    megabytes: Annotated[
        float, typer.Option(help="Of a request; more get 413.", rich_help_panel=_LIMITS)
    ] = 32.0,
    megapixels: Annotated[
        float, typer.Option(help="Of a photo; more get 413.", rich_help_panel=_LIMITS)
    ] = 50.0,
    timeout: Annotated[
        float,
        typer.Option(
            help="Seconds for an answer, then 504; a request may ask for less.",
            rich_help_panel=_LIMITS,
        ),
    ] = 30.0,
    finding: Finding,
    running: Running,
) -> None:
    """Answer other programs over HTTP: faces by the Open Inference Protocol, photos.

    tritonclient, KServe's clients and curl are its clients; requests share batches.
    SIGTERM or Ctrl-C ends it once what was accepted is answered; SIGHUP, or
    POST /v2/repository/models/NAME/load, loads a folder again.

    Examples:
    fer-edge serve
    fer-edge serve --model small=build/compact --model large=build/r50
    """
    try:
        from fer_edge.serving import Limits, Service, Source
    except ImportError as error:
        raise MissingDependencyError(
            f"Serving needs starlette, uvicorn and prometheus-client ({error}).",
            hint="Run: pip install 'fer-edge[serve]'",
        ) from error

    sources = [
        Source(
            name, path, running.precision, running.backend, running.threads, running.device, batch
        )
        for name, path in map(_named, model or [""])
    ]
    limits = Limits(queue, photos, megabytes, megapixels, timeout)
    finder, reason = _detector(finding, running)
    with Service(sources, host, port, token, limits=limits, detector=finder) as service:
        for served in service.models.values():
            info = served.current.info
            _say(f"{served.name}: {info.precision} on {info.backend}, {info.contract}")
        if reason is not None:
            _say(f"POST /faces is not served: {reason}")
        service.run(lambda address: _say(f"Serving: {address}"), _say)


def _say(line: str) -> None:
    stderr().print(line, markup=False)


def _named(text: str) -> tuple[str, Path]:
    """Name and folder of ``NAME=MODEL`` or ``MODEL``."""
    from fer_edge.models.published import find_model

    name, equals, model = text.partition("=")
    if not equals:
        path = find_model(text or None)
        return (_own_name(path) if text else model_name(path)), path
    if not model:
        raise UsageError(f"--model {text} names no folder.", hint="Say --model NAME=FOLDER")
    return name, find_model(model)


def _own_name(path: Path) -> str:
    return path.resolve().name.removesuffix(".onnx")


def _detector(
    finding: Finding, running: Running
) -> "tuple[Callable[[], Detector] | None, str | None]":
    """What makes detectors, or why there is none; what was asked for by name must be there."""
    make = functools.partial(finding.make, running.device, running.threads)
    try:
        make()
    except MissingDependencyError as error:
        if finding.detector is not None or finding.detector_size is not None:
            raise
        return None, str(error)
    return make, None
