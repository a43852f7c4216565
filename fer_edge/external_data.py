"""ONNX's external data put back into the graph, on machines without the onnx package.

A graph may leave the bytes of a tensor in another file, at an offset (``TensorProto.external_data``
in https://github.com/onnx/onnx/blob/main/onnx/onnx.proto). Runtimes find that file only beside a
graph that they open by its path.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

from fer_edge.errors import ArtifactError
from fer_edge.files import storage_errors

_GRAPH, _INITIALIZER = 7, 5
"""Fields of ModelProto and GraphProto."""
_RAW_DATA, _EXTERNAL_DATA, _DATA_LOCATION = 9, 13, 14
"""Fields of TensorProto."""
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
"""Wire types of https://protobuf.dev/programming-guides/encoding/."""

_Parts = list["memoryview | bytes"]


def with_external_data(graph: bytes, read: Callable[[str], bytes]) -> bytes:
    """A serialised ONNX graph with the bytes of its initializers inside.

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

    def tensor(data: memoryview) -> _Parts:
        parts: _Parts = []
        told: dict[str, str] = {}
        for number, value, whole in _fields(data):
            if number == _EXTERNAL_DATA:
                key, text = (bytes(found).decode() for _, found, _ in _fields(value))
                told[key] = text
            elif number != _DATA_LOCATION:
                parts.append(whole)
        if not told:
            return [data]
        if "location" not in told:
            raise ValueError("it does not say in which file its data are")
        name, start = told["location"], int(told.get("offset", 0))
        if name not in files:
            files[name] = read(name)
        end = start + int(told["length"]) if "length" in told else len(files[name])
        if not 0 <= start <= end <= len(files[name]):
            raise ValueError(f"{name} has {len(files[name])} bytes, not {end}")
        return [*parts, *_field(_RAW_DATA, [memoryview(files[name])[start:end]])]

    def rewritten(data: memoryview, field: int, inner: Callable[[memoryview], _Parts]) -> _Parts:
        parts: _Parts = []
        for number, value, whole in _fields(data):
            parts += _field(number, inner(value)) if number == field else [whole]
        return parts

    return b"".join(
        rewritten(memoryview(graph), _GRAPH, lambda data: rewritten(data, _INITIALIZER, tensor))
    )


def read_graph(path: Path) -> bytes:
    """A serialised ONNX graph from a file, with the data that it keeps in files beside it.

    Raises
    ------
    ArtifactError
        It names a file outside its folder, or more bytes than are there.
    StorageError
        A file cannot be read.
    """

    def beside(name: str) -> bytes:
        # A graph may come from anyone; what lies elsewhere is none of its business.
        other = (path.parent / name).resolve()
        if not other.is_relative_to(path.parent.resolve()):
            raise ValueError(f"it wants {name!r}, which is no file beside it")
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


def _field(number: int, parts: _Parts) -> _Parts:
    size = sum(len(part) for part in parts)
    return [_encoded(number << 3 | _BYTES) + _encoded(size), *parts]


def _varint(data: memoryview, position: int) -> tuple[int, int]:
    value = shift = 0
    while position < len(data):
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
    raise ValueError("it ends in the middle")


def _encoded(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])
