"""One exception tree. Every error says what is wrong, with what, and what to do about it."""


class FerEdgeError(Exception):
    """Base of all errors that FER-Edge raises on purpose.

    Parameters
    ----------
    message : str
        What is wrong and with what (path, row, value).
    hint : str, optional
        What to do about it: an imperative sentence, shown after the message.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        self.message = message
        self.hint = hint
        super().__init__(message if hint is None else f"{message} {hint}")


class UsageError(FerEdgeError):
    """An argument that cannot be meant: batch 0, an unknown model name, conflicting options."""

    exit_code = 2


class MissingDependencyError(FerEdgeError):
    """An optional package that this operation needs is not installed."""


class StorageError(FerEdgeError):
    """A file could not be written or read: no space, no permission, not there."""


class RecordingStoppedError(StorageError):
    """A video that could not be written on; what was written of it is kept, and plays."""

    exit_code = 4


class DataError(FerEdgeError):
    """A data set that cannot be read, or holds what it must not."""


class InputError(FerEdgeError, ValueError):
    """Faces or images handed to an engine or a Recognizer do not fit the input contract."""


class CaptureError(FerEdgeError):
    """A camera, stream or recording that cannot be opened or read."""


class FrameError(CaptureError):
    """One image of a source that cannot be read; those after it may be.

    Parameters
    ----------
    message, hint
        As of every error.
    file : str
        Name of the image.
    """

    def __init__(self, message: str, *, file: str, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.file = file


class BrokenOffError(CaptureError):
    """A source that ended before its end, or of which parts could not be read."""

    exit_code = 3


class OutputError(FerEdgeError):
    """A window, video or broker that results cannot be shown in, written to or sent to."""


class LivePageError(FerEdgeError):
    """The live page cannot be served: the port is taken, or the address is another machine's."""


class ServingError(FerEdgeError):
    """The service cannot be started: the port is taken, or the address is another machine's."""


class ModelError(FerEdgeError):
    """A model that cannot be built, or weights that do not fit it."""


class TrainingError(FerEdgeError):
    """A training run that cannot start, go on or be resumed."""


class ExportError(FerEdgeError):
    """A graph that cannot be exported or rewritten, or differs from the model it came from."""


class CalibrationError(ExportError):
    """Activation ranges that cannot be measured, or a table that belongs to another graph."""


class ArtifactError(FerEdgeError):
    """An artifact folder that is damaged, incomplete or made by an incompatible version."""


class EngineError(FerEdgeError):
    """Base of what goes wrong in an inference engine."""


class BackendUnavailableError(EngineError, MissingDependencyError):
    """The backend asked for cannot run here: its package, driver or GPU is missing."""


class EngineBuildError(EngineError):
    """The builder refused a graph."""


class EngineLoadError(EngineError):
    """A graph or a serialised engine could not be loaded."""


class InferenceError(EngineError):
    """An engine ran but failed, or returned what cannot be probabilities (NaN)."""


def first_line(error: BaseException) -> str:
    """The first line of a message, without its full stop; of an error without one its type."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
