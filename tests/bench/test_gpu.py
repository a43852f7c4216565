"""bench/gpu.py without a GPU, and its steps on the simulated one."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from fer_edge.bench import device, latency
from fer_edge.engines import cuda
from tests.engines.conftest import fake_tensorrt, gpu, package  # noqa: F401

BENCH = Path(__file__).parents[2] / "bench"
SECONDS = 0.02


@pytest.fixture
def steps(monkeypatch):
    monkeypatch.syspath_prepend(BENCH)
    monkeypatch.setattr(latency, "WARM_UP_S", 0.0)
    monkeypatch.setattr(device, "WARM_UP_S", 0.0)
    yield importlib.import_module("gpu_steps")
    for name in [name for name in sys.modules if name.startswith("gpu_steps")]:
        del sys.modules[name]


@pytest.fixture
def script(steps, monkeypatch):  # noqa: ARG001
    monkeypatch.delitem(sys.modules, "gpu", raising=False)
    return importlib.import_module("gpu")


@pytest.mark.skipif(cuda.cuda_available()[0], reason="has a GPU")
def test_without_a_gpu_it_says_what_it_skips_and_why(tmp_path):
    command = [sys.executable, BENCH / "gpu.py", "--out", tmp_path / "found" / "gpu.json"]
    for name in ("machine", "tests", "capture", "rtx-open-cold", "vgg19-torch-compile"):
        command += ["--only", name]
    done = subprocess.run(command, check=True, timeout=300, capture_output=True, text=True)
    found = json.loads((tmp_path / "found" / "gpu.json").read_text())
    assert found["command"].startswith("python bench/gpu.py --out")
    steps = found["steps"]
    assert steps["machine"]["status"] == "done"
    assert {one["backend"] for one in steps["machine"]["result"]["backends"]} >= {"tensorrt-rtx"}
    others = [step for name, step in steps.items() if name != "machine"]
    assert {step["status"] for step in others} == {"skipped"}
    assert all("NVIDIA" in step["reason"] or "cuda" in step["reason"] for step in others)
    assert "tests: the tests that are marked gpu … skipped: " in done.stdout


def test_steps_are_listed(tmp_path):
    command = [sys.executable, BENCH / "gpu.py", "--list"]
    listed = subprocess.run(command, check=True, capture_output=True, text=True, cwd=tmp_path)
    names = [line.split()[0] for line in listed.stdout.splitlines()]
    order = ["tests", "rtx-validity", "illegal-access", "arrays", "rtx-open-cold", "vgg19-tensorrt"]
    assert [name for name in names if name in order] == order
    described = (BENCH.parent / "tests" / "gpu.md").read_text()
    for name in names:
        assert f"`{name}`" in described or name.split("-")[0] in ("compact", "resnet50", "vgg19")


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", {"status": "crashed"}),
        ("raise SystemExit('no')", {"status": "failed", "exit_code": 1, "output": "no\n"}),
        ("pass", {"status": "failed", "exit_code": 0}),
        ("import time; time.sleep(600)", {"status": "timed out", "limit_s": 5}),
        (
            "import os; open('step.json', 'w').write('{\"status\": \"done\"}'); os.abort()",
            {"status": "crashed", "signal": "SIGABRT"},
        ),
        (
            'open("step.json", "w").write(\'{"status": "skipped", "reason": "no GPU"}\')',
            {"status": "skipped", "reason": "no GPU"},
        ),
    ],
)
def test_a_step_that_ends_badly_is_told(script, steps, code, expected, tmp_path):
    step = steps.Step("trying", 5, lambda *_: None)
    code = f"import os; os.chdir({str(tmp_path)!r}); {code}"
    found = script.isolated([sys.executable, "-c", code], "step", step, tmp_path)
    assert found.items() >= expected.items()
    assert script.told(found).startswith(expected["status"])


@pytest.mark.usefixtures("fake_tensorrt")
class TestOnTheSimulatedGpu:
    @pytest.fixture(autouse=True)
    def _plan(self, steps, monkeypatch):
        for module in (steps.hazards, steps.runtimes):
            monkeypatch.setattr(module, "carried_plan", lambda *_: b"plan")

    def test_machine(self, steps, tmp_path):
        found = steps.suite.machine(tmp_path, SECONDS)
        assert found["gpus"][0]["multiprocessors"] == 16
        json.dumps(found)

    def test_capture(self, steps, tmp_path):
        found = steps.hazards.capture(tmp_path, SECONDS)
        assert found["failures"] == 0
        assert found["captures"] == 200

    def test_illegal_access(self, steps, tmp_path):
        found = steps.hazards.illegal_access(tmp_path, SECONDS)
        lost = "CUDA failed in cuStreamSynchronize: an illegal memory access was encountered."
        assert found["access"].startswith(f"EngineError: {lost}")
        assert found["run"].startswith(f"InferenceError: {lost}")
        assert found["run again"] == found["run"]
        assert found["close"] == "no error"

    def test_arrays_of_libraries_that_are_not_here(self, steps, tmp_path, monkeypatch):
        for library in ("torch", "cupy", "numba"):
            monkeypatch.setitem(sys.modules, library, None)
        found = steps.hazards.arrays(tmp_path, SECONDS)
        assert all(found[one].startswith("skipped") for one in ("torch", "cupy", "numba"))
        assert found["two threads"]["calls"] > 0

    def test_opening(self, steps, tmp_path):
        cold = steps.runtimes.rtx_cold(tmp_path, SECONDS)
        warm = steps.runtimes.rtx_warm(tmp_path, SECONDS)
        assert cold["launch"] == warm["launch"] == "CUDA graphs"
        assert cold["cache_bytes"] == warm["cache_bytes"] > 0
        assert cold["early"]["batch"] == 8

    def test_frames_on_the_gpu_and_on_the_processor(self, steps, tmp_path, monkeypatch):
        pytest.importorskip("cv2")
        monkeypatch.setattr(steps.frames, "SIZES", ((64, 48), (700, 5)))
        monkeypatch.setattr(steps.frames, "FACES", (1, 3))
        found = steps.frames.travelling(tmp_path, SECONDS)
        json.dumps(found)
        for size in ("64x48", "700x5"):
            assert found[size]["send_ms"] > 0
            assert found[size]["3 faces"]["grey_levels"] <= 1
            assert found[size]["letterbox"]["grey_levels"] <= 2
            assert found[size]["1 faces"]["on_the_processor_ms"] > 0

    def test_a_gpu_that_takes_no_frames(self, steps, tmp_path, fake_tensorrt):  # noqa: F811
        fake_tensorrt.gpu.errors["cuModuleLoadData"] = "a PTX JIT compilation failed"
        with pytest.raises(steps.Skipped, match="takes no frames"):
            steps.frames.travelling(tmp_path, SECONDS)

    def test_precisions(self, steps, tmp_path):
        found = steps.runtimes.rtx_precisions(tmp_path, SECONDS)
        assert found["int8"][8]["compute"]["p50_ms"] > 0
        assert found["int8"][64] is None, "the simulated engine takes 8 at most"

    def test_a_gpu_that_rtx_refuses(self, steps, tmp_path, fake_tensorrt):  # noqa: F811
        fake_tensorrt.needs_capability = (12, 0)
        with pytest.raises(steps.Skipped, match=r"does not run here: .*another GPU"):
            steps.runtimes.rtx_precisions(tmp_path, SECONDS)
