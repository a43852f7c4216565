"""Arguments that several commands take."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from fer_edge.errors import UsageError
from fer_edge.files import shown

if TYPE_CHECKING:
    from fer_edge.runtime import Recognizer
    from fer_edge.runtime.detection import Detector

CALIBRATION_METHODS: Final = "entropy, minmax, moving-average, mse, percentile, sqnr"
"""Of this package, as --help has them."""
Json = Annotated[bool, typer.Option("--json", help="Print JSON for a program to read.")]
Backend = Annotated[
    str,
    typer.Option(
        help="auto, onnxruntime-cpu, onnxruntime-cuda, openvino, tensorrt or tensorrt-rtx. A "
        "backend that is named and cannot be had is an error."
    ),
]
Threads = Annotated[int | None, typer.Option(min=1, help="CPU threads. (default: all cores)")]
Device = Annotated[
    str,
    typer.Option(
        help="cpu, cuda or cuda:1 (the second GPU). One that is named and cannot be used is an "
        "error. (default: the first GPU, else the CPU)",
        show_default=False,
    ),
]


@dataclass(frozen=True)
class Processor:
    """What a network runs on."""

    backend: Backend = "auto"
    threads: Threads = None
    device: Device = "auto"


@dataclass(frozen=True)
class Running(Processor):
    """What a network runs on and in."""

    precision: Annotated[str, typer.Option(help="auto, fp32, fp16, int8 or fp8.")] = "auto"


@dataclass(frozen=True)
class Recognizing(Running):
    """What a network runs on and in, and when it names an emotion."""

    sure: Annotated[
        float | None,
        typer.Option(
            help="Share of the named emotions that should be right, as 0.9: the others are "
            "unsure. By the thresholds that the manifest records of val. (default: name all)"
        ),
    ] = None

    def recognizer(self, model: Path | None) -> "Recognizer":
        """Opened; raises as :class:`fer_edge.Recognizer`."""
        from fer_edge.runtime import Recognizer

        return Recognizer(model, **vars(self))


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
_FACES = "Faces"
RETINAFACE = "retinaface"


@dataclass(frozen=True)
class Finding:
    """How faces are found."""

    detector: Annotated[
        str | None,
        typer.Option(
            help="Find faces with retinaface, with yunet=FILE (OpenCV's "
            "face_detection_yunet.onnx), or with a folder that fer-edge detector made. "
            "(default: retinaface)",
            rich_help_panel=_FACES,
        ),
    ] = None
    min_score: Annotated[
        float,
        typer.Option(
            min=0,
            max=1,
            help="Leave out faces that the detector is less sure of.",
            rich_help_panel=_FACES,
        ),
    ] = 0.7
    detector_size: Annotated[
        int | None,
        typer.Option(
            min=32,
            help="Look for faces with the larger side scaled down to this; smaller is faster and "
            "misses small faces. (default: 640)",
            rich_help_panel=_FACES,
        ),
    ] = None

    @property
    def name(self) -> str:
        """Of the detector, as people say it."""
        return self.detector or RETINAFACE

    def make(self, device: str = "auto", threads: int | None = None) -> "Detector":
        """The detector that these options mean, on all cores or on ``threads``.

        It keeps off the GPU where the classifier has to; a GPU that is named need not run it, too.
        """
        from fer_edge.runtime.detection import RetinaFace, YuNet

        kind, _, file = self.name.partition("=")
        if kind != "yunet":
            folder = None if self.name == RETINAFACE else Path(self.name)
            if folder is not None and not folder.exists():
                raise UsageError(
                    f"There is no detector {self.name!r}.",
                    hint=f"Take {RETINAFACE}, yunet=FILE, or a folder made with: fer-edge detector",
                )
            where = "cpu" if device == "cpu" else "auto"
            size = self.detector_size or 640
            return RetinaFace(
                folder, min_score=self.min_score, size=size, device=where, threads=threads
            )
        if not file:
            raise UsageError("--detector yunet names no file.", hint="Say --detector yunet=FILE")
        if self.detector_size is not None:
            raise UsageError("--detector-size is RetinaFace's.", hint="Drop it, or yunet.")
        return YuNet(file, min_score=self.min_score)


@dataclass(frozen=True)
class Following(Finding):
    """How faces are found and followed from frame to frame."""

    detect_every: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Frames from one detection to the next. (default: 1 for recordings, for live "
            "sources what keeps up with them)",
            rich_help_panel=_FACES,
        ),
    ] = None
    smoothing: Annotated[
        float,
        typer.Option(
            min=0,
            help="Seconds over which probabilities are smoothed; 0 for none.",
            rich_help_panel=_FACES,
        ),
    ] = 0.2


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
        if not part.strip().isdecimal() or int(part) < 1:
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

    return shown(path.stem) if path.suffix == ".onnx" else Artifact.load(path).manifest.model
