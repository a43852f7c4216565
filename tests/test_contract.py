import pytest

from fer_edge.contract import FER2013, Contract


def test_the_default_is_fer2013() -> None:
    assert Contract() == FER2013
    assert FER2013.face_shape == (1, 48, 48)
    assert FER2013.crop_shape == (48, 48)
    assert len(FER2013.labels) == 7


def test_a_network_of_somebody_else() -> None:
    contract = Contract(112, "rgb", ("neutral", "contempt"))
    assert contract.face_shape == contract.crop_shape == (3, 112, 112)
    assert str(contract) == "uint8 rgb faces (N, 3, 112, 112) to neutral, contempt"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"size": 23}, "faces of 23 pixels: take 24 to 260"),
        ({"size": 261}, "faces of 261 pixels"),
        ({"color": "bgr"}, "colour 'bgr': take gray or rgb"),
        ({"labels": ()}, r"labels \(none\): name two or more"),
        ({"labels": ("happy",)}, "name two or more"),
        ({"labels": ("happy", "")}, "name two or more"),
        ({"labels": ("happy", "sad", "happy")}, "each may stand only once"),
        ({"labels": ("happy", "sad,tired")}, "label 'sad,tired': take one without comma"),
        ({"labels": ("happy", " sad")}, "label ' sad': take one without"),
        ({"labels": ("happy", "s\nad")}, "without comma, line end"),
    ],
)
def test_what_cannot_be_meant(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Contract(**values)
