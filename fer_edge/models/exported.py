"""Torch modules from exported artifacts, so that a published model can teach or be trained on."""

from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from fer_edge.artifact import Artifact
from fer_edge.contract import PIXEL_SCALE
from fer_edge.errors import ModelError
from fer_edge.models.building import build_model
from fer_edge.models.gray import GrayInput
from fer_edge.models.registry import model_spec
from fer_edge.models.weights import load_state


def load_exported(folder: Path) -> nn.Module:
    """Build the model of an artifact with the weights of its fp32 graph, or of its INT8 graph.

    Batch norms come back as identities that add the folded bias; temperature and logit adjustment
    stay in the classifier. In evaluation mode the module computes what the graph does.

    Raises
    ------
    ModelError
        The artifact is of a model that is not in the registry, or its graph is not one of ours.
    ArtifactError
        It has neither graph, or is damaged.
    """
    artifact = Artifact.load(folder)
    tensors = _tensors(artifact)
    model = build_model(artifact.manifest.model, artifact.contract)
    first = model_spec(artifact.manifest.model).first_convolution
    if first is None:
        raise _foreign(folder, "first convolution: it is a network of another package")
    with torch.no_grad():
        norm_of = _norms(model)
        for name, module in model.named_modules():
            if not isinstance(module, (nn.Conv2d, nn.Linear)):
                continue
            stored = name.removeprefix("network.") if isinstance(model, GrayInput) else name
            try:
                weight, bias = tensors[f"{stored}.weight"], tensors[f"{stored}.bias"]
            except KeyError as error:
                raise _foreign(folder, str(error.args[0])) from error
            if name == first:
                # Export folds the scale of the pixels and the repetition of gray into it.
                channels = module.weight.shape[1]
                weight = weight * PIXEL_SCALE * weight.shape[1] / channels
                weight = weight.expand(-1, channels, -1, -1)
            if module.weight.shape != weight.shape:
                raise _foreign(folder, f"{name}.weight")
            module.weight.copy_(weight)
            if name in norm_of:
                _only_add(norm_of[name], bias)
            else:
                assert module.bias is not None
                module.bias.copy_(bias)
    return model


def _tensors(artifact: Artifact) -> dict[str, Tensor]:
    """Weights and biases by name, in float32."""
    record = artifact.graph("int8" if artifact.manifest.only_int8 else "fp32")
    graph = onnx.load_model_from_string(artifact.read(record.file)).graph
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    tensors = {}
    for name, value in stored.items():
        wide = value.astype(np.float32)
        if name.endswith(_STEPS):
            scale = stored[f"{name.removesuffix(_STEPS)}/scale"]
            # Layers of the registry have their output channels on axis 0.
            wide *= scale.reshape(-1, *[1] * (wide.ndim - 1))
        tensors[name.removesuffix(_STEPS).removesuffix(".half")] = torch.from_numpy(wide)
    return tensors


_STEPS = "/quantized"
"""INT8 graphs call the integers of a weight so."""


def _only_add(norm: nn.BatchNorm2d, bias: Tensor) -> None:
    state = {
        "running_mean": torch.zeros_like(bias),
        "running_var": torch.full_like(bias, 1 - norm.eps),
        "weight": torch.ones_like(bias),
        "bias": bias,
    }
    norm.load_state_dict(state, strict=False)


def start_from(model: nn.Module, folder: Path, faces: Tensor, *, new_head: bool = False) -> None:
    """Give a model the weights of an artifact, in place, to be trained on.

    Batch norms get the statistics of its activations: the model computes what the artifact does,
    and in training mode nearly so, where the identities that :func:`load_exported` leaves would
    scale every channel anew.

    Parameters
    ----------
    model : torch.nn.Module
        Of the registry.
    folder : Path
    faces : float32 tensor, shape (N, channels, H, W)
        What it will be trained on.
    new_head : bool
        Leave the head (:func:`~fer_edge.models.head.head_tensors`) as initialised.

    Raises
    ------
    ModelError, ArtifactError
        As :func:`load_exported`, or the artifact is of another model.
    """
    load_state(model, load_exported(folder).state_dict(), str(folder), new_head=new_head)
    _restore_norms(model, faces)


@torch.no_grad()
def _restore_norms(model: nn.Module, faces: Tensor) -> None:
    found: dict[nn.BatchNorm2d, tuple[Tensor, Tensor]] = {}

    def measure(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(norm, nn.BatchNorm2d)
        variance, mean = torch.var_mean(inputs[0].float(), (0, 2, 3))
        found[norm] = (mean, variance)

    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    hooks = [norm.register_forward_pre_hook(measure) for norm in norms]
    model.eval()(faces)
    for hook in hooks:
        hook.remove()
    for norm, (mean, variance) in found.items():
        assert norm.running_mean is not None
        assert norm.running_var is not None
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)
        norm.weight.copy_(torch.sqrt(variance + norm.eps))
        norm.bias.add_(mean)


def _norms(model: nn.Module) -> dict[str, nn.BatchNorm2d]:
    """The batch norm after each convolution: in our models, the one defined next."""
    found = {}
    convolution = None
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d):
            convolution = name
        elif isinstance(module, nn.BatchNorm2d) and convolution is not None:
            found[convolution] = module
            convolution = None
    return found


def _foreign(folder: Path, name: str) -> ModelError:
    return ModelError(
        f"The graph of {folder} has no fitting {name}.",
        hint="Only models of the registry, exported by fer-edge, can be loaded for training.",
    )
