from pathlib import Path

import pytest

from fer_edge.cli.arguments import batches, model_or_carried
from fer_edge.errors import UsageError


def test_batches_keep_their_order() -> None:
    assert batches("64, 1,8") == [64, 1, 8]


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("0", "0"),
        ("1,-8", "-8"),
        ("8,x", "x"),
        ("1,,8", "nothing"),
        ("", "nothing"),
        ("1.5", "1.5"),
        ("²", "²"),
    ],
)
def test_what_is_no_batch_size_is_named(text: str, part: str) -> None:
    with pytest.raises(UsageError, match=rf"{part} is not a batch size.*--batch 1,8,64"):
        batches(text)


def test_a_model_that_is_named_is_taken() -> None:
    assert model_or_carried(Path("build/x")) == Path("build/x")
