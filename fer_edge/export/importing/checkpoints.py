"""From weights of a network of the registry to its graph of record."""

from dataclasses import replace
from pathlib import Path

from fer_edge.contract import PIXEL_MEAN, PIXEL_SCALE, Color
from fer_edge.errors import UsageError
from fer_edge.export.importing.importer import Imported, ImportOptions
from fer_edge.export.importing.modules import import_module
from fer_edge.models import build_model, model_contract
from fer_edge.models.gray import GrayInput
from fer_edge.models.weights import load_weights, read_state


def import_weights(path: Path, name: str, options: ImportOptions) -> Imported:
    """Build a network by name, give it the weights of a file, and make its graph.

    What is not said is taken to be as the network's own: gray faces of 48x48 and FER2013's labels
    for those of this package, and (pixel - 128) / 64 for all that it trains.

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
    asked: Color | None = "rgb" if options.color == "bgr" else options.color
    contract = model_contract(name, options.size, asked)
    model = build_model(name, contract)
    within = read_state(path).within
    load_weights(model, path)
    own = options.scale is None and options.mean is None and options.std is None
    if own:
        mean, std = (PIXEL_MEAN,), (PIXEL_SCALE,)
        options = replace(options, scale=1.0, mean=mean, std=std)
    options = replace(
        options,
        size=contract.size,
        color=options.color or contract.color,
        labels=options.labels or contract.labels,
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
