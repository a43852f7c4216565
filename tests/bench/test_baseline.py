"""A run held against an earlier one."""

import pytest

from fer_edge.bench.baseline import compare, read_baseline
from fer_edge.bench.latency import Latency
from fer_edge.bench.machine import Machine
from fer_edge.bench.suite import BenchResult
from fer_edge.errors import DataError, UsageError

MACHINE = Machine(
    cpu="A", cores=2, instruction_sets=[], memory_gib=1, gpus=[], system="", python="", packages={}
)


def result(ms: float, interval=None, accuracy: float | None = None, **machine) -> BenchResult:
    latency = Latency(
        batch=1,
        repeats=50,
        mean_ms=ms,
        p50_ms=ms,
        p50_interval_ms=interval,
        p90_ms=None,
        p99_ms=None,
        faces_per_second=1e3 / ms,
    )
    score = accuracy and {
        "split": "val",
        "n": 100,
        "accuracy": accuracy,
        "standard_error": 0.05,
        "macro_f1": accuracy,
        "recall": {},
        "backend": "x",
        "data": "d",
    }
    return BenchResult.model_validate(
        {
            "model": "m",
            "artifact": "a",
            "created": "now",
            "command": "c",
            "threads": None,
            "machine": {**MACHINE.model_dump(), **machine},
            "precisions": [
                {
                    "precision": "int8",
                    "backend": "x",
                    "backend_version": "1",
                    "device": "A",
                    "file": "f",
                    "size_bytes": 1,
                    "peak_memory_mib": None,
                    "latency": [{**latency.model_dump(), "speedup_vs_fp32": None}],
                    "score": score,
                    "recorded_score": None,
                }
            ],
        }
    )


def test_what_is_slower_than_allowed_is_beyond() -> None:
    (change,) = compare(result(1.0), result(1.2), max_slowdown=5)
    assert change.beyond
    assert change.change == pytest.approx(20)
    (change,) = compare(result(1.0), result(1.04), max_slowdown=5)
    assert not change.beyond


def test_a_rise_that_noise_explains_is_none() -> None:
    before, now = result(1.0, (0.8, 1.2)), result(1.2, (1.1, 1.3))
    assert not compare(before, now, max_slowdown=5)[0].beyond
    assert compare(before, result(1.4, (1.3, 1.5)), max_slowdown=5)[0].beyond


def test_accuracy_is_held_against_the_same_faces() -> None:
    changes = compare(result(1.0, accuracy=0.7), result(1.0, accuracy=0.69), max_drop=0.5)
    assert [change.beyond for change in changes if change.what == "accuracy"] == [True]
    changes = compare(result(1.0, accuracy=0.7), result(1.0, accuracy=0.699), max_drop=0.2)
    assert not any(change.beyond for change in changes)
    with pytest.raises(UsageError, match="same faces"):
        compare(result(1.0, accuracy=0.7), result(1.0), max_drop=0.2)


def test_times_of_another_machine_are_not_compared() -> None:
    with pytest.raises(UsageError, match="timed on A, 2 cores, and this is B, 2 cores"):
        compare(result(1.0), result(9.0, cpu="B"), max_slowdown=5)
    assert compare(result(1.0), result(9.0, cpu="B")) == []


def test_times_on_another_number_of_cores_are_not_compared() -> None:
    with pytest.raises(UsageError, match="timed on A, 2 cores, and this is A, 1 cores"):
        compare(result(1.0), result(9.0, cores=1), max_slowdown=5)


def test_another_file_is_no_baseline(tmp_path) -> None:
    (tmp_path / "x.json").write_text('{"model": 3}')
    with pytest.raises(DataError, match="no result of the bench"):
        read_baseline(tmp_path / "x.json")
