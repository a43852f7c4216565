import pytest

from fer_edge.engines.signature import Tensor, check_signature
from fer_edge.errors import EngineBuildError, EngineLoadError

FACES = Tensor("faces", "uint8", (None, 1, 48, 48))
PROBABILITIES = Tensor("probabilities", "float32", (None, 7))


def test_batch_is_dynamic_or_fixed() -> None:
    assert check_signature([FACES], [PROBABILITIES], EngineLoadError) is None
    fixed = FACES._replace(shape=(8, 1, 48, 48))
    assert check_signature([fixed], [PROBABILITIES], EngineLoadError) == 8


@pytest.mark.parametrize(
    ("inputs", "outputs", "have"),
    [
        ([FACES._replace(name="input")], [PROBABILITIES], r"input uint8 \(N, 1, 48, 48\)"),
        ([FACES._replace(dtype="float32")], [PROBABILITIES], "faces float32"),
        ([FACES._replace(shape=(1, 3, 224, 224))], [PROBABILITIES], r"\(1, 3, 224, 224\)"),
        ([FACES], [PROBABILITIES._replace(shape=(None, 8))], r"to probabilities float32 \(N, 8\)"),
        ([FACES], [PROBABILITIES._replace(dtype="float16")], "to probabilities float16"),
        ([FACES], [PROBABILITIES, PROBABILITIES], "to probabilities .*, probabilities"),
        ([FACES, PROBABILITIES], [], "to nothing"),
        ([], [], "takes nothing to nothing"),
    ],
)
def test_another_signature_says_what_it_has_and_what_is_needed(
    inputs: list[Tensor], outputs: list[Tensor], have: str
) -> None:
    needed = r"FER-Edge runs faces uint8 \(N, 1, 48, 48\) to probabilities float32 \(N, 7\)"
    with pytest.raises(EngineBuildError, match=f"{have}.*{needed}"):
        check_signature(inputs, outputs, EngineBuildError)
