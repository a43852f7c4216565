"""What a worker does: reads, finds, classifies, and puts a part in its place."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from fer_edge.archive.parts import read_part, write_part
from fer_edge.archive.store import open_store
from fer_edge.archive.tasks import (
    Collected,
    Cut,
    CutUp,
    ErrorRow,
    Failed,
    Outcome,
    Piece,
    Settings,
    Tally,
    Task,
)
from fer_edge.errors import (
    ArtifactError,
    CaptureError,
    EngineError,
    FerEdgeError,
    FrameError,
    MissingDependencyError,
    ModelError,
    StorageError,
    UsageError,
)
from fer_edge.files import shown
from fer_edge.runtime.capture import Camera
from fer_edge.runtime.capture.base import Image, Reader, Source
from fer_edge.runtime.capture.video_spans import Span, find_spans, open_span
from fer_edge.runtime.preprocess import read_image
from fer_edge.runtime.recognizer import Recognizer
from fer_edge.runtime.recording import analyze
from fer_edge.runtime.row_files import Row

_OURS = (
    ArtifactError,
    EngineError,
    MissingDependencyError,
    ModelError,
    StorageError,
    UsageError,
)
"""What is no fault of the file that is looked at: it would befall all that follow, too."""


class Worker:
    """Does tasks, one at a time, with one model and one detector.

    Parameters
    ----------
    settings : Settings

    Raises
    ------
    FerEdgeError
        The model, the detector or the place to write to cannot be opened.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._store = open_store(settings.out)
        self._detector = settings.detector()
        self._recognizer = Recognizer(
            settings.model,
            precision=settings.precision,
            backend=settings.backend,
            device=settings.device,
            threads=settings.threads,
            sure=settings.sure,
        )

    def do(self, task: Task) -> Outcome:
        """Do a task; what is wrong with a file is in the outcome.

        Raises
        ------
        FerEdgeError
            What is wrong with all of them: no space, an engine that fails.
        """
        if isinstance(task, Cut):
            return self._cut(task)
        whole = isinstance(task, Piece) or task.whole
        # A worker that was thought dead may have been quicker.
        if whole and (written := read_part(self._store, task.part)) is not None:
            return written
        found = self._piece(task) if isinstance(task, Piece) else self._photos(task.files)
        if not whole:
            return found
        labels = self._recognizer.contract.labels
        return write_part(self._store, task.part, found, self._settings.facts, labels)

    def close(self) -> None:
        """Free the engine."""
        self._recognizer.close()

    def _cut(self, task: Cut) -> CutUp:
        try:
            check_file(task.file)
            spans = find_spans(Path(task.file), self._settings.span_seconds)
        except _OURS:
            raise
        except Exception as error:
            return CutUp((Span(),), told(error))
        return CutUp(tuple(spans))

    def _photos(self, files: tuple[str, ...]) -> Collected:
        try:
            return self._read(lambda: _PhotoReader(files), files, "photos")
        except _OURS:
            raise
        except Exception as error:
            if len(files) > 1:  # which of them it is shows when each is alone
                found = Collected([], [], Tally())
                for file in files:
                    found.add(self._photos((file,)))
                return found
            return unread_photo(files[0], told(error))

    def _piece(self, piece: Piece) -> Collected:
        try:
            return self._read(
                lambda: open_span(Path(piece.file), piece.span, self._settings.threads),
                None,
                piece.file,
                piece,
            )
        except _OURS:
            raise
        except Exception as error:
            return unread_piece(piece, told(error))

    def _read(
        self,
        opened: Callable[[], Reader],
        files: tuple[str, ...] | None,
        name: str,
        piece: Piece | None = None,
    ) -> Collected:
        """Rows of photos or of a piece, and what could not be read of them."""
        settings = self._settings
        rows: list[Row] = []
        frames, first, last = 0, None, 0.0
        with Camera(Source(shown(name), False, opened)) as camera:
            for moment in analyze(
                lambda faces: self._recognizer(faces).probabilities,
                camera,
                self._detector,
                detect_every=settings.detect_every if piece else 1,
                smooth_seconds=settings.smooth_seconds,
                contract=self._recognizer.contract,
            ):
                rows += moment.with_threshold(self._recognizer.threshold).to_rows()
                frames += 1
                if moment.frame.position is not None:
                    last = moment.frame.position
                    first = last if first is None else first
        if piece is None:
            assert files is not None
            if camera.error is not None:
                raise camera.error
            errors = [ErrorRow(one.file, None, str(one)) for one in camera.failures]
            tally = Tally(photos=len(files))
        else:
            errors = [] if camera.error is None else [_row_of(piece, told(camera.error))]
            tally = Tally(pieces=1, frames=frames, seconds=last - (first or 0.0))
        rows = list(_placed(rows, piece))
        tally.faces = len(rows)
        tally.emotions = Counter(str(row["emotion"] or "unsure") for row in rows)
        return Collected(rows, errors, tally)


def _placed(rows: Iterable[Row], piece: Piece | None) -> Iterator[Row]:
    """Rows as an archive has them: with the whole path, and frames of the whole video."""
    for row in rows:
        if piece is None:
            yield {**row, "frame": 0, "piece": None}
        else:
            frame = piece.span.first + int(str(row["frame"]))
            yield {**row, "file": shown(piece.file), "frame": frame, "piece": piece.number}


class _PhotoReader:
    """Photos by their whole paths; one that cannot be read costs its own rows alone."""

    def __init__(self, files: tuple[str, ...]) -> None:
        self._files = iter(files)

    def read(self) -> tuple[Image, None, None, str] | None:
        file = next(self._files, None)
        if file is None:
            return None
        try:
            check_file(file)
            image = np.ascontiguousarray(read_image(file)[..., ::-1])
        except FerEdgeError as error:
            raise FrameError(shown(error.message), file=shown(file), hint=error.hint) from error
        return image, None, None, shown(file)

    def close(self) -> None:
        self._files = iter(())


def check_file(file: str) -> None:
    """Raise CaptureError unless this is a file: to open a pipe may take for ever."""
    if not Path(file).is_file():
        there = Path(file).exists()
        raise CaptureError(
            f"{file} is no file." if there else f"There is no file {file}.",
            hint="Take it off the list." if there else "Was it moved?",
        )


def told(error: BaseException) -> str:
    """What is wrong, as an error row has it."""
    if isinstance(error, FerEdgeError):
        return shown(str(error))
    return shown(f"{type(error).__name__}: {error}".rstrip(": "))


def unread_photo(file: str, error: str) -> Collected:
    """What a photo that cannot be read comes to."""
    return Collected([], [ErrorRow(shown(file), None, error)], Tally(photos=1))


def unread_piece(piece: Piece, error: str) -> Collected:
    """What a piece that cannot be read comes to."""
    return Collected([], [_row_of(piece, error)], Tally(pieces=1))


def _row_of(piece: Piece, error: str) -> ErrorRow:
    return ErrorRow(shown(piece.file), piece.number, error)


_worker: tuple[Settings, Worker] | None = None
"""Of this process: a model takes longer to open than a photo to classify."""


def do_task(settings: Settings, task: Task) -> Outcome:
    """Do a task with this process's worker; never raises what a person can cause."""
    global _worker
    try:
        if _worker is None or _worker[0] != settings:
            if _worker is not None:
                _worker[1].close()
            _worker = None
            _worker = settings, Worker(settings)
        return _worker[1].do(task)
    except FerEdgeError as error:
        return Failed(error.message, error.hint, error.exit_code)
    except MemoryError:
        return Failed("Out of memory.", "Take fewer --workers.", 1)
