import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

from fer_edge.data import FaceDataset, hold_out
from fer_edge.data.analysis import analyse
from fer_edge.engines import open_engine
from fer_edge.errors import StorageError, TrainingError, UsageError
from fer_edge.models import MODELS
from fer_edge.models.carried import carried_model
from fer_edge.training import run as runs
from fer_edge.training import trainer as trainers
from fer_edge.training.checkpoint import BEST, LAST
from fer_edge.training.config import CONFIG, TrainConfig
from fer_edge.training.epoch import METRICS
from fer_edge.training.run import resume, start
from fer_edge.training.trainer import Trainer

pytestmark = pytest.mark.usefixtures("_made_up_data")

STEPS = 4
"""Of an epoch: 70 faces in batches of 16."""
TIMES = {"seconds", "faces_per_second", "loader_share"}


def contents(path: Path) -> tuple[dict[str, str], dict[str, torch.Tensor]]:
    """Metadata and tensors."""
    with safe_open(path, framework="pt") as file:
        return file.metadata(), {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118


def results(run: Path) -> list[dict[str, object]]:
    """Metrics without times."""
    lines = map(json.loads, (run / METRICS).read_text().splitlines())
    return [{k: v for k, v in line.items() if k not in TIMES} for line in lines]


def assert_same_run(a: Path, b: Path) -> None:
    assert results(a) == results(b)
    for name in (LAST, BEST):
        (facts, tensors), (other_facts, other_tensors) = contents(a / name), contents(b / name)
        assert facts == other_facts
        torch.testing.assert_close(tensors, other_tensors, rtol=0, atol=0)
    assert {p.name for p in a.iterdir()} == {p.name for p in b.iterdir()}


@pytest.mark.parametrize(
    ("step", "values"),
    [
        (STEPS + 2, {}),
        (STEPS + 2, {"ema": 0.0, "schedule": "cosine"}),
        (STEPS + 2, {"momentum": 0.0, "class_balance": 0.5, "mixup": 0.2, "cutmix": 1.0}),
        (STEPS + 2, {"precision": "fp16"}),
        (2, {}),
    ],
    ids=["second epoch", "no average", "no momentum", "fp16", "first epoch"],
)
def test_a_resumed_run_ends_as_an_unbroken_one(
    config: Callable[..., TrainConfig], tmp_path: Path, step: int, values: dict[str, object]
) -> None:
    def interrupt(done: int, _: int) -> None:
        if done == step:
            raise KeyboardInterrupt

    unbroken, broken = tmp_path / "unbroken", tmp_path / "broken"
    start(config(**values), unbroken)
    with pytest.raises(KeyboardInterrupt):
        start(config(**values), broken, on_step=interrupt)
    assert not list(broken.glob(".*"))
    # What else drew random numbers meanwhile does not matter.
    torch.manual_seed(99)
    steps: list[int] = []
    resume(broken, on_step=lambda done, _: steps.append(done))
    assert steps[0] == step // STEPS * STEPS + 1
    assert_same_run(broken, unbroken)


def test_a_run_keeps_where_its_imagenet_weights_are_from(
    config: Callable[..., TrainConfig], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    spec = MODELS["tiny"]
    monkeypatch.setitem(MODELS, "tiny", replace(spec, imagenet_weights="Tiny_Weights.V1"))
    monkeypatch.setattr("fer_edge.models.weights.load_imagenet", lambda *_: None)
    start(config(epochs=1, pretrained=True), tmp_path / "run")
    assert TrainConfig.load(tmp_path / "run").pretrained_from == "torchvision Tiny_Weights.V1"


@pytest.mark.parametrize("epoch", [1, 2])
def test_a_run_stopped_between_metrics_and_checkpoint_repeats_no_line(
    config: Callable[..., TrainConfig],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    epoch: int,
) -> None:
    unbroken, broken = tmp_path / "unbroken", tmp_path / "broken"
    start(config(), unbroken)
    save = trainers.save_state

    def interrupted(*args: object) -> None:
        if args[-1].epoch == epoch:
            raise KeyboardInterrupt
        save(*args)

    with monkeypatch.context() as patch:
        patch.setattr(trainers, "save_state", interrupted)
        with pytest.raises(KeyboardInterrupt):
            start(config(), broken)
    assert len(results(broken)) == epoch
    resume(broken)
    assert_same_run(broken, unbroken)


def test_a_finished_run_is_resumed_without_training(
    config: Callable[..., TrainConfig], tmp_path: Path
) -> None:
    finished = start(config(epochs=1), tmp_path / "run")
    before = results(tmp_path / "run")
    assert resume(tmp_path / "run", on_step=pytest.fail) == finished
    assert results(tmp_path / "run") == before


@pytest.mark.parametrize("new_head", [False, True])
def test_resuming_needs_no_weights_file(
    new_head: bool, config: Callable[..., TrainConfig], tmp_path: Path
) -> None:
    start(config(epochs=1), tmp_path / "first")
    weights = tmp_path / "first" / BEST
    start(config(epochs=1, weights=str(weights), new_head=new_head), tmp_path / "second")
    weights.unlink()
    assert resume(tmp_path / "second").epoch == 1


def test_two_seeds_give_two_runs_and_one_seed_the_same(
    config: Callable[..., TrainConfig], tmp_path: Path
) -> None:
    for name, seed in (("a", 1), ("again", 1), ("b", 2)):
        start(config(epochs=1, seed=seed), tmp_path / name)
    assert results(tmp_path / "a") == results(tmp_path / "again")
    assert results(tmp_path / "a") != results(tmp_path / "b")


def test_some_faces_are_trained_on_and_scored(
    config: Callable[..., TrainConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, int]] = []

    class Watched(Trainer):
        def __init__(self, config: TrainConfig, train: FaceDataset, val: FaceDataset, *a, **k):
            seen.append((len(train), len(val)))
            super().__init__(config, train, val, *a, **k)

    monkeypatch.setattr(runs, "Trainer", Watched)
    start(config(epochs=1, faces=20, batch=10), tmp_path / "some")
    start(config(epochs=1, faces=10_000), tmp_path / "all")
    resume(tmp_path / "some")
    whole = seen[1]
    assert seen == [(20, min(20, whole[1])), whole, (20, min(20, whole[1]))]
    assert whole[0] > 20


def test_a_folder_with_a_run_is_not_trained_into(
    config: Callable[..., TrainConfig], tmp_path: Path
) -> None:
    config().save(tmp_path)
    with pytest.raises(TrainingError, match="holds a run already") as caught:
        start(config(), tmp_path)
    assert f"--resume {tmp_path}" in caught.value.hint


def test_what_fails_before_an_epoch_is_finished_can_be_tried_anew_in_its_folder(
    config: Callable[..., TrainConfig], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    with pytest.raises(TrainingError, match="in epoch 1"):
        start(config(lr=1e30), run)
    assert start(config(epochs=1), run).epoch == 1


@pytest.mark.parametrize("name", ["nowhere", "empty"])
def test_what_is_no_run_is_not_resumed(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(TrainingError, match=f"{name} is not a training run"):
        resume(tmp_path / name)


def test_a_damaged_checkpoint_stops_a_resume_and_stays(
    config: Callable[..., TrainConfig], tmp_path: Path
) -> None:
    start(config(epochs=1), tmp_path / "run")
    before = results(tmp_path / "run")
    (tmp_path / "run" / LAST).write_bytes(b"damaged")
    with pytest.raises(TrainingError, match=rf"{LAST} cannot be resumed from"):
        resume(tmp_path / "run")
    assert results(tmp_path / "run") == before


@pytest.mark.parametrize(
    "values", [{"batch": 71}, {"device": "meta"}, {"model": "resnet-50"}], ids=str
)
def test_a_run_that_cannot_start_leaves_no_folder(
    config: Callable[..., TrainConfig], tmp_path: Path, values: dict[str, object]
) -> None:
    with pytest.raises(UsageError):
        start(config(**values), tmp_path / "run")
    assert not list(tmp_path.iterdir())


def test_a_place_that_cannot_be_written_is_named(
    config: Callable[..., TrainConfig], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="file"):
        start(config(), tmp_path / "file" / "run")


def test_a_run_keeps_its_config(config: Callable[..., TrainConfig], tmp_path: Path) -> None:
    start(config(epochs=1, lr=0.03), tmp_path / "run")
    assert TrainConfig.load(tmp_path / "run") == config(epochs=1, lr=0.03, size=48, color="gray")
    assert (tmp_path / "run" / CONFIG).is_file()


@pytest.fixture
def twice(
    monkeypatch: pytest.MonkeyPatch, train_set: FaceDataset, val_set: FaceDataset, tmp_path: Path
) -> Path:
    """Make the data hold ten faces twice; the report that flags their second copies."""
    copied = train_set.subset([*range(len(train_set)), *range(10)])
    sets = {"train": copied, "val": val_set}
    monkeypatch.setattr(runs, "load_dataset", lambda _, split, **__: sets[split])
    report = tmp_path / "report.json"
    analyse(sets).save(report)
    return report


def test_flagged_faces_are_left_out(
    config: Callable[..., TrainConfig], twice: Path, tmp_path: Path
) -> None:
    flags = runs.flagged(runs.DataReport.load(twice), runs.load_dataset("made up", "train"))
    assert flags[-10:].all()
    trainer = runs._trainer(config(exclude=str(twice)), tmp_path / "run", False, None)
    assert len(trainer.faces) == (~flags).sum()


def test_flagged_faces_can_weigh_less(
    config: Callable[..., TrainConfig], twice: Path, tmp_path: Path
) -> None:
    flags = runs.flagged(runs.DataReport.load(twice), runs.load_dataset("made up", "train"))
    values = {"exclude": str(twice), "exclude_weight": 0.25, "label_smoothing": 0.0}
    trainer = runs._trainer(config(**values), tmp_path / "run", False, None)
    weights = trainer.targets.sum(1).numpy()
    assert weights.mean() == pytest.approx(1)
    assert weights[flags] / weights[~flags].mean() == pytest.approx(np.full(flags.sum(), 0.25))


def test_faces_that_a_report_flags_are_left_out_of_those_with_votes(
    config: Callable[..., TrainConfig],
    twice: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Reports are of FER2013's labels; fer-edge data knows no others."""
    plain = runs.load_dataset
    kept = np.delete(np.arange(80), [20, 21])  # as contempt is left out

    def load(name: str, split: str, fer_plus: str | None = None, **_: object) -> FaceDataset:
        data = plain(name, split)
        if fer_plus is None:
            return data
        voted = data.subset(kept)
        return replace(
            voted, fingerprint="of votes", soft_labels=np.eye(7, dtype=np.float32)[voted.labels]
        )

    flags = runs.flagged(runs.DataReport.load(twice), plain("made up", "train"))
    monkeypatch.setattr(runs, "load_dataset", load)
    values = config(exclude=str(twice), fer_plus="fer2013new.csv")
    trainer = runs._trainer(values, tmp_path / "run", False, None)
    assert len(trainer.faces) == (~flags[kept]).sum()


@pytest.fixture
def second(
    monkeypatch: pytest.MonkeyPatch, train_set: FaceDataset, val_set: FaceDataset
) -> Callable[[FaceDataset], None]:
    """Make data set "b" of these faces, beside "a"."""

    def make(more: FaceDataset) -> None:
        sets = {("a", "train"): train_set, ("a", "val"): val_set, ("b", "train"): more}
        monkeypatch.setattr(runs, "load_dataset", lambda name, split, **__: sets[name, split])

    return make


def test_a_second_data_set_is_trained_on_and_not_validated_on(
    config: Callable[..., TrainConfig],
    second: Callable[[FaceDataset], None],
    train_set: FaceDataset,
    val_set: FaceDataset,
    tmp_path: Path,
) -> None:
    second(train_set.subset(range(14)))
    values = {"data": ("a", "b"), "data_weights": (1, 0.5), "label_smoothing": 0.0}
    trainer = runs._trainer(config(**values), tmp_path / "run", False, None)
    weights = trainer.targets.sum(1).numpy()
    assert len(weights) == len(train_set) + 14
    assert weights[-14:] / weights[0] == pytest.approx(np.full(14, 0.5))
    assert len(trainer.val_labels) == len(val_set)


def test_a_share_of_a_second_data_set_is_held_out(
    config: Callable[..., TrainConfig],
    second: Callable[[FaceDataset], None],
    train_set: FaceDataset,
    tmp_path: Path,
) -> None:
    second(train_set)
    trainer = runs._trainer(config(data=("a", "b"), hold_out=0.5), tmp_path / "run", False, None)
    trained = hold_out(train_set, 0.5)[0]
    assert 0 < len(trained) < len(train_set)
    assert len(trainer.targets) == len(train_set) + len(trained)


def test_a_training_goes_on_from_an_artifact(
    train_set: FaceDataset, val_set: FaceDataset, tmp_path: Path
) -> None:
    """Where its weights are: an epoch at a tiny rate changes few answers."""
    folder = carried_model("compact")
    values = {"model": "compact", "data": "d", "batch": 35, "epochs": 1, "lr": 1e-6, "dropout": 0}
    config = TrainConfig.checked(**values, weights=str(folder), augment=False, ema=0, device="cpu")
    made = Trainer(config, train_set, val_set, tmp_path / "run")
    made.fit()
    with open_engine(folder, precision="fp32", backend="onnxruntime-cpu") as engine:
        wanted = engine.run(np.asarray(val_set.faces)[:, None])
    difference = np.abs(made.predict().softmax(1).numpy() - wanted)
    # Batch norms know 70 faces after two steps that moved next to nothing.
    assert difference.mean() < 0.05
