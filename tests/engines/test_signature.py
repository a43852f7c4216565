import pytest

from fer_edge.contract import FER2013, Contract
from fer_edge.engines.signature import Signature, Tensor, check_signature
from fer_edge.errors import EngineBuildError, EngineLoadError

FACES = Tensor("faces", "uint8", (None, 1, 48, 48))
PROBABILITIES = Tensor("probabilities", "float32", (None, 7))


def test_batch_is_dynamic_or_fixed() -> None:
    signature = check_signature([FACES], [PROBABILITIES], EngineLoadError)
    assert signature == Signature((1, 48, 48), 7, None)
    fixed = FACES._replace(shape=(8, 1, 48, 48))
    assert check_signature([fixed], [PROBABILITIES], EngineLoadError).batch == 8


def test_size_colour_and_labels_make_the_contract() -> None:
    assert Signature((1, 48, 48), 7, None).contract(EngineLoadError) == FER2013
    faces = FACES._replace(shape=(None, 3, 112, 112))
    shares = PROBABILITIES._replace(shape=(None, 2))
    signature = check_signature([faces], [shares], EngineLoadError)
    assert signature.contract(EngineLoadError, ["sad", "glad"]) == Contract(
        112, "rgb", ("sad", "glad")
    )
    with pytest.raises(EngineLoadError, match="nothing tells the labels of its 2 outputs"):
        signature.contract(EngineLoadError)
    with pytest.raises(EngineBuildError, match=r"1 labels \(sad\) for 2 outputs"):
        signature.contract(EngineBuildError, ["sad"])


@pytest.mark.parametrize(
    ("inputs", "outputs", "have"),
    [
        ([FACES._replace(name="input")], [PROBABILITIES], r"input uint8 \(N, 1, 48, 48\)"),
        ([FACES._replace(dtype="float32")], [PROBABILITIES], "faces float32"),
        ([FACES._replace(shape=(1, 2, 48, 48))], [PROBABILITIES], r"\(1, 2, 48, 48\)"),
        ([FACES._replace(shape=(1, 48, 48, 3))], [PROBABILITIES], r"\(1, 48, 48, 3\)"),
        ([FACES._replace(shape=(1, 1, 48, 64))], [PROBABILITIES], r"\(1, 1, 48, 64\)"),
        ([FACES._replace(shape=(1, 1, None, None))], [PROBABILITIES], r"\(1, 1, N, N\)"),
        ([FACES._replace(shape=(1, 3, 384, 384))], [PROBABILITIES], r"\(1, 3, 384, 384\)"),
        ([FACES._replace(shape=(1, 2304))], [PROBABILITIES], r"\(1, 2304\)"),
        ([FACES], [PROBABILITIES._replace(shape=(None, 1))], r"to probabilities float32 \(N, 1\)"),
        ([FACES], [PROBABILITIES._replace(shape=(None, None))], r"float32 \(N, N\)"),
        ([FACES], [PROBABILITIES._replace(shape=(None, 7, 1))], r"float32 \(N, 7, 1\)"),
        ([FACES], [PROBABILITIES._replace(dtype="float16")], "to probabilities float16"),
        ([FACES], [PROBABILITIES, PROBABILITIES], "to probabilities .*, probabilities"),
        ([FACES, PROBABILITIES], [], "to nothing"),
        ([], [], "takes nothing to nothing"),
    ],
)
def test_another_signature_says_what_it_has_and_what_is_needed(
    inputs: list[Tensor], outputs: list[Tensor], have: str
) -> None:
    needed = r"FER-Edge runs faces uint8 \(N, 1 or 3, S, S\).* to probabilities float32 \(N, K\)"
    with pytest.raises(EngineBuildError, match=f"{have}.*{needed}") as caught:
        check_signature(inputs, outputs, EngineBuildError)
    assert "fer-edge import FILE" in str(caught.value)
