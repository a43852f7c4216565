"""fer-edge predict"""

from pathlib import Path
from typing import Annotated

import typer

from fer_edge.cli.arguments import Backend, Json, ModelOption, Threads
from fer_edge.cli.console import print_json


def predict(
    images: Annotated[list[Path], typer.Argument(help="Face crops: JPEG, PNG, BMP, WebP …")],
    model: ModelOption = None,
    precision: Annotated[str, typer.Option(help="auto, fp32, fp16, int8 or fp8.")] = "auto",
    backend: Backend = "auto",
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Name the expression of each face, with probabilities.

    An image is taken as one face, cropped as FER2013 has it: the face fills the
    frame.

    Example:
    fer-edge predict photo.jpg --model build/r50
    """
    from fer_edge.contract import EMOTIONS
    from fer_edge.runtime import Recognizer, read_image

    faces = [read_image(path) for path in images]
    with Recognizer(model, precision=precision, backend=backend, threads=threads) as recognizer:
        prediction = recognizer(faces)
    rows = zip(images, prediction.emotions, prediction.probabilities, strict=True)
    if json:
        print_json(
            [
                {
                    "image": str(path),
                    "emotion": emotion,
                    "probabilities": dict(zip(EMOTIONS, map(float, values), strict=True)),
                }
                for path, emotion, values in rows
            ]
        )
        return
    for path, emotion, values in rows:
        ranked = sorted(zip(EMOTIONS, values, strict=True), key=lambda pair: -pair[1])
        typer.echo(f"{path}: {emotion}")
        for name, value in ranked:
            typer.echo(f"  {name:<9}{100 * value:6.2f} %  {'█' * round(30 * value)}")
