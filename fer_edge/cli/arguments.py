"""Arguments that several commands take."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

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
    typer.Option("--model", "-m", help="Artifact folder or ONNX file. (default: the carried one)"),
]
ModelArgument = Annotated[
    Path | None, typer.Argument(help="Artifact folder. (default: the carried one)")
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
    detector: str | None,
    min_score: float,
    size: int | None,
    device: str = "auto",
    threads: int | None = None,
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
        return RetinaFace(
            folder, min_score=min_score, size=size or 640, device=where, threads=threads
        )
    if not file:
        raise UsageError("--detector yunet names no file.", hint="Say --detector yunet=FILE")
    if size is not None:
        raise UsageError("--detector-size is RetinaFace's.", hint="Drop it, or yunet.")
    return YuNet(file, min_score=min_score)


@dataclass(frozen=True)
class DetectorChoice:
    """What makes the detector that options mean, in other processes, too: fit for a pickle."""

    detector: str | None
    min_score: float
    size: int | None
    device: str
    threads: int

    def __call__(self) -> "Detector":
        return face_detector(self.detector, self.min_score, self.size, self.device, self.threads)


_VALUES: Final[Mapping[str, str]] = {"--ray": "auto"}
"""Options that may stand without a value, and what they mean then."""


def with_values(arguments: Sequence[str]) -> list[str]:
    """Arguments with a value for each option that may stand without one, which Typer has not."""
    given = []
    for argument, following in itertools.zip_longest(arguments, arguments[1:]):
        given.append(argument)
        if argument in _VALUES and (following is None or following.startswith("-")):
            given.append(_VALUES[argument])
    return given


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
    from fer_edge.models.carried import carried_model

    return carried_model() if model is None else model


def model_name(path: Path) -> str:
    """What an artifact calls its model; an ONNX file goes by its own name."""
    from fer_edge.artifact import Artifact

    return path.stem if path.suffix == ".onnx" else Artifact.load(path).manifest.model
