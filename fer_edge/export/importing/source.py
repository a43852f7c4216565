"""What has been brought in."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx

from fer_edge.contract import FER2013, Contract
from fer_edge.export.graph.view import name_outputs
from fer_edge.export.quantization.table import CalibrationTable


@dataclass
class Source:
    """A float32 graph and what is known about it."""

    name: str
    """Name of the model."""
    graph: onnx.ModelProto
    training: dict[str, Any] | None = None
    parity: dict[str, float] = field(default_factory=dict)
    table: CalibrationTable | None = None
    """The calibration that came with it."""
    versions: dict[str, str] = field(default_factory=dict)
    contract: Contract = FER2013
    """What the graph takes and gives."""
    path: Path | None = None
    """What was opened; None where the graph was made on the spot."""

    def __post_init__(self) -> None:
        name_outputs(self.graph, self.contract)
