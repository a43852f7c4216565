"""The classifier of faces on a network of any backend."""

from collections.abc import Sequence
from typing import cast

from fer_edge.contract import INPUT_NAME, LABELS_KEY, OUTPUT_NAME, split_labels
from fer_edge.engines.base import (
    DescribedEngine,
    EngineInfo,
    Faces,
    Probabilities,
    check_faces,
)
from fer_edge.engines.network import Network
from fer_edge.engines.on_gpu import OnGpu
from fer_edge.engines.signature import check_signature
from fer_edge.errors import EngineLoadError


class ClassifierEngine(DescribedEngine):
    """Runs a network that has the signature of :mod:`fer_edge.contract`, and owns it.

    Parameters
    ----------
    network : Network
        Closed with this, and where it has another signature.
    labels : sequence of str, optional
        Names of the outputs of a graph whose metadata have none under
        :data:`fer_edge.contract.LABELS_KEY`; by default FER2013's, where they are as many.

    Raises
    ------
    EngineLoadError
        The network has another signature.
    """

    def __init__(self, network: Network, labels: Sequence[str] | None = None) -> None:
        info = network.describe()
        try:
            signature = check_signature(info.inputs, info.outputs, EngineLoadError)
            named = split_labels(info.metadata.get(LABELS_KEY)) or labels
            contract = signature.contract(EngineLoadError, named)
        except EngineLoadError:
            network.close()
            raise
        self._network = network
        self._info = EngineInfo(
            backend=info.backend,
            backend_version=info.backend_version,
            precision=info.precision,
            device=info.device,
            min_batch=signature.batch or 1,
            max_batch=signature.batch,
            inference_precision=info.inference_precision,
            integers=info.integers,
            contract=contract,
            gpu=info.gpu,
        )

    def run(self, faces: Faces | OnGpu) -> Probabilities:
        """Classify one batch; see :meth:`fer_edge.engines.base.Engine.run`.

        Parameters
        ----------
        faces : uint8 array, shape (N, channels, size, size) of ``describe().contract``
            Or such on the network's GPU.
        """
        if not isinstance(faces, OnGpu):
            check_faces(faces, self._info)
        found = self._network.compute({INPUT_NAME: cast(Faces, faces)})
        return self.checked(found[OUTPUT_NAME])

    def close(self) -> None:
        """Free the network once calls under way have ended."""
        self._network.close()
