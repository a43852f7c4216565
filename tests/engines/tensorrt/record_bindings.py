"""Record what a TensorRT bindings wheel offers, without TensorRT's gigabytes of libraries.

The bindings link to nine functions of those libraries. Stand-ins for them, made by gcc, are enough
to import the module and list it:

    pip download --no-deps --dest wheels tensorrt-cu13-bindings==11.4.0.106
    python tests/engines/tensorrt/record_bindings.py wheels/*.whl
"""

import json
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

FOLDER = Path(__file__).parent / "bindings"
CLASSES = (
    "Builder",
    "BuilderFlag",
    "CudaGraphStrategy",
    "DataType",
    "DynamicShapesKernelSpecializationStrategy",
    "ErrorCode",
    "IBuilderConfig",
    "ICudaEngine",
    "EngineInspector",
    "EngineInvalidityDiagnostics",
    "EngineValidity",
    "ExecutionContextAllocationStrategy",
    "IExecutionContext",
    "ILogger",
    "INetworkDefinition",
    "IRuntimeCache",
    "IOptimizationProfile",
    "IProgressMonitor",
    "IRuntimeConfig",
    "ITensor",
    "ITimingCache",
    "LayerInformationFormat",
    "MemoryPoolType",
    "NetworkDefinitionCreationFlag",
    "OnnxParser",
    "ParserError",
    "ProfilingVerbosity",
    "Runtime",
    "TensorIOMode",
)
FUNCTIONS = (
    "createInferBuilder_INTERNAL",
    "createInferRefitter_INTERNAL",
    "createInferRuntime_INTERNAL",
    "createNvOnnxParserRefitter_INTERNAL",
    "createNvOnnxParser_INTERNAL",
    "getBuilderPluginRegistry",
    "getNvOnnxParserVersion",
    "getPluginRegistry",
    "initLibNvInferPlugins",
)
LIBRARIES = ("nvinfer", "nvinfer_plugin", "nvonnxparser")


def names_of(module: object) -> list[str]:
    """Public members of CLASSES, of those there are, as "Class.member"; of ILogger.Severity too."""
    found = []
    for name in CLASSES:
        owner = getattr(module, name, None)
        found += [f"{name}.{member}" for member in dir(owner) if not member.startswith("_")]
    found += [f"ILogger.Severity.{name}" for name in module.ILogger.Severity.__members__]
    return sorted(found)


def record(wheel: Path) -> Path:
    """Write ``bindings/VERSION.txt`` for a wheel and return its path."""
    version = wheel.name.split("-")[1]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        zipfile.ZipFile(wheel).extractall(folder)
        source = folder / "stand_in.c"
        source.write_text("".join(f"void *{name}(void) {{ return 0; }}\n" for name in FUNCTIONS))
        for library in LIBRARIES:
            soname = f"lib{library}.so.{version.split('.')[0]}"
            command = ["gcc", "-shared", "-fPIC", f"-Wl,-soname,{soname}", str(source)]
            subprocess.run([*command, "-o", str(folder / soname)], check=True)
        script = (
            "import json, tensorrt_bindings; from record_bindings import names_of;"
            "print(json.dumps(names_of(tensorrt_bindings)))"
        )
        environment = {
            **os.environ,
            "LD_LIBRARY_PATH": name,
            "PYTHONPATH": os.pathsep.join([name, str(Path(__file__).parent)]),
        }
        listed = subprocess.run(
            [sys.executable, "-c", script], env=environment, capture_output=True, check=True
        )
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / f"{version}.txt"
    path.write_text("\n".join(json.loads(listed.stdout)) + "\n")
    return path


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        print(record(Path(argument)))
