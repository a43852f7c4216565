"""fer-edge predict"""

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fer_edge.cli.arguments import Finding, Json, ModelOption, Recognizing
from fer_edge.cli.console import complain, counted, json_list, staged_progress
from fer_edge.cli.groups import grouped
from fer_edge.emotions import UNSURE
from fer_edge.errors import FerEdgeError, UsageError

if TYPE_CHECKING:
    from fer_edge.runtime import SeenFace
    from fer_edge.runtime.smoothing import Vector


@grouped
def predict(
    *,
    images: Annotated[
        list[Path],
        typer.Argument(help="Face crops, or photos with --find: JPEG, PNG, BMP, WebP …"),
    ],
    find: Annotated[
        bool,
        typer.Option("--find", help="Find the faces in each image first.", rich_help_panel="Faces"),
    ] = False,
    finding: Finding,
    model: ModelOption = None,
    recognizing: Recognizing,
    json: Json = False,
) -> None:
    """Name the expression of each face, with probabilities.

    Without --find, an image is taken as one face, cropped as FER2013 has it: the
    face fills the frame. Answers come one by one; an image that cannot be read
    costs its own alone, and the exit status is then 1.

    Examples:
    fer-edge predict face.jpg --model build/r50
    fer-edge predict party.jpg --find --detector-size 1280
    """
    from fer_edge.runtime.photos import read_photos

    if not find and finding != Finding():
        raise UsageError("There is no detector without --find.", hint="Add --find.")
    finder = finding.make(recognizing.device, recognizing.threads) if find else None
    failed = 0
    with (
        recognizing.recognizer(model) as recognizer,
        contextlib.closing(read_photos(images)) as photos,
        json_list() if json else contextlib.nullcontext(_print_answer) as tell,
        # Answers in a terminal are progress enough.
        staged_progress(quiet=json or sys.stdout.isatty()) as progress,
    ):
        for count, (path, image) in enumerate(photos, 1):
            answer: dict[str, object] = {"image": str(path)}
            if isinstance(image, FerEdgeError):
                failed += 1
                complain(str(image))
                answer["error"] = str(image)
            elif finder is not None:
                answer["faces"] = [_found(one) for one in recognizer.find(image, detector=finder)]
            else:
                found = recognizer([image])
                answer["emotion"] = found.emotions[0]
                answer["probabilities"] = _named(found.classes, found.probabilities[0])
            if json or len(images) > 1 or "error" not in answer:
                tell(answer)
            counted(progress, "Photos")(count, len(images))
    if failed:
        raise typer.Exit(1)


def _found(face: "SeenFace") -> dict[str, object]:
    return {
        "box": [round(float(value), 1) for value in face.box],
        "score": face.score,
        "emotion": face.emotion,
        "probabilities": _named(face.classes, face.probabilities),
    }


def _named(classes: tuple[str, ...], probabilities: "Vector") -> dict[str, float]:
    return dict(zip(classes, probabilities.tolist(), strict=True))


def _print_answer(answer: dict[str, Any]) -> None:
    name = answer["image"]
    if "error" in answer:
        typer.echo(f"{name}: no answer. {answer['error']}")
    elif "faces" not in answer:
        _print_face(name, answer)
    elif not answer["faces"]:
        typer.echo(f"{name}: no face found")
    else:
        for face in answer["faces"]:
            x, y, width, height = map(round, face["box"])
            _print_face(f"{name}, {width}x{height} at {x}, {y}", face)
    sys.stdout.flush()


def _print_face(what: str, facts: dict[str, Any]) -> None:
    typer.echo(f"{what}: {facts['emotion'] or UNSURE}")
    probabilities: dict[str, float] = facts["probabilities"]
    wide = max(9, *map(len, probabilities))
    for emotion, value in sorted(probabilities.items(), key=lambda pair: -pair[1]):
        typer.echo(f"  {emotion:<{wide}}{100 * value:6.2f} %  {'█' * round(30 * value)}")
