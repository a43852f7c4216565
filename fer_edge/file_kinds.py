"""What kind of file somebody named, by its first bytes: names of files promise anything."""

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Kind = Literal[
    "onnx", "artifact", "run", "folder", "saved-model", "torch", "torchscript", "torch-archive",
    "safetensors", "hdf5", "keras", "tflite", "engine", "empty", "missing", "image", "other",
]  # fmt: skip


@dataclass(frozen=True)
class FileKind:
    """A kind of file, and what can be done with it."""

    kind: Kind
    what: str
    """As it goes into a sentence: "a Keras model"."""
    way: str | None = None
    """How to get from it to an artifact; None where there is no way or none is needed."""


_TO_ONNX_KERAS = (
    "Convert it with: pip install tf2onnx; python -m tf2onnx.convert --keras {path} "
    "--output {stem}.onnx; then: fer-edge import {stem}.onnx"
)
_KINDS: dict[Kind, tuple[str, str | None]] = {
    "onnx": ("an ONNX graph", "Bring it in with: fer-edge import {path} --out {stem}"),
    "artifact": ("an artifact", None),
    "run": ("a training run", "Export it with: fer-edge export {path}"),
    "folder": ("a folder without an artifact or a training run", None),
    "saved-model": (
        "a TensorFlow SavedModel",
        "Convert it with: pip install tf2onnx; python -m tf2onnx.convert --saved-model {path} "
        "--output {stem}.onnx; then: fer-edge import {stem}.onnx",
    ),
    "torch": (
        "a torch file of weights",
        "Say which network they are of: fer-edge import {path} --model resnet50-linear "
        "--out {stem}. Of a network of your own, export the module: see "
        "fer_edge.export.export_module",
    ),
    "torch-archive": (
        "a torch file of weights",
        "Say which network they are of: fer-edge import {path} --model resnet50-linear "
        "--out {stem}. Of a network of your own, export the module: see "
        "fer_edge.export.export_module",
    ),
    "torchscript": (
        "a TorchScript module",
        "Export it where torch is: torch.onnx.export(torch.jit.load({path!r}), faces, "
        "'{stem}.onnx', dynamo=False); then: fer-edge import {stem}.onnx",
    ),
    "safetensors": (
        "weights (safetensors) without their network",
        "Say which network they are of: fer-edge import {path} --model resnet50-linear "
        "--out {stem}",
    ),
    "hdf5": ("a Keras model or weights (HDF5)", _TO_ONNX_KERAS),
    "keras": ("a Keras model", _TO_ONNX_KERAS),
    "tflite": (
        "a TensorFlow Lite model",
        "Convert it with: pip install tf2onnx; python -m tf2onnx.convert --tflite {path} "
        "--output {stem}.onnx; then: fer-edge import {stem}.onnx",
    ),
    "engine": (
        "a serialised TensorRT engine, which is bound to its GPU and has no graph to read",
        "Take the artifact or the ONNX file that it was built from",
    ),
    "empty": ("an empty file", "Copy or download it again"),
    "missing": ("not there", None),
    "image": ("an image", None),
    "other": ("none of the files that hold networks", None),
}


def file_kind(path: Path) -> FileKind:
    """Look at what ``path`` is."""
    kind = _folder_kind(path) if path.is_dir() else _file_kind(path)
    what, way = _KINDS[kind]
    stem = str(Path("build") / path.name.split(".")[0])
    return FileKind(kind, what, None if way is None else way.format(path=str(path), stem=stem))


def _folder_kind(path: Path) -> Kind:
    if (path / "manifest.json").is_file():
        return "artifact"
    if (path / "config.json").is_file() and (path / "metrics.jsonl").is_file():
        return "run"
    return "saved-model" if (path / "saved_model.pb").is_file() else "folder"


def _file_kind(path: Path) -> Kind:
    try:
        with path.open("rb") as file:
            head = file.read(64)
    except OSError:
        return "missing"
    if not head:
        return "empty"
    if head.startswith(b"PK\x03\x04"):
        return _archive_kind(path)
    starts: dict[bytes, Kind] = {
        b"\x89HDF\r\n\x1a\n": "hdf5",
        b"ftrt": "engine",
        b"ptrt": "engine",
        b"\x89PNG": "image",
        b"\xff\xd8\xff": "image",
        b"\x80\x02": "torch",
        b"\x80\x03": "torch",
        b"\x80\x04": "torch",
        b"\x80\x05": "torch",
    }
    for start, kind in starts.items():
        if head.startswith(start):
            return kind
    if head[4:8] == b"TFL3":
        return "tflite"
    if head[8:10] == b'{"' and int.from_bytes(head[:8], "little") < 100 * 2**20:
        return "safetensors"
    # A ModelProto begins with its version of the format: field 1, a small number.
    if path.suffix.lower() == ".onnx" or (head[0] == 8 and head[1:2] and 0 < head[1] < 32):
        return "onnx"
    return "engine" if path.suffix.lower() in (".engine", ".plan", ".trt") else "other"


def _archive_kind(path: Path) -> Kind:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError):
        # torch.save writes the list of what is in it last: a file cut short has none.
        return "torch" if path.suffix.lower() in (".pt", ".pth", ".tar", ".t7", ".bin") else "other"
    if any(name.endswith("data.pkl") for name in names):
        return "torchscript" if any("/code/" in name for name in names) else "torch-archive"
    return "keras" if {"config.json", "metadata.json"} & set(names) else "other"
