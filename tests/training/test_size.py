"""Trainings at another size and in colour, from file to artifact."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fer_edge.contract import EMOTIONS, Contract
from fer_edge.data import load_dataset, synthetic_dataset
from fer_edge.data.analysis import analyse
from fer_edge.data.report import FlaggedFace
from fer_edge.export.importing.sources import open_source
from fer_edge.export.pipeline import export_model
from fer_edge.models.trained import load_trained
from fer_edge.runtime import Recognizer
from fer_edge.training.checkpoint import BEST
from fer_edge.training.config import TrainConfig
from fer_edge.training.epoch import metrics_of
from fer_edge.training.run import _trainer, resume, start
from tests.training.test_run import assert_same_run

SIDE = 80
"""Of the images, which are in colour."""


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FER_EDGE_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Colour images of 80x80 in train/EMOTION and val/EMOTION."""
    root = tmp_path_factory.mktemp("faces")
    random = np.random.default_rng(6)
    for split, n in (("train", 42), ("val", 14)):
        data = synthetic_dataset(n, split=split, contract=Contract(SIDE, "rgb"))
        for i, (face, label) in enumerate(zip(data.faces, data.labels, strict=True)):
            tint = random.uniform(0.5, 1, (3, 1, 1))
            stream = io.BytesIO()
            pixels = (face * tint).astype(np.uint8).transpose(1, 2, 0)
            Image.fromarray(pixels).save(stream, "png")
            file = root / split / EMOTIONS[label] / f"{split}{i}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(stream.getvalue())
    return root


@pytest.fixture
def make(folder: Path) -> Callable[..., TrainConfig]:
    def made(**values: object) -> TrainConfig:
        defaults = {"model": "any-size", "data": str(folder), "epochs": 2, "batch": 14, "ema": 0}
        return TrainConfig.checked(**(defaults | values))

    return made


@pytest.mark.parametrize(
    ("size", "color", "shape"), [(64, None, (1, 64, 64)), (SIDE, "rgb", (3, SIDE, SIDE))]
)
def test_it_trains_on_the_pixels_of_the_files(
    make: Callable[..., TrainConfig],
    folder: Path,
    tmp_path: Path,
    size: int,
    color: str | None,
    shape: tuple[int, ...],
) -> None:
    trainer = _trainer(make(size=size, color=color), tmp_path / "run", False, None)
    assert trainer.faces.shape == (42, *shape)
    assert trainer.val_faces.shape == (14, *shape)
    if color == "rgb":
        first = next(iter(sorted(folder.glob("train/*/*.png"), key=lambda path: path.name)))
        with Image.open(first) as image:
            pixels = np.asarray(image).transpose(2, 0, 1)
        np.testing.assert_array_equal(trainer.faces[0].numpy(), pixels)


def test_a_resumed_run_in_colour_ends_as_an_unbroken_one(
    make: Callable[..., TrainConfig], tmp_path: Path
) -> None:
    config = make(size=64, color="rgb", mixup=0.2, cutmix=1.0, initial_size=32)

    def interrupt(done: int, _: int) -> None:
        if done == 4:
            raise KeyboardInterrupt

    start(config, tmp_path / "unbroken")
    with pytest.raises(KeyboardInterrupt):
        start(config, tmp_path / "broken", on_step=interrupt)
    resume(tmp_path / "broken")
    assert_same_run(tmp_path / "broken", tmp_path / "unbroken")
    kept = TrainConfig.load(tmp_path / "broken")
    assert (kept.size, kept.color) == (64, "rgb")
    assert load_trained(tmp_path / "broken" / BEST).contract == Contract(64, "rgb")


def test_a_network_keeps_the_size_that_it_was_trained_at_whatever_its_builder_says_later(
    make: Callable[..., TrainConfig], tmp_path: Path
) -> None:
    start(make(model="colourful", epochs=1), tmp_path / "run")
    kept = TrainConfig.load(tmp_path / "run")
    assert (kept.size, kept.color) == (32, "rgb")


def test_labels_of_the_networks_own_are_learnt_and_exported(
    make: Callable[..., TrainConfig], folder: Path, tmp_path: Path
) -> None:
    start(make(model="colourful", epochs=1, batch=6, logit_adjustment=0.5), tmp_path / "run")
    assert [*metrics_of(tmp_path / "run", 1)["val_recall"]] == ["sad", "joy", "anger"]
    source = open_source(tmp_path / "run")
    assert source.contract == Contract(32, "rgb", ("sad", "joy", "anger"))
    data = load_dataset(folder, "val", contract=source.contract)
    assert len(data) == 6  # two of each of three emotions
    export_model(source, tmp_path / "artifact", precisions=["fp32"], data=data)
    with Recognizer(tmp_path / "artifact") as recognizer:
        assert recognizer.contract == source.contract


@pytest.mark.parametrize("color", ["gray", "rgb"])
def test_the_graph_computes_what_the_network_does(
    make: Callable[..., TrainConfig], tmp_path: Path, color: str
) -> None:
    config = make(model="resnet14", size=64, color=color, epochs=1)
    start(config, tmp_path / "run")
    source = open_source(tmp_path / "run")
    assert source.contract == config.contract
    assert source.parity["fp32"] < 1e-4
    assert source.training is not None
    assert source.training["config"]["size"] == 64
    export_model(source, tmp_path / "artifact", precisions=["fp32"], data=None)
    # What was exported teaches and starts others at its own size and in its own colour.
    network, contract = load_trained(tmp_path / "artifact")
    assert contract == config.contract
    trained = load_trained(tmp_path / "run" / BEST).network.eval()
    faces = torch.randn(2, *contract.face_shape)
    temperature = source.training["temperature"]
    with torch.no_grad():
        torch.testing.assert_close(
            network.eval()(faces), trained(faces) / temperature, atol=1e-3, rtol=1e-3
        )


def test_flagged_faces_are_left_out_at_any_size(
    make: Callable[..., TrainConfig], folder: Path, tmp_path: Path
) -> None:
    report = analyse({split: load_dataset(folder, split) for split in ("train", "val")})
    flag = FlaggedFace(
        split="train", index=3, name=None, reasons=["blank"], label="sad",
        suggested=None, self_confidence=None, confidence=None,
    )  # fmt: skip
    path = tmp_path / "report.json"
    report.model_copy(update={"faces": [flag]}).save(path)
    trainer = _trainer(make(size=64, exclude=str(path)), tmp_path / "run", False, None)
    whole = load_dataset(folder, "train", contract=Contract(64)).faces
    np.testing.assert_array_equal(trainer.faces[:, 0].numpy(), np.delete(whole, 3, axis=0))
