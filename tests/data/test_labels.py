import pytest

from fer_edge.data.labels import emotion_label


@pytest.mark.parametrize(
    ("name", "label"),
    [("angry", 0), ("Anger", 0), (" DISGUSTED", 1), ("happiness", 3), ("Neutral", 6)],
)
def test_spellings(name: str, label: int) -> None:
    assert emotion_label(name) == label


@pytest.mark.parametrize("name", ["contempt", "", "3"])
def test_what_is_none_of_the_seven(name: str) -> None:
    assert emotion_label(name) is None
