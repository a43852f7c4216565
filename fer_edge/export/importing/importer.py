"""From somebody's ONNX file to the graph of record, held against the file that it came from."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
from numpy.typing import NDArray

from fer_edge.contract import Contract
from fer_edge.errors import ExportError, FerEdgeError, UsageError
from fer_edge.export.graph.view import load_graph, name_outputs, read_contract
from fer_edge.export.importing.batch import any_batch
from fer_edge.export.importing.editing import open_session
from fer_edge.export.importing.labels import example, find_labels, written_labels
from fer_edge.export.importing.normalise import has_form_of, normalise
from fer_edge.export.importing.original import NetworkColor, Original, prepared, probe_images
from fer_edge.export.importing.pretreatment import seen, surround, told
from fer_edge.export.importing.reading import editable, read_model
from fer_edge.export.importing.signature import Signature, find_signature
from fer_edge.export.importing.source import Source

FACES = 64
"""On so many the graph is held against the file that it came from."""
LIMIT = 1e-5
"""Largest difference of a probability that is put down to the order of float32 sums, where logits
are of up to :data:`LOGITS`."""
LOGITS = 10.0
HALF_LIMIT = 5e-3
"""The same where the file computes in float16: it rounds after each of some fifty layers, 0.0005 of
a value at most, and roundings add up like random steps."""

Outputs = Literal["logits", "probabilities"]
_ENDINGS = {"logits": "Softmax", "log-probabilities": "Exp", "probabilities": None}


@dataclass(frozen=True)
class ImportOptions:
    """What a person says of a network; None is for what shall be found."""

    labels: Sequence[str] | None = None
    mean: Sequence[float] | None = None
    std: Sequence[float] | None = None
    scale: float | None = None
    color: NetworkColor | None = None
    size: int | None = None
    input: str | None = None
    output: str | None = None
    outputs: Outputs | None = None


@dataclass
class Imported:
    """A network in the form of this package, and what was seen on the way."""

    source: Source
    seen: list[str] = field(default_factory=list)
    """For people, a line each."""


def import_onnx(path: Path, options: ImportOptions = ImportOptions()) -> Imported:
    """Make the graph of record of an ONNX file.

    Parameters
    ----------
    path : Path
    options : ImportOptions

    Raises
    ------
    ExportError
        Not ONNX, not a network from a face to classes, something is not known and has to be
        said, or the outcome differs from the file by more than 1e-5.
    UsageError
        An option that this network cannot have.
    """
    original = read_model(path)
    imported = import_model(original, str(path), options)
    facts = {p.key: p.value for p in original.metadata_props}
    name = facts.get("fer_edge.model") or path.stem
    imported.source = replace(imported.source, name=name, path=path)
    return imported


def import_kept(path: Path) -> Source:
    """A graph that keeps the contract already, and that another program wrote.

    One that is of the normal form as it stands keeps its names, by which calibration tables know
    it.

    Raises
    ------
    ExportError
        As :func:`import_onnx`.
    """
    model = read_model(path)
    labels = read_contract(model, path).labels
    source = import_onnx(path, ImportOptions(labels=labels, outputs="probabilities")).source
    if has_form_of(model, source.graph):
        source.graph = load_graph(path)
        name_outputs(source.graph, source.contract)
    return source


def import_model(original: onnx.ModelProto, where: str, options: ImportOptions) -> Imported:
    """As :func:`import_onnx`, of a graph in memory; ``where`` is its name in messages."""
    try:
        return _imported(original, where, options)
    except ExportError as error:
        if where in error.message:
            raise
        raise ExportError(f"{where}: {error.message}", hint=error.hint) from error
    except FerEdgeError:
        raise
    except Exception as error:  # what a damaged graph does to a pass has no common base
        raise ExportError(
            f"{where} has a graph that cannot be brought in ({type(error).__name__}: "
            f"{str(error).partition(chr(10))[0]}).",
            hint="Export the network again; where ONNX Runtime runs the file, report it with the "
            "versions that fer-edge doctor prints.",
        ) from error


def _imported(original: onnx.ModelProto, where: str, options: ImportOptions) -> Imported:
    signature = find_signature(
        original, where, input_name=options.input, output_name=options.output
    )
    lines = signature.described()
    graph = editable(original, where)
    graph.outputs = [v for v in graph.outputs if v.name == signature.output]
    color = _color(signature, options.color)
    contract_size = _size(signature, options.size, where)
    size = signature.size or contract_size
    shape = (signature.channels, size, size)
    if signature.layout == "NHWC":
        shape = (size, size, signature.channels)
    fixed = any_batch(graph, signature.input, shape, where)
    if fixed:
        lines.append("batch: any, though the file says one number")
    normalisation = told(options.scale, options.mean, options.std, signature.channels)
    normalisation = normalisation or seen(graph, signature)
    if normalisation is None:
        raise _unsaid(signature, where, options.labels is None and not written_labels(original))
    lines.append(f"pixels: {normalisation.said}")
    original_run = Original(original, signature, size)
    faces = probe_images(FACES, 1 if color == "gray" else 3, contract_size)
    answers = original_run(prepared(faces, signature, normalisation, color, size))
    kind, reason = _kind(answers, options.outputs, where)
    lines.append(f"output {signature.output!r}: {answers.shape[1]} {kind}, {reason}")
    labels = find_labels(options.labels, answers.shape[1], original, where)
    contract = _contract(contract_size, "gray" if color == "gray" else "rgb", labels)
    lines.insert(1, f"faces: {contract.input_text}{_colour_note(signature, options.color, color)}")
    surround(
        graph,
        signature,
        contract,
        normalisation,
        reversed_channels=color == "bgr",
        ending=_ENDINGS[kind],
    )
    model = normalise(graph)
    difference = _difference(model, faces, _probabilities(answers, kind))
    limit = HALF_LIMIT if original_run.half else rounding_limit(answers, kind)
    if not difference <= limit:
        raise ExportError(
            f"What was made of {where} differs from it by {difference:.1e} on {len(faces)} faces, "
            f"more than {limit:.0e}.",
            hint="Report this with the versions that fer-edge doctor prints.",
        )
    lines.append(f"differs from the original by {difference:.1e} at most on {len(faces)} faces")
    source = Source(where, model, contract=contract, parity={"fp32": difference})
    return Imported(source, lines)


def rounding_limit(answers: NDArray[np.float64], kind: str) -> float:
    """Largest difference of a probability that float32 may make by the order of its sums.

    It rounds a logit by some fifteen units of its last place, 2e-6 of the largest (ShuffleNet V2
    against float64), and a probability changes by half as much: 1e-5 at logits of ten. Faces that
    are none, as those that graphs are held against, may have logits of hundreds.

    Parameters
    ----------
    answers : float64 array, shape (N, K)
        What the file gives.
    kind : {"logits", "log-probabilities", "probabilities"}
    """
    if kind != "logits":
        return LIMIT
    return LIMIT * max(1.0, float(np.abs(answers).max()) / LOGITS)


def _kind(answers: NDArray[np.float64], said: Outputs | None, where: str) -> tuple[str, str]:
    """What the numbers are, and how that is known."""
    if not np.isfinite(answers).all():
        raise ExportError(
            f"{where} gives numbers that are not finite, even as it came.",
            hint="Check its weights, and --mean, --std and --scale.",
        )
    sums = answers.sum(axis=1)
    shares = bool((answers > -1e-6).all() and (np.abs(sums - 1) < 1e-3).all())
    if said is not None:
        if said == "probabilities" and not shares:
            raise ExportError(
                f"{where} gives rows that sum to {sums.min():.3g} to {sums.max():.3g}, which are "
                "no probabilities.",
                hint="Bring it in with a softmax that makes probabilities of them: fer-edge import "
                f"{where} --logits",
            )
        return said, "as you say"
    if shares:
        return "probabilities", "since all are positive and sum to 1"
    logarithms = np.exp(np.minimum(answers, 50)).sum(axis=1)
    if (answers < 1e-6).all() and (np.abs(logarithms - 1) < 1e-3).all():
        return "log-probabilities", "since their exponentials sum to 1"
    if (answers >= 0).all() and (answers <= 1).all():
        raise ExportError(
            f"{where} gives numbers from 0 to 1 that do not sum to 1 ({sums.min():.3g} to "
            f"{sums.max():.3g}): each class may have a sigmoid of its own.",
            hint="Export the network without its last sigmoid, or say --logits for a softmax over "
            "what it gives.",
        )
    reason = f"since they lie between {answers.min():.3g} and {answers.max():.3g}"
    return "logits", f"{reason}: softmax is added"


def _probabilities(answers: NDArray[np.float64], kind: str) -> NDArray[np.float64]:
    if kind == "probabilities":
        return answers
    powers = np.exp(answers - answers.max(axis=1, keepdims=True))
    result: NDArray[np.float64] = powers / powers.sum(axis=1, keepdims=True)
    return result


def _difference(
    model: onnx.ModelProto, faces: NDArray[np.uint8], expected: NDArray[np.float64]
) -> float:
    session = open_session(model, plain=False)
    # Batches of several sizes: what is fixed to one of them fails here.
    parts = [faces[:1], faces[1:6], *np.array_split(faces[6:], max(len(faces) // 16, 1))]
    rows = [session.run(None, {"faces": part})[0] for part in parts if len(part)]
    return float(np.abs(np.concatenate(rows) - expected).max())


def _color(signature: Signature, said: NetworkColor | None) -> NetworkColor:
    if signature.channels == 1:
        if said in ("rgb", "bgr"):
            raise UsageError(
                f"--color {said}: the network takes one channel.", hint="Leave --color out."
            )
        return "gray"
    return said or "rgb"


def _colour_note(signature: Signature, said: NetworkColor | None, color: NetworkColor) -> str:
    if signature.channels == 1:
        return ""
    if color == "gray":
        return ", repeated for its three channels"
    if color == "bgr":
        return ", turned to BGR inside"
    if said is None:
        return " (taken for RGB: say --color bgr or --color gray if it was trained so)"
    return ""


def _size(signature: Signature, said: int | None, where: str) -> int:
    from fer_edge.contract import SIZES

    size = said or signature.size
    if size is None:
        raise ExportError(
            f"{where} takes images of any size.", hint="Say which it was trained on: --size 112"
        )
    if said is None and not SIZES[0] <= size <= SIZES[1]:
        raise ExportError(
            f"{where} takes images of {size}x{size}, and faces have {SIZES[0]} to {SIZES[1]}.",
            hint=f"Say --size {SIZES[size > SIZES[1]]}: faces of that size are resized inside.",
        )
    return size


def _contract(size: int, color: Literal["gray", "rgb"], labels: tuple[str, ...]) -> Contract:
    try:
        return Contract(size, color, labels)
    except ValueError as error:
        raise UsageError(f"{str(error)[:1].upper()}{str(error)[1:]}.") from error


def _unsaid(signature: Signature, where: str, labels: bool) -> ExportError:
    """Nothing tells what the network wants for a pixel, nor, perhaps, what its outputs are."""
    nor = ", nor what its outputs are" if labels else ""
    also = f" And its outputs in their order: --labels {example(signature.classes or 0)}."
    return ExportError(
        f"{where} does not say which numbers it wants for a pixel{nor}; it has "
        f"{signature.described()[0]}.",
        hint="Say how it was trained: --scale 255 for pixels from 0 to 1; --scale 255 --mean 0.5 "
        "--std 0.5 for -1 to 1; --scale 255 --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225 for "
        f"torchvision's; --scale 1 for 0 to 255.{also if labels else ''}",
    )
