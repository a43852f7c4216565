"""A torch module of one's own, exported."""

from collections.abc import Sequence
from pathlib import Path

from torch import nn

from fer_edge.artifact import Artifact
from fer_edge.contract import Precision
from fer_edge.data import load_dataset
from fer_edge.export.importing.importer import ImportOptions
from fer_edge.export.importing.modules import import_module
from fer_edge.export.importing.original import NetworkColor
from fer_edge.export.pipeline import export_model


def export_module(
    module: nn.Module,
    out: str | Path,
    *,
    size: int,
    color: NetworkColor = "gray",
    scale: float = 255.0,
    mean: Sequence[float] = (0.0,),
    std: Sequence[float] = (1.0,),
    labels: Sequence[str] | None = None,
    name: str | None = None,
    fp16: bool = False,
    int8: bool = False,
    fp8: bool = False,
    data: str | Path | None = None,
    method: str = "auto",
    max_drop: float | None = None,
) -> Artifact:
    """Make an artifact of a network of one's own.

    The network takes float32 faces (N, channels, size, size) as ``(pixel / scale - mean) / std``
    and gives logits or probabilities (N, classes). The artifact takes raw uint8 faces. It is held
    against the module before anything is written.

    Parameters
    ----------
    module : torch.nn.Module
        Is not changed; a copy of it is put into evaluation mode, on the CPU.
    out : str or Path
        Artifact folder. Replaced as a whole when everything has succeeded.
    size : int
        Side of the faces in pixels, 24 to 260.
    color : {"gray", "rgb", "bgr"}
        What it was trained on. A network of three channels may have been trained on gray.
    scale, mean, std : float, sequence of float, sequence of float
        One number, or one for each channel of the network.
    labels : sequence of str, optional
        What the outputs are, in their order; those of FER2013 by default.
    name : str, optional
        Of the model; the class's by default.
    fp16, int8, fp8 : bool
        Write these precisions, too.
    data : str or Path, optional
        A data set that calibrates INT8 and FP8, and scores every precision.
    method, max_drop
        As in :func:`fer_edge.export.pipeline.export_model`.

    Returns
    -------
    Artifact

    Raises
    ------
    ExportError
        torch cannot export the module, or the graph differs from it.
    UsageError
        A size, colour, labels or ``out`` that cannot be.
    CalibrationError
        INT8 or FP8 without data.
    DataError
        ``data`` cannot be read.
    """
    options = ImportOptions(labels, mean, std, scale, color, size)
    imported = import_module(module, options, name or type(module).__name__)
    asked: dict[Precision, bool] = {"fp32": True, "fp16": fp16, "int8": int8, "fp8": fp8}
    contract = imported.source.contract
    return export_model(
        imported.source,
        Path(out),
        precisions=[precision for precision, wanted in asked.items() if wanted],
        data=None if data is None else load_dataset(data, "val", contract=contract),
        method=method,
        max_drop=max_drop,
    )
