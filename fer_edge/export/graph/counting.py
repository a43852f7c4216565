"""How large a network is: numbers in its weights, multiply-adds for a face."""

import math

import onnx

from fer_edge.export.graph.view import GraphView, copy_of


def count_parameters(model: onnx.ModelProto) -> int:
    """Numbers in the weights and biases of convolutions and fully connected layers."""
    view = GraphView(model)
    return sum(int(view.array(name).size) for node in view.layers for name in node.input[1:])


def layer_multiply_adds(model: onnx.ModelProto) -> dict[str, int]:
    """Multiply-adds of every convolution and fully connected layer for one face."""
    one = copy_of(model)
    for value in one.graph.input:
        value.type.tensor_type.shape.dim[0].dim_value = 1
    inferred = onnx.shape_inference.infer_shapes(one, data_prop=True).graph
    shapes = {
        v.name: [d.dim_value for d in v.type.tensor_type.shape.dim]
        for v in (*inferred.value_info, *inferred.output)
    }
    view = GraphView(model)
    counts = {}
    for node in view.layers:
        size = int(view.array(node.input[1]).size)
        # Each weight is used once for each place: of what a layer gives, or, where it gives a
        # larger map, of what it takes. Rows of a sequence are places, too.
        shape = shapes[node.input[0] if node.op_type == "ConvTranspose" else node.output[0]]
        places = shape[1:-1] if node.op_type == "MatMul" else shape[2:]
        counts[node.name] = size * math.prod(places)
    return counts


def count_multiply_adds(model: onnx.ModelProto) -> int:
    """Multiply-adds of convolutions and fully connected layers for one face."""
    return sum(layer_multiply_adds(model).values())
