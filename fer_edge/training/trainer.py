"""The training loop."""

import copy
import hashlib
import shlex
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

from fer_edge import metrics
from fer_edge.contract import FACE_SIZE, Contract
from fer_edge.data import FaceDataset
from fer_edge.errors import TrainingError, UsageError
from fer_edge.evaluation.plots import plot_confusion
from fer_edge.models.head import classifier
from fer_edge.models.weights import contract_facts
from fer_edge.training.augment import augment, mix, normalise, resized
from fer_edge.training.averaging import MovingAverage
from fer_edge.training.checkpoint import (
    BEST,
    LAST,
    Progress,
    load_state,
    save_model,
    save_state,
)
from fer_edge.training.config import TrainConfig
from fer_edge.training.degrade import degrade
from fer_edge.training.devices import amp_dtype, resolve_device
from fer_edge.training.distill import Teacher, divergence
from fer_edge.training.distributed import Workers
from fer_edge.training.epoch import (
    METRICS,
    Epoch,
    add_line,
    drop_lines_after,
    metrics_of,
    rank,
    val_figures,
)
from fer_edge.training.failures import failures_told
from fer_edge.training.initial import initial_network
from fer_edge.training.int8_weights import keep_rounded
from fer_edge.training.loss import class_weights, logit_adjustment, soft_targets
from fer_edge.training.optimiser import optimiser
from fer_edge.training.plots import plot_curves
from fer_edge.training.schedule import face_size, learning_rate

_EVALUATED_PIXELS = 256 * FACE_SIZE * FACE_SIZE
"""Of a batch that is scored: 256 faces of 48x48, as many fewer as they are larger."""
_RANK_SEED = 7_919
"""Keeps the workers' random numbers apart."""


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
    on_ask : callable(done, total), optional
        Called while teachers are asked about all faces, for ``config.soft_labels``.

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
        on_ask: Listener | None = None,
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
        self.contract = config.contract
        if (config.initial_size or 0) > self.contract.size:
            raise UsageError(
                f"--initial-size {config.initial_size} is more than the {self.contract.size} "
                "pixels that the faces grow to.",
                hint="Choose a smaller one, or a larger --size.",
            )
        for data in (train, val):
            data.require(self.contract)
        self.run = run
        self.device = resolve_device(config.device, self.workers.local_rank)
        self.workers.join(self.device)
        # Before what takes time: it may not be there.
        self.teacher = Teacher.load(config, self.device) if config.teachers else None
        torch.manual_seed(config.seed)
        self.amp = amp_dtype(config.precision, self.device)
        self.faces = _on_device(train, self.device)
        self.generator = torch.Generator(self.device)
        # For the faces that a network grows on, or that tell the statistics of an artifact's norms.
        self.generator.manual_seed(config.seed)
        self.model = initial_network(
            config,
            self.device,
            lambda count: self._seen(self._some(count)),
            resume=resume,
            autocast=self._autocast(),
            on_grow=on_grow,
        )
        self.average = MovingAverage(self.model, config.ema) if config.ema else None
        self.optimizer = optimiser(self.model, config)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.amp is torch.float16)
        self.progress = Progress()
        fingerprint = data_hash(train, val, face_weights)
        if resume:
            self.progress = load_state(
                run / LAST, self.model, self.average, self.optimizer, self.scaler
            )
            if self.progress.best_epoch and np.isinf(self.progress.best_loss):
                # Older versions kept it in the metrics alone.
                told = metrics_of(run, self.progress.best_epoch)
                self.progress.best_loss = told["val_loss"]
            _check_same(self.progress.data, fingerprint, config, run)
        self.progress.data = fingerprint
        if self.workers.leads:
            drop_lines_after(run, self.progress.epoch)
        self.forward: Callable[[Tensor], Tensor] = self.model
        if self.workers.size > 1:
            self.forward = DistributedDataParallel(
                self.model, [self.device.index] if self.device.type == "cuda" else None
            )
        if config.compile:
            self.forward = torch.compile(self.forward)
        self.labels = torch.as_tensor(np.array(train.labels), device=self.device)
        self.targets = soft_targets(train, config.label_smoothing, face_weights, self.device)
        self.val_faces = _on_device(val, self.device)
        self.val_labels = np.array(val.labels)
        classes = len(self.contract.labels)
        self.weights = class_weights(self.labels, config.class_balance, classes)
        self.adjustment = logit_adjustment(self.labels, config.logit_adjustment, classes)
        if self.teacher is not None and config.soft_labels:
            with self._autocast():
                wanted = self.teacher.stored(train, self.faces, on_ask)
            self.targets = torch.cat([self.targets, wanted], 1)
        self.steps_per_epoch = len(train) // config.batch

    def _some(self, count: int) -> Tensor:
        """Indices of so many training faces, drawn at random."""
        return torch.randint(
            len(self.faces), (count,), device=self.device, generator=self.generator
        )

    def _seen(self, chosen: Tensor) -> Tensor:
        """The chosen training faces as the network sees them, but for mixing and size."""
        faces = normalise(self.faces[chosen])
        if self.config.augment:
            faces = augment(faces, self.config, self.generator)
        return degrade(faces, self.config.degradation, self.generator)

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
                classifier(model, len(self.contract.labels)).bias.sub_(self.adjustment)
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
            The loss is no longer finite, the GPU's memory is full, or torch.compile fails.
        """
        while self.progress.epoch < self.config.epochs:
            with failures_told(self.device):
                epoch, logits = self._epoch(self.progress.epoch, on_step)
            self.progress.epoch = epoch.epoch
            if not self.workers.leads:
                continue
            best = rank(self.progress.best_accuracy, self.progress.best_loss)
            if self.config.keep == "last" or rank(epoch.val_accuracy, epoch.val_loss) > best:
                self.progress.best_accuracy = epoch.val_accuracy
                self.progress.best_loss = epoch.val_loss
                self.progress.best_epoch = epoch.epoch
                save_model(
                    self.run / BEST,
                    self.published(),
                    {
                        "model": self.config.model,
                        "epoch": epoch.epoch,
                        "val": epoch.val_accuracy,
                        **contract_facts(self.contract),
                        "temperature": metrics.fit_temperature(logits.numpy(), self.val_labels),
                    },
                )
                plot_confusion(
                    self._confusion(logits),
                    self.run / "confusion_matrix.png",
                    self.contract.labels,
                )
            add_line(self.run, epoch)
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
        size = face_size(config, index, self.contract.size)
        classes = len(self.contract.labels)
        stored = self.targets.shape[1] > classes
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
            # Those of the teachers stand behind the labels', and are mixed as they are.
            targets, wanted = targets[:, :classes], targets[:, classes:]
            loss, logits = self._step(resized(faces, size), targets, wanted if stored else None)
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
        return Epoch(
            epoch=index + 1,
            lr=lr,
            train_loss=train_loss,
            train_accuracy=float(right) / seen,
            val_loss=val_loss,
            **val_figures(self._confusion(logits), self.contract.labels),
            seconds=seconds,
            faces_per_second=seen / seconds,
            loader_share=loader_seconds / seconds,
        ), logits

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, self.amp, enabled=self.amp is not None)

    def _step(self, faces: Tensor, targets: Tensor, wanted: Tensor | None) -> tuple[Tensor, Tensor]:
        faces = faces.contiguous(memory_format=torch.channels_last)
        with self._autocast():
            logits = self.forward(faces)
        logits = logits.float()
        loss = functional.cross_entropy(logits, targets, self.weights)
        if self.teacher is not None:
            if wanted is None:
                with self._autocast():
                    wanted = self.teacher.wanted(faces)
            taught = divergence(logits, wanted, self.config.distillation_temperature)
            share = self.config.distillation
            loss = (1 - share) * loss + share * taught
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.average is not None:
            self.average.update_parameters(self.model)
        return loss, logits

    @torch.no_grad()
    def predict(self) -> Tensor:
        """Logits of the published model on val, float32 (N, labels), on the CPU."""
        model = self.evaluated.eval()
        parts = [
            model(normalise(part).contiguous(memory_format=torch.channels_last)).float().cpu()
            for part in self.val_faces.split(evaluation_batch(self.contract))
        ]
        return torch.cat(parts) - self.adjustment.cpu()

    def _confusion(self, logits: Tensor) -> NDArray[np.int64]:
        predicted = logits.argmax(1).numpy()
        return metrics.confusion_matrix(self.val_labels, predicted, len(self.contract.labels))


def data_hash(
    train: FaceDataset, val: FaceDataset, face_weights: NDArray[np.float32] | None
) -> str:
    """What tells the data of a training from others, wherever they lie."""
    digest = hashlib.sha256(f"{train.fingerprint} {val.fingerprint}".encode())
    if face_weights is not None:
        digest.update(face_weights.astype("<f4").tobytes())
    return digest.hexdigest()


def _check_same(before: str, now: str, config: TrainConfig, run: Path) -> None:
    if before and before != now:
        raise TrainingError(
            f"{run} was trained on other faces or labels than {', '.join(config.data)} has now.",
            hint="Name its own: fer-edge train --resume "
            f"{shlex.quote(str(run))} --data PATH. Or train into a new folder.",
        )


def evaluation_batch(contract: Contract) -> int:
    """Faces of that size in a batch that is scored."""
    return max(_EVALUATED_PIXELS // contract.size**2, 1)


def _check_finite(part: str, loss: float, epoch: int) -> None:
    if not np.isfinite(loss):
        raise TrainingError(
            f"The {part} loss became {loss} in epoch {epoch}.",
            hint="Train into a new --out with a lower --lr, or with --precision fp32 if it is not.",
        )


def _on_device(data: FaceDataset, device: torch.device) -> Tensor:
    """The faces, uint8 (N, channels, size, size); a copy where they are on disk."""
    faces = data.faces if data.faces.flags.writeable else np.array(data.faces)
    tensor = torch.as_tensor(faces, device=device)
    return tensor if tensor.ndim == 4 else tensor[:, None]
