"""ONNX Runtime's sessions on what is in the memory of their GPU already."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from fer_edge.engines import cuda
from fer_edge.engines.network import Array
from fer_edge.engines.on_gpu import OnGpu
from fer_edge.engines.picking import Pick, Picker
from fer_edge.engines.signature import Tensor


class GpuInputs:
    """Memory for the inputs of a session on CUDA, and calls that read it, one at a time.

    Parameters
    ----------
    index : int
        CUDA's index of the session's GPU.
    inputs, outputs : sequence of Tensor
        Of which all sizes but the first are fixed.
    """

    def __init__(self, index: int, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> None:
        self._index = index
        self._inputs = {tensor.name: tensor for tensor in inputs}
        self._outputs = {tensor.name: tensor for tensor in outputs}
        self._lock = threading.Lock()
        self._device: cuda.Device | None = None
        self._memories: dict[str, tuple[int, cuda.DeviceBuffer]] = {}
        self._picker: tuple[int, Picker] | None = None

    def run(self, session: Any, inputs: Mapping[str, Array | OnGpu]) -> dict[str, Array]:
        """Run one batch; may raise what ONNX Runtime raises, and EngineError."""
        with self._in_use():
            binding, number = self._bound(session, inputs)
            for name in self._outputs:
                binding.bind_output(name)
            session.run_with_iobinding(binding)
            found = binding.copy_outputs_to_cpu()
        return {name: array[:number] for name, array in zip(self._outputs, found, strict=True)}

    def run_picked(self, session: Any, inputs: Mapping[str, OnGpu], pick: Pick) -> list[Any]:
        """As :meth:`run`; what is picked of each row."""
        with self._in_use():
            binding, number = self._bound(session, inputs)
            rows = self._rows(number)
            pointers = {}
            for name, tensor in self._outputs.items():
                shape = (rows, *(size or 0 for size in tensor.shape[1:]))
                dtype = np.dtype(tensor.dtype)
                nbytes = int(np.prod(shape)) * dtype.itemsize
                pointers[name] = self._memory(name, nbytes).pointer
                binding.bind_output(name, "cuda", self._index, dtype, shape, pointers[name])
            session.run_with_iobinding(binding)
            binding.synchronize_outputs()
            picker = self._picker_for(number, pick)
            picker.queue(self._stream, pointers, number)
            self._stream.synchronize()
            return picker.collect(self._stream)

    @contextmanager
    def _in_use(self) -> Iterator[None]:
        with self._lock:
            if self._device is None:
                device = cuda.Device(self._index)
                with device:
                    self._stream = cuda.Stream(device)
                self._device = device
            with self._device:
                yield

    def _bound(self, session: Any, inputs: Mapping[str, Array | OnGpu]) -> tuple[Any, int]:
        """A binding with the inputs, and how many rows they have."""
        binding = session.io_binding()
        number = 0
        try:
            for name, what in inputs.items():
                number = len(what)
                if isinstance(what, OnGpu):
                    self._bind(binding, name, what)
                else:
                    binding.bind_cpu_input(name, what)
        finally:
            # ONNX Runtime reads on a stream of its own; and what is read there must not go before.
            self._stream.synchronize()
        return binding, number

    def _rows(self, number: int) -> int:
        """A graph of a fixed batch gets old rows after those that are asked for."""
        return max(number, *(tensor.shape[0] or 0 for tensor in self._inputs.values()))

    def _bind(self, binding: Any, name: str, what: OnGpu) -> None:
        tensor = self._inputs[name]
        rows = self._rows(what.number)
        pointer = self._memory(name, rows * what.row_bytes).pointer
        what.queue(self._stream, pointer)
        shape = (rows, *tensor.shape[1:])
        binding.bind_input(name, "cuda", self._index, np.dtype(tensor.dtype), shape, pointer)

    def _memory(self, name: str, nbytes: int) -> cuda.DeviceBuffer:
        """So much at least, for what has that name."""
        size, buffer = self._memories.get(name, (0, None))
        if buffer is None or size < nbytes:
            assert self._device is not None
            if buffer is not None:
                buffer.free()
            buffer = cuda.DeviceBuffer(self._device, nbytes)
            self._memories[name] = nbytes, buffer
        return buffer

    def _picker_for(self, number: int, pick: Pick) -> Picker:
        if self._picker is None or self._picker[0] < number:
            if self._picker is not None:
                self._picker[1].free()
            self._picker = number, pick.picker(number)
        pick.apply(self._picker[1])
        return self._picker[1]
