import numpy as np
import pytest

from fer_edge.contract import FER2013
from fer_edge.engines import cuda
from fer_edge.engines.device_array import import_faces, is_device_array, read_capsule
from fer_edge.errors import InputError

from .cuda.fakes import FakeGpu
from .device_arrays import KINDS, GpuArray, WithDlpack, WithInterface

FACES = np.arange(3 * 48 * 48, dtype=np.uint8).reshape(3, 1, 48, 48)


@pytest.mark.parametrize("max_version", [None, (1, 0)])
@pytest.mark.parametrize(
    "array",
    [FACES, FACES[::2, :, ::-1], np.zeros((2, 3), "float32").T, np.zeros(0, "int64")],
)
def test_capsules_of_numpy_are_read(array: np.ndarray, max_version: tuple | None) -> None:
    try:
        capsule = array.__dlpack__(max_version=max_version)
    except TypeError:
        pytest.skip("this numpy is older than DLPack 1.0")
    layout = read_capsule(capsule)
    assert layout.shape == array.shape
    assert layout.strides in (array.strides, None)
    assert layout.dtype == array.dtype.name
    assert layout.pointer == array.ctypes.data or not array.size


def test_capsules_of_torch_are_read() -> None:
    torch = pytest.importorskip("torch")
    tensor = torch.from_numpy(FACES)[1:]
    layout = read_capsule(tensor.__dlpack__())
    assert (layout.pointer, layout.shape) == (tensor.data_ptr(), (2, 1, 48, 48))
    assert layout.dtype == "uint8"


def test_what_is_a_device_array(gpu: FakeGpu) -> None:
    assert [is_device_array(kind(gpu, FACES)) for kind in KINDS] == [True] * 3
    assert not is_device_array(FACES)
    assert not is_device_array([FACES])


@pytest.mark.parametrize("kind", KINDS)
def test_faces_are_taken_where_they_are_once_written(gpu: FakeGpu, kind: type[GpuArray]) -> None:
    array = kind(gpu, FACES)
    with cuda.Device() as device:
        stream = cuda.Stream(device)
        out = cuda.PinnedBuffer(device, FACES.shape, "uint8")
        buffer = cuda.DeviceBuffer(device, FACES.nbytes)
        copies = gpu.calls.count("cuMemcpyHtoDAsync")
        taken = import_faces(array, device, stream, FER2013.face_shape)
        assert (taken.pointer, taken.number) == (array.pointer, 3)
        assert gpu.calls.count("cuMemcpyHtoDAsync") == copies

        def read() -> bool:
            gpu.bytes_at(buffer.pointer, FACES.nbytes)[:] = gpu.bytes_at(
                taken.pointer, FACES.nbytes
            )
            return True

        gpu.queue(stream.address, read)
        stream.download(buffer, out.array)
        stream.synchronize()
        np.testing.assert_array_equal(out.array, FACES)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("array", "strides", "message"),
    [
        (FACES.astype("float32"), None, r"uint8 \(N, 1, 48, 48\), got float32 \(3, 1, 48, 48\)"),
        (FACES[:, 0], None, r"got uint8 \(3, 48, 48\)"),
        (FACES[:0], None, "a face at least"),
        (FACES, (2304, 2304, 1, 48), "C-contiguous"),
        (FACES, (4608, 2304, 48, 1), "C-contiguous"),
    ],
)
def test_other_arrays_are_refused(
    gpu: FakeGpu, kind: type[GpuArray], array: np.ndarray, strides: tuple | None, message: str
) -> None:
    given = kind(gpu, array)
    given.strides = strides
    with cuda.Device() as device:
        stream = cuda.Stream(device)
        with pytest.raises(InputError, match=message):
            import_faces(given, device, stream, FER2013.face_shape)


@pytest.mark.parametrize("kind", KINDS)
def test_strides_of_sides_of_one_do_not_matter(gpu: FakeGpu, kind: type[GpuArray]) -> None:
    array = kind(gpu, FACES[:1])
    array.strides = (7, 11, 48, 1)
    with cuda.Device() as device:
        assert import_faces(array, device, cuda.Stream(device), FER2013.face_shape).number == 1


def test_faces_elsewhere_are_refused(gpu: FakeGpu) -> None:
    array = WithDlpack(gpu, FACES)
    with cuda.Device() as device:
        stream = cuda.Stream(device)
        array.device = (1, 0)
        with pytest.raises(InputError, match="numpy array or on the GPU, got WithDlpack elsewhere"):
            import_faces(array, device, stream, FER2013.face_shape)
        array.device = (2, 1)
        with pytest.raises(InputError, match="on GPU 1, and the engine is on GPU 0"):
            import_faces(array, device, stream, FER2013.face_shape)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"stream": 0}, "stream 0.*forbids"), ({"mask": object()}, "must not have a mask")],
)
def test_what_the_array_interface_forbids(
    gpu: FakeGpu, change: dict, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    array = WithInterface(gpu, FACES)
    interface = array.__cuda_array_interface__ | change
    monkeypatch.setattr(WithInterface, "__cuda_array_interface__", interface)
    with cuda.Device() as device:
        stream = cuda.Stream(device)
        with pytest.raises(InputError, match=message):
            import_faces(array, device, stream, FER2013.face_shape)


def test_a_producer_that_refuses(gpu: FakeGpu, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise BufferError("it is sparse")

    monkeypatch.setattr(WithDlpack, "__dlpack__", refuse)
    array = WithDlpack(gpu, FACES)
    with cuda.Device() as device:
        stream = cuda.Stream(device)
        with pytest.raises(InputError, match="by DLPack: it is sparse"):
            import_faces(array, device, stream, FER2013.face_shape)
