"""The kernel itself: as C on this processor, and as the compilers of GPUs take it."""

import ctypes
import locale
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from fer_edge.contract import FER2013, Contract
from fer_edge.detection.letterbox import letterboxed, letterboxed_there, scale_into
from fer_edge.detector_contract import Bucket
from fer_edge.engines.frames import Crops, GpuFrame, Resampled
from fer_edge.engines.picking import _ROW
from fer_edge.pixels.boxes import Box
from fer_edge.pixels.crops import crop_faces

from . import make_kernels
from .emulation import KERNELS
from .record_waiting import ROOT, STUB

THREADS = Path(__file__).with_name("threads.c")
NEW = ("sm_75", "sm_86", "sm_87", "sm_90", "sm_120")
"""Compute capabilities of Turing, Ampere, Orin, Hopper and Blackwell."""
LEVELS = 1
"""Grey levels that a crop may differ by: numpy's sine may differ from C's in its last bit, then a
weight's 22nd bit may, and a sum may be rounded to the other side. None is so far."""

needs_gcc = pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")


def test_the_ptx_is_made_of_the_source() -> None:
    """Made again with: python -m tests.engines.cuda.make_kernels"""
    assert make_kernels.MADE.read_bytes().startswith(make_kernels.hash_line())
    library = make_kernels.nvrtc(make_kernels.MAKER)
    if library is not None:
        assert make_kernels.MADE.read_bytes() == make_kernels.made(library)


@pytest.mark.skipif(not hasattr(locale, "nl_langinfo"), reason="Windows has no nl_langinfo")
def test_a_compilation_leaves_the_encoding_of_files_alone() -> None:
    library = make_kernels.nvrtc()
    if library is None:
        pytest.skip("needs NVRTC")
    before = locale.nl_langinfo(locale.CODESET)
    make_kernels.compiled(library, "compute_80")
    assert locale.nl_langinfo(locale.CODESET) == before


@pytest.mark.parametrize("architecture", NEW)
def test_gpus_assemble_the_ptx(architecture: str, tmp_path: Path) -> None:
    """As the driver does when it is loaded."""
    triton = Path(sysconfig.get_path("purelib")) / "triton/backends/nvidia/bin/ptxas"
    ptxas = shutil.which("ptxas") or (str(triton) if triton.is_file() else None)
    if ptxas is None:
        pytest.skip("needs ptxas, of CUDA or of triton")
    command = [ptxas, "--gpu-name", architecture, str(make_kernels.MADE), "--verbose"]
    done = subprocess.run(
        [*command, "-o", str(tmp_path / "out")], capture_output=True, text=True, check=False
    )
    if "is not defined for option" in done.stderr:
        pytest.skip(f"this ptxas does not know {architecture}")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("0 bytes spill stores") == len(KERNELS)


@pytest.mark.parametrize("package", make_kernels.PACKAGES)
@pytest.mark.parametrize("architecture", ["sm_72", *NEW])
def test_nvrtc_compiles_the_source(architecture: str, package: str) -> None:
    library = make_kernels.nvrtc(package)
    if library is None:
        pytest.skip(f"needs {package}")
    try:
        cubin = make_kernels.compiled(library, architecture)
    except make_kernels.CompilationError as error:
        if "invalid value for --gpu-architecture" not in str(error):
            raise
        pytest.skip(f"{package} does not know {architecture}")
    assert cubin.startswith(b"\x7fELF")


class OnThisProcessor:
    """In the place of a GPU: runs the kernels' source as C when a launch is queued."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self.uploads = self.device = self
        self.resample = SimpleNamespace(launch=self._launching(library, b"resample"))
        self.candidates = SimpleNamespace(launch=self._launching(library, b"candidates"))

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...

    def send(self, *arrays: np.ndarray) -> SimpleNamespace:
        kept = [np.ascontiguousarray(array) for array in arrays]
        pointers = tuple(array.ctypes.data for array in kept)
        return SimpleNamespace(pointers=pointers, arrived=None, kept=kept)

    def wait(self, event: None) -> None: ...

    def _launching(self, library: ctypes.CDLL, name: bytes) -> Callable[..., None]:
        function = ctypes.c_void_p()
        assert library.cuModuleGetFunction(ctypes.byref(function), None, name) == 0
        _, kinds = KERNELS[name]

        def launch(_: object, grid: Sequence[int], block: Sequence[int], *given: Any) -> None:
            values = [kind(one.item()) for kind, one in zip(kinds, given, strict=True)]
            addresses = (ctypes.c_void_p * len(values))(*map(ctypes.addressof, values))
            sizes = map(ctypes.c_uint, (*grid, *block, 0))
            assert library.cuLaunchKernel(function, *sizes, None, addresses, None) == 0

        return launch


class Emulated(OnThisProcessor):
    """The same with what the simulated GPU of other tests does."""

    def _launching(self, library: ctypes.CDLL, name: bytes) -> Callable[..., None]:
        del library
        work, _ = KERNELS[name]

        def memory(address: int, nbytes: int) -> memoryview:
            return memoryview((ctypes.c_char * nbytes).from_address(address)).cast("B")

        def launch(_: object, grid: Sequence[int], block: Sequence[int], *given: Any) -> None:
            work(memory, [*grid, *block], *(one.item() for one in given))

        return launch


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    if shutil.which("gcc") is None:
        pytest.skip("needs gcc")
    made = tmp_path_factory.mktemp("kernel") / "libresample.so"
    include = str(make_kernels.SOURCE.parent)
    command = ["gcc", "-O2", "-Wall", "-Werror", "-shared", "-fPIC", "-I", include]
    # The kernel is the same whether or not integers that overflow stop it.
    command += ["-fsanitize=signed-integer-overflow", "-fsanitize-undefined-trap-on-error"]
    subprocess.run([*command, "-o", str(made), str(THREADS)], check=True)
    return ctypes.CDLL(str(made))


def made_by(processor: OnThisProcessor, batch: Resampled) -> np.ndarray:
    layout = batch.layout
    out = np.full((batch.number, batch.row_bytes), 77, np.uint8)
    batch.queue(processor, out.ctypes.data)  # type: ignore[arg-type]
    if layout.planar:
        return out.reshape(-1, layout.channels, layout.height, layout.width)
    return out.reshape(-1, layout.height, layout.width, layout.channels)


def some_boxes(rng: np.random.Generator, width: int, height: int, number: int) -> list[Box]:
    """Around and over the borders, some far outside, from a pixel to twice the frame."""
    longest = 2 * max(width, height)
    sides = np.exp(rng.uniform(np.log(0.6), np.log(longest), (number, 2)))
    centres = rng.uniform(-0.3, 1.3, (number, 2)) * (width, height)
    return [
        Box(float(x - w / 2), float(y - h / 2), float(w), float(h))
        for (x, y), (w, h) in zip(centres, sides, strict=True)
    ]


CONTRACTS = [
    FER2013,
    *(Contract(size, color) for size in (24, 64, 112, 260) for color in ("gray", "rgb")),  # type: ignore[arg-type]
]


@pytest.mark.parametrize("size", [(1, 1), (2, 131), (97, 61), (160, 120), (321, 240)])
@pytest.mark.parametrize("kind", ["bgr", "gray", "rgb view", "every other pixel"])
@pytest.mark.parametrize("contract", CONTRACTS, ids=lambda one: f"{one.color}-{one.size}")
def test_crops_are_those_of_the_processor(
    library: ctypes.CDLL, contract: Contract, kind: str, size: tuple[int, int]
) -> None:
    width, height = size
    rng = np.random.default_rng([width, contract.size, len(kind)])
    frame = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    if rng.random() < 0.5:
        frame = np.where(frame < 128, 0, 255).astype(np.uint8)  # the hardest edges
    frame = {
        "bgr": frame,
        "gray": frame[..., 0],
        "rgb view": frame[..., ::-1],
        "every other pixel": np.repeat(frame, 2, axis=1)[:, ::2],
    }[kind]
    boxes = some_boxes(rng, width, height, 8)
    crops = Crops(GpuFrame(frame, OnThisProcessor(library)), boxes, contract)  # type: ignore[arg-type]
    found = made_by(OnThisProcessor(library), crops).reshape(-1, *contract.crop_shape)
    expected = crop_faces(frame, boxes, contract)
    difference = np.abs(found.astype(int) - expected)
    assert difference.max() <= LEVELS
    assert (difference > 0).mean() < 1e-4
    np.testing.assert_array_equal(expected, crops.on_host())


def test_a_face_as_large_as_a_frame_of_8k(library: ctypes.CDLL) -> None:
    frame = np.random.default_rng(8).integers(0, 256, (4320, 7680), dtype=np.uint8)
    boxes = [Box(1000, 100, 3600, 3700), Box(7600, 4300, 100, 60), Box(3000, 2000, 43.6, 43.6)]
    crops = Crops(GpuFrame(frame, OnThisProcessor(library)), boxes, FER2013)  # type: ignore[arg-type]
    found = made_by(OnThisProcessor(library), crops)[:, 0]
    assert np.abs(found.astype(int) - crop_faces(frame, boxes)).max() <= LEVELS


@pytest.mark.parametrize(
    ("width", "height", "size"),
    [
        *((640, 480, 640), (1280, 720, 640), (1920, 1080, 640), (1279, 719, 320), (33, 700, 320)),
        *((1, 1, 640), (5, 4, 640), (1999, 1501, 640), (4000, 3, 320)),
    ],
)
@pytest.mark.parametrize("gray", [False, True])
def test_letterboxes_are_those_of_opencv(
    library: ctypes.CDLL, width: int, height: int, size: int, gray: bool
) -> None:
    pytest.importorskip("cv2", reason="needs the extra camera")
    rng = np.random.default_rng(width)
    frame = rng.integers(0, 256, (height, width, 3)[: 3 - gray], dtype=np.uint8)
    for bucket in (Bucket(size, size * 3 // 4 // 32 * 32), Bucket(size // 2, size)):
        scale = scale_into(width, height, bucket, size)
        there = GpuFrame(frame, OnThisProcessor(library))  # type: ignore[arg-type]
        found = made_by(OnThisProcessor(library), letterboxed_there(there, bucket, scale))
        difference = np.abs(found.astype(int) - letterboxed(frame, bucket, scale))
        # OpenCV rounds after each halving, and to 11 bits where it interpolates.
        assert difference.max() <= 2
        assert (difference > 1).mean() < 0.005
        if scale == 1:
            assert difference.max() == 0


def test_the_simulated_gpu_does_the_same(library: ctypes.CDLL) -> None:
    rng = np.random.default_rng(5)
    frame = rng.integers(0, 256, (50, 70, 3), dtype=np.uint8)
    boxes = some_boxes(rng, 70, 50, 9)

    def found(processor: OnThisProcessor) -> list[np.ndarray]:
        there = GpuFrame(frame[..., ::-1], processor)  # type: ignore[arg-type]
        batches = [there.crops(boxes, contract).part(2, 5) for contract in CONTRACTS[:3]]
        batches.append(letterboxed_there(there, Bucket(64, 32), 0.5))
        return [made_by(processor, batch) for batch in batches]

    pairs = zip(found(OnThisProcessor(library)), found(Emulated(library)), strict=True)
    for by_c, by_numpy in pairs:
        np.testing.assert_array_equal(by_c, by_numpy)


@pytest.mark.parametrize("least", [0.0, 0.7, 1.0])
@pytest.mark.parametrize("kind", [OnThisProcessor, Emulated])
def test_candidates_are_the_rows_that_are_sure_enough(
    library: ctypes.CDLL, kind: type[OnThisProcessor], least: float
) -> None:
    rng = np.random.default_rng(3)
    scores = rng.random(1000, np.float32)
    scores[[0, 999]] = 0.7  # in float32, as what it is compared with
    scores[17] = np.nan
    boxes, landmarks = (rng.random((1000, width), np.float32) for width in (4, 10))
    number, found = np.zeros(1, np.int32), np.zeros(1000, _ROW)
    kind(library).candidates.launch(
        *(None, (8, 1, 1), (128, 1, 1)),
        *(np.uint64(array.ctypes.data) for array in (scores, boxes, landmarks)),
        *(np.int32(1000), np.float32(least)),
        *(np.uint64(array.ctypes.data) for array in (number, found)),
    )
    expected = np.flatnonzero((scores >= np.float32(least)) | np.isnan(scores))
    rows = np.sort(found[: number[0]], order="place")
    np.testing.assert_array_equal(rows["place"], expected)
    np.testing.assert_array_equal(rows["score"], scores[expected])
    np.testing.assert_array_equal(rows["box"], boxes[expected])
    np.testing.assert_array_equal(rows["landmarks"], landmarks[expected])
    assert not found[number[0] :]["place"].any()


LAUNCH = """
import numpy as np
from fer_edge.engines import cuda
from fer_edge.engines.frames import GpuFrame, _KERNELS
from fer_edge.pixels.boxes import Box
from fer_edge.contract import FER2013
from fer_edge.pixels.crops import crop_faces
from tests.engines.cuda.test_kernel import OnThisProcessor
import ctypes
import locale

processor = OnThisProcessor(ctypes.CDLL("libcuda.so.1"))
driver = cuda.driver.driver()
class Device:
    index = 0
Device.driver = driver
class Stream:
    handle = driver.module.CUstream(1)
    def wait(self, event): pass
module = cuda.Module(Device, _KERNELS.read_bytes())
processor.resample = module.kernel("resample")
frame = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
boxes = [Box(10, 20, 50, 60), Box(-20, 60, 90, 90)]
crops = GpuFrame(frame, processor).crops(boxes, FER2013)
out = np.zeros((2, 48, 48), np.uint8)
crops.queue(Stream(), out.ctypes.data)
assert abs(out.astype(int) - crop_faces(frame, boxes)).max() <= 1
try:
    cuda.Module(Device, b"rubbish")
except Exception as error:
    print(type(error).__name__, error)
"""


@needs_gcc
def test_cuda_bindings_hand_the_kernel_what_it_takes(tmp_path: Path) -> None:
    """A driver of C in the place of NVIDIA's, through the real cuda-bindings."""
    pytest.importorskip("cuda.bindings.driver")
    command = ["gcc", "-O2", "-shared", "-fPIC", "-I", str(make_kernels.SOURCE.parent)]
    files = ["-o", str(tmp_path / "libcuda.so.1"), str(STUB), str(THREADS), "-ldl"]
    subprocess.run([*command, *files], check=True)
    environment = {
        **os.environ, "LD_LIBRARY_PATH": str(tmp_path), "PYTHONPATH": str(ROOT)
    }  # fmt: skip
    environment.pop("FER_EDGE_CUDA", None)
    done = subprocess.run(
        [sys.executable, "-c", LAUNCH], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("EngineError CUDA failed in cuModuleLoadData: stub")
