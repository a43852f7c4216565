"""A model and data sets small enough to train in a second."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from fer_edge.contract import Color
from fer_edge.data import FaceDataset, synthetic_dataset
from fer_edge.models.registry import MODELS, ModelSpec
from fer_edge.training import run as runs
from fer_edge.training import trainer as trainers
from fer_edge.training.config import TrainConfig
from fer_edge.training.trainer import Trainer

# A training may run beside the tests.
torch.set_num_threads(1)


def tiny() -> nn.Module:
    """Batch norm has buffers and dropout draws random numbers, as in the real models."""
    return nn.Sequential(
        nn.Conv2d(1, 8, 5, 3, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 16, 3, 2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Dropout(0.1),
        nn.Linear(16 * 7 * 7, 7),
    )


def any_size(color: Color = "gray") -> nn.Module:
    """Takes faces of any size, in gray or in colour."""
    channels = 1 if color == "gray" else 3
    return nn.Sequential(
        nn.Conv2d(channels, 8, 5, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(),
        nn.Linear(8 * 4 * 4, 7),
    )  # fmt: skip


def colourful(
    size: int = 32, color: Color = "rgb", labels: tuple[str, ...] = ("sad", "joy", "anger")
) -> nn.Module:
    """A network of somebody else, with a contract of its own."""
    channels = 1 if color == "gray" else 3
    return nn.Sequential(
        nn.Conv2d(channels, 8, 5, 3), nn.ReLU(), nn.Flatten(),
        nn.Linear(8 * ((size - 2) // 3) ** 2, len(labels)),
    )  # fmt: skip


@pytest.fixture(autouse=True)
def _tiny_models(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("fer_edge.models.tiny")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    for builder, first in ((tiny, "0"), (any_size, "0"), (colourful, None)):
        setattr(module, builder.__name__, builder)
        name = builder.__name__.replace("_", "-")
        spec = ModelSpec(name, "for tests", f".tiny:{builder.__name__}", first)
        monkeypatch.setitem(MODELS, name, spec)


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes longer than the epoch that it shows."""
    for name in ("plot_curves", "plot_confusion"):
        monkeypatch.setattr(trainers, name, lambda *_: None)


@pytest.fixture(scope="session")
def train_set() -> FaceDataset:
    return synthetic_dataset(70, split="train")


@pytest.fixture(scope="session")
def val_set() -> FaceDataset:
    return synthetic_dataset(35, split="val")


@pytest.fixture
def config() -> Callable[..., TrainConfig]:
    def make(**values: object) -> TrainConfig:
        defaults = {"model": "tiny", "data": "made up", "epochs": 3, "batch": 16, "ema": 0.9}
        return TrainConfig.checked(**(defaults | values))

    return make


@pytest.fixture
def trainer(
    config: Callable[..., TrainConfig],
    train_set: FaceDataset,
    val_set: FaceDataset,
    tmp_path: Path,
) -> Callable[..., Trainer]:
    def make(
        train: FaceDataset = train_set,
        val: FaceDataset = val_set,
        face_weights: NDArray[np.float32] | None = None,
        **values: object,
    ) -> Trainer:
        return Trainer(config(**values), train, val, tmp_path, face_weights=face_weights)

    return make


@pytest.fixture
def _made_up_data(
    monkeypatch: pytest.MonkeyPatch, train_set: FaceDataset, val_set: FaceDataset
) -> None:
    """Runs read the synthetic faces, whatever source their config names."""
    sets = {"train": train_set, "val": val_set}
    monkeypatch.setattr(runs, "load_dataset", lambda _, split, **__: sets[split])
