"""fer-edge predict"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fer_edge.cli.arguments import (
    Backend,
    DetectorSize,
    Device,
    Json,
    MinScore,
    ModelOption,
    Threads,
    Yunet,
    face_detector,
)
from fer_edge.cli.console import print_json
from fer_edge.errors import UsageError

if TYPE_CHECKING:
    from fer_edge.engines.base import Probabilities
    from fer_edge.runtime import SeenFace
    from fer_edge.runtime.smoothing import Vector


def predict(
    images: Annotated[
        list[Path],
        typer.Argument(help="Face crops, or photos with --find: JPEG, PNG, BMP, WebP …"),
    ],
    find: Annotated[
        bool,
        typer.Option("--find", help="Find the faces in each image first.", rich_help_panel="Faces"),
    ] = False,
    yunet: Yunet = None,
    min_score: MinScore = 0.7,
    detector_size: DetectorSize = None,
    model: ModelOption = None,
    precision: Annotated[str, typer.Option(help="auto, fp32, fp16, int8 or fp8.")] = "auto",
    backend: Backend = "auto",
    threads: Threads = None,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Name the expression of each face, with probabilities.

    Without --find, an image is taken as one face, cropped as FER2013 has it: the
    face fills the frame.

    Examples:
    fer-edge predict face.jpg --model build/r50
    fer-edge predict party.jpg --find --detector-size 1280
    """
    from fer_edge.runtime import Recognizer, read_image

    if not find and (yunet is not None or detector_size is not None):
        raise UsageError("There is no detector without --find.", hint="Add --find.")
    detector = face_detector(yunet, min_score, detector_size) if find else None
    pictures = [read_image(path) for path in images]
    with Recognizer(
        model, precision=precision, backend=backend, threads=threads, device=device
    ) as recognizer:
        if detector is not None:
            found = [recognizer.find(picture, detector=detector) for picture in pictures]
        else:
            crops = recognizer(pictures).probabilities
    if detector is not None:
        _tell_found(images, found, json)
    else:
        _tell_crops(images, crops, json)


def _tell_crops(images: Sequence[Path], crops: "Probabilities", json: bool) -> None:
    if json:
        print_json(
            [{"image": str(path), **_facts(row)} for path, row in zip(images, crops, strict=True)]
        )
        return
    for path, row in zip(images, crops, strict=True):
        _print_face(str(path), row)


def _tell_found(images: Sequence[Path], found: Sequence["list[SeenFace]"], json: bool) -> None:
    if json:
        print_json(
            [
                {
                    "image": str(path),
                    "faces": [
                        {
                            "box": [round(float(value), 1) for value in face.box],
                            "score": face.score,
                            **_facts(face.probabilities),
                        }
                        for face in faces
                    ],
                }
                for path, faces in zip(images, found, strict=True)
            ]
        )
        return
    for path, faces in zip(images, found, strict=True):
        if not faces:
            typer.echo(f"{path}: no face found")
        for face in faces:
            x, y, width, height = map(round, face.box)
            _print_face(f"{path}, {width}x{height} at {x}, {y}", face.probabilities)


def _facts(probabilities: "Vector") -> dict[str, object]:
    from fer_edge.contract import EMOTIONS

    return {
        "emotion": EMOTIONS[probabilities.argmax()],
        "probabilities": dict(zip(EMOTIONS, probabilities.tolist(), strict=True)),
    }


def _print_face(what: str, probabilities: "Vector") -> None:
    from fer_edge.contract import EMOTIONS

    typer.echo(f"{what}: {EMOTIONS[probabilities.argmax()]}")
    for label in (-probabilities).argsort(kind="stable"):
        value = float(probabilities[label])
        typer.echo(f"  {EMOTIONS[label]:<9}{100 * value:6.2f} %  {'█' * round(30 * value)}")
