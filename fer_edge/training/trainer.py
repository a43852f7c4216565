"""The training loop."""

import copy
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from fer_edge import metrics
from fer_edge.contract import EMOTIONS, PIXEL_MEAN, PIXEL_SCALE
from fer_edge.data import FaceDataset
from fer_edge.errors import TrainingError, UsageError
from fer_edge.evaluation.plots import plot_confusion
from fer_edge.files import storage_errors, write_text
from fer_edge.models import build_model
from fer_edge.models.head import classifier
from fer_edge.models.weights import load_model
from fer_edge.training.augment import augment, mix, resized
from fer_edge.training.checkpoint import (
    BEST,
    LAST,
    Progress,
    load_state,
    save_model,
    save_state,
)
from fer_edge.training.config import TrainConfig
from fer_edge.training.distill import Teacher
from fer_edge.training.distributed import Workers
from fer_edge.training.growth import grow
from fer_edge.training.int8_weights import keep_rounded, round_weights
from fer_edge.training.plots import plot_curves
from fer_edge.training.schedule import face_size, learning_rate

METRICS = "metrics.jsonl"
EVALUATION_BATCH = 256
GROWTH_BATCH = 64
_RANK_SEED = 7_919
"""Keeps the workers' random numbers apart."""


@dataclass(frozen=True)
class Epoch:
    """One line of ``metrics.jsonl``. Losses are cross-entropies in nats; shares are 0..1.

    ``train_*`` are of augmented and mixed faces, with label smoothing, weights and teachers;
    ``val_*`` without.
    """

    epoch: int
    lr: float
    train_loss: float
    train_accuracy: float
    val_loss: float
    val_accuracy: float
    val_macro_f1: float
    val_recall: dict[str, float | None]
    """None for an emotion without faces."""
    seconds: float
    faces_per_second: float
    loader_share: float
    """Share of the training time spent outside the model: gathering and augmenting batches.

    On a GPU it is the time to queue that work, which the GPU does later.
    """


Listener = Callable[[int, int], None]


class Trainer:
    """Trains one model; ``run/`` holds all it writes.

    Every epoch's randomness derives from the seed and the epoch's number, so a run resumed after
    any epoch ends with the same weights as an unbroken one on the same machine.

    Parameters
    ----------
    config : TrainConfig
    train, val : FaceDataset
    run : Path
        Folder for checkpoints and metrics.
    resume : bool
        Go on from ``run/last.safetensors``.
    face_weights : float32 array, shape (N,), optional
        Weight of each training face in the loss.
    on_grow : callable(step, steps), optional
        Called while the model grows out of ``config.grow_from``.

    Under ``torchrun`` every process takes its share of each batch; the first one writes.
    """

    def __init__(
        self,
        config: TrainConfig,
        train: FaceDataset,
        val: FaceDataset,
        run: Path,
        *,
        resume: bool = False,
        face_weights: NDArray[np.float32] | None = None,
        on_grow: Listener | None = None,
    ) -> None:
        if len(train) < config.batch:
            raise UsageError(
                f"--batch {config.batch} is more than the {len(train)} training faces.",
                hint="Choose a smaller batch.",
            )
        self.workers = Workers.from_environment()
        if config.batch % self.workers.size:
            raise UsageError(
                f"--batch {config.batch} does not divide by the {self.workers.size} processes.",
                hint="It counts the faces of a step in all processes together.",
            )
        self.config = config
        self.run = run
        self.device = resolve_device(config.device, self.workers.local_rank)
        self.workers.join(self.device)
        torch.manual_seed(config.seed)
        model = build_model(
            config.model,
            # A checkpoint holds all weights: resuming needs neither network nor file.
            pretrained=config.pretrained and not resume,
            weights=Path(config.weights) if config.weights and not resume else None,
            dropout=config.dropout,
            drop_path=config.drop_path,
        )
        self.model = model.to(self.device).to(memory_format=torch.channels_last)
        self.amp = _amp_dtype(config.precision, self.device)
        self.faces = _on_device(train.faces, self.device)
        self.generator = torch.Generator(self.device)
        if config.grow_from and not resume:
            self._grow(Path(config.grow_from), on_grow)
        if config.int8_weights:
            round_weights(self.model)
        self.average = (
            AveragedModel(
                self.model, multi_avg_fn=get_ema_multi_avg_fn(config.ema), use_buffers=True
            )
            if config.ema
            else None
        )
        self.optimizer = torch.optim.SGD(
            _decay_groups(self.model, config.weight_decay),
            lr=config.lr,
            momentum=config.momentum,
            nesterov=config.momentum > 0,
            # One pass over the weights: a sixth more faces a second of a ResNet-50 on two cores.
            fused=True,
        )
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.amp is torch.float16)
        self.progress = Progress()
        if resume:
            self.progress = load_state(
                run / LAST, self.model, self.average, self.optimizer, self.scaler
            )
        if self.workers.leads:
            self._drop_lines_after(self.progress.epoch)
        self.forward: Callable[[Tensor], Tensor] = self.model
        if self.workers.size > 1:
            self.forward = DistributedDataParallel(
                self.model, [self.device.index] if self.device.type == "cuda" else None
            )
        if config.compile:
            self.forward = torch.compile(self.forward)
        self.labels = torch.as_tensor(np.array(train.labels), device=self.device)
        targets = (
            torch.as_tensor(np.array(train.soft_labels), device=self.device)
            if train.soft_labels is not None
            else functional.one_hot(self.labels, len(EMOTIONS)).float()
        )
        smoothing = config.label_smoothing
        self.targets = (1 - smoothing) * targets + smoothing / len(EMOTIONS)
        if face_weights is not None:
            # Cross-entropy is linear in its targets, so a face's weight can sit in them.
            weights = torch.as_tensor(face_weights / face_weights.mean(), device=self.device)
            self.targets *= weights[:, None]
        self.val_faces = _on_device(val.faces, self.device)
        self.val_labels = np.array(val.labels)
        self.weights = class_weights(self.labels, config.class_balance)
        self.adjustment = logit_adjustment(self.labels, config.logit_adjustment)
        self.teacher = Teacher.load(config, self.device) if config.teachers else None
        self.steps_per_epoch = len(train) // config.batch

    def _grow(self, path: Path, on_grow: Listener | None) -> None:
        source = load_model(path).to(self.device).to(memory_format=torch.channels_last)
        self.generator.manual_seed(self.config.seed)

        def faces() -> Tensor:
            chosen = torch.randint(
                len(self.faces), (GROWTH_BATCH,), device=self.device, generator=self.generator
            )
            return self._seen(chosen)

        grow(self.model, source, faces, autocast=self._autocast(), on_step=on_grow)

    def _seen(self, chosen: Tensor) -> Tensor:
        """The chosen training faces as the network sees them, but for mixing and size."""
        faces = normalise(self.faces[chosen])
        return augment(faces, self.config, self.generator) if self.config.augment else faces

    @property
    def evaluated(self) -> nn.Module:
        """The model that is scored and published: averaged where averaging is on."""
        return self.model if self.average is None else self.average.module

    def published(self) -> nn.Module:
        """A copy of :attr:`evaluated` with rounded weights and the logit adjustment in it."""
        model = copy.deepcopy(self.evaluated)
        keep_rounded(model)
        if self.config.logit_adjustment:
            with torch.no_grad():
                classifier(model).bias.sub_(self.adjustment)
        return model

    def fit(
        self, on_step: Listener | None = None, on_epoch: Callable[[Epoch], None] | None = None
    ) -> Progress:
        """Train to ``config.epochs``, writing metrics and checkpoints after every epoch.

        Parameters
        ----------
        on_step : callable(step, steps), optional
            Called after every step, counted over the whole run.
        on_epoch : callable(Epoch), optional

        Raises
        ------
        TrainingError
            The loss is no longer finite, or the GPU's memory is full.
        """
        while self.progress.epoch < self.config.epochs:
            try:
                epoch, logits = self._epoch(self.progress.epoch, on_step)
            except torch.OutOfMemoryError as error:
                raise TrainingError(
                    f"The memory of {self.device} is full.", hint="Choose a smaller --batch."
                ) from error
            self.progress.epoch = epoch.epoch
            if not self.workers.leads:
                continue
            if epoch.val_accuracy > self.progress.best_accuracy:
                self.progress.best_accuracy = epoch.val_accuracy
                self.progress.best_epoch = epoch.epoch
                save_model(
                    self.run / BEST,
                    self.published(),
                    {
                        "model": self.config.model,
                        "epoch": epoch.epoch,
                        "val": epoch.val_accuracy,
                        "temperature": metrics.fit_temperature(logits.numpy(), self.val_labels),
                    },
                )
                matrix = metrics.confusion_matrix(self.val_labels, logits.argmax(1).numpy())
                plot_confusion(matrix, self.run / "confusion_matrix.png")
            with storage_errors(self.run / METRICS), (self.run / METRICS).open("a") as stream:
                stream.write(json.dumps(vars(epoch), allow_nan=False) + "\n")
            plot_curves(self.run / METRICS, self.run / "curves.png")
            save_state(
                self.run / LAST,
                self.model,
                self.average,
                self.optimizer,
                self.scaler,
                self.progress,
            )
            if on_epoch:
                on_epoch(epoch)
        return self.progress

    def _epoch(self, index: int, on_step: Listener | None) -> tuple[Epoch, Tensor]:
        config = self.config
        seed = config.seed * 100_003 + index
        torch.manual_seed(seed)
        self.generator.manual_seed(seed)
        order = torch.randperm(len(self.faces), device=self.device, generator=self.generator)
        if not self.workers.leads:
            # The order is the same for all, what happens to the faces is not.
            self.generator.manual_seed(seed + self.workers.rank * _RANK_SEED)
        steps = self.steps_per_epoch * config.epochs
        loss_sum = torch.zeros((), device=self.device)
        right = torch.zeros((), device=self.device)
        loader_seconds = 0.0
        lr = 0.0
        size = face_size(config, index)
        self.model.train()
        started = time.perf_counter()
        for i in range(self.steps_per_epoch):
            step = index * self.steps_per_epoch + i
            lr = learning_rate(config, step, steps)
            for group in self.optimizer.param_groups:
                group["lr"] = lr
            loading = time.perf_counter()
            chosen = order[i * config.batch : (i + 1) * config.batch]
            chosen = chosen[self.workers.rank :: self.workers.size]
            faces, targets = mix(self._seen(chosen), self.targets[chosen], config, self.generator)
            loader_seconds += time.perf_counter() - loading
            loss, logits = self._step(resized(faces, size), targets)
            loss_sum += loss.detach()
            right += (logits.argmax(1) == self.labels[chosen]).sum()
            if on_step:
                on_step(step + 1, steps)
        loss_sum, right = self.workers.total(loss_sum), self.workers.total(right)
        train_loss = float(loss_sum) / self.steps_per_epoch / self.workers.size
        seconds = time.perf_counter() - started
        _check_finite("training", train_loss, index + 1)
        seen = self.steps_per_epoch * config.batch
        logits = self.predict()
        val_loss = float(functional.cross_entropy(logits, torch.as_tensor(self.val_labels)))
        # The last step can break weights that its own loss did not show.
        _check_finite("val", val_loss, index + 1)
        matrix = metrics.confusion_matrix(self.val_labels, logits.argmax(1).numpy())
        return Epoch(
            epoch=index + 1,
            lr=lr,
            train_loss=train_loss,
            train_accuracy=float(right) / seen,
            val_loss=val_loss,
            **val_figures(matrix),
            seconds=seconds,
            faces_per_second=seen / seconds,
            loader_share=loader_seconds / seconds,
        ), logits

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, self.amp, enabled=self.amp is not None)

    def _step(self, faces: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        faces = faces.contiguous(memory_format=torch.channels_last)
        with self._autocast():
            logits = self.forward(faces)
        logits = logits.float()
        loss = functional.cross_entropy(logits, targets, self.weights)
        if self.teacher is not None:
            share = self.config.distillation
            with self._autocast():
                loss = (1 - share) * loss + share * self.teacher.loss(faces, logits)
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.average is not None:
            self.average.update_parameters(self.model)
        return loss, logits

    @torch.no_grad()
    def predict(self) -> Tensor:
        """Logits of the published model on val, float32 (N, 7), on the CPU."""
        model = self.evaluated.eval()
        parts = [
            model(normalise(part).contiguous(memory_format=torch.channels_last)).float().cpu()
            for part in self.val_faces.split(EVALUATION_BATCH)
        ]
        return torch.cat(parts) - self.adjustment.cpu()

    def _drop_lines_after(self, epoch: int) -> None:
        """A run stopped between writing metrics and checkpoint has one line too many."""
        path = self.run / METRICS
        if path.is_file():
            write_text(path, "".join(path.read_text().splitlines(keepends=True)[:epoch]))


def val_figures(matrix: NDArray[np.int64]) -> dict[str, Any]:
    """Those fields of :class:`Epoch` that follow from the confusion matrix of val."""
    return {
        "val_accuracy": metrics.accuracy(matrix),
        "val_macro_f1": metrics.macro_f1(matrix),
        # NaN is no JSON.
        "val_recall": {k: None if np.isnan(v) else v for k, v in metrics.recalls(matrix).items()},
    }


def normalise(faces: Tensor) -> Tensor:
    """uint8 pixels to the float32 that networks see."""
    return (faces.float() - PIXEL_MEAN) / PIXEL_SCALE


def resolve_device(name: str, number: int = 0) -> torch.device:
    """``auto`` is the GPU where there is one; UsageError if the device asked for is not there.

    ``number`` chooses the GPU where the name does not.
    """
    if name == "auto":
        return torch.device("cuda", number) if torch.cuda.is_available() else torch.device("cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(
            f"--device {name} is not a device.", hint="Use auto, cpu or cuda."
        ) from error
    if device.type not in ("cpu", "cuda"):
        raise UsageError(f"--device {name} is not supported.", hint="Use auto, cpu or cuda.")
    if device.type == "cuda":
        device = torch.device("cuda", number if device.index is None else device.index)
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= count:
            raise UsageError(
                f"--device {name}: torch sees {count or 'no'} GPU{'s' if count > 1 else ''}.",
                hint="fer-edge doctor says what is missing.",
            )
    return device


def class_weights(labels: Tensor, exponent: float) -> Tensor | None:
    """Weights of the loss per class, mean 1 over the faces; None for an exponent of 0."""
    if exponent == 0:
        return None
    counts = torch.bincount(labels, minlength=len(EMOTIONS)).clamp(min=1).float()
    weights = counts**-exponent
    return weights / (weights * counts).sum() * counts.sum()


def logit_adjustment(labels: Tensor, tau: float) -> Tensor:
    """What to subtract from the logits, float32 (7,): tau times the log of each class's share.

    Menon et al. 2020 (arXiv:2007.07314), section 4.2.
    """
    shares = torch.bincount(labels, minlength=len(EMOTIONS)).clamp(min=1) / len(labels)
    return tau * shares.log()


def _check_finite(part: str, loss: float, epoch: int) -> None:
    if not np.isfinite(loss):
        raise TrainingError(
            f"The {part} loss became {loss} in epoch {epoch}.",
            hint="Lower --lr, or train with --precision fp32.",
        )


def _amp_dtype(precision: str, device: torch.device) -> torch.dtype | None:
    if precision == "auto":
        if device.type != "cuda":
            # bf16 is slower than fp32 on some CPUs (Xeon without AMX) and faster on others (Zen 4).
            return None
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    return {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]


def _decay_groups(model: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """No weight decay on biases and batch norm (He et al. 2018, arXiv:1812.01187, section 3.1)."""
    decayed = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    return [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]


def _on_device(faces: NDArray[np.uint8], device: torch.device) -> Tensor:
    return torch.as_tensor(np.array(faces), device=device)[:, None]


def best_epoch(run: Path) -> dict[str, Any]:
    """The line of ``metrics.jsonl`` with the highest val accuracy."""
    lines = (run / METRICS).read_text().splitlines()
    return max(map(json.loads, lines), key=lambda epoch: epoch["val_accuracy"])
