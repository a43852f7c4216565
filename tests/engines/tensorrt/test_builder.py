import errno
import os
import re
import signal
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from fer_edge.engines.tensorrt import build_engine, builder
from fer_edge.engines.tensorrt.builder import _finished, _load_timings, _Phase, _store_timings
from fer_edge.errors import BackendUnavailableError, EngineBuildError, UsageError

from ..fakes import FakeTensorRT
from ..graphs import (
    make_graph,
    make_mistyped_graph,
    make_unbuildable_graph,
    make_unsupported_graph,
)

pytest.importorskip("tensorrt_rtx")

BATCHES = {"opt_batch": 8, "max_batch": 64}


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_rtx_builds_without_a_gpu(precision: str) -> None:
    seen: list[tuple[str, float]] = []
    plan = build_engine(
        make_graph(precision),
        "tensorrt-rtx",
        **BATCHES,
        progress=lambda phase, fraction: seen.append((phase, fraction)),
    )
    assert len(plan) > 10_000
    phases = {phase for phase, _ in seen}
    assert "Building engine" in phases
    assert len(phases) > 3
    fractions = [fraction for _, fraction in seen]
    assert fractions == sorted(fractions)
    assert 0 < fractions[0] < 0.1
    assert 0.8 < fractions[-1] <= 1


def test_static_graph_builds_at_its_own_batch_only() -> None:
    graph = make_graph(batch=4)
    assert build_engine(graph, "tensorrt-rtx", min_batch=4, opt_batch=4, max_batch=4)
    with pytest.raises(UsageError, match=r"takes batches of 4 only, not 1, 8, 64.*--batch 4"):
        build_engine(graph, "tensorrt-rtx", **BATCHES)


@pytest.mark.parametrize("batches", [(0, 1, 1), (2, 1, 4), (1, 8, 4), (-1, -1, -1)])
def test_batches_out_of_order(batches: tuple[int, int, int]) -> None:
    smallest, best, largest = batches
    with pytest.raises(UsageError, match=f"got {smallest}, {best}, {largest}"):
        build_engine(b"", "tensorrt-rtx", min_batch=smallest, opt_batch=best, max_batch=largest)


@pytest.mark.parametrize(
    ("graph", "messages"),
    [
        (make_graph()[:-300], ["Failed to parse the ONNX model"]),
        (b"", ["takes nothing to nothing"]),
        (make_graph(size=16), [r"faces uint8 (N, 1, 16, 16)", "FER-Edge runs faces uint8"]),
        (make_graph(output="scores"), ["scores float32 (N, 7)"]),
        (
            make_unsupported_graph(),
            ["node 0, Bogus 'first': INVALID_NODE", "node 1, Unique 'second': UNSUPPORTED_NODE"],
        ),
        (
            make_mistyped_graph(),
            ["node 1, Sub", "must have same input types", "of types Float and Half"],
        ),
    ],
)
def test_refused_graph_says_every_reason_in_one_line(graph: bytes, messages: list[str]) -> None:
    with pytest.raises(EngineBuildError) as caught:
        build_engine(graph, "tensorrt-rtx", **BATCHES)
    for message in messages:
        assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "/_src/" not in str(caught.value)
    assert re.search("fer-edge (export|import)", str(caught.value))


def test_build_failure_carries_the_builders_reason() -> None:
    with pytest.raises(
        EngineBuildError,
        match=r"^tensorrt-rtx [\d.]+ cannot build this graph: .*incompatible dimensions: 5 != 8",
    ):
        build_engine(make_unbuildable_graph(), "tensorrt-rtx", **BATCHES)


def test_no_workspace() -> None:
    with pytest.raises(UsageError, match="at least 1 MiB, got 0"):
        build_engine(make_graph(), "tensorrt-rtx", **BATCHES, workspace_mib=0)


def test_ctrl_c_stops_the_build() -> None:
    before = signal.getsignal(signal.SIGINT)
    steps = 0

    def progress(*_: object) -> None:
        nonlocal steps
        steps += 1
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        build_engine(make_graph(), "tensorrt-rtx", **BATCHES, progress=progress)
    assert steps == 1
    assert signal.getsignal(signal.SIGINT) is before


def test_error_in_progress_comes_out() -> None:
    with pytest.raises(ZeroDivisionError):
        build_engine(make_graph(), "tensorrt-rtx", **BATCHES, progress=lambda *_: 1 / 0)


def test_builds_outside_the_main_thread() -> None:
    plans: list[bytes] = []
    worker = threading.Thread(
        target=lambda: plans.append(build_engine(make_graph(), "tensorrt-rtx", **BATCHES))
    )
    worker.start()
    worker.join()
    assert len(plans) == 1


def test_rtx_leaves_the_timing_cache_alone(tmp_path: Path) -> None:
    cache = tmp_path / "timings"
    build_engine(make_graph(), "tensorrt-rtx", **BATCHES, timing_cache=cache)
    assert not cache.exists()


def test_tensorrt_builds_on_a_gpu_only(fake_tensorrt: FakeTensorRT) -> None:
    fake_tensorrt.gpu.count = 0
    with pytest.raises(BackendUnavailableError, match="no NVIDIA GPU"):
        build_engine(make_graph(), "tensorrt", **BATCHES)


def test_fraction_counts_phases_inside_phases() -> None:
    phases = {"build": _Phase(None, 4, done=1), "time": _Phase("build", 2, done=1)}
    assert _finished(phases, None) == pytest.approx((1 + 1 / 2) / 4)
    phases["time"].done = 3
    assert _finished(phases, None) == pytest.approx(2 / 4)


class TimingConfig:
    """A builder's config that refuses timings but fresh ones, and cannot read damaged ones."""

    def __init__(self) -> None:
        self.accepted: list[bytes] = []

    def create_timing_cache(self, data: bytes) -> bytes | None:
        return None if data == b"damaged" else data

    def set_timing_cache(self, cache: bytes, ignore_mismatch: bool) -> bool:
        assert isinstance(cache, bytes), "the bindings take no None"
        assert not ignore_mismatch
        if cache not in (b"", b"mine"):
            return False
        self.accepted.append(cache)
        return True

    def get_timing_cache(self) -> SimpleNamespace:
        return SimpleNamespace(serialize=lambda: b"timings")


@pytest.mark.parametrize(
    ("stored", "used"),
    [(None, b""), (b"mine", b"mine"), (b"of another GPU", b""), (b"damaged", b"")],
)
def test_timings_of_no_use_are_dropped(tmp_path: Path, stored: bytes | None, used: bytes) -> None:
    path = tmp_path / "timings"
    if stored is not None:
        path.write_bytes(stored)
    config = TimingConfig()
    _load_timings(config, path)
    assert config.accepted == [used]


def test_timings_that_cannot_be_read_or_stored_fail_no_build(tmp_path: Path) -> None:
    config = TimingConfig()
    _load_timings(config, tmp_path)  # a folder
    assert config.accepted == [b""]
    (tmp_path / "file").touch()
    _store_timings(config, tmp_path / "file" / "timings")
    _store_timings(config, tmp_path / "timings")
    assert (tmp_path / "timings").read_bytes() == b"timings"


@pytest.mark.parametrize("device", [0, 1])
def test_tensorrt_builds_in_the_context_of_the_gpu_that_it_is_for(
    fake_tensorrt: FakeTensorRT, monkeypatch: pytest.MonkeyPatch, device: int
) -> None:
    fake_tensorrt.gpu.count = 2
    built: list[int] = []

    def build(*_: object) -> bytes:
        built.append(fake_tensorrt.gpu.current())
        return b"plan"

    monkeypatch.setattr(builder, "_build", build)
    assert build_engine(b"", "tensorrt", **BATCHES, device=device) == b"plan"
    assert built == [device]
    assert fake_tensorrt.gpu.stack == []


def test_tensorrt_builds_on_no_gpu_that_is_not_there(fake_tensorrt: FakeTensorRT) -> None:
    assert fake_tensorrt.gpu.count == 1
    with pytest.raises(BackendUnavailableError, match="no cuda:3: its last GPU is cuda:0"):
        build_engine(b"", "tensorrt", **BATCHES, device=3)


def test_cuda_errors_of_a_build(fake_tensorrt: FakeTensorRT) -> None:
    fake_tensorrt.gpu.errors["cuCtxPushCurrent"] = "invalid argument"
    with pytest.raises(EngineBuildError, match="cuCtxPushCurrent: invalid argument"):
        build_engine(b"", "tensorrt", **BATCHES)


def test_timings_that_cannot_be_read_are_done_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(path: Path) -> bytes:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    (tmp_path / "timings").touch()
    monkeypatch.setattr(Path, "read_bytes", refuse)
    config = TimingConfig()
    _load_timings(config, tmp_path / "timings")
    assert config.accepted == [b""]
    assert "timings: Permission denied. Going on without the cache" in caplog.text
