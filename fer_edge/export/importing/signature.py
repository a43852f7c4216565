"""What a network takes and gives, found by shape and type."""

from dataclasses import dataclass
from typing import Literal

import onnx
from onnx import TensorProto, helper

from fer_edge.errors import ExportError
from fer_edge.export.importing.editing import FLOATS

Layout = Literal["NCHW", "NHWC"]
Dims = tuple[int | None, ...]
_CHANNELS = (1, 3)


@dataclass(frozen=True)
class Signature:
    """Input and output of a graph as its author left them."""

    input: str
    dtype: str
    """``"float32"``, ``"uint8"`` and so on."""
    layout: Layout
    channels: int
    size: int | None
    """Side of the square it takes; None where any will do."""
    batch: int | None
    """Number of faces that it takes; None where any will do."""
    output: str
    classes: int | None
    """Numbers for each face; None where running it has to tell."""

    def described(self) -> list[str]:
        """What was seen, in the order in which a person would ask."""
        side = "any size" if self.size is None else f"{self.size}x{self.size}"
        batch = "any batch" if self.batch is None else f"a batch of {self.batch}"
        depth = "1 channel" if self.channels == 1 else f"{self.channels} channels"
        return [f"input {self.input!r}: {self.layout}, {self.dtype}, {depth}, {side}, {batch}"]


def find_signature(
    model: onnx.ModelProto,
    where: str,
    *,
    input_name: str | None = None,
    output_name: str | None = None,
) -> Signature:
    """Look at the inputs and outputs of a graph.

    Parameters
    ----------
    model : onnx.ModelProto
    where : str
        File, for messages.
    input_name, output_name : str, optional
        Where there are several.

    Raises
    ------
    ExportError
        No input is an image or no output a row of numbers per face, or several are.
    """
    constants = {t.name for t in model.graph.initializer}
    inputs = {v.name: v for v in model.graph.input if v.name not in constants}
    images = {name: found for name, v in inputs.items() if (found := _image(v)) is not None}
    taken = _chosen(
        where, "input", images, {n: _shown(v) for n, v in inputs.items()}, input_name,
        "an image: 4 dimensions, 1 or 3 channels, square",
    )  # fmt: skip
    others = [name for name in inputs if name != taken]
    if others:
        raise ExportError(
            f"{where} takes {', '.join(others)} besides the image {taken}.",
            hint="Export the network with the image as its only input.",
        )
    outputs = {v.name: v for v in model.graph.output}
    rows = {n: found for n, v in outputs.items() if (found := _classes(v)) is not None}
    given = _chosen(
        where, "output", rows, {n: _shown(v) for n, v in outputs.items()}, output_name,
        "one number for each class of a face",
    )  # fmt: skip
    layout, channels, size = images[taken]
    dims = _dims(inputs[taken])
    return Signature(
        taken, _dtype(inputs[taken]), layout, channels, size, dims[0], given, rows[given] or None
    )


def _chosen(
    where: str,
    what: str,
    fitting: dict[str, object] | dict[str, int] | dict[str, tuple[Layout, int, int | None]],
    there: dict[str, str],
    named: str | None,
    wanted: str,
) -> str:
    listed = "; ".join(f"{name} {shape}" for name, shape in there.items()) or "none"
    if named is not None:
        if named not in there:
            raise ExportError(
                f"{where} has no {what} {named!r}; it has {listed}.",
                hint=f"Name one of them with --{what}.",
            )
        if named not in fitting:
            raise ExportError(
                f"{where}: {what} {named} {there[named]} is not {wanted}.",
                hint=f"Name another with --{what}, or export the network without it.",
            )
        return named
    if len(fitting) == 1:
        return next(iter(fitting))
    if not fitting:
        raise ExportError(
            f"{where} has no {what} that is {wanted}; it has {listed}.",
            hint="Export the network from one face to one number for each class.",
        )
    raise ExportError(
        f"{where} has {len(fitting)} {what}s that could be meant: {listed}.",
        hint=f"Name one with --{what} {next(iter(fitting))}",
    )


def _image(value: onnx.ValueInfoProto) -> tuple[Layout, int, int | None] | None:
    """Layout, channels and side; None of what is no image."""
    kind, dims = value.type.tensor_type.elem_type, _dims(value)
    if len(dims) != 4 or (kind not in FLOATS and kind != TensorProto.UINT8):
        return None
    for layout, channel, sides in (("NCHW", 1, dims[2:]), ("NHWC", 3, dims[1:3])):
        count = dims[channel]
        if count in _CHANNELS and sides[0] == sides[1] and sides[0] not in _CHANNELS:
            return "NCHW" if layout == "NCHW" else "NHWC", count, sides[0]
    return None


def _classes(value: onnx.ValueInfoProto) -> int | None:
    """Numbers per face, 0 where it is not said; None of what is no row of them."""
    kind = value.type.tensor_type
    if kind.elem_type not in FLOATS:
        return None
    if not kind.HasField("shape"):
        return 0
    dims = _dims(value)
    if len(dims) < 2 or any(d != 1 for d in dims[2:] if d is not None):
        return None
    count = dims[1]
    return 0 if count is None else (count if count > 1 else None)


def _dims(value: onnx.ValueInfoProto) -> Dims:
    dims = value.type.tensor_type.shape.dim
    return tuple(d.dim_value if d.HasField("dim_value") and d.dim_value > 0 else None for d in dims)


def _shown(value: onnx.ValueInfoProto) -> str:
    dims = [
        str(d.dim_value) if d.HasField("dim_value") else (d.dim_param or "?")
        for d in value.type.tensor_type.shape.dim
    ]
    return f"({_dtype(value)} {'x'.join(dims)})"


def _dtype(value: onnx.ValueInfoProto) -> str:
    kind = value.type.tensor_type.elem_type
    return str(helper.tensor_dtype_to_np_dtype(kind)) if kind else "?"
