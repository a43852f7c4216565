"""Networks that were trained or published, built with their weights."""

from pathlib import Path
from typing import NamedTuple

from torch import nn

from fer_edge.artifact import Artifact
from fer_edge.contract import Contract
from fer_edge.errors import ModelError
from fer_edge.models.building import build_model
from fer_edge.models.exported import load_exported
from fer_edge.models.registry import model_contract
from fer_edge.models.weights import read_facts


class Trained(NamedTuple):
    """A network with its weights, and what it takes and gives."""

    network: nn.Module
    contract: Contract


def load_model(path: Path) -> nn.Module:
    """:func:`load_trained` without the contract."""
    return load_trained(path).network


def load_trained(path: Path) -> Trained:
    """Build the model that a training wrote (``best.safetensors``) or an artifact folder holds.

    Raises
    ------
    ModelError
        Not there, damaged, or it does not say which model it is.
    ArtifactError
        A folder that is no artifact, or a damaged one.
    """
    if path.is_dir():
        return Trained(load_exported(path), Artifact.load(path).contract)
    if not path.is_file():
        raise ModelError(
            f"There is no weights file {path}.",
            hint="Train it first, or give an artifact or a name of fer-edge models.",
        )
    facts = read_facts(path)
    if (name := facts.get("model")) is None:
        raise ModelError(
            f"{path} does not say which model it holds.",
            hint="Give best.safetensors of a training run, or an artifact.",
        )
    contract = model_contract(name, facts.get("size"), facts.get("color"))
    return Trained(build_model(name, contract, weights=path), contract)
