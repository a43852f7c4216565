import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from torch import Tensor, nn

from fer_edge import metrics
from fer_edge.contract import EMOTIONS, FER2013, Contract
from fer_edge.data import FaceDataset, synthetic_dataset
from fer_edge.errors import DataError, ModelError, TrainingError, UsageError
from fer_edge.evaluation.plots import plot_confusion
from fer_edge.models import build_model
from fer_edge.models.weights import load_weights
from fer_edge.training import plots
from fer_edge.training import trainer as trainers
from fer_edge.training.augment import normalise
from fer_edge.training.checkpoint import BEST, LAST, save_model
from fer_edge.training.config import TrainConfig
from fer_edge.training.epoch import METRICS, metrics_of
from fer_edge.training.trainer import Trainer, evaluation_batch

STEPS = 4
"""Of an epoch: 70 faces in batches of 16."""


def copied(model: nn.Module) -> dict[str, Tensor]:
    return {k: v.clone() for k, v in model.state_dict().items()}


def rows(run: Path) -> list[dict[str, object]]:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    lines = (run / METRICS).read_text().splitlines()
    return [json.loads(line, parse_constant=refuse) for line in lines]


@pytest.mark.parametrize("ema", [0.9, 0.999])
def test_it_learns(trainer: Callable[..., Trainer], ema: float) -> None:
    made = trainer(
        synthetic_dataset(980),
        synthetic_dataset(140, split="val"),
        epochs=8,
        lr=0.02,
        rotation=3,
        shift=0.02,
        scale=0,
        erasing=0,
        ema=ema,
    )
    made.fit()
    best = metrics_of(made.run, made.progress.best_epoch)
    assert best["val_accuracy"] > 0.4  # chance is 0.14
    assert best["val_loss"] < 1.6  # chance is log 7 = 1.95
    assert rows(made.run)[-1]["train_loss"] < rows(made.run)[0]["train_loss"]


def test_every_epoch_leaves_metrics_and_pictures(
    trainer: Callable[..., Trainer], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(trainers, "plot_curves", plots.plot_curves)
    monkeypatch.setattr(trainers, "plot_confusion", plot_confusion)
    steps: list[tuple[int, int]] = []
    trainer().fit(lambda step, total: steps.append((step, total)))
    assert steps == [(i + 1, 3 * STEPS) for i in range(3 * STEPS)]
    assert [row["epoch"] for row in rows(tmp_path)] == [1, 2, 3]
    for row in rows(tmp_path):
        assert 0 <= row["val_accuracy"] <= 1
        assert 0 < row["loader_share"] < 1
        assert np.mean(list(row["val_recall"].values())) == pytest.approx(row["val_accuracy"])
    for name in ("curves.png", "confusion_matrix.png"):
        with Image.open(tmp_path / name) as image:
            image.verify()
    assert {p.name for p in tmp_path.iterdir()} == {
        BEST,
        LAST,
        METRICS,
        "curves.png",
        "confusion_matrix.png",
    }


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_best_holds_the_epoch_of_the_highest_accuracy(
    trainer: Callable[..., Trainer],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    val_set: FaceDataset,
    ema: float,
) -> None:
    scores = iter([0.3, 0.8, 0.5, 0.7])
    monkeypatch.setattr(metrics, "accuracy", lambda _: next(scores))
    made = trainer(epochs=4, ema=ema)
    published: list[dict[str, Tensor]] = []
    losses: list[float] = []

    def on_epoch(epoch: object) -> None:
        published.append(copied(made.model if not ema else made.average.module))
        losses.append(epoch.val_loss)

    made.fit(on_epoch=on_epoch)
    assert made.progress.best_epoch == 2
    with safe_open(tmp_path / BEST, framework="pt") as file:
        facts = {k: json.loads(v) for k, v in file.metadata().items()}
    model = build_model("tiny").eval()
    load_weights(model, tmp_path / BEST)
    torch.testing.assert_close(copied(model), published[1], rtol=0, atol=0)
    with torch.no_grad():
        logits = model(normalise(torch.as_tensor(val_set.faces))[:, None])
    loss = nn.functional.cross_entropy(logits, torch.as_tensor(val_set.labels))
    assert float(loss) == pytest.approx(losses[1], abs=1e-5)
    temperature = metrics.fit_temperature(logits.numpy(), val_set.labels)
    assert facts == {
        "model": "tiny",
        "epoch": 2,
        "val": 0.8,
        "size": 48,
        "color": "gray",
        "labels": list(EMOTIONS),
        "temperature": pytest.approx(temperature, rel=1e-3),
    }


@pytest.mark.parametrize("broken_after", [None, 2, 3])
@pytest.mark.parametrize("older", [False, True])
def test_of_equal_accuracies_the_one_of_the_lowest_loss_is_kept(
    trainer: Callable[..., Trainer],
    config: Callable[..., TrainConfig],
    train_set: FaceDataset,
    val_set: FaceDataset,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    broken_after: int | None,
    older: bool,
) -> None:
    losses = iter([1.2, 0.9, 0.7, 0.8])
    accuracies = iter([0.8, 0.8, 0.8, 0.8])
    monkeypatch.setattr(metrics, "accuracy", lambda _: next(accuracies))
    epoch_of = Trainer._epoch

    def told(self: Trainer, *given: object) -> object:
        epoch, logits = epoch_of(self, *given)
        return replace(epoch, val_loss=next(losses)), logits

    monkeypatch.setattr(Trainer, "_epoch", told)
    if older:
        # What was written before there was a loss in it.
        write = trainers.save_state

        def forgetting(*given: object) -> None:
            given[-1].__dict__.pop("best_loss")
            write(*given)
            given[-1].best_loss = metrics_of(tmp_path, given[-1].best_epoch)["val_loss"]

        monkeypatch.setattr(trainers, "save_state", forgetting)

    def stop(epoch: object) -> None:
        if epoch.epoch == broken_after:
            raise KeyboardInterrupt

    made = trainer(epochs=4)
    if broken_after is None:
        made.fit()
    else:
        with pytest.raises(KeyboardInterrupt):
            made.fit(on_epoch=stop)
        made = Trainer(config(epochs=4), train_set, val_set, tmp_path, resume=True)
        made.fit()
    assert made.progress.best_epoch == 3
    with safe_open(tmp_path / BEST, framework="pt") as file:
        assert file.metadata()["epoch"] == "3"


def test_the_last_epoch_is_kept_where_asked(
    trainer: Callable[..., Trainer], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    scores = iter([0.8, 0.3])
    monkeypatch.setattr(metrics, "accuracy", lambda _: next(scores))
    made = trainer(epochs=2, ema=0.0, keep="last")
    made.fit()
    assert made.progress.best_epoch == 2
    model = build_model("tiny").eval()
    load_weights(model, tmp_path / BEST)
    torch.testing.assert_close(copied(model), copied(made.model), rtol=0, atol=0)
    with safe_open(tmp_path / BEST, framework="pt") as file:
        assert (file.metadata()["epoch"], file.metadata()["val"]) == ("2", "0.3")


def test_the_average_follows_weights_and_buffers(trainer: Callable[..., Trainer]) -> None:
    made = trainer(ema=0.2, epochs=1)
    expected: dict[str, Tensor] = {}

    def follow(step: int, _: int) -> None:
        for name, value in made.model.state_dict().items():
            if step == 1:
                expected[name] = value.double()
            else:
                decay = min(0.2, step / (step + 9))
                expected[name] = decay * expected[name] + (1 - decay) * value

    made.fit(follow)
    for name, value in made.average.module.state_dict().items():
        if value.is_floating_point():
            torch.testing.assert_close(value, expected[name].float(), msg=name)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_momentum_is_nesterovs(trainer: Callable[..., Trainer], momentum: float) -> None:
    for group in trainer(momentum=momentum).optimizer.param_groups:
        assert group["momentum"] == momentum
        assert group["nesterov"] == (momentum > 0)


def test_norms_and_biases_are_not_decayed(trainer: Callable[..., Trainer]) -> None:
    made = trainer(weight_decay=0.1)
    decay = {id(p): g["weight_decay"] for g in made.optimizer.param_groups for p in g["params"]}
    decayed = [name for name, p in made.model.named_parameters() if decay[id(p)] == 0.1]
    assert decayed == ["0.weight", "3.weight", "7.weight"]
    assert len(decay) == len(list(made.model.parameters()))


def test_soft_labels_replace_labels(
    trainer: Callable[..., Trainer], train_set: FaceDataset
) -> None:
    hard = trainer(epochs=1)
    hard.fit()
    shares = np.eye(7, dtype=np.float32)[train_set.labels]
    soft = trainer(
        replace(train_set, labels=np.zeros_like(train_set.labels), soft_labels=shares), epochs=1
    )
    soft.fit()
    torch.testing.assert_close(copied(soft.model), copied(hard.model), rtol=0, atol=0)

    halves = np.full_like(shares, 1 / 7)
    vague = trainer(replace(train_set, soft_labels=halves), epochs=1)
    vague.fit()
    assert not torch.equal(vague.model[7].weight, hard.model[7].weight)


def test_class_weights_reach_the_loss(
    trainer: Callable[..., Trainer], train_set: FaceDataset
) -> None:
    # Faces of a class weigh otherwise than those of another where there are more of them.
    skewed = train_set.subset(np.argsort(train_set.labels, kind="stable")[:35])
    trained = []
    for exponent in (0, 1):
        made = trainer(skewed, epochs=1, class_balance=exponent)
        made.fit()
        trained.append(made.model[7].bias.detach())
    assert not torch.equal(*trained)


def test_logit_adjustment_is_in_the_published_model_alone(
    trainer: Callable[..., Trainer],
    train_set: FaceDataset,
    val_set: FaceDataset,
    tmp_path: Path,
) -> None:
    disgust = np.flatnonzero(train_set.labels == 1)
    rare = train_set.subset(np.setdiff1d(np.arange(len(train_set)), disgust[1:]))
    made = trainer(rare, epochs=1, logit_adjustment=0.5)
    made.fit()
    shares = torch.bincount(torch.as_tensor(rare.labels)) / len(rare)
    published = build_model("tiny").eval()
    load_weights(published, tmp_path / BEST)
    with torch.no_grad():
        faces = normalise(torch.as_tensor(val_set.faces))[:, None]
        difference = published(faces) - made.evaluated.eval()(faces)
        torch.testing.assert_close(published(faces), made.predict())
    torch.testing.assert_close(difference, (-0.5 * shares.log()).expand_as(difference))


def test_face_weights_reach_the_loss(
    trainer: Callable[..., Trainer], train_set: FaceDataset
) -> None:
    """Faces of weight 0 teach as little as faces whose label is anything else."""
    half = np.arange(len(train_set)) % 2
    other = replace(train_set, labels=np.where(half, train_set.labels, 0))
    trained = []
    for faces, weights in ((train_set, half), (other, half), (other, None)):
        made = trainer(faces, epochs=1, face_weights=weights)
        made.fit()
        trained.append(made.model[7].weight.detach())
    torch.testing.assert_close(trained[0], trained[1], rtol=0, atol=0)
    assert not torch.allclose(trained[1], trained[2])


def test_label_smoothing_is_that_of_torch(
    trainer: Callable[..., Trainer], train_set: FaceDataset
) -> None:
    made = trainer(label_smoothing=0.1, class_balance=0.5)
    logits = torch.randn(len(train_set), 7, generator=torch.Generator().manual_seed(0))
    wanted = nn.functional.cross_entropy(
        logits, nn.functional.one_hot(made.labels, 7).float(), made.weights, label_smoothing=0.1
    )
    torch.testing.assert_close(
        nn.functional.cross_entropy(logits, made.targets, made.weights), wanted
    )


@pytest.mark.parametrize("option", ["class_balance", "logit_adjustment"])
def test_what_has_no_faces_is_not_named_for_all(
    trainer: Callable[..., Trainer], option: str
) -> None:
    faces = synthetic_dataset(980)
    disgust = np.flatnonzero(faces.labels == 1)
    rare = faces.subset(np.setdiff1d(np.arange(len(faces)), disgust))
    val = synthetic_dataset(140, split="val")
    made = trainer(rare, val, epochs=8, lr=0.02, augment=False, label_smoothing=0.1, **{option: 1})
    made.fit()
    others = made.predict()[torch.as_tensor(val.labels) != 1].argmax(1)
    assert (others == 1).float().mean() < 0.25  # 0.14 by chance


def test_the_first_epochs_see_small_faces(trainer: Callable[..., Trainer]) -> None:
    sizes: list[int] = []
    made = trainer(model="any-size", epochs=4, initial_size=32)
    made.forward = lambda faces: sizes.append(faces.shape[-1]) or made.model(faces)
    made.average = None
    made.fit()
    assert [sizes[i * STEPS] for i in range(4)] == [32, 32, 40, 48]
    assert made.predict().shape == (35, 7)


def test_a_model_that_flattens_cannot_start_small(trainer: Callable[..., Trainer]) -> None:
    with pytest.raises(UsageError, match="tiny cannot take grayscale faces of 32x32"):
        trainer(initial_size=32)


def test_faces_do_not_shrink(trainer: Callable[..., Trainer]) -> None:
    with pytest.raises(UsageError, match="--initial-size 56 is more than the 48 pixels"):
        trainer(initial_size=56)


def test_faces_of_another_size_are_refused(trainer: Callable[..., Trainer]) -> None:
    with pytest.raises(DataError, match=r"These faces are \(48, 48\)"):
        trainer(model="any-size", size=64)


def test_large_faces_are_scored_in_smaller_batches() -> None:
    assert evaluation_batch(FER2013) == 256
    assert evaluation_batch(Contract(96)) == 64
    assert evaluation_batch(Contract(260)) == 8


def test_a_network_of_another_colour_does_not_start_one(
    trainer: Callable[..., Trainer], tmp_path: Path
) -> None:
    contract = Contract(48, "rgb")
    sets = [
        synthetic_dataset(n, split=s, contract=contract) for n, s in ((70, "train"), (7, "val"))
    ]
    save_model(tmp_path / "gray.safetensors", build_model("tiny"), {"model": "tiny"})
    values = {"model": "any-size", "color": "rgb", "grow_from": str(tmp_path / "gray.safetensors")}
    with pytest.raises(ModelError, match="takes gray faces, and this training has rgb"):
        trainer(*sets, **values)


def test_an_emotion_without_val_faces_has_no_recall(
    trainer: Callable[..., Trainer], val_set: FaceDataset, tmp_path: Path
) -> None:
    trainer(val=val_set.subset(val_set.labels != 1), epochs=1).fit()
    recall = rows(tmp_path)[0]["val_recall"]
    assert recall["disgust"] is None
    assert all(value is not None for name, value in recall.items() if name != "disgust")


@pytest.mark.parametrize(
    ("part", "step"), [("training", STEPS + 1), ("val", 2 * STEPS)], ids=["first", "last"]
)
def test_a_loss_that_is_not_finite_ends_the_run_at_the_last_good_checkpoint(
    trainer: Callable[..., Trainer], tmp_path: Path, part: str, step: int
) -> None:
    made = trainer(ema=0)

    def poison(done: int, _: int) -> None:
        if done == step:
            with torch.no_grad():
                made.model[7].weight.fill_(torch.nan)

    with pytest.raises(TrainingError, match=f"The {part} loss became nan in epoch 2") as caught:
        made.fit(poison)
    assert "--lr" in caught.value.hint
    assert len(rows(tmp_path)) == 1
    with safe_open(tmp_path / LAST, framework="pt") as file:
        assert json.loads(file.metadata()["progress"])["epoch"] == 1
        assert all(file.get_tensor(name).isfinite().all() for name in file.keys())  # noqa: SIM118


def test_a_learning_rate_far_too_high_is_a_training_error(
    trainer: Callable[..., Trainer],
) -> None:
    with pytest.raises(TrainingError, match=r"loss became (nan|inf) in epoch 1"):
        trainer(lr=1e30).fit()


def test_a_full_gpu_asks_for_a_smaller_batch(
    trainer: Callable[..., Trainer], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError

    made = trainer()
    monkeypatch.setattr(made, "_step", full)
    with pytest.raises(TrainingError, match=r"memory of cpu is full.*smaller --batch"):
        made.fit()


def test_a_compiler_that_is_not_there_is_a_training_error(trainer: Callable[..., Trainer]) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("No working C++ compiler found\nin any place")

    made = trainer()
    made.forward = torch.compile(made.model, backend=broken)
    with pytest.raises(TrainingError, match=r"failed: No working C\+\+ compiler found\.") as caught:
        made.fit()
    assert "--no-compile" in caught.value.hint


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_mixed_precision_trains_float32_weights(
    trainer: Callable[..., Trainer], precision: str
) -> None:
    made = trainer(precision=precision, epochs=1)
    types: list[torch.dtype] = []
    made.model[7].register_forward_hook(lambda _, __, out: types.append(out.dtype))
    made.fit()
    assert types[0] == {"bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    assert made.scaler.is_enabled() == (precision == "fp16")
    assert made.model[7].weight.dtype == torch.float32
    assert made.model[7].weight.isfinite().all()


def test_a_batch_of_more_than_the_data_is_a_usage_error(
    trainer: Callable[..., Trainer], tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="--batch 71 is more than the 70 training faces"):
        trainer(batch=71)
    trainer(batch=70, epochs=1).fit()
    assert len(rows(tmp_path)) == 1


@pytest.mark.gpu
def test_a_gpu_trains_as_well(trainer: Callable[..., Trainer], tmp_path: Path) -> None:
    if not torch.cuda.is_available():
        pytest.skip("torch sees no GPU")
    trainer(device="cuda", precision="fp16").fit()
    assert len(rows(tmp_path)) == 3


def test_normalised_pixels_are_exact() -> None:
    pixels = torch.tensor([0, 128, 255], dtype=torch.uint8)
    assert normalise(pixels).tolist() == [-2.0, 0.0, 127 / 64]


def test_faces_are_degraded_without_other_augmentation(trainer: Callable[..., Trainer]) -> None:
    chosen = torch.arange(20)
    plain = trainer(augment=False)
    torch.testing.assert_close(plain._seen(chosen), normalise(plain.faces[chosen]))
    spoilt = trainer(augment=False, degradation=1)
    assert not torch.equal(spoilt._seen(chosen), plain._seen(chosen))
