"""What is done in one piece, what comes of it, and who does it."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Protocol, TypeAlias

from fer_edge.errors import FerEdgeError
from fer_edge.runtime.capture.video_spans import Span
from fer_edge.runtime.detection import Detector
from fer_edge.runtime.row_files import Row


@dataclass(frozen=True)
class Settings:
    """How faces are found and classified: what every worker needs to know, fit to be sent."""

    out: str
    """Folder, absolute, or an address such as s3://bucket/folder."""
    detector: Callable[[], Detector]
    """Makes one; importable by its name, as workers get it in a pickle."""
    model: str | None = None
    """Artifact or ONNX file; the carried model by default."""
    precision: str = "auto"
    backend: str = "auto"
    device: str = "auto"
    threads: int = 1
    """Of each worker."""
    sure: float | None = None
    """Share of the named emotions that should be right, as of a Recognizer."""
    detect_every: int = 1
    smooth_seconds: float = 0.2
    span_seconds: float = 60.0
    """Videos are cut at key frames into spans of about so long."""
    facts: Mapping[str, object] = field(default_factory=dict)
    """How the rows are made, ready for JSON: in the metadata of every file."""


@dataclass(frozen=True)
class Photos:
    """Photos that become one file of rows, or some of them."""

    part: str
    files: tuple[str, ...]
    whole: bool = True
    """Whether these are all of the part: then the worker writes it."""


@dataclass(frozen=True)
class Cut:
    """A video whose spans are to be found."""

    file: str


@dataclass(frozen=True)
class Piece:
    """A span of a video, one file of rows."""

    file: str
    span: Span
    number: int
    of: int

    @property
    def part(self) -> str:
        return f"{video_part(self.file)}-{self.number:05d}-of-{self.of:05d}"


Task: TypeAlias = Photos | Cut | Piece


def video_part(file: str) -> str:
    """How the names of a video's parts begin."""
    return f"video-{_digest(file)}"


def photos_part(files: Sequence[str]) -> str:
    """Name of the part that these photos become."""
    return f"photos-{_digest(files)}"


def _digest(what: object) -> str:
    # ASCII: names that are no UTF-8 have lone surrogates.
    return hashlib.sha256(json.dumps(what).encode()).hexdigest()[:20]


@dataclass(frozen=True)
class ErrorRow:
    """What could not be read."""

    file: str
    piece: int | None
    """Of a video; None of a photo."""
    error: str


@dataclass
class Tally:
    """What was seen."""

    photos: int = 0
    """Those that could not be read among them."""
    pieces: int = 0
    """Of videos."""
    frames: int = 0
    """Of videos, decoded."""
    seconds: float = 0.0
    """Of videos, from the first to the last frame of each piece."""
    faces: int = 0
    emotions: Counter[str] = field(default_factory=Counter)

    def add(self, other: "Tally") -> None:
        """Count what another has seen, too."""
        self.photos += other.photos
        self.pieces += other.pieces
        self.frames += other.frames
        self.seconds += other.seconds
        self.faces += other.faces
        self.emotions.update(other.emotions)


@dataclass
class Collected:
    """Rows that are not written yet."""

    rows: list[Row]
    errors: list[ErrorRow]
    tally: Tally

    def add(self, other: "Collected") -> None:
        """Append what another piece of work gave."""
        self.rows += other.rows
        self.errors += other.errors
        self.tally.add(other.tally)


@dataclass(frozen=True)
class Written:
    """A part that is in its place, and what it says of itself."""

    part: str
    errors: tuple[ErrorRow, ...]
    tally: Tally

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        tally = asdict(replace(self.tally, emotions=Counter()))
        tally["emotions"] = dict(self.tally.emotions)
        return {"part": self.part, "errors": [*map(asdict, self.errors)], "tally": tally}

    @classmethod
    def from_dict(cls, told: Mapping[str, Any]) -> "Written":
        """What :meth:`to_dict` gave. KeyError or TypeError where it is something else."""
        tally = dict(told["tally"])
        return cls(
            told["part"],
            tuple(ErrorRow(**row) for row in told["errors"]),
            Tally(**tally | {"emotions": Counter(tally["emotions"])}),
        )


@dataclass(frozen=True)
class CutUp:
    """A video's spans, or why there are none."""

    spans: tuple[Span, ...]
    error: str | None = None


@dataclass(frozen=True)
class Failed:
    """What ends the whole run: no space, no model, no engine."""

    message: str
    hint: str | None
    exit_code: int

    def error(self) -> FerEdgeError:
        """To raise where the run was started."""
        error = FerEdgeError(self.message, hint=self.hint)
        error.exit_code = self.exit_code
        return error


@dataclass(frozen=True)
class Crashed:
    """The process ended before it answered."""

    how: str
    """As it goes into a sentence: "signal 9"."""


Outcome: TypeAlias = Collected | Written | CutUp | Failed | Crashed


class Executor(Protocol):
    """Runs tasks somewhere."""

    name: str
    """"processes" or "ray"."""

    @property
    def slots(self) -> int:
        """Tasks that are worked on at a time."""

    @property
    def room(self) -> bool:
        """Whether another task would be begun soon."""

    def start(self, settings: Settings) -> None:
        """Begin; called once, before any task."""

    def submit(self, task: Task) -> None:
        """Hand in a task."""

    def wait(self) -> list[tuple[Task, Outcome]]:
        """Wait until a task is done; those that are done since."""

    def close(self) -> None:
        """End what is under way, and wait for that."""
