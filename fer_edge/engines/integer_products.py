"""Are integers multiplied exactly on this processor, and what to do where they are not?

x86 processors with AVX2 and without VNNI (Haswell to Skylake, AMD before Zen 4) have one
instruction that multiplies uint8 by int8 and adds two products, in 16 bits: larger sums saturate,
and labels change. ONNX Runtime uses it unless a session asks for ``session.x64quantprecision``,
which stores weights as uint8 with zero point 128: the same products, summed in 32 bits. It is
asked for only where it is needed, since with it processors that have VNNI do without VNNI.
OpenVINO uses it, too, and has no such option.

References
----------
https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html, "Data type selection"
"""

import functools
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fer_edge.errors import first_line

EXACT = 200
"""What every output of the probe is where the products are exact; saturated ones give about 101."""

_EXACT_SUMS = "session.x64quantprecision"
_QUANTISED = (b"QuantizeLinear", b"QLinear", b"Integer")


@dataclass(frozen=True)
class IntegerProducts:
    """How this process multiplies integers in ONNX Runtime on the CPU."""

    form: str
    """``"uint8 x int8"``, or ``"uint8 x uint8"`` where the former saturates."""
    exact: bool
    """False where no form that was tried gives the exact sums."""
    reason: str | None = None
    """Why not uint8 x int8."""

    def __str__(self) -> str:
        return self.form if self.reason is None else f"{self.form}: {self.reason}"

    def apply_to(self, options: Any) -> None:
        """Ask for this form in the session options of a graph that has integers."""
        if self.form == "uint8 x uint8":
            options.add_session_config_entry(_EXACT_SUMS, "1")


def has_integers(graph: bytes) -> bool:
    """Whether a serialised ONNX graph has quantised operators."""
    return any(mark in graph for mark in _QUANTISED)


@functools.cache
def integer_products() -> IntegerProducts:
    """Ask ONNX Runtime, once in a process (5 ms): run sums that 16 bits cannot hold."""
    fast = IntegerProducts("uint8 x int8", exact=True)
    trouble = _trouble(fast)
    if trouble is None:
        return fast
    exact = IntegerProducts("uint8 x uint8", exact=True, reason=f"uint8 x int8 {trouble}")
    trouble = _trouble(exact)
    if trouble is None:
        return exact
    return IntegerProducts(
        exact.form, exact=False, reason=f"{exact.reason}, and uint8 x uint8 {trouble}"
    )


def _trouble(products: IntegerProducts) -> str | None:
    """What keeps this form from being exact here; None if it is."""
    try:
        return None if _sums_are_exact(products) else "saturates on this processor"
    except Exception as error:
        # Whatever the test dies of, a form that is not known to be exact must not run.
        return f"could not be tested ({first_line(error)})"


def _sums_are_exact(products: IntegerProducts) -> bool:
    # Not at the top: onnxruntime takes 80 ms to import.
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    products.apply_to(options)
    session = onnxruntime.InferenceSession(
        probe_graph(), options, providers=["CPUExecutionProvider"]
    )
    return are_exact(session.run(None, probe_inputs()))


def probe_graph() -> bytes:
    """An ONNX graph with integer sums that 16 bits cannot hold, in each kind of layer."""
    return resources.files(__package__).joinpath("integer_probe.onnx").read_bytes()


def probe_inputs() -> dict[str, NDArray[np.uint8]]:
    """What :func:`probe_graph` takes."""
    return {"image": np.full((1, 64, 4, 4), 255, np.uint8), "row": np.full((1, 64), 255, np.uint8)}


def are_exact(outputs: Iterable[NDArray[np.uint8]]) -> bool:
    """Whether these outputs of :func:`probe_graph` come from exact sums."""
    return all((output == EXACT).all() for output in outputs)
