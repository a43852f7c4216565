"""The GPU that an engine of an artifact was built for, held against the one that is here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fer_edge.engines import cuda

if TYPE_CHECKING:
    from fer_edge.artifact import EngineRecord


def built_for(gpu: cuda.GpuDescription) -> dict[str, Any]:
    """The fields of an :class:`fer_edge.artifact.EngineRecord` that name a GPU."""
    return {
        "gpu": gpu.name,
        "capability": ".".join(map(str, gpu.capability)),
        "multiprocessors": gpu.multiprocessors,
        "memory": gpu.memory,
    }


def built_elsewhere(record: EngineRecord, gpu: cuda.GpuDescription) -> str | None:
    """What is wrong with ``gpu`` for an engine; None if nothing.

    Modules of one generation share a name with 4 to 16 multiprocessors (Orin). Their memory differs
    with the system that is on them, and an engine does not fit less for it: it is recorded, and not
    compared. What an older export did not record, is not compared either.
    """
    here = built_for(gpu)
    compared = ("gpu", "capability", "multiprocessors")
    if all(getattr(record, field) in (None, here[field]) for field in compared):
        return None
    made_for = cuda.described(str(record.gpu), record.capability, record.multiprocessors)
    return f"{record.file} was built for {made_for}, and this machine has {gpu}."
