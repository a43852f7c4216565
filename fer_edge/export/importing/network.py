"""From any file that holds a network, or its weights, to a float32 graph of record."""

from pathlib import Path

from fer_edge.errors import ExportError, MissingDependencyError, UsageError
from fer_edge.export.importing.importer import Imported, ImportOptions, import_onnx
from fer_edge.file_kinds import file_kind

_WEIGHTS = ("torch", "torch-archive", "safetensors")


def import_network(path: Path, options: ImportOptions, *, model: str | None = None) -> Imported:
    """Bring in an ONNX file, or weights of a network of the registry.

    Parameters
    ----------
    path : Path
    options : ImportOptions
    model : str, optional
        Name of the network that the file holds weights of.

    Raises
    ------
    ExportError
        Another kind of file, or as :func:`~fer_edge.export.importing.importer.import_onnx`.
    ModelError
        Weights that cannot be read or do not fit.
    UsageError
        A model is named for a file that has a graph, or none for one that has weights alone.
    MissingDependencyError
        Weights, and torch is not installed.
    """
    found = file_kind(path)
    if found.kind in _WEIGHTS:
        if model is None:
            raise UsageError(f"{path} is {found.what}.", hint=f"{found.way}.")
        try:
            from fer_edge.export.importing.checkpoints import import_weights
        except ModuleNotFoundError as error:
            raise MissingDependencyError(
                f"Weights need {error.name}, which is not installed.",
                hint="Install it with: pip install 'fer-edge[train]'",
            ) from error
        return import_weights(path, model, options)
    if found.kind in ("artifact", "run"):
        raise ExportError(
            f"{path} is {found.what} already.", hint=f"Export it with: fer-edge export {path}"
        )
    if model is not None and found.kind == "onnx":
        raise UsageError(
            f"--model is for files of weights, and {path} has its network with it.",
            hint="Leave --model out.",
        )
    return import_onnx(path, options)
