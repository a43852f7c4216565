"""ONNX's external data put back into the graph, on machines without the onnx package.

A graph may leave the bytes of a tensor in another file, at an offset (``TensorProto.external_data``
in https://github.com/onnx/onnx/blob/main/onnx/onnx.proto). Runtimes find that file only beside a
graph that they open by its path.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from fer_edge.errors import ArtifactError
from fer_edge.files import storage_errors

_TENSOR = "tensor"
_MESSAGES: dict[str, dict[int, str]] = {
    "model": {7: "graph", 25: "function"},
    "function": {7: "node"},
    "graph": {1: "node", 5: _TENSOR, 15: "sparse tensor"},
    "node": {5: "attribute"},
    "attribute": {5: _TENSOR, 6: "graph", 10: _TENSOR, 11: "graph", 22: "sparse tensor"},
    "sparse tensor": {1: _TENSOR, 2: _TENSOR},
}
"""By field number, which messages of a message have tensors in them."""
_RAW_DATA, _EXTERNAL_DATA, _DATA_LOCATION = 9, 13, 14
"""Fields of TensorProto."""
_EXTERNAL = 1
"""The value of ``data_location`` that makes ``external_data`` count."""
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
"""Wire types of https://protobuf.dev/programming-guides/encoding/."""

_Parts = list["memoryview | bytes"]


def with_external_data(graph: bytes, read: Callable[[str], bytes]) -> bytes:
    """A serialised ONNX graph with the bytes of all its tensors inside.

    Parameters
    ----------
    graph : bytes
        Returned as it is if nothing of it is elsewhere.
    read : callable(name) -> bytes
        Content of the file that a tensor names; called once for each.

    Raises
    ------
    ValueError
        Not a graph, or the file is shorter than what the graph wants of it.
    """
    if b"location" not in graph:
        return graph
    files: dict[str, bytes] = {}

    def whole(data: memoryview, kind: str) -> _Parts:
        if kind == _TENSOR:
            return tensor(data)
        inner, parts = _MESSAGES[kind], _Parts()
        for number, value, field in _fields(data):
            parts += _field(number, whole(value, inner[number])) if number in inner else [field]
        return parts

    def tensor(data: memoryview) -> _Parts:
        fields = list(_fields(data))
        place = _place(fields)
        if place is None:
            return [data]
        parts: _Parts = [f for n, _, f in fields if n not in (_EXTERNAL_DATA, _DATA_LOCATION)]
        return [*parts, *_field(_RAW_DATA, [content(place)])]

    def content(place: dict[str, str]) -> memoryview:
        name = place.get("location", "")
        if name not in files:
            files[name] = read(name)
        size = len(files[name])
        offset = place.get("offset", "0")
        length = place.get("length")
        if not offset.isdecimal() or not (length is None or length.isdecimal()):
            raise ValueError(f"it wants {length} bytes of {name} from {offset} on")
        start = int(offset)
        end = size if length is None else start + int(length)
        if not start <= end <= size:
            raise ValueError(f"{name} has {size} bytes, not {max(start, end)}")
        return memoryview(files[name])[start:end]

    return b"".join(whole(memoryview(graph), "model"))


def external_files(graph: bytes) -> set[str]:
    """Names of the files that a serialised ONNX graph has tensors in.

    Raises
    ------
    ValueError
        Not a graph.
    """
    if b"location" not in graph:
        return set()

    def named(data: memoryview, kind: str) -> Iterator[str]:
        if kind == _TENSOR:
            place = _place(list(_fields(data)))
            if place is not None:
                yield place.get("location", "")
            return
        inner = _MESSAGES[kind]
        for number, value, _ in _fields(data):
            if number in inner:
                yield from named(value, inner[number])

    return set(named(memoryview(graph), "model"))


def read_graph(path: Path) -> bytes:
    """A serialised ONNX graph from a file, with the data that it keeps in files beside it.

    Raises
    ------
    ArtifactError
        It names a file that is not in its folder, or more bytes than are there.
    StorageError
        A file cannot be read.
    """

    def beside(name: str) -> bytes:
        other = path.parent / name
        # A graph may come from anyone; what lies elsewhere is none of its business.
        if not name or "\0" in name or ".." in Path(name).parts or not _reached(other, path):
            raise ValueError(f"it wants {name!r}, which is no file beside it")
        if not other.exists():
            raise ArtifactError(
                f"{path} has weights in {name}, which is not there.",
                hint=f"Put {name} beside {path.name}.",
            )
        with storage_errors(other):
            return other.read_bytes()

    with storage_errors(path):
        graph = path.read_bytes()
    try:
        return with_external_data(graph, beside)
    except ValueError as error:
        raise ArtifactError(
            f"{path} is damaged: {error}.", hint="Export the model again, or copy it anew."
        ) from error


def _reached(other: Path, path: Path) -> bool:
    """Whether a file is in the folder of ``path``, or where links of a cache lead from there."""
    folders = (path.parent.resolve(), path.resolve().parent)
    return any(other.resolve().is_relative_to(folder) for folder in folders)


def _fields(data: memoryview) -> Iterator[tuple[int, memoryview, memoryview]]:
    """Number, value and all bytes of each field of a message."""
    position = 0
    while position < len(data):
        start = position
        tag, position = _varint(data, position)
        kind = tag & 7
        if kind == _VARINT:
            end = _varint(data, position)[1]
        elif kind == _BYTES:
            size, position = _varint(data, position)
            end = position + size
        elif kind in (_FIXED32, _FIXED64):
            end = position + (4 if kind == _FIXED32 else 8)
        else:
            raise ValueError("it is not an ONNX graph")
        if end > len(data):
            raise ValueError("it ends in the middle")
        yield tag >> 3, data[position:end], data[start:end]
        position = end


def _place(fields: Sequence[tuple[int, memoryview, memoryview]]) -> dict[str, str] | None:
    """Where the bytes of a tensor are, from its fields; None for in it."""
    if (_DATA_LOCATION, _EXTERNAL) not in [(n, v[0]) for n, v, _ in fields if len(v) == 1]:
        return None
    return dict(_entry(value) for number, value, _ in fields if number == _EXTERNAL_DATA)


def _entry(data: memoryview) -> tuple[str, str]:
    """Key and value of a StringStringEntryProto."""
    found = {number: bytes(value).decode() for number, value, _ in _fields(data)}
    return found.get(1, ""), found.get(2, "")


def _field(number: int, parts: _Parts) -> _Parts:
    size = sum(len(part) for part in parts)
    return [_encoded(number << 3 | _BYTES) + _encoded(size), *parts]


def _varint(data: memoryview, position: int) -> tuple[int, int]:
    value = shift = 0
    while position < len(data) and shift < 64:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
    raise ValueError("it ends in the middle" if shift < 64 else "it is not an ONNX graph")


def _encoded(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])
