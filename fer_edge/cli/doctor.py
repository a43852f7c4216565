"""fer-edge doctor"""

from typing import NamedTuple

from fer_edge.cli.arguments import Json
from fer_edge.cli.console import print_json

TRAIN = ("torch", "torchvision", "safetensors", "onnxscript", "onnx", "matplotlib")
CAMERA = ("opencv-python", "av")
WEB = ("starlette", "uvicorn", "websockets")
SERVE = ("starlette", "uvicorn", "httptools", "prometheus-client")
_MODULES = {"opencv-python": "cv2"}
"""Packages that come from elsewhere, too: OpenCV with JetPack, with Debian, or as headless."""


class Ability(NamedTuple):
    """One thing that a machine can or cannot do."""

    name: str
    able: bool
    detail: str
    fix: str


def doctor(json: Json = False) -> None:
    """Say what this machine can train, export, build and run.

    And what to install for the rest.

    Example:
    fer-edge doctor
    """
    abilities = _abilities()
    if json:
        print_json([ability._asdict() for ability in abilities])
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table.grid(padding=(0, 2))
    for ability in abilities:
        mark = "[green]yes[/]" if ability.able else "[red]no[/]"
        fix = "" if ability.able or not ability.fix else f"\n[bold]{escape(ability.fix)}[/]"
        table.add_row(mark, ability.name, escape(ability.detail) + fix)
    Console(highlight=False).print(table)


def _abilities() -> list[Ability]:
    from fer_edge.bench.machine import describe_machine
    from fer_edge.engines import backend_status
    from fer_edge.engines.tensorrt import TENSORRT_BACKENDS

    machine = describe_machine()
    found = [
        Ability("this machine", True, f"{machine.cpu}, {machine.cores} cores", ""),
        _needs("train", TRAIN, "train"),
        _needs("export to ONNX", ("onnx",), "export"),
        _needs("draw bench plots", ("matplotlib",), "plot"),
        _finds_faces(),
        _needs("watch cameras", CAMERA, "camera"),
        _needs("serve the live page", WEB, "web"),
        _needs("serve models over HTTP", SERVE, "serve"),
        _needs("record videos", CAMERA, "record"),
        _needs("analyze recordings", (*CAMERA, "matplotlib", "pyarrow"), "analyze"),
        _needs("publish over MQTT", (*CAMERA, "paho-mqtt"), "mqtt"),
    ]
    for status in backend_status():
        told = ". ".join(filter(None, (status.version, status.remark)))
        version_or_reason = {True: told, False: status.reason or ""}
        uses = {"run on": status.can_run}
        if status.backend in TENSORRT_BACKENDS:
            uses = {"build for": status.can_build, **uses}
        found += [
            Ability(f"{use} {status.backend}", able, version_or_reason[able], status.hint or "")
            for use, able in uses.items()
        ]
    return found


def _finds_faces() -> Ability:
    from fer_edge.detection.making import detectors_here, require_maker
    from fer_edge.errors import MissingDependencyError

    made = detectors_here()
    detail = "RetinaFace, made at its first use"
    if made:
        sizes = ", ".join(str(bucket) for one in made for bucket in one.buckets)
        precisions = ", ".join(made[0].precisions)
        detail = f"RetinaFace in {precisions}, made for frames of {sizes}"
    try:
        require_maker()
    except MissingDependencyError as error:
        return Ability("find faces", False, error.message, error.hint or "")
    return Ability("find faces", True, detail, "")


def _needs(name: str, packages: tuple[str, ...], extra: str) -> Ability:
    versions = {package: _version(package) for package in packages}
    missing = [package for package, found in versions.items() if found is None]
    detail = (
        f"missing: {', '.join(missing)}"
        if missing
        else ", ".join(f"{package} {found}" for package, found in versions.items())
    )
    return Ability(name, not missing, detail, f"pip install 'fer-edge[{extra}]'")


def _version(package: str) -> str | None:
    from importlib import import_module
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        if package not in _MODULES:
            return None
    try:
        return str(import_module(_MODULES[package]).__version__)
    except ImportError:
        return None
