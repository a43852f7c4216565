"""What ``precision="auto"`` takes: the fastest on this machine of those that lose nothing."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from fer_edge.contract import Precision
from fer_edge.engines.base import Engine
from fer_edge.engines.speed import (
    fastest,
    measure_speed,
    recorded_speed,
    remember_speed,
    summary,
)
from fer_edge.errors import ArtifactError

if TYPE_CHECKING:
    from fer_edge.artifact import Artifact, SpeedRecord

VARIABLE = "FER_EDGE_TUNE"
"""``0`` keeps a first open from timing the precisions."""
_FIRST_OPEN_S = 0.1
"""For each batch size, all precisions together."""


class Preference(NamedTuple):
    """Precisions, the preferred first, and what that goes by."""

    order: tuple[Precision, ...]
    reason: str


def proven(artifact: Artifact, order: Iterable[Precision]) -> tuple[list[Precision], list[str]]:
    """Precisions of ``order`` that the artifact has and whose recorded scores hold against fp32's.

    Returns
    -------
    precisions : list
        In that order. Where nothing was scored, nothing is held against a precision.
    objections : list of str
        Why each of the others is out.
    """
    scores = artifact.manifest.scores
    base = scores.get("fp32")
    kept: list[Precision] = []
    objections = []
    for precision in order:
        score = scores.get(precision)
        if precision not in artifact.manifest.graphs:
            continue
        loss = None if base is None or score is None else score.loss_against(base)
        if loss is None:
            kept.append(precision)
        else:
            objections.append(f"{precision} {loss}")
    return kept, objections


def prefer(
    artifact: Artifact,
    order: Iterable[Precision],
    open_one: Callable[[Precision], Engine],
    *,
    backend: str,
    backend_version: str,
    threads: int | None = None,
    device: str | None = None,
    objections: Iterable[str] = (),
    tune: bool = True,
) -> Preference:
    """Choose among the graphs of an artifact for this machine.

    Times come from this user's cache, from the manifest, or, at the first open on a machine, from
    a measurement of about a third of a second that the cache keeps.

    Parameters
    ----------
    artifact : Artifact
    order : iterable of str
        What is tried, and taken where times are equal or unknown: the first.
    open_one : callable
        Opens the engine of a precision.
    backend, backend_version, threads, device
        What runs it; ``device`` names a GPU.
    objections : iterable of str
        What is out already, and why.
    tune : bool
        Whether to measure where nothing is known. ``FER_EDGE_TUNE=0`` turns it off, too.

    Raises
    ------
    ArtifactError
        The artifact has none of the precisions.
    """
    candidates, against = proven(artifact, order)
    said = [*objections, *against]
    if not candidates:
        raise ArtifactError(
            f"{artifact.folder} has no graph to run here{_because(said)}.",
            hint="Export the model again.",
        )
    record = None
    if len(candidates) > 1:
        record = recorded_speed(
            artifact,
            candidates,
            backend=backend,
            backend_version=backend_version,
            threads=threads,
            device=device,
        )
        if record is None and tune and may_time():
            record = measure_speed(open_one, candidates, seconds=_FIRST_OPEN_S, threads=threads)
            remember_speed(artifact, record)
    return _by_speed(candidates, record, said)


def may_time() -> bool:
    """Whether this user lets anything be timed that was not asked for."""
    return os.environ.get(VARIABLE) != "0"


def rank(
    artifact: Artifact,
    order: Iterable[Precision],
    *,
    backend: str,
    backend_version: str,
    device: str | None,
) -> Preference:
    """Order the precisions of serialised engines, by what is known already.

    They take seconds to load, so that a first open does not time them.
    """
    candidates, against = proven(artifact, order)
    record = recorded_speed(
        artifact,
        candidates,
        backend=backend,
        backend_version=backend_version,
        threads=None,
        device=device,
    )
    return _by_speed(candidates, record, against)


def _by_speed(
    candidates: Sequence[Precision], record: SpeedRecord | None, said: Sequence[str]
) -> Preference:
    if len(candidates) < 2:
        return Preference(tuple(candidates), "; ".join(said) or "the only precision there is")
    if record is None:
        unknown = "speeds not measured on this machine (fer-edge tune)"
        return Preference(tuple(candidates), "; ".join([*said, unknown]))
    first = fastest(record, candidates)
    others = (precision for precision in candidates if precision != first)
    told = [*said, f"times here: {summary(record, candidates)}"]
    return Preference((first, *others), "; ".join(told))


def _because(reasons: list[str]) -> str:
    return f": {'; '.join(reasons)}" if reasons else ""
