import pytest

from fer_edge.data.labels import emotion_label, split_name


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("angry", 0),
        ("Anger", 0),
        (" DISGUSTED", 1),
        ("happiness", 3),
        ("JOY", 3),
        ("Neutrality", 6),
    ],
)
def test_spellings(name: str, label: int) -> None:
    assert emotion_label(name) == label


@pytest.mark.parametrize("name", ["contempt", "", "3"])
def test_what_is_none_of_the_seven(name: str) -> None:
    assert emotion_label(name) is None


@pytest.mark.parametrize(
    ("name", "split"),
    [
        (" Train", "train"),
        ("PublicTest", "val"),
        ("VALIDATION", "val"),
        ("test", "test"),
        ("", None),
    ],
)
def test_splits(name: str, split: str | None) -> None:
    assert split_name(name) == split
