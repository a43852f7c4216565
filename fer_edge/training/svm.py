"""A support vector machine on the features of a trained network."""

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from fer_edge import metrics
from fer_edge.artifact import Artifact
from fer_edge.contract import Contract
from fer_edge.data import FaceDataset, load_dataset
from fer_edge.errors import MissingDependencyError, TrainingError, UsageError
from fer_edge.files import write_text
from fer_edge.models.head import classifier
from fer_edge.models.trained import load_trained
from fer_edge.models.weights import contract_facts
from fer_edge.sealed import MANIFEST
from fer_edge.training.augment import normalise
from fer_edge.training.checkpoint import BEST, save_model
from fer_edge.training.config import CONFIG, TrainConfig, problem_with
from fer_edge.training.declaration import declared_in
from fer_edge.training.epoch import METRICS, Epoch, val_figures
from fer_edge.training.options import SvmOptions
from fer_edge.training.trainer import evaluation_batch

Progress = Callable[[int, int], None]


def train_svm(
    source_run: Path,
    data: str | Path,
    out: Path,
    *,
    costs: Sequence[float] = SvmOptions.costs,
    class_balance: float = SvmOptions.class_balance,
    on_load: Progress | None = None,
    on_step: Progress | None = None,
) -> Epoch:
    """Put a linear SVM in the place of a trained network's classifier.

    One-vs-rest, with squared hinge loss (Tang 2013, arXiv:1306.0239, which won FER2013 with an L2
    SVM on a network), on the standardised inputs of the last linear layer, for the training faces
    and their mirror images. Standardisation and SVM are linear: they become the weights of that
    layer, and decision values its logits.

    Parameters
    ----------
    source_run : Path
        Run folder of the network, whose best epoch is taken, or an artifact.
    data : path
        As for :func:`fer_edge.data.load_dataset`. Val chooses among ``costs``.
    out : Path
        Must not hold a run yet. Gets one with a single epoch, which can be exported.
    costs : sequence of float
        Values of C to try, above 0.
    class_balance : float
        Exponent of the faces' weights ``count ** -class_balance``, 0 (none) to 1.
    on_load, on_step : callable(done, total), optional
        Called while the data is decoded, and while features are computed and SVMs fitted.

    Returns
    -------
    Epoch
        The line of ``metrics.jsonl``; its ``lr`` is 0.

    Raises
    ------
    UsageError
        No or wrong costs, a wrong balance, or an emotion without training faces.
    MissingDependencyError
        scikit-learn is not installed.
    TrainingError
        ``source_run`` is neither, or ``out`` holds one already.
    DataError, ModelError, StorageError
        The data or the weights cannot be used.
    """
    try:
        from sklearn.preprocessing import StandardScaler
        from sklearn.svm import LinearSVC
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            "An SVM needs scikit-learn, which is not installed.",
            hint="Install it with: pip install 'fer-edge[train]'",
        ) from error
    given = {"source_run": str(source_run), "costs": costs, "class_balance": class_balance}
    for option in declared_in(SvmOptions):
        if problem := problem_with(option, given[option.name]):
            raise UsageError(f"{option.name} {given[option.name]} of an SVM: {problem}.")
    artifact = Artifact.load(source_run) if (source_run / MANIFEST).is_file() else None
    config = _config(artifact) if artifact else TrainConfig.load(source_run).to_dict()
    if (out / CONFIG).exists():
        raise TrainingError(f"{out} holds a run already.", hint="Choose another folder.")
    started = time.perf_counter()
    model, contract = load_trained(source_run if artifact else source_run / BEST)
    model.eval()
    train = load_dataset(data, "train", contract=contract, progress=on_load)
    val = load_dataset(data, "val", contract=contract, progress=on_load)
    empty = [emotion for emotion, count in train.counts().items() if not count]
    if empty:
        raise UsageError(
            f"{data} has no training faces of {empty[0]}.", hint="An SVM needs all emotions."
        )
    faces = 2 * len(train) + len(val)
    steps = faces + len(costs)

    def step(done: int) -> None:
        if on_step:
            on_step(done, steps)

    train_features = torch.cat(
        [
            features(model, train, progress=step),
            features(model, train, mirrored=True, progress=lambda n: step(len(train) + n)),
        ]
    )
    train_labels = np.tile(train.labels, 2)
    val_features = features(model, val, progress=lambda n: step(2 * len(train) + n))
    scaler = StandardScaler().fit(train_features.numpy())
    standardised = scaler.transform(train_features.numpy())
    weights = np.bincount(train.labels, minlength=len(contract.labels)) ** -float(class_balance)
    weights *= len(contract.labels) / weights.sum()
    layer = classifier(model, len(contract.labels))
    best: tuple[float, float, NDArray[np.float64], NDArray[np.float64]] | None = None
    for index, cost in enumerate(costs):
        svm = LinearSVC(C=cost, dual=False, class_weight=dict(enumerate(weights)))
        svm.fit(standardised, train_labels)
        weight = svm.coef_ / scaler.scale_
        bias = svm.intercept_ - weight @ scaler.mean_
        predicted = (val_features.double().numpy() @ weight.T + bias).argmax(axis=1)
        accuracy = float((predicted == val.labels).mean())
        if best is None or accuracy > best[0]:
            best = accuracy, cost, weight, bias
        step(faces + index + 1)
    assert best is not None
    _, cost, weight, bias = best
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weight))
        layer.bias.copy_(torch.from_numpy(bias))
    epoch = _epoch(
        layer, contract, (train_features, train_labels), (val_features, val.labels), started
    )
    config["data"] = [str(data)]
    # It was in the bias that the SVM replaces.
    config.pop("logit_adjustment", None)
    config["svm"] = {
        "source_run": str(source_run),
        "cost": cost,
        "costs": list(costs),
        "class_balance": class_balance,
    }
    config |= {"size": contract.size, "color": contract.color}
    facts = {"model": config["model"], "epoch": epoch.epoch, "val": epoch.val_accuracy}
    save_model(out / BEST, model, facts | contract_facts(contract))
    write_text(out / METRICS, json.dumps(vars(epoch), allow_nan=False) + "\n")
    write_text(out / CONFIG, json.dumps(config, indent=2) + "\n")
    return epoch


def _config(artifact: Artifact) -> dict[str, Any]:
    known = (artifact.manifest.training or {}).get("config", {})
    return TrainConfig.checked(**{"data": "unknown"} | known).to_dict() | {
        "model": artifact.manifest.model
    }


@torch.no_grad()
def features(
    model: nn.Module,
    data: FaceDataset,
    *,
    mirrored: bool = False,
    progress: Callable[[int], None] | None = None,
) -> Tensor:
    """Inputs of the last linear layer, float32 (N, D), on the CPU.

    Parameters
    ----------
    model : torch.nn.Module
        In evaluation mode.
    data : FaceDataset
    mirrored : bool
        Of the faces flipped left to right.
    progress : callable(done), optional
        Called with the faces done.
    """
    seen: list[Tensor] = []
    layer = classifier(model, len(data.classes))
    batch = evaluation_batch(Contract(data.faces.shape[-1]))
    handle = layer.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    try:
        for start in range(0, len(data), batch):
            faces = torch.as_tensor(np.array(data.batch(slice(start, start + batch))))
            pixels = normalise(faces.flip(3) if mirrored else faces)
            model(pixels.contiguous(memory_format=torch.channels_last))
            if progress:
                progress(min(start + batch, len(data)))
    finally:
        handle.remove()
    return torch.cat(seen)


@torch.no_grad()
def _epoch(
    layer: nn.Linear,
    contract: Contract,
    train: tuple[Tensor, NDArray[np.int64]],
    val: tuple[Tensor, NDArray[np.int64]],
    started: float,
) -> Epoch:
    losses, matrices = [], []
    for inputs, labels in (train, val):
        logits = layer(inputs)
        losses.append(float(functional.cross_entropy(logits, torch.as_tensor(np.array(labels)))))
        matrices.append(
            metrics.confusion_matrix(labels, logits.argmax(1).numpy(), len(contract.labels))
        )
    seconds = time.perf_counter() - started
    return Epoch(
        epoch=1,
        lr=0.0,
        train_loss=losses[0],
        train_accuracy=metrics.accuracy(matrices[0]),
        val_loss=losses[1],
        **val_figures(matrices[1], contract.labels),
        seconds=seconds,
        faces_per_second=len(train[1]) / seconds,
        loader_share=0.0,
    )
