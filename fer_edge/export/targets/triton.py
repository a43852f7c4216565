"""A model repository for NVIDIA's Triton Inference Server.

https://docs.nvidia.com/deeplearning/triton-inference-server/user-guide/docs/user_guide/model_configuration.html
"""

import re
from dataclasses import dataclass
from pathlib import Path

from fer_edge.artifact import Artifact
from fer_edge.contract import INPUT_NAME, OUTPUT_NAME, Contract, Precision
from fer_edge.errors import UsageError
from fer_edge.export.targets.deepstream import write_nvinfer
from fer_edge.files import atomic_folder

MARK = "# Written by fer-edge"
DEEPSTREAM = "deepstream"
"""Folder of a model; Triton passes over what is no number."""
_QUEUE_DELAY = 2000
"""Microseconds that a batch waits for others, as long as a Recognizer's."""
_QUEUE_REQUESTS = 512
_AS_IT_IS = "optimization { graph { level: 2 } }\n"
"""No optimisation of graphs, by the numbers of Triton's backend for ONNX Runtime:
https://github.com/triton-inference-server/onnxruntime_backend#model-config-options"""


@dataclass(frozen=True)
class _Entry:
    """A model of the repository."""

    name: str
    file: str
    """Of the artifact."""
    runs: str
    """The line of the configuration that says what runs it."""
    target: str
    """What Triton looks for."""
    kind: str
    max_batch: int
    preferred: tuple[int, ...] = ()
    precision: Precision | None = None
    """Of a graph that is for TensorRT, too."""
    optimised: bool = True
    """Whether what runs it may fuse its nodes."""


def write_repository(artifact: Artifact, folder: Path, *, max_batch: int = 64) -> list[str]:
    """Write a Triton model for each graph and each TensorRT plan of an artifact.

    They are named ``MODEL_PRECISION``, ``MODEL_PRECISION_cpu`` where an artifact has a form for
    CPUs, and ``MODEL_PRECISION_plan``. Each batches requests, warms up, refuses what its queue
    cannot hold, and knows its labels (Triton's ``classification``). The folder ``deepstream`` of a
    graph's model is for DeepStream's ``nvinfer``. Other models of the repository stay as they are.

    Parameters
    ----------
    artifact : Artifact
    folder : Path
        The repository; made if it is not there.
    max_batch : int
        Most faces in a call of a graph. A plan has its own.

    Returns
    -------
    list of str
        Names of the models.

    Raises
    ------
    UsageError
        The repository has a model of one of these names that is somebody else's.
    ArtifactError, StorageError
        A file of the artifact is damaged, or the repository cannot be written.
    """
    entries = _entries(artifact, max_batch)
    for entry in entries:
        _check_replaceable(folder / entry.name)
    for entry in entries:
        read = artifact.read_graph if entry.file.endswith(".onnx") else artifact.read
        content = read(entry.file)
        with atomic_folder(folder / entry.name) as fresh:
            (fresh / "1").mkdir()
            (fresh / "1" / entry.target).write_bytes(content)
            labels = "".join(f"{label}\n" for label in artifact.contract.labels)
            (fresh / "labels.txt").write_text(labels, encoding="utf-8")
            text = _config(entry, artifact.contract)
            (fresh / "config.pbtxt").write_text(text, encoding="utf-8")
            if entry.precision is not None:
                write_nvinfer(
                    content,
                    fresh / DEEPSTREAM,
                    artifact.contract,
                    entry.precision,
                    max_batch=entry.max_batch,
                )
    return [entry.name for entry in entries]


def _entries(artifact: Artifact, max_batch: int) -> list[_Entry]:
    base = re.sub(r"[^A-Za-z0-9_.-]", "_", artifact.manifest.model)
    entries = []
    for precision, graph in artifact.manifest.graphs.items():
        forms: dict[str, tuple[str, str, Precision | None]]
        forms = {"": (graph.file, "KIND_AUTO", precision)}
        if graph.cpu_file is not None:
            forms["_cpu"] = (graph.cpu_file, "KIND_CPU", None)
        entries += [
            _Entry(
                f"{base}_{precision}{end}",
                file,
                'backend: "onnxruntime"',
                "model.onnx",
                kind,
                max_batch,
                precision=built,
                # ONNX Runtime loses a ReLU before FP8 (ort.py), and Triton cannot switch off single
                # optimisers.
                optimised=precision != "fp8",
            )
            for end, (file, kind, built) in forms.items()
        ]
    # Triton loads TensorRT's plans, not those of TensorRT-RTX, and may call with a single face.
    entries += [
        _Entry(
            f"{base}_{engine.precision}_plan",
            engine.file,
            'platform: "tensorrt_plan"',
            "model.plan",
            "KIND_GPU",
            engine.max_batch,
            tuple(sorted({engine.opt_batch, engine.max_batch})),
        )
        for engine in artifact.manifest.engines
        if engine.backend == "tensorrt" and engine.min_batch == 1
    ]
    return entries


def _check_replaceable(folder: Path) -> None:
    config = folder / "config.pbtxt"
    ours = config.is_file() and config.read_text(errors="replace").startswith(MARK)
    if folder.exists() and not ours:
        raise UsageError(
            f"{folder} is not of fer-edge's making; it is left as it is.",
            hint="Choose another --triton.",
        )


def _config(entry: _Entry, contract: Contract) -> str:
    dims = ", ".join(map(str, contract.face_shape))
    preferred = f"  preferred_batch_size: [ {', '.join(map(str, entry.preferred))} ]\n"
    warm = "".join(_warm_up(size, dims) for size in sorted({1, entry.max_batch}))
    return f"""{MARK}: {contract}
name: "{entry.name}"
{entry.runs}
max_batch_size: {entry.max_batch}
input [
  {{ name: "{INPUT_NAME}" data_type: TYPE_UINT8 dims: [ {dims} ] }}
]
output [
  {{
    name: "{OUTPUT_NAME}" data_type: TYPE_FP32 dims: [ {len(contract.labels)} ]
    label_filename: "labels.txt"
  }}
]
dynamic_batching {{
{preferred if entry.preferred else ""}  max_queue_delay_microseconds: {_QUEUE_DELAY}
  default_queue_policy {{
    timeout_action: REJECT
    allow_timeout_override: true
    max_queue_size: {_QUEUE_REQUESTS}
  }}
}}
instance_group [
  {{ count: 1 kind: {entry.kind} }}
]
{"" if entry.optimised else _AS_IT_IS}{warm}"""


def _warm_up(size: int, dims: str) -> str:
    return f"""model_warmup {{
  name: "batch of {size}"
  batch_size: {size}
  inputs {{
    key: "{INPUT_NAME}"
    value {{ data_type: TYPE_UINT8 dims: [ {dims} ] zero_data: true }}
  }}
}}
"""
