"""From a torch model to the FP32 graph of record."""

import copy
import json
import logging
import math
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from fer_edge.contract import (
    FER2013,
    INPUT_NAME,
    OUTPUT_NAME,
    PIXEL_MEAN,
    PIXEL_SCALE,
    Contract,
)
from fer_edge.engines.ort import OnnxRuntimeEngine
from fer_edge.errors import ExportError, TrainingError
from fer_edge.export.graph.view import canonicalise
from fer_edge.export.importing.importer import ImportOptions
from fer_edge.export.importing.modules import import_module
from fer_edge.models import build_model, model_contract, model_spec
from fer_edge.models.gray import GrayInput
from fer_edge.models.head import classifier
from fer_edge.models.weights import load_weights

PARITY_LIMIT = 1e-4
"""Largest difference of a probability between torch and the FP32 graph."""
PARITY_FACES = 64
BEST = "best.safetensors"


@dataclass(frozen=True)
class ExportedRun:
    """The float32 graph of a training run."""

    name: str
    graph: onnx.ModelProto
    training: dict[str, Any]
    """Configuration, the best epoch's metrics, and the temperature that the graph has folded."""
    difference: float
    """Largest difference of a probability from torch."""
    contract: Contract
    """What the graph takes and gives."""
    torch_version: str


def export_run(run: Path) -> ExportedRun:
    """Export the best epoch of a training run and check it against torch.

    Parameters
    ----------
    run : Path
        Folder that ``fer-edge train`` wrote.

    Raises
    ------
    TrainingError
        No finished epoch.
    ExportError
        A probability differs from torch by more than 1e-4.
    ModelError
        There is no one layer to fold the temperature into.
    """
    training = read_run(run)
    facts = training["config"]
    name = facts["model"]
    contract = model_contract(name, facts.get("size"), facts.get("color"))
    model = build_model(name, contract)
    load_weights(model, run / BEST)
    if model_spec(name).first_convolution is None:
        return _own_network(model, name, training, contract)
    graph = canonicalise(torch_to_onnx(model, name, training["temperature"], contract))
    difference = compare(model, graph, training["temperature"], contract)
    if difference > PARITY_LIMIT:
        raise ExportError(
            f"The exported {name} differs from torch by {difference:.1e}, more than "
            f"{PARITY_LIMIT:.0e}.",
            hint="Report this with the versions that fer-edge doctor prints.",
        )
    return ExportedRun(name, graph, training, difference, contract, torch.__version__)


class _Tempered(nn.Module):
    """A network whose logits are divided by the temperature that a training fitted."""

    def __init__(self, network: nn.Module, temperature: float) -> None:
        super().__init__()
        self.network = network
        self.temperature = temperature

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.network(x) / self.temperature
        return logits


def _own_network(
    model: nn.Module, name: str, training: dict[str, Any], contract: Contract
) -> ExportedRun:
    """The graph of a network of another package, which comes in as anybody's does."""
    options = ImportOptions(
        contract.labels,
        mean=(PIXEL_MEAN,),
        std=(PIXEL_SCALE,),
        scale=1.0,
        color=contract.color,
        size=contract.size,
    )
    tempered = _Tempered(model, training["temperature"])
    source = import_module(tempered, options, name, channels=contract.channels).source
    return ExportedRun(
        name, source.graph, training, source.parity["fp32"], contract, torch.__version__
    )


def read_run(run: Path) -> dict[str, Any]:
    """Configuration, best epoch and temperature of a run folder, for the manifest.

    The temperature is 1 for runs that have not fitted one.

    Raises
    ------
    TrainingError
        No finished epoch.
    """
    config, metrics = run / "config.json", run / "metrics.jsonl"
    if not metrics.is_file() or not (run / BEST).is_file():
        raise TrainingError(
            f"{run} has no finished epoch yet.", hint="Train on with: fer-edge train --resume RUN"
        )
    try:
        epochs = [json.loads(line) for line in metrics.read_text().splitlines()]
        # A run that still trains may have weights newer than its last line of metrics.
        with safe_open(run / BEST, framework="pt") as weights:
            saved = json.loads(weights.metadata()["epoch"])
            temperature = float(json.loads(weights.metadata().get("temperature", "1.0")))
        if not (math.isfinite(temperature) and temperature > 0):
            raise ValueError(f"its temperature is {temperature}")
        best = next(epoch for epoch in epochs if epoch["epoch"] == saved)
        facts = json.loads(config.read_text())
        facts["model"]
    except StopIteration:
        raise TrainingError(
            f"{run} has no metrics of epoch {saved}, which its weights are of.",
            hint="Wait for the epoch to end if it trains, else train again.",
        ) from None
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise TrainingError(f"{run} is damaged: {error}.", hint="Train again.") from error
    # Somebody's folders say nothing to others; of weights, that of the run does.
    sources = [facts["data"]] if isinstance(facts["data"], str) else facts["data"]
    facts["data"] = [Path(source).name for source in sources]
    for name in ("weights", "grow_from", "exclude", "fer_plus"):
        if facts.get(name):
            facts[name] = _last_folder(facts[name])
    facts["teachers"] = [_last_folder(teacher) for teacher in facts.get("teachers", ())]
    return {
        "config": facts,
        "epochs_run": len(epochs),
        "best_epoch": best,
        "temperature": temperature,
    }


def _last_folder(path: str) -> str:
    return "/".join(Path(path).parts[-2:])


class FacesToProbabilities(nn.Module):
    """What is exported: uint8 faces in, probabilities out, normalisation and temperature folded.

    The gray repetition and the division by 64 go into the first convolution. Subtracting 128 stays
    a node: a constant in the convolution's bias would be wrong along the padded border.
    """

    def __init__(
        self,
        model: nn.Module,
        first_convolution: str,
        temperature: float = 1.0,
        contract: Contract = FER2013,
    ) -> None:
        super().__init__()
        model = copy.deepcopy(model).float().cpu().to(memory_format=torch.contiguous_format).eval()
        parent, _, name = first_convolution.rpartition(".")
        old = model.get_submodule(first_convolution)
        assert isinstance(old, nn.Conv2d)
        new = nn.Conv2d(
            contract.channels,
            old.out_channels,
            old.kernel_size,  # type: ignore[arg-type]
            old.stride,  # type: ignore[arg-type]
            old.padding,  # type: ignore[arg-type]
            bias=old.bias is not None,
        )
        with torch.no_grad():
            repeated = old.in_channels > contract.channels
            weight = old.weight.sum(1, keepdim=True) if repeated else old.weight
            new.weight.copy_(weight / PIXEL_SCALE)
            if old.bias is not None and new.bias is not None:
                new.bias.copy_(old.bias)
            if temperature != 1.0:
                layer = classifier(model, len(contract.labels))
                layer.weight.div_(temperature)
                if layer.bias is not None:
                    layer.bias.div_(temperature)
        setattr(model.get_submodule(parent), name, new)
        # GrayInput repeats the channel for a convolution that no longer wants it.
        self.network = model.network if isinstance(model, GrayInput) else model

    def forward(self, faces: Tensor) -> Tensor:
        pixels = faces.to(torch.float32) - PIXEL_MEAN
        logits: Tensor = self.network(pixels)
        return torch.softmax(logits, dim=1)


def torch_to_onnx(
    model: nn.Module, name: str, temperature: float = 1.0, contract: Contract = FER2013
) -> onnx.ModelProto:
    """Export a model of the registry.

    Parameters
    ----------
    model : torch.nn.Module
        As built by :func:`fer_edge.models.build_model`.
    name : str
        Its name in the registry.
    temperature : float
        Divides the logits (Guo et al. 2017, arXiv:1706.04599), by way of the classifier's weights.
    contract : Contract
        That it was built for.

    Returns
    -------
    onnx.ModelProto
        Opset 19, input ``faces`` uint8 (N, channels, size, size), output ``probabilities``
        float32 (N, labels).
    """
    first = model_spec(name).first_convolution
    assert first is not None
    wrapped = FacesToProbabilities(model, first, temperature, contract).eval()
    example = torch.zeros((2, *contract.face_shape), dtype=torch.uint8)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            wrapped,
            (example,),
            dynamo=True,
            opset_version=18,
            input_names=[INPUT_NAME],
            output_names=[OUTPUT_NAME],
            dynamic_shapes={INPUT_NAME: {0: torch.export.Dim("batch")}},
            verbose=False,
        )
    assert program is not None
    return program.model_proto


@torch.no_grad()
def compare(
    model: nn.Module,
    graph: onnx.ModelProto,
    temperature: float = 1.0,
    contract: Contract = FER2013,
) -> float:
    """Largest difference of a probability between torch and ONNX Runtime on 64 noisy faces.

    torch's logits are divided by ``temperature``, which the graph has folded.
    """
    faces = random_faces(PARITY_FACES, contract=contract)
    pixels = (torch.from_numpy(faces).float() - PIXEL_MEAN) / PIXEL_SCALE
    expected = torch.softmax(model.eval()(pixels) / temperature, dim=1).numpy()
    with OnnxRuntimeEngine(graph.SerializeToString()) as engine:
        actual = engine.run(faces)
    return float(np.abs(actual - expected).max())


def random_faces(n: int, seed: int = 0, contract: Contract = FER2013) -> np.ndarray:
    """Noise of many contrasts, uint8 (n, channels, size, size)."""
    generator = np.random.default_rng(seed)
    shape = (n, *contract.face_shape)
    noise = generator.normal(128, generator.uniform(5, 90, (n, 1, 1, 1)), shape)
    return np.clip(noise, 0, 255).astype(np.uint8)
