"""Arguments that several commands take."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fer_edge.errors import UsageError

if TYPE_CHECKING:
    from fer_edge.runtime.detection import Detector

Json = Annotated[bool, typer.Option("--json", help="Print JSON for a program to read.")]
Backend = Annotated[
    str,
    typer.Option(
        help="auto, onnxruntime-cpu, onnxruntime-cuda, openvino, tensorrt or tensorrt-rtx. A "
        "backend that is named and cannot be had is an error."
    ),
]
Device = Annotated[
    str,
    typer.Option(
        help="cpu, cuda or cuda:1 (the second GPU). One that is named and cannot be used is an "
        "error. (default: the first GPU, else the CPU)",
        show_default=False,
    ),
]
Threads = Annotated[int | None, typer.Option(min=1, help="CPU threads. (default: all cores)")]
ModelOption = Annotated[
    Path | None,
    typer.Option(
        "--model",
        "-m",
        help="A name of fer-edge models, an artifact folder or ONNX file. (default: compact)",
    ),
]
ModelArgument = Annotated[
    Path | None,
    typer.Argument(help="Artifact folder or name (see fer-edge models). (default: compact)"),
]

Labels = Annotated[
    str | None,
    typer.Option(
        help="What numbers mean in data that have them for emotions: raf-db, affectnet, ck+ … or "
        "0=angry,1=disgust and so on."
    ),
]
Precisions = Annotated[str, typer.Option(help="auto, fp32, fp16, int8 or fp8.")]
_FACES = "Faces"
RETINAFACE = "retinaface"
DetectorOption = Annotated[
    str | None,
    typer.Option(
        "--detector",
        help="Find faces with retinaface, with yunet=FILE (OpenCV's face_detection_yunet.onnx), or "
        "with a folder that fer-edge detector made. (default: retinaface)",
        rich_help_panel=_FACES,
    ),
]
MinScore = Annotated[
    float,
    typer.Option(
        min=0,
        max=1,
        help="Leave out faces that the detector is less sure of.",
        rich_help_panel=_FACES,
    ),
]
DetectorSize = Annotated[
    int | None,
    typer.Option(
        min=32,
        help="Look for faces with the larger side scaled down to this; smaller is faster and "
        "misses small faces. (default: 640)",
        rich_help_panel=_FACES,
    ),
]
Smoothing = Annotated[
    float,
    typer.Option(
        min=0,
        help="Seconds over which probabilities are smoothed; 0 for none.",
        rich_help_panel=_FACES,
    ),
]


def face_detector(
    detector: str | None, min_score: float, size: int | None, device: str = "auto"
) -> "Detector":
    """The detector that these options mean.

    It keeps off the GPU where the classifier has to; a GPU that is named need not run it, too.
    """
    from fer_edge.runtime.detection import RetinaFace, YuNet

    name = detector or RETINAFACE
    kind, _, file = name.partition("=")
    if kind != "yunet":
        folder = None if name == RETINAFACE else Path(name)
        if folder is not None and not folder.exists():
            raise UsageError(
                f"There is no detector {name!r}.",
                hint=f"Take {RETINAFACE}, yunet=FILE, or a folder made with: fer-edge detector",
            )
        where = "cpu" if device == "cpu" else "auto"
        return RetinaFace(folder, min_score=min_score, size=size or 640, device=where)
    if not file:
        raise UsageError("--detector yunet names no file.", hint="Say --detector yunet=FILE")
    if size is not None:
        raise UsageError("--detector-size is RetinaFace's.", hint="Drop it, or yunet.")
    return YuNet(file, min_score=min_score)


def batches(text: str) -> list[int]:
    """Parse ``1,8,64``; UsageError names the part that is no batch size."""
    sizes = []
    for part in text.split(","):
        if not part.strip().isdigit() or int(part) < 1:
            raise UsageError(
                f"--batch {text}: {part.strip() or 'nothing'} is not a batch size.",
                hint="Give numbers of 1 or more, for example --batch 1,8,64",
            )
        sizes.append(int(part))
    return sizes


def model_or_carried(model: Path | None) -> Path:
    from fer_edge.models.published import find_model

    return find_model(model)


def model_name(path: Path) -> str:
    """What an artifact calls its model; an ONNX file goes by its own name."""
    from fer_edge.artifact import Artifact

    return path.stem if path.suffix == ".onnx" else Artifact.load(path).manifest.model
