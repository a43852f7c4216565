"""ONNX Runtime's sessions on what is in the memory of their GPU already."""

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fer_edge.engines import cuda
from fer_edge.engines.network import Array
from fer_edge.engines.on_gpu import OnGpu
from fer_edge.engines.signature import Tensor


class GpuInputs:
    """Memory for the inputs of a session on CUDA, and calls that read it, one at a time.

    Parameters
    ----------
    index : int
        CUDA's index of the session's GPU.
    inputs : sequence of Tensor
        Of which all sizes but the first are fixed.
    outputs : sequence of str
        What comes down to the host.
    """

    def __init__(self, index: int, inputs: Sequence[Tensor], outputs: Sequence[str]) -> None:
        self._index = index
        self._inputs = {tensor.name: tensor for tensor in inputs}
        self._outputs = outputs
        self._lock = threading.Lock()
        self._device: cuda.Device | None = None
        self._buffers: dict[str, tuple[int, cuda.DeviceBuffer]] = {}

    def run(self, session: Any, inputs: Mapping[str, Array | OnGpu]) -> dict[str, Array]:
        """Run one batch; may raise what ONNX Runtime raises, and EngineError."""
        with self._lock:
            if self._device is None:
                self._device = cuda.Device(self._index)
                with self._device:
                    self._stream = cuda.Stream(self._device)
            with self._device:
                return self._run(session, inputs)

    def _run(self, session: Any, inputs: Mapping[str, Array | OnGpu]) -> dict[str, Array]:
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
        for name in self._outputs:
            binding.bind_output(name)
        session.run_with_iobinding(binding)
        found = binding.copy_outputs_to_cpu()
        return {name: array[:number] for name, array in zip(self._outputs, found, strict=True)}

    def _bind(self, binding: Any, name: str, what: OnGpu) -> None:
        tensor = self._inputs[name]
        # A graph of a fixed batch gets what was there before in the rows that nobody asks for.
        rows = max(tensor.shape[0] or 0, what.number)
        pointer = self._memory(name, rows * what.row_bytes).pointer
        what.queue(self._stream, pointer)
        shape = (rows, *tensor.shape[1:])
        binding.bind_input(name, "cuda", self._index, np.dtype(tensor.dtype), shape, pointer)

    def _memory(self, name: str, nbytes: int) -> cuda.DeviceBuffer:
        size, buffer = self._buffers.get(name, (0, None))
        if buffer is None or size < nbytes:
            assert self._device is not None
            if buffer is not None:
                buffer.free()
            buffer = cuda.DeviceBuffer(self._device, nbytes)
            self._buffers[name] = nbytes, buffer
        return buffer
