"""A bench result held against an earlier one: for people's continuous integration."""

from collections.abc import Collection
from pathlib import Path
from typing import Literal

import pydantic

from fer_edge.bench.machine import Machine
from fer_edge.bench.suite import BenchResult
from fer_edge.errors import DataError, UsageError
from fer_edge.files import storage_errors


class Change(pydantic.BaseModel):
    """One figure, then and now."""

    what: Literal["latency", "accuracy"]
    precision: str
    batch: int | None
    """For latency."""
    before: float
    """Median milliseconds of a call, or the share of right answers."""
    now: float
    change: float
    """Latency: percent slower (positive) or faster. Accuracy: points lost (positive) or gained."""
    limit: float | None
    """What was allowed; None where nothing was said."""
    beyond: bool


def read_baseline(path: Path) -> BenchResult:
    """Read what ``fer-edge bench --out`` wrote.

    Raises
    ------
    DataError
        It is something else.
    StorageError
        It cannot be read.
    """
    with storage_errors(path):
        text = path.read_bytes()
    try:
        return BenchResult.model_validate_json(text)
    except ValueError as error:
        raise DataError(
            f"{path} is no result of the bench.", hint="Make one with: fer-edge bench --out FILE"
        ) from error


def check_limits(
    before: BenchResult,
    *,
    machine: Machine,
    threads: int | None,
    precisions: Collection[str],
    batches: Collection[int],
    faces: str | None,
    max_slowdown: float | None = None,
    max_drop: float | None = None,
) -> None:
    """Raise what :func:`compare` will, as far as it shows before a run of minutes.

    Parameters
    ----------
    before : BenchResult
    machine, threads, precisions, batches
        Of the run that is to come.
    faces : str, optional
        Fingerprint of what it is scored on; None where it is not.
    max_slowdown, max_drop : float, optional
        As for :func:`compare`.

    Raises
    ------
    UsageError
        As :func:`compare`.
    """
    rows = [row for row in before.precisions if row.precision in precisions]
    elsewhere = _elsewhere(before, machine, threads)
    if max_slowdown is not None and (
        elsewhere or not any(one.batch in batches for row in rows for one in row.latency)
    ):
        raise _no_latency(elsewhere)
    if max_drop is not None and not any(row.score and row.score.data == faces for row in rows):
        raise _no_accuracy()


def compare(
    before: BenchResult,
    now: BenchResult,
    *,
    max_slowdown: float | None = None,
    max_drop: float | None = None,
) -> list[Change]:
    """What changed, for precisions and batch sizes that both have.

    Parameters
    ----------
    before, now : BenchResult
    max_slowdown : float, optional
        Percent by which the median of a call may rise. A rise that the intervals of both runs
        explain is none.
    max_drop : float, optional
        Points of accuracy that may be lost.

    Raises
    ------
    UsageError
        A limit is given and nothing can be held against it: another processor, no accuracy, other
        faces.
    """
    changes = _latencies(before, now, max_slowdown) + _accuracies(before, now, max_drop)
    told = {change.what for change in changes}
    if max_slowdown is not None and "latency" not in told:
        raise _no_latency(_elsewhere(before, now.machine, now.threads))
    if max_drop is not None and "accuracy" not in told:
        raise _no_accuracy()
    return changes


def _no_latency(elsewhere: str | None) -> UsageError:
    return UsageError(
        elsewhere or "The baseline has none of these precisions and batch sizes.",
        hint="Make a baseline here with: fer-edge bench --out FILE",
    )


def _no_accuracy() -> UsageError:
    return UsageError(
        "--max-drop needs accuracy on the same faces in both runs.",
        hint="Give --data to both: fer-edge bench --data FER2013 --out FILE",
    )


def _elsewhere(before: BenchResult, machine: Machine, threads: int | None) -> str | None:
    """Why times cannot be compared; None if they can."""
    then, now = _place(before.machine, before.threads), _place(machine, threads)
    return None if then == now else f"The baseline was timed on {then}, and this is {now}."


def _place(machine: Machine, threads: int | None) -> str:
    """What decides how long a call takes, as people say it."""
    asked = [] if threads is None else [f"{threads} threads"]
    return ", ".join([machine.cpu, f"{machine.cores} cores", *asked, *machine.gpus])


def _latencies(before: BenchResult, now: BenchResult, limit: float | None) -> list[Change]:
    if _elsewhere(before, now.machine, now.threads):
        return []
    old = {
        (row.precision, row.backend, latency.batch): latency
        for row in before.precisions
        for latency in row.latency
    }
    changes = []
    for row in now.precisions:
        for latency in row.latency:
            then = old.get((row.precision, row.backend, latency.batch))
            if then is None:
                continue
            change = 100 * (latency.p50_ms / then.p50_ms - 1)
            slow, fast = latency.p50_interval_ms, then.p50_interval_ms
            noise = slow is not None and fast is not None and slow[0] <= fast[1]
            changes.append(
                Change(
                    what="latency",
                    precision=row.precision,
                    batch=latency.batch,
                    before=then.p50_ms,
                    now=latency.p50_ms,
                    change=change,
                    limit=limit,
                    beyond=limit is not None and change > limit and not noise,
                )
            )
    return changes


def _accuracies(before: BenchResult, now: BenchResult, limit: float | None) -> list[Change]:
    old = {row.precision: row.score for row in before.precisions}
    changes = []
    for row in now.precisions:
        then = old.get(row.precision)
        if then is None or row.score is None or then.data != row.score.data:
            continue
        lost = 100 * (then.accuracy - row.score.accuracy)
        changes.append(
            Change(
                what="accuracy",
                precision=row.precision,
                batch=None,
                before=then.accuracy,
                now=row.score.accuracy,
                change=lost,
                limit=limit,
                # One face of 3,589 is 0.028 points: what rounds to the limit is within it.
                beyond=limit is not None and lost > limit + 1e-9,
            )
        )
    return changes
