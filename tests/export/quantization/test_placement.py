import pytest

from fer_edge.export.graph.view import GraphView
from fer_edge.export.quantization.placement import identity_branch, main_branch, place
from tests.export.graphs import residual_graph


def test_every_layer_but_the_classifier_is_quantised(residual):
    layers = place(residual).layers
    assert layers == ("stem", "one.a", "one.b", "two.a", "two.b", "two.skip", "hidden")


@pytest.mark.parametrize("swap", [False, True])
def test_the_identity_branch_is_found_in_either_order(swap):
    view = GraphView(residual_graph(swap=swap))
    adds = {node.name: node for node in view.nodes if node.op_type == "Add"}
    found = {name: add.input[identity_branch(view, add)] for name, add in adds.items()}
    assert found == {"one.add": "pool", "two.add": "two.skip"}


def test_nothing_between_a_convolution_and_what_is_fused_into_it(residual):
    activations = place(residual).activations
    # A main branch's convolution goes into the add, every other one into its ReLU.
    assert not {"stem", "one.a", "one.b", "two.a", "two.b"} & set(activations)
    assert {"one.add", "two.add"}.isdisjoint(activations)


def test_activations_are_inputs_of_layers_and_identities(residual):
    assert place(residual).activations == (
        "faces/sub",
        "pool",
        "one.a/relu",
        "one.add/relu",
        "two.a/relu",
        "two.skip",
        "flat",
    )


def test_cpus_also_quantise_what_their_integer_operators_give(residual):
    assert place(residual).cpu_activations == (
        "one.b",
        "two.b",
        "two.add/relu",
        "average",
        "hidden/relu",
    )


def test_kept_layers_take_their_q_dq_with_them(residual):
    placement = place(residual, kept={"one.b", "two.a"})
    assert "two.a" not in placement.layers
    assert dict(placement.identities) == {"two.add": 1}
    # Only one.b read one.a/relu; two.skip still reads what two.a no longer quantises.
    assert "one.a/relu" not in placement.activations
    assert "one.add/relu" in placement.activations


def test_a_residual_add_is_fused_into_its_main_branch(residual):
    view = GraphView(residual)
    mains = [main_branch(view, node) for node in view.nodes if node.op_type == "Add"]
    assert mains == ["one.b", "two.b"]


def test_cpus_add_in_floating_point_where_the_main_branch_is_kept(residual):
    placement = place(residual, kept={"two.b"})
    assert "two.add" not in dict(placement.identities)
    # Layers in INT8 give integers all the same: without, they would compute in float32.
    assert placement.cpu_activations == ("one.b", "two.a/relu", "two.skip", "hidden/relu")
