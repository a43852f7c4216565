"""The last pass: every node and tensor has a name that says what it is, and nobody else has."""

import re

import onnx

from fer_edge.contract import INPUT_NAME, OUTPUT_NAME
from fer_edge.export.importing.editing import Editable

_RESERVED = re.compile(r"/(quantized|dequantized|scale|zero_point|float16|float32|rounded|twin)\b")
"""What the passes that follow append to the names of tensors."""


def rename(graph: Editable) -> None:
    """Name nodes after their layer, tensors after the node that gives them."""
    taken: set[str] = {INPUT_NAME, OUTPUT_NAME}
    tensors = {graph.inputs[0].name: INPUT_NAME, graph.outputs[0].name: OUTPUT_NAME}
    constants = {}
    for node in graph.nodes:
        node.name = _unique(_layer(node.op_type, node.name, _weight(node)), taken)
        for index, name in enumerate(node.input):
            if name in graph.constants and name not in constants:
                role = _role(node.op_type, index)
                constants[name] = _unique(f"{node.name}.{role}", taken)
        for position, name in enumerate(node.output):
            if name and name not in tensors:
                tensors[name] = node.name + (f":{position}" if position else "")
    names = tensors | constants
    for node in graph.nodes:
        for field in (node.input, node.output):
            for index, name in enumerate(field):
                field[index] = names.get(name, name)
        node.doc_string = ""
    graph.constants = {constants[k]: v for k, v in graph.constants.items() if k in constants}
    graph.inputs[0].name, graph.outputs[0].name = INPUT_NAME, OUTPUT_NAME
    graph.touch()


def _weight(node: onnx.NodeProto) -> str:
    """What the author of the graph called the second input; passes append to it after a #."""
    return str(node.input[1]).split("#")[0] if len(node.input) > 1 else ""


def _layer(operator: str, name: str, weight: str) -> str:
    if operator in ("Conv", "ConvTranspose", "Gemm", "MatMul") and weight.endswith(".weight"):
        return weight.removesuffix(".weight")
    name = _RESERVED.sub(r"_\1", name.split("#")[0].strip("/ "))
    return name or operator.lower()


def _role(operator: str, index: int) -> str:
    if operator in ("Conv", "ConvTranspose", "Gemm", "MatMul") and index in (1, 2):
        return ("weight", "bias")[index - 1]
    return f"constant_{index}"


def _unique(name: str, taken: set[str]) -> str:
    found, number = name, 2
    while found in taken:
        found, number = f"{name}_{number}", number + 1
    taken.add(found)
    return found
