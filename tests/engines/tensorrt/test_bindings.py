"""Every name of TensorRT that the code uses is there in every version that it claims to run on."""

import ast
from pathlib import Path

import pytest

from fer_edge.engines import tensorrt
from fer_edge.engines.tensorrt.rtx import SPECIALIZATION

from .. import fakes
from .record_bindings import FOLDER, names_of

OWNERS = {
    "builder": "Builder",
    "_cache": "IRuntimeCache",
    "config": "IBuilderConfig",
    "context": "IExecutionContext",
    "engine": "ICudaEngine",
    "error": "ParserError",
    "inspector": "EngineInspector",
    "network": "INetworkDefinition",
    "parser": "OnnxParser",
    "profile": "IOptimizationProfile",
    "runtime": "Runtime",
    "runtime_config": "IRuntimeConfig",
    "tensor": "ITensor",
    "timings": "ITimingCache",
    "_context": "IExecutionContext",
    "_engine": "ICudaEngine",
    "_runtime": "Runtime",
}
"""TensorRT's class of each variable name in fer_edge/engines/tensorrt."""

OVERRIDDEN = {
    "ILogger.log",
    "IProgressMonitor.phase_finish",
    "IProgressMonitor.phase_start",
    "IProgressMonitor.step_complete",
}
FAKES = {
    fakes.FakeContext: "IExecutionContext",
    fakes.FakeEngine: "ICudaEngine",
    fakes.FakeRuntime: "Runtime",
}
RECORDED = ("10.3.0", "10.16.1.11", "11.4.0.106")


def used_names(*, rtx: bool = False) -> set[str]:
    """Names in the code; those of TensorRT-RTX alone only with ``rtx``."""
    names = set()
    for path in Path(tensorrt.__file__).parent.glob("*.py"):
        if path.name.startswith("rtx") and not rtx:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Attribute):
                continue
            *owners, member = ast.unparse(node).split(".")
            if owners[0] == "trt" and not member.startswith("_"):
                names.add(".".join([*owners[1:], member]))
            elif owners[-1] in OWNERS and owners[:-1] in ([], ["self"]):
                names.add(f"{OWNERS[owners[-1]]}.{member}")
    # Of EngineError, which is called error too.
    return names - {"ParserError.message", "ParserError.hint"}


def missing_from(available: list[str], *, rtx: bool = False) -> list[str]:
    classes = {name.split(".")[0] for name in available}
    return sorted((used_names(rtx=rtx) | OVERRIDDEN) - set(available) - classes)


def test_names_are_found_in_the_code() -> None:
    assert {
        "Builder.build_serialized_network",
        "IExecutionContext.execute_async_v3",
        "ILogger.Severity.ERROR",
        "EngineInspector.get_engine_information",
        "ITensor.dtype",
        "ITimingCache.serialize",
        "NetworkDefinitionCreationFlag.STRONGLY_TYPED",
        "ParserError.node_operator",
        "Runtime.deserialize_cuda_engine",
    } <= used_names()


@pytest.mark.parametrize("version", RECORDED)
def test_names_are_in_tensorrt(version: str) -> None:
    assert missing_from((FOLDER / f"{version}.txt").read_text().split()) == []


def test_names_are_in_tensorrt_rtx() -> None:
    names = names_of(pytest.importorskip("tensorrt_rtx"))
    assert {
        "BuilderFlag.REQUIRE_USER_ALLOCATION",
        "IExecutionContext.is_stream_capturable",
        "IRuntimeCache.deserialize",
        "IRuntimeConfig.set_runtime_cache",
    } <= used_names(rtx=True)
    # Named by a string.
    strategies = {f"DynamicShapesKernelSpecializationStrategy.{SPECIALIZATION}"}
    assert strategies <= set(names)
    assert missing_from(names, rtx=True) == []


def test_fakes_have_no_other_methods() -> None:
    real = set((FOLDER / "10.3.0.txt").read_text().split())
    for fake, name in FAKES.items():
        methods = {f"{name}.{method}" for method in vars(fake) if not method.startswith("_")}
        methods -= {"IExecutionContext.is_stream_capturable"}  # of TensorRT-RTX, tested above
        assert methods
        assert methods <= real
