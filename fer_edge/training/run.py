"""A training run: a folder that starts, stops and goes on."""

import shlex
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fer_edge.contract import FER2013
from fer_edge.data import FaceDataset, hold_out, load_dataset, mix
from fer_edge.data.report import DataReport, flagged
from fer_edge.errors import DataError, TrainingError, UsageError
from fer_edge.training.checkpoint import LAST, Progress
from fer_edge.training.config import CONFIG, TrainConfig
from fer_edge.training.epoch import Epoch
from fer_edge.training.trainer import Listener, Trainer


def start(
    config: TrainConfig,
    run: Path,
    *,
    on_load: Listener | None = None,
    on_read: Callable[[], None] | None = None,
    on_grow: Listener | None = None,
    on_ask: Listener | None = None,
    on_step: Listener | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
) -> Progress:
    """Train into a new folder.

    Parameters
    ----------
    config : TrainConfig
    run : Path
        Must not hold a run yet.
    on_load, on_grow, on_ask, on_step : callable(done, total), optional
        Called while the data is decoded, while the model grows out of a smaller one, while
        teachers are asked about all faces, and after every training step.
    on_read : callable(), optional
        Called when the data are read, before anything is done with them.
    on_epoch : callable(Epoch), optional

    Raises
    ------
    TrainingError
        There is a run in the folder, or the training diverges. What fails in its first epoch
        leaves no run.
    DataError, ModelError, UsageError
        The data, the weights or a value of the config cannot be used.
    """
    if (run / CONFIG).exists():
        raise TrainingError(
            f"{run} holds a run already.",
            hint=f"Go on with it: fer-edge train --resume {run}. Or choose another --out.",
        )
    config = config.resolved()
    trainer = _trainer(config, run, False, on_load, on_grow, on_ask, on_read)
    if trainer.workers.leads:
        config.save(run)
    try:
        return trainer.fit(on_step, on_epoch)
    except Exception:
        # Nothing to go on from: other options may be tried in the same folder.
        if trainer.workers.leads and not trainer.progress.epoch:
            (run / CONFIG).unlink(missing_ok=True)
        raise


def resume(
    run: Path,
    data: Sequence[str] = (),
    *,
    on_load: Listener | None = None,
    on_ask: Listener | None = None,
    on_step: Listener | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
) -> Progress:
    """Go on from the last finished epoch, with the run's own config.

    Parameters
    ----------
    run : Path
    data : sequence of str
        Where the run's data lie now, in its order; by default where they were.
    on_load, on_ask, on_step, on_epoch : callable, optional
        As for :func:`start`.

    Raises
    ------
    TrainingError
        There is no run in the folder, its checkpoint is damaged, its data are not there or not the
        same, or the training diverges.
    UsageError
        More or fewer of ``data`` than the run has.
    """
    config = TrainConfig.load(run)
    if data:
        if len(data) != len(config.data):
            raise UsageError(
                f"{run} has {len(config.data)} of --data, and {len(data)} were given.",
                hint="Name each, in this order: " + ", ".join(config.data),
            )
        config = replace(config, data=tuple(data))
    again = (run / LAST).exists()
    try:
        trainer = _trainer(config, run, again, on_load, on_ask=on_ask)
    except DataError as error:
        gone = [source for source in config.data if not Path(source).exists()]
        if not gone:
            raise
        raise TrainingError(
            f"{run} was trained on {gone[0]}, which is not there.",
            hint=f"Say where it is: fer-edge train --resume {shlex.quote(str(run))} --data PATH",
        ) from error
    if data and trainer.workers.leads:
        config.save(run)
    return trainer.fit(on_step, on_epoch)


def _trainer(
    config: TrainConfig,
    run: Path,
    again: bool,
    on_load: Listener | None,
    on_grow: Listener | None = None,
    on_ask: Listener | None = None,
    on_read: Callable[[], None] | None = None,
) -> Trainer:
    soft = config.fer_plus is not None
    first, *others = config.data
    load = partial(
        load_dataset,
        labels=config.labels,
        shared=bool(others),
        contract=config.contract,
        progress=on_load,
    )
    train = load(first, "train", fer_plus=config.fer_plus, soft=soft)
    # Scores stay comparable: val keeps the labels of FER2013.
    val = load(first, "val")
    kept = _kept(config, train, load)
    if kept is not None and config.exclude_weight == 0:
        train, kept = train.subset(kept == 1), None
    further = (hold_out(load(other, "train"), config.hold_out)[0] for other in others)
    sets = [train, *further]
    if on_read is not None:
        on_read()
    mixture, weights = mix(sets, config.data_weights or [1.0] * len(sets), held_out=val)
    if kept is not None:
        weights[: len(train)] *= kept
    if config.faces is not None:
        chosen = _drawn(mixture, config)
        mixture, weights = mixture.subset(chosen), weights[chosen]
        val = val.subset(_drawn(val, config))
    return Trainer(
        config,
        mixture,
        val,
        run,
        resume=again,
        face_weights=weights,
        on_grow=on_grow,
        on_ask=on_ask,
    )


def _drawn(data: FaceDataset, config: TrainConfig) -> NDArray[np.int64]:
    """Indices, ascending, of ``config.faces`` of the faces."""
    order = np.random.default_rng(config.seed).permutation(len(data))
    return np.sort(order[: config.faces])


def _kept(
    config: TrainConfig, train: FaceDataset, load: Callable[..., FaceDataset]
) -> NDArray[np.float32] | None:
    """Weight of each face of the first data set, by the report that the config names."""
    if config.exclude is None:
        return None
    # Reports are made of faces and labels as FER2013 has them, whatever a network takes.
    told = load(config.data[0], "train", contract=FER2013)
    mask = flagged(DataReport.load(Path(config.exclude)), told)
    bad = {name for name, wrong in zip(_names(told), mask, strict=True) if wrong}
    found = [name in bad for name in _names(train)]
    return np.where(found, config.exclude_weight, 1).astype(np.float32)


def _names(data: FaceDataset) -> list[tuple[str, int]]:
    """The name of each face, and how many before it have the same."""
    assert data.names is not None  # every reader names its faces
    before: Counter[str] = Counter()
    names = []
    for name in data.names.tolist():
        names.append((name, before[name]))
        before[name] += 1
    return names
