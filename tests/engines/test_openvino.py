import gc
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from fer_edge.artifact import Artifact
from fer_edge.data import load_dataset
from fer_edge.data.synthetic import synthetic_dataset
from fer_edge.engines import openvino
from fer_edge.engines.base import Engine, Faces, Probabilities, run_all
from fer_edge.engines.openvino import (
    InferencePrecision,
    OpenVinoEngine,
    openvino_version,
    require_exact_integers,
)
from fer_edge.engines.ort import OnnxRuntimeEngine
from fer_edge.errors import (
    BackendUnavailableError,
    EngineLoadError,
    InferenceError,
    InputError,
    UsageError,
)
from fer_edge.models.carried import carried_model

from .graphs import make_graph, make_nan_graph, make_unbuildable_graph, make_unsupported_graph

MakeFaces = Callable[[int], Faces]


@pytest.fixture(scope="module")
def carried() -> Artifact:
    return Artifact.load(carried_model())


@pytest.fixture(scope="module")
def validation_faces(fer2013: Path) -> Faces:
    return load_dataset(fer2013, "val").faces


def exact_sums_needed() -> None:
    """Skip where OpenVINO refuses integers; that it does is tested beside the choice of engines."""
    try:
        require_exact_integers()
    except BackendUnavailableError as error:
        pytest.skip(error.message)


def in_both(
    graph: bytes, faces: Faces, **options: InferencePrecision
) -> tuple[Probabilities, Probabilities]:
    with (
        OnnxRuntimeEngine(graph, threads=1) as reference,
        OpenVinoEngine(graph, threads=1, **options) as engine,
    ):
        return run_all(reference, faces), run_all(engine, faces)


def same_labels(one: Probabilities, other: Probabilities) -> float:
    return float((one.argmax(axis=1) == other.argmax(axis=1)).mean())


class TestCarriedModel:
    """Against ONNX Runtime on the same graphs."""

    FACES = synthetic_dataset(400).faces

    def test_fp32_gives_the_same_labels(self, carried: Artifact) -> None:
        expected, got = in_both(carried.read("fp32.onnx"), self.FACES)
        assert same_labels(expected, got) == 1
        np.testing.assert_allclose(got, expected, atol=1e-5)
        assert len(set(expected.argmax(axis=1))) > 3, "labels must differ to mean anything"

    # Where one computes in INT8 and the other in float32, roundings go either way.
    @pytest.mark.parametrize("file", ["int8.onnx", "int8.cpu.onnx"])
    def test_int8_gives_the_same_labels(self, carried: Artifact, file: str) -> None:
        exact_sums_needed()
        expected, got = in_both(carried.read(file), self.FACES)
        assert same_labels(expected, got) >= 0.98
        np.testing.assert_allclose(got, expected, atol=0.06)

    @pytest.mark.parametrize(("inference_precision", "atol"), [("bf16", 0.04), ("f16", 0.005)])
    def test_half_precision_gives_the_same_labels(
        self, carried: Artifact, inference_precision: InferencePrecision, atol: float
    ) -> None:
        try:
            expected, got = in_both(
                carried.read("fp32.onnx"), self.FACES, inference_precision=inference_precision
            )
        except BackendUnavailableError as error:
            pytest.skip(error.message)
        assert same_labels(expected, got) >= 0.99
        np.testing.assert_allclose(got, expected, atol=atol)
        assert np.abs(got - expected).max() > 1e-5, "this was computed in f32"

    @pytest.mark.parametrize(
        ("file", "least", "atol"),
        [("fp32.onnx", 1, 1e-5), ("int8.onnx", 0.99, 0.06), ("int8.cpu.onnx", 0.99, 0.06)],
    )
    def test_labels_on_fer2013(
        self, carried: Artifact, validation_faces: Faces, file: str, least: float, atol: float
    ) -> None:
        if file != "fp32.onnx":
            exact_sums_needed()
        expected, got = in_both(carried.read(file), validation_faces)
        assert same_labels(expected, got) >= least
        np.testing.assert_allclose(got, expected, atol=atol)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_runs_every_precision(precision: str, faces: MakeFaces) -> None:
    if precision == "int8":
        exact_sums_needed()
    batch = faces(5)
    with OnnxRuntimeEngine(make_graph("fp32")) as reference:
        expected = reference.run(batch)
    with OpenVinoEngine(make_graph(precision)) as engine:
        probabilities = engine.run(batch)
        info = engine.describe()
    assert isinstance(engine, Engine)
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities, expected, atol=0.02)
    assert (info.backend, info.precision) == ("openvino", precision)
    assert info.backend_version == openvino_version()
    assert info.inference_precision == "f32"
    assert (info.min_batch, info.max_batch) == (1, None)
    assert info.device


def test_precision_given_wins_and_fp32_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino, "_sums_are_exact", lambda: True)
    unmarked = make_graph("int8", metadata=False)
    assert OpenVinoEngine(unmarked).describe().precision == "fp32"
    assert OpenVinoEngine(unmarked, precision="int8").describe().precision == "int8"


def test_one_core_serves_the_process() -> None:
    """Several put back each other's stack for signal handlers, freed or not."""
    with OpenVinoEngine(make_graph()), OpenVinoEngine(make_graph()):
        assert openvino.shared_core() is openvino.shared_core()
        (core,) = [one for one in gc.get_objects() if type(one).__name__ == "Core"]
        assert core is openvino.shared_core()


def test_batches_of_changing_size(faces: MakeFaces) -> None:
    every = faces(9)
    with OpenVinoEngine(make_graph(), threads=1) as engine:
        expected = engine.run(every)
        for n in (1, 4, 9, 2, 1):
            np.testing.assert_allclose(engine.run(every[:n]), expected[:n], atol=1e-6)


def test_results_and_faces_are_the_callers_own(faces: MakeFaces) -> None:
    first, second = faces(2), faces(2)
    untouched = first.copy()
    with OpenVinoEngine(make_graph()) as engine:
        kept = engine.run(first)
        copy = kept.copy()
        assert not np.array_equal(engine.run(second), copy)
    np.testing.assert_array_equal(kept, copy)
    np.testing.assert_array_equal(first, untouched)


def test_faces_that_are_read_only_or_not_contiguous(faces: MakeFaces) -> None:
    every = faces(6)
    with OpenVinoEngine(make_graph()) as engine:
        expected = engine.run(every[::2].copy())
        np.testing.assert_array_equal(engine.run(every[::2]), expected)
        frozen = every[::2].copy()
        frozen.flags.writeable = False
        np.testing.assert_array_equal(engine.run(frozen), expected)


def test_static_batch_is_the_only_batch(faces: MakeFaces) -> None:
    engine = OpenVinoEngine(make_graph(batch=4))
    assert (engine.describe().min_batch, engine.describe().max_batch) == (4, 4)
    assert engine.run(faces(4)).shape == (4, 7)
    with pytest.raises(InputError, match="takes 4 to 4 faces a call, got 3"):
        engine.run(faces(3))


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        (make_graph(size=16), r"takes faces uint8 \(N, 1, 16, 16\) to probabilities"),
        (make_graph(output="scores"), r"to scores float32 \(N, 7\); FER-Edge runs faces uint8"),
        (make_graph()[:-300], r"OpenVINO [\d.]+ cannot load this graph: Unable to read"),
        (b"", "cannot load this graph: "),
        (make_unsupported_graph(), "Bogus"),
    ],
)
def test_refuses_what_is_not_a_fer_graph(graph: bytes, message: str) -> None:
    with pytest.raises(EngineLoadError, match=message) as caught:
        OpenVinoEngine(graph)
    assert "\n" not in str(caught.value)
    assert "Exception from" not in str(caught.value)
    assert caught.value.hint is not None
    assert caught.value.hint.startswith(("Export", "Make an artifact"))


def test_nan_is_an_error() -> None:
    engine = OpenVinoEngine(make_nan_graph())
    engine.run(np.ones((2, 1, 48, 48), np.uint8))
    with pytest.raises(InferenceError, match="openvino returned NaN or infinity at fp32"):
        engine.run(np.zeros((2, 1, 48, 48), np.uint8))


def test_a_call_that_fails_says_why(faces: MakeFaces) -> None:
    engine = OpenVinoEngine(make_unbuildable_graph())
    with pytest.raises(InferenceError, match=r"openvino failed on 3 faces: .*mismatch") as caught:
        engine.run(faces(3))
    assert "Exception from" not in str(caught.value)


def test_threads_below_one() -> None:
    with pytest.raises(UsageError, match="threads must be at least 1, got 0"):
        OpenVinoEngine(make_graph(), threads=0)


@pytest.mark.skipif(sys.platform != "linux", reason="counts threads as Linux has them")
def test_a_call_takes_the_threads_that_it_was_given() -> None:
    code = """
import os, sys, time, numpy as np
from fer_edge.engines.openvino import OpenVinoEngine
from fer_edge.models.carried import carried_model
engine = OpenVinoEngine((carried_model() / "fp32.onnx").read_bytes(), threads=int(sys.argv[1]))
def ticks():
    times = {}
    for task in os.listdir("/proc/self/task"):
        with open(f"/proc/self/task/{task}/stat") as file:
            times[task] = sum(map(int, file.read().rsplit(")", 1)[1].split()[11:13]))
    return times
before = ticks()
end = time.process_time() + 1
while time.process_time() < end:
    engine.run(np.zeros((64, 1, 48, 48), np.uint8))
share = os.sysconf("SC_CLK_TCK") / 10
print(sum(spent - before.get(task, 0) > share for task, spent in ticks().items()))
"""

    def busy(threads: int) -> str:
        command = [sys.executable, "-c", code, str(threads)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    assert busy(1) == "1"
    if len(os.sched_getaffinity(0)) > 1:
        assert busy(2) == "2"


def test_unknown_inference_precision() -> None:
    with pytest.raises(UsageError, match=r"inference precision 'fp32'.*Take f32, bf16, f16"):
        OpenVinoEngine(make_graph(), inference_precision="fp32")


@pytest.mark.skipif(platform.machine() != "x86_64", reason="hides instruction sets of x86")
def test_inference_precision_that_the_processor_lacks_is_no_silent_fallback() -> None:
    code = """
import sys
from fer_edge.engines.openvino import OpenVinoEngine
from fer_edge.errors import BackendUnavailableError
graph = sys.stdin.buffer.read()
OpenVinoEngine(graph)
try:
    OpenVinoEngine(graph, inference_precision="bf16")
except BackendUnavailableError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=make_graph(),
        capture_output=True,
        check=True,
        env={**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2", "OV_CPU_MAX_ISA": "AVX2"},
    )
    assert b"computes in f32 on" in done.stdout
    assert b"not in bf16" in done.stdout


def test_closed_engine_says_so(faces: MakeFaces) -> None:
    engine = OpenVinoEngine(make_graph())
    engine.close()
    engine.close()
    with pytest.raises(InferenceError, match="closed"):
        engine.run(faces(1))


def test_many_threads_at_once(faces: MakeFaces) -> None:
    engine = OpenVinoEngine(make_graph(), threads=1)
    batches = [faces(n) for n in (1, 2, 3, 4)]
    expected = [engine.run(batch) for batch in batches]
    with ThreadPoolExecutor(4) as pool:
        got = list(pool.map(engine.run, batches * 20))
    for probabilities, right in zip(got, expected * 20, strict=True):
        np.testing.assert_array_equal(probabilities, right)


def test_openvino_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(BackendUnavailableError, match=r"pip install 'fer-edge\[openvino\]'"):
        OpenVinoEngine(make_graph())


def test_nobody_is_told_that_it_is_used(tmp_path: Path) -> None:
    script = (
        "import multiprocessing.process, sys\n"
        "multiprocessing.process.BaseProcess.start = lambda _: print('told')\n"
        "from fer_edge.engines.openvino import load_openvino\n"
        "print(callable(load_openvino().convert_model), 'openvino_telemetry' in sys.modules)\n"
    )
    # In CI, and where its folder says no, openvino_telemetry sends nothing anyway.
    environment = {name: value for name, value in os.environ.items() if name != "CI"}
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=environment | {"HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split("\n") == ["True False", ""]
    assert list(tmp_path.iterdir()) == []
