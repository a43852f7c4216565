import pytest

from fer_edge.contract import EMOTIONS
from fer_edge.emotions import SPELLINGS, meaning


@pytest.mark.parametrize(
    ("label", "emotion"),
    [
        ("happy", "happy"),
        (" Happiness ", "happy"),
        ("3_joy", "happy"),
        ("ANGER", "angry"),
        ("contemptuous", "contempt"),
        ("Contempt", "contempt"),
        ("Pain", "pain"),
        ("7", "7"),
    ],
)
def test_a_label_means_a_known_emotion_or_itself(label: str, emotion: str) -> None:
    assert meaning(label) == emotion


def test_every_spelling_leads_to_an_emotion_at_once() -> None:
    assert {meaning(emotion) for emotion in SPELLINGS.values()} == {*EMOTIONS, "contempt"}
    assert all(meaning(meaning(spelling)) == meaning(spelling) for spelling in SPELLINGS)
