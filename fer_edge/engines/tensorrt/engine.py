"""Classify with a serialised engine in TensorRT or TensorRT-RTX."""

from collections.abc import Sequence
from typing import cast

from fer_edge.contract import INPUT_NAME, OUTPUT_NAME, Precision
from fer_edge.engines.base import (
    DescribedEngine,
    DeviceTimes,
    EngineInfo,
    Faces,
    Probabilities,
    check_faces,
)
from fer_edge.engines.device_array import DeviceArray, is_device_array
from fer_edge.engines.network import Array
from fer_edge.engines.on_gpu import OnGpu
from fer_edge.engines.signature import Tensor, check_signature
from fer_edge.engines.tensorrt.module import TensorRTBackend
from fer_edge.engines.tensorrt.network import TensorRTNetwork
from fer_edge.errors import EngineLoadError, InputError


class TensorRTEngine(DescribedEngine):
    """A classifier's engine on one GPU; any thread may call it, one at a time goes through.

    Parameters
    ----------
    plan, backend, precision, device
        As :class:`~fer_edge.engines.tensorrt.network.TensorRTNetwork` takes them.
    labels : sequence of str, optional
        Names of the outputs, of which an engine has none; by default FER2013's, where they are as
        many.

    Raises
    ------
    BackendUnavailableError, MissingDependencyError, UsageError
        As TensorRTNetwork says.
    EngineLoadError
        As there, or ``plan`` was built from a graph of another signature.
    """

    def __init__(
        self,
        plan: bytes,
        backend: TensorRTBackend,
        *,
        precision: Precision,
        device: int = 0,
        labels: Sequence[str] | None = None,
    ) -> None:
        def contract_of(inputs: tuple[Tensor, ...], outputs: tuple[Tensor, ...]) -> None:
            signature = check_signature(inputs, outputs, EngineLoadError)
            self._contract = signature.contract(EngineLoadError, labels)

        self._network = TensorRTNetwork(
            plan, backend, precision=precision, device=device, check=contract_of
        )
        info = self._network.describe()
        self._info = EngineInfo(
            backend=info.backend,
            backend_version=info.backend_version,
            precision=info.precision,
            device=info.device,
            min_batch=1,
            max_batch=None,
            buckets=self._network.buckets,
            contract=self._contract,
            launch=self._network.launch,
            gpu=info.gpu,
        )

    def run(self, faces: Faces | DeviceArray | OnGpu) -> Probabilities:
        """Classify one batch; see :meth:`fer_edge.engines.base.Engine.run`.

        Parameters
        ----------
        faces : uint8 array, shape (N, channels, size, size) of ``describe().contract``
            In host memory; or on the engine's GPU, as
            :meth:`~fer_edge.engines.tensorrt.network.TensorRTNetwork.compute` takes them.
        """
        if not (isinstance(faces, OnGpu) or is_device_array(faces)):
            check_faces(cast(Faces, faces), self._info)
        found = self._network.compute({INPUT_NAME: cast(Array, faces)})
        return self.checked(found[OUTPUT_NAME])

    def run_timed(self, faces: Faces) -> tuple[Probabilities, DeviceTimes]:
        """As :meth:`run`, of at most ``describe().buckets[-1]`` faces, with its times."""
        check_faces(faces, self._info)
        if len(faces) > self._info.buckets[-1]:
            raise InputError(
                f"Times are of one batch, at most {self._info.buckets[-1]} faces, got {len(faces)}."
            )
        found, times = self._network.compute_timed({INPUT_NAME: faces})
        return self.checked(found[OUTPUT_NAME]), times

    def run_many(self, batches: Sequence[Faces]) -> list[Probabilities]:
        """As :meth:`run` of each batch, of at most ``describe().buckets[-1]`` faces, two of them in
        flight."""
        for faces in batches:
            check_faces(faces, self._info)
            if len(faces) > self._info.buckets[-1]:
                raise InputError(
                    f"A batch is at most {self._info.buckets[-1]} faces, got {len(faces)}."
                )
        found = self._network.compute_many([{INPUT_NAME: faces} for faces in batches])
        return [self.checked(one[OUTPUT_NAME]) for one in found]

    def close(self) -> None:
        """Free the GPU's memory, after a call under way has ended; raises nothing."""
        self._network.close()
