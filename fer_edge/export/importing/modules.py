"""From a torch module to the graph of record."""

import copy
import logging
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from fer_edge.errors import ExportError, first_line
from fer_edge.export.importing.importer import Imported, ImportOptions, import_model
from fer_edge.export.importing.original import probe_images

_OPSET = 18
"""The one that torch's exporter itself writes; others it converts to."""
PARITY_LIMIT = 1e-4
"""Largest difference of what torch and the graph give, in units of the largest: both add up in
float32, each in its own order."""


def import_module(
    module: nn.Module, options: ImportOptions, name: str, *, channels: int | None = None
) -> Imported:
    """The graph of record of a module; ``options`` has its size, and its colour where not gray.

    ``channels`` are those that it takes, where they are known.

    Raises
    ------
    ExportError
        torch cannot export the module, or the graph differs from it.
    UsageError
        A size, colour or labels that cannot be.
    """
    from fer_edge.contract import EMOTIONS

    module = copy.deepcopy(module).float().cpu().eval()
    assert options.size is not None
    channels = channels or _channels(module, options)
    example = torch.from_numpy(probe_images(4, channels, options.size)).float() / 255
    expected = _answer(module, example, name)
    model = _exported(module, example, name)
    _compare(model, example, expected, name)
    if options.labels is None and expected.shape[1] == len(EMOTIONS):
        options = _with_labels(options, EMOTIONS)
    imported = import_model(model, name, options)
    imported.source.versions["torch"] = torch.__version__
    return imported


def _with_labels(options: ImportOptions, labels: Sequence[str]) -> ImportOptions:
    from dataclasses import replace

    return replace(options, labels=labels)


def _channels(module: nn.Module, options: ImportOptions) -> int:
    """Channels that the module takes: those of its first convolution, else by the colour."""
    first = next((m for m in module.modules() if isinstance(m, nn.Conv2d)), None)
    if first is not None and first.in_channels in (1, 3):
        return first.in_channels
    return 1 if options.color in (None, "gray") else 3


@torch.no_grad()
def _answer(module: nn.Module, example: Tensor, name: str) -> np.ndarray[Any, Any]:
    try:
        found = module(example)
    except Exception as error:  # a module may raise anything
        raise ExportError(
            f"{name} does not run on faces {tuple(example.shape)}: {first_line(error)[:200]}.",
            hint="Check size and color: it has to take float32 (N, channels, size, size).",
        ) from error
    if not isinstance(found, Tensor) or found.ndim < 2 or len(found) != len(example):
        shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise ExportError(
            f"{name} gives {shape} for {len(example)} faces.",
            hint="Wrap it in a module that gives one row of logits for each face.",
        )
    result: np.ndarray[Any, Any] = found.numpy().reshape(len(found), -1)
    return result


def _exported(module: nn.Module, example: Tensor, name: str) -> onnx.ModelProto:
    """The ONNX graph, by torch's newer exporter or, where that fails, by the older."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    names: dict[str, Any] = {"input_names": ["input"], "output_names": ["output"]}
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        try:
            program = torch.onnx.export(
                module,
                (example,),
                dynamo=True,
                opset_version=_OPSET,
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                verbose=False,
                **names,
            )
            assert program is not None
            return program.model_proto
        except Exception as first:  # either exporter raises what it likes
            axes = {"input": {0: "batch"}, "output": {0: "batch"}}
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "network.onnx"
                try:
                    torch.onnx.export(
                        module, (example,), path, dynamo=False, dynamic_axes=axes, **names
                    )
                except Exception as error:
                    raise ExportError(
                        f"torch cannot export {name} to ONNX: {first_line(first)[:200]}; and by "
                        f"its older exporter: {first_line(error)[:200]}.",
                        hint="Replace what torch.onnx.export does not know.",
                    ) from error
                return onnx.load(path)


def _compare(
    model: onnx.ModelProto, example: Tensor, expected: np.ndarray[Any, Any], name: str
) -> None:
    from fer_edge.export.importing.editing import open_session

    (found,) = open_session(model).run(None, {model.graph.input[0].name: example.numpy()})
    difference = np.abs(found.reshape(expected.shape) - expected).max()
    if not difference <= PARITY_LIMIT * max(1.0, float(np.abs(expected).max())):
        raise ExportError(
            f"The graph that torch exports of {name} differs from the module by {difference:.1e}.",
            hint="Report it to PyTorch, or replace the layer that it comes from.",
        )
