"""The calibration table: what an INT8 export needs instead of data."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import onnx
import pydantic

from fer_edge.errors import CalibrationError
from fer_edge.export.graph.view import graph_hash, layer_hashes, output_channels
from fer_edge.export.quantization.equalisation import LARGEST_EXPONENT, equalise
from fer_edge.export.quantization.placement import Placement, place
from fer_edge.export.quantization.scales import FLOAT16_MAX
from fer_edge.files import storage_errors, write_text

SCHEMA = 1
_Exponent = Annotated[int, pydantic.Field(ge=-LARGEST_EXPONENT, le=LARGEST_EXPONENT)]
_Scale = Annotated[float, pydantic.Field(gt=0, le=FLOAT16_MAX)]
_Shift = Annotated[float, pydantic.Field(ge=-FLOAT16_MAX, le=FLOAT16_MAX)]


class LayerSensitivity(pydantic.BaseModel):
    """What quantising one layer costs, all others in float32; differences are against float32."""

    model_config = pydantic.ConfigDict(extra="forbid")

    divergence: float
    """Mean Kullback-Leibler divergence of the probabilities from float32's, in nats."""
    accuracy_drop: float
    """0..1; negative where the layer gained."""
    recall_drop: dict[str, float]
    """Per emotion."""


class CalibrationTable(pydantic.BaseModel):
    """``calibration.json``: what an INT8 export needs instead of data."""

    model_config = pydantic.ConfigDict(extra="forbid")

    schema_version: int = SCHEMA
    model: str
    graph: str
    """Hash of the float32 graph that the scales belong to."""
    method: str
    """That the scales were found by; a table of a method that is not installed is as good."""
    samples: int
    seed: int
    data: str
    """Fingerprint of the data set."""
    versions: dict[str, str]
    scales: dict[str, _Scale]
    """Tensor name to scale: one step, in the tensor's own unit."""
    zero_points: dict[str, Annotated[int, pydantic.Field(ge=0, le=255)]] = {}
    """Of tensors that only the form for CPUs quantises and that can be negative, as uint8."""
    lows: dict[str, Annotated[float, pydantic.Field(le=0, ge=-FLOAT16_MAX)]] = {}
    """Smallest values of tensors that reach far less below zero than above, as after a LeakyReLU:
    the form for CPUs covers no more. Tables of earlier versions have none."""
    reach: float = pydantic.Field(255 / 127, ge=0.1, le=10)
    """Largest value after a ReLU in the form for CPUs, in units of the graph of record's.

    Tables of earlier versions have none: both forms had the same steps.
    """
    layers: dict[str, str] = {}
    """Weighted layer to the hash of its weights; tables of earlier versions have none."""
    exponents: dict[str, list[_Exponent]] = {}
    """Powers of two by which equalisation scales channels."""
    shifts: dict[str, list[_Shift]] = {}
    """What INT8 adds to the bias of each layer, per output channel, for its rounded weights."""
    floating: dict[str, str] = {}
    """Tensors that are quantised nowhere, and why; they have no scale."""
    kept: dict[str, str] = {}
    """Layers that stay in floating point, and why."""
    sensitivity: dict[str, LayerSensitivity] = {}
    """What quantising each layer alone costs, where it was measured."""

    @pydantic.model_validator(mode="before")
    @classmethod
    def _without_exponents(cls, fields: Any) -> Any:
        """Read tables of before ``exponents``: without equalisation they mean what they meant."""
        if isinstance(fields, dict) and fields.get("equalised") is False:
            return {name: value for name, value in fields.items() if name != "equalised"}
        return fields

    @classmethod
    def load(cls, path: Path) -> "CalibrationTable":
        """Read a table; CalibrationError if it is none."""
        with storage_errors(path):
            text = path.read_bytes()
        return cls.parse(text, str(path))

    @classmethod
    def parse(cls, text: bytes, where: str) -> "CalibrationTable":
        try:
            return cls.model_validate_json(text)
        except pydantic.ValidationError as error:
            problem = error.errors()[0]
            reason = ": ".join(filter(None, [".".join(map(str, problem["loc"])), problem["msg"]]))
            raise CalibrationError(
                f"{where} is not a calibration table: {reason}.",
                hint="Calibrate again, from the run or its fp32.onnx: "
                "fer-edge export fp32.onnx --int8 --data FER2013",
            ) from error

    def save(self, path: Path) -> None:
        write_text(path, self.model_dump_json(indent=2) + "\n")

    def check(self, model: onnx.ModelProto) -> None:
        """Raise CalibrationError unless the table belongs to this float32 graph."""
        placement = self.placement(model, kept=())
        wanted = {*placement.activations, *placement.cpu_activations}
        missing = sorted(wanted - self.scales.keys()) or sorted(self.scales.keys() - wanted)
        same_graph = self.graph == graph_hash(model)
        if missing and same_graph:
            raise CalibrationError(
                f"The calibration table was made by another version of fer-edge, which quantised "
                f"other tensors of {self.model}: the two differ at {missing[0]}.",
                hint="Calibrate again with --data.",
            )
        if missing:
            raise CalibrationError(
                f"The calibration table is of another model ({self.model}): "
                f"the two differ at {missing[0]}.",
                hint="Calibrate this model with --data.",
            )
        if not same_graph:
            hashes = layer_hashes(model)
            other = [name for name, found in self.layers.items() if hashes.get(name) != found]
            where = f": {other[0]} is the first layer that differs" if other else ""
            raise CalibrationError(
                f"The calibration table is of other weights of {self.model}{where}.",
                hint="Calibrate this model with --data.",
            )
        widths = output_channels(model)
        by_channel: list[Mapping[str, Sequence[float]]] = [self.exponents, self.shifts]
        for layer, values in (item for told in by_channel for item in told.items()):
            if len(values) != widths.get(layer):
                raise CalibrationError(
                    f"The calibration table has {len(values)} values for {layer}, which has "
                    f"{widths.get(layer, 'no')} channels.",
                    hint="Calibrate again with --data.",
                )
        uneven = sorted(self.zero_points.keys() - set(placement.cpu_activations))
        if uneven:
            raise CalibrationError(
                f"The calibration table has a zero point for {uneven[0]}, which is no tensor of "
                f"{self.model} that only CPUs quantise.",
                hint="Calibrate again with --data.",
            )
        unknown = sorted(self.kept.keys() - set(place(model).layers))
        if unknown:
            raise CalibrationError(
                f"The calibration table keeps {unknown[0]} in floating point, and no layer of "
                f"{self.model} that INT8 could take is called that.",
                hint="Correct the name under kept, or calibrate again.",
            )

    def placement(self, model: onnx.ModelProto, kept: Collection[str] | None = None) -> Placement:
        """Where Q/DQ pairs go, without the layers ``kept``: by default the table's."""
        return place(model, self.kept if kept is None else kept, self.floating)

    def moved_to(self, model: onnx.ModelProto) -> "CalibrationTable":
        """The table for a graph of the same layers that takes inputs of another size.

        Raises
        ------
        CalibrationError
            The graph has other layers, or other tensors to quantise.
        """
        if self.layers == layer_hashes(model):
            moved = self.model_copy(update={"graph": graph_hash(model)})
            moved.check(model)
            return moved
        self.check(model)
        return self

    def prepared(self, model: onnx.ModelProto) -> onnx.ModelProto:
        """The float32 graph that the scales and shifts are of."""
        return equalise(model, self.exponents)
