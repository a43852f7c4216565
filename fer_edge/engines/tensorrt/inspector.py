"""What a built engine runs: the report of TensorRT's engine inspector, read into layers."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fer_edge.contract import INPUT_NAME
from fer_edge.engines import cuda
from fer_edge.engines.tensorrt.module import (
    TensorRTBackend,
    cause,
    load_module,
    log_of,
    raised_as,
)
from fer_edge.engines.tensorrt.network import deserialize
from fer_edge.errors import EngineLoadError

_TYPES = {
    "float": "float32",
    "fp32": "float32",
    "half": "float16",
    "fp16": "float16",
    "bf16": "bfloat16",
    "bfloat16": "bfloat16",
    "fp8": "float8",
    "int8": "int8",
    "uint8": "uint8",
    "int32": "int32",
    "int64": "int64",
    "bool": "bool",
}


@dataclass(frozen=True)
class EngineLayer:
    """One layer of an engine."""

    name: str
    type: str
    """TensorRT's name of its kind: ``CaskConvolution`` in 10, ``correlation`` in 11, and others."""
    nodes: tuple[str, ...]
    """Nodes of the ONNX graph that it computes, Q/DQ nodes among them."""
    inputs: tuple[str | None, ...]
    """Types such as ``"int8"`` and ``"float16"``; None where TensorRT does not tell."""
    outputs: tuple[str | None, ...]
    weights: str | None
    """Type of the weights; None where there are none or TensorRT does not tell."""
    tactic: str
    """Name of the kernel; empty where TensorRT does not tell."""

    @property
    def runs_int8(self) -> bool:
        """Whether it multiplies int8 by int8."""
        known = {*self.inputs[:1], self.weights} - {None}
        # Kernels are named after what they take: i8i8 is int8 by int8.
        return "i8i8" in self.tactic or known == {"int8"}


def inspect_engine(
    plan: bytes, backend: TensorRTBackend, *, batch: int, device: int = 0
) -> list[EngineLayer]:
    """Load a serialised engine and return its layers in the order in which they run.

    Parameters
    ----------
    plan : bytes
        What :func:`fer_edge.engines.tensorrt.build_engine` returned.
    backend : {"tensorrt", "tensorrt-rtx"}
    batch : int
        Batch size to tell the types for; without one TensorRT leaves some out.
    device : int
        CUDA's index of the GPU.

    Raises
    ------
    BackendUnavailableError
        The module, the driver or the GPU is missing.
    EngineLoadError
        The engine cannot be loaded, or says nothing about its layers.

    References
    ----------
    https://docs.nvidia.com/deeplearning/tensorrt/latest/inference-library/engine-tools.html
    """
    trt = load_module(backend)
    cuda.require_cuda(device)
    with raised_as(EngineLoadError), cuda.Device(device):
        runtime, engine = deserialize(plan, backend)
        with log_of(backend).collect() as errors:
            context = engine.create_execution_context()
            if context is None:
                raise EngineLoadError(
                    f"TensorRT cannot make an execution context: {cause(errors)}.",
                    hint="Free GPU memory, or build with a smaller --batch.",
                )
            face = tuple(engine.get_tensor_shape(INPUT_NAME))[1:]
            context.set_input_shape(INPUT_NAME, (batch, *face))
            inspector = engine.create_engine_inspector()
            inspector.execution_context = context
            report = inspector.get_engine_information(trt.LayerInformationFormat.JSON)
        # In this order: a runtime must outlive its engines, and an engine its contexts.
        del inspector, context, engine, runtime
    return read_layers(report)


def read_layers(report: str) -> list[EngineLayer]:
    """Read the inspector's JSON as TensorRT 10 and 11 write it.

    Raises
    ------
    EngineLoadError
        The report has no layers, or only their names.

    References
    ----------
    https://docs.nvidia.com/deeplearning/tensorrt/latest/api/migration/tensorrt-10x-to-11x-IEngineInspector.html
    """
    try:
        layers = json.loads(report)["Layers"]
        return [_layer(layer) for layer in layers]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise EngineLoadError(
            "TensorRT's report on this engine does not describe its layers.",
            hint="Build the engine again with: fer-edge export",
        ) from error


def _layer(layer: Mapping[str, Any]) -> EngineLayer:
    # A convolution that is fused with a pooling has its weights under another name.
    weights = layer.get("Weights") or layer.get("ConvWeights") or {}
    metadata = layer.get("Metadata", "")
    named = re.findall(r"\[ONNX Layer: (.+?)\]", metadata) or layer["Name"].split(" + ")
    return EngineLayer(
        name=layer["Name"],
        type=layer["LayerType"],
        nodes=tuple(dict.fromkeys(named)),
        inputs=tuple(map(_tensor_type, layer.get("Inputs", []))),
        outputs=tuple(map(_tensor_type, layer.get("Outputs", []))),
        weights=_type(weights.get("Type", "")),
        tactic=layer.get("TacticName", ""),
    )


def _tensor_type(described: Mapping[str, Any]) -> str | None:
    # TensorRT 11 split the field in two.
    return _type(described.get("Datatype") or described.get("Format/Datatype") or "")


def _type(text: str) -> str | None:
    """The type in "Thirty-two wide channel vectorized row major Int8 format"."""
    words = re.findall(r"\w+", text.lower())
    return next((_TYPES[word] for word in words if word in _TYPES), None)
