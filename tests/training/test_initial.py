from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from fer_edge.models import build_model
from fer_edge.models.carried import carried_model
from fer_edge.models.exported import load_exported
from fer_edge.models.head import head_tensors
from fer_edge.training import depthwise
from fer_edge.training.checkpoint import save_model
from fer_edge.training.trainer import Trainer

Make = Callable[..., Trainer]


def test_a_new_head_on_the_features_of_a_file(trainer: Make, tmp_path: Path) -> None:
    weights = tmp_path / "first.safetensors"
    save_model(weights, build_model("tiny"), {"model": "tiny"})
    same = trainer(weights=str(weights)).model.state_dict()
    model = trainer(weights=str(weights), new_head=True).model
    head = head_tensors(model)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, same[name]) == (name not in head), name


def test_a_new_head_on_the_features_of_an_artifact(trainer: Make) -> None:
    folder = carried_model("compact")
    values = {"model": "compact", "batch": 35, "weights": str(folder)}
    published = load_exported(folder)
    model = trainer(**values).model
    assert torch.equal(model.classifier.weight, published.classifier.weight)
    model = trainer(**values, new_head=True).model
    assert not torch.equal(model.classifier.weight, published.classifier.weight)
    assert torch.equal(model.stem[0].weight, published.stem[0].weight)


@pytest.mark.parametrize("rounded", [False, True])
def test_depthwise_gradients_are_fast(
    rounded: bool, trainer: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(depthwise, "instruction_sets", lambda: ["amx_bf16"])
    made = trainer(model="efficientnet-lite0", int8_weights=rounded)
    layers = [layer for layer in made.model.modules() if isinstance(layer, depthwise._Depthwise)]
    assert len(layers) == 11
