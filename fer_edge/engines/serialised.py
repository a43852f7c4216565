"""Serialised engines of an artifact: which fit this machine, and the best of them."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final, cast

from fer_edge.contract import PRECISIONS, Precision
from fer_edge.engines import cuda
from fer_edge.engines.base import Engine
from fer_edge.engines.built_for import built_elsewhere
from fer_edge.engines.device_name import require_gpu
from fer_edge.engines.opened import keeps_contract, of_file, telling
from fer_edge.engines.preference import rank
from fer_edge.engines.tensorrt import (
    PREFERENCE,
    TENSORRT_BACKENDS,
    TensorRTBackend,
    TensorRTEngine,
    module_version,
)
from fer_edge.engines.tensorrt.rtx_validity import (
    RTX_PORTABLE,
    check_validity,
    listed,
    tells_validity,
)
from fer_edge.errors import BackendUnavailableError, EngineError, FerEdgeError

if TYPE_CHECKING:
    from fer_edge.artifact import Artifact, EngineRecord
    from fer_edge.sealed import SealedFolder

FP8_CAPABILITY: Final = (8, 9)
"""Least compute capability with FP8 arithmetic.

https://docs.nvidia.com/deeplearning/tensorrt-rtx/latest/inference-library/work-quantized-types.html
"""


def open_serialised(
    artifact: Artifact,
    precision: Precision | None,
    backend: str,
    ordinal: int,
    passed_over: list[EngineError],
) -> Engine | None:
    """The best serialised engine for this machine; None if "auto" has none to take.

    Why others cannot be had is added to ``passed_over``.
    """
    for record, choice in _ranked(artifact, precision, backend, ordinal):
        refusal: EngineError | None = refusal_of(record, ordinal)
        if refusal is None:
            try:
                engine = _open_record(artifact, record, ordinal)
                return telling(engine, record.file, passed_over, choice)
            except EngineError as error:
                refusal = error
        passed_over.append(of_file(record.file, refusal))
    if backend == "auto":
        return None
    if passed_over:
        raise passed_over[0]
    flavour = cast(TensorRTBackend, backend)
    module_version(flavour)
    kind = f"{precision} engine" if precision else "engine"
    raise BackendUnavailableError(
        f"{artifact.folder} has no {kind} for {backend}.",
        hint=f"Build one with: {build_command(artifact, precision, flavour)}",
    )


def _ranked(
    artifact: Artifact, precision: Precision | None, backend: str, ordinal: int
) -> Iterator[tuple[EngineRecord, str | None]]:
    """Engines to try, the preferred first, and what the preference goes by."""
    for flavour in TENSORRT_BACKENDS:
        records = {r.precision: r for r in artifact.manifest.engines if r.backend == flavour}
        if backend not in ("auto", flavour) or not records:
            continue
        if precision is not None:
            if precision in records:
                yield records[precision], None
            continue
        preference = rank(
            artifact,
            [p for p in PREFERENCE[flavour] if p in records],
            backend=flavour,
            backend_version=next(iter(records.values())).backend_version,
            device=_name_of(ordinal),
        )
        for chosen in preference.order:
            yield records[chosen], preference.reason


def _name_of(ordinal: int) -> str | None:
    """Name of a GPU; None where there is none, which the refusal of each engine then tells."""
    try:
        require_gpu(ordinal)
        return cuda.device_name(ordinal)
    except FerEdgeError:
        return None


def build_command(artifact: Artifact, precision: Precision | None, backend: TensorRTBackend) -> str:
    """The command that makes an artifact of the same graphs with this engine."""
    wanted = {*artifact.manifest.graphs, *filter(None, [precision])} - {"fp32"}
    options = [f"--{name}" for name in PRECISIONS if name in wanted]
    if precision == "fp32" and options:
        options.append("--fp32-engine")
    source = shlex.quote(str(artifact.folder))
    return " ".join(["fer-edge export", source, *options, "--engine", backend, "--out FOLDER"])


def _open_record(artifact: Artifact, record: EngineRecord, ordinal: int) -> TensorRTEngine:
    plan = valid_plan(artifact, record, ordinal)
    engine = TensorRTEngine(
        plan,
        record.backend,
        precision=record.precision,
        device=ordinal,
        labels=artifact.manifest.labels,
    )
    return keeps_contract(engine, artifact, record.file)


def valid_plan(artifact: SealedFolder[Any], record: EngineRecord, ordinal: int) -> bytes:
    """The bytes of an engine; EngineLoadError where its runtime refuses it on this GPU."""
    plan = artifact.read(record.file)
    if record.backend == "tensorrt-rtx":
        # The runtime tells it of the GPU whose context is current.
        with cuda.Device(ordinal):
            check_validity(plan)
    return plan


def refusal_of(
    record: EngineRecord, ordinal: int, make: str = "fer-edge export"
) -> BackendUnavailableError | None:
    """Why this machine's GPU ``ordinal`` cannot run an engine of a manifest; None if it can.

    ``make`` is the command that builds such engines.
    """
    try:
        version = module_version(record.backend)
        require_gpu(ordinal)
        gpu = cuda.describe_gpu(ordinal)
    except BackendUnavailableError as error:
        return error
    rebuild = f"Build it again on this machine with: {make}"
    if version != record.backend_version:
        return BackendUnavailableError(
            f"{record.file} was built by {record.backend} {record.backend_version}, "
            f"and this machine has {version}.",
            hint=rebuild,
        )
    elsewhere = built_elsewhere(record, gpu)
    if elsewhere is not None:
        return BackendUnavailableError(elsewhere, hint=rebuild)
    if record.gpu is None and record.precision == "fp8" and gpu.capability < FP8_CAPABILITY:
        return _without(record, gpu, f"{listed([FP8_CAPABILITY])} or more")
    if record.gpu is None and not tells_validity() and gpu.capability not in RTX_PORTABLE:
        return _without(record, gpu, f"one of {listed(RTX_PORTABLE)}")
    return None


def _without(
    record: EngineRecord, gpu: cuda.GpuDescription, needed: str
) -> BackendUnavailableError:
    return BackendUnavailableError(
        f"{record.file} needs compute capability {needed}, and {gpu.name} has "
        f"{listed([gpu.capability])}.",
        hint="Take the backend onnxruntime-cuda or onnxruntime-cpu.",
    )
