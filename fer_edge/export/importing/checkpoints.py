"""From weights of a network of the registry to its graph of record."""

from dataclasses import replace
from pathlib import Path

from fer_edge.contract import EMOTIONS, FACE_SIZE, PIXEL_MEAN, PIXEL_SCALE
from fer_edge.errors import UsageError
from fer_edge.export.importing.importer import Imported, ImportOptions
from fer_edge.export.importing.modules import import_module
from fer_edge.models import build_model
from fer_edge.models.gray import GrayInput
from fer_edge.models.weights import load_weights, read_state


def import_weights(path: Path, name: str, options: ImportOptions) -> Imported:
    """Build a network by name, give it the weights of a file, and make its graph.

    What is not said is taken to be as this package trains: gray faces of 48x48, (pixel - 128) / 64,
    FER2013's labels.

    Parameters
    ----------
    path : Path
        safetensors, a torch state dict, or a checkpoint that holds one.
    name : str
        Of the registry, or of another package's network.
    options : ImportOptions

    Raises
    ------
    ModelError
        The file cannot be read, or is of another network.
    ExportError, UsageError
        As :func:`~fer_edge.export.importing.importer.import_onnx`.
    """
    if options.input is not None or options.output is not None:
        raise UsageError("--input and --output are for ONNX files.", hint="Leave them out.")
    model = build_model(name)
    within = read_state(path).within
    load_weights(model, path)
    own = options.scale is None and options.mean is None and options.std is None
    if own:
        mean, std = (PIXEL_MEAN,), (PIXEL_SCALE,)
        options = replace(options, scale=1.0, mean=mean, std=std)
    options = replace(
        options,
        size=options.size or FACE_SIZE,
        color=options.color or "gray",
        labels=options.labels or EMOTIONS,
    )
    # A network made for colour repeats gray for itself; inside it, colour is what it takes.
    if options.color != "gray" and isinstance(model, GrayInput):
        model = model.get_submodule("network")
    imported = import_module(model, options, name)
    imported.source.path = path
    imported.seen = [line for line in imported.seen if not line.startswith("input ")]
    imported.seen.insert(0, f"weights: all of {name}" + (f", from {within!r}" if within else ""))
    if own:
        imported.seen.append(
            "pixels are taken to be (pixel - 128) / 64, as this package trains; say --scale, "
            "--mean and --std if they were others"
        )
    return imported
