import math
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from examples import robot
from fer_edge import EMOTIONS
from fer_edge.pixels.boxes import Box
from fer_edge.runtime import Detection, crop_faces, tracking
from tests.tiny import FakeEngine, classify

from .conftest import FAR, FRAME, NEAR, assert_ctrl_c_ends, see_two


@pytest.fixture
def acts(monkeypatch: pytest.MonkeyPatch, engine: FakeEngine) -> list[str]:
    del engine
    acts: list[str] = []
    monkeypatch.setattr(robot, "act", acts.append)
    monkeypatch.setattr(robot, "SETTLED", 0.0)
    return acts


def emotion(box: Box) -> str:
    return EMOTIONS[classify(crop_faces(FRAME, [box])).argmax()]


def test_the_nearest_face_is_answered_once(acts: list[str], detect: Callable) -> None:
    assert emotion(NEAR) != emotion(FAR)
    detect(see_two)
    robot.main([FRAME] * 5)
    assert acts == [emotion(NEAR)]


def test_another_face_is_answered_anew_and_nobody_is_not(
    acts: list[str], detect: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking, "HOLD_SECONDS", 0.0)
    seen = iter([[]] * 2 + [[NEAR]] * 3 + [[]] * 2 + [[FAR]] * 3)
    detect(lambda _: [Detection(box, 0.9) for box in next(seen)])
    robot.main([FRAME] * 10)
    assert acts == [emotion(NEAR), emotion(FAR)]


def test_what_has_not_settled_is_not_answered(
    acts: list[str], detect: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(robot, "SETTLED", math.inf)
    detect(see_two)
    robot.main([FRAME] * 5)
    assert acts == []


@pytest.mark.usefixtures("made_detector")
def test_ctrl_c_ends_it_quietly() -> None:
    pytest.importorskip("retinaface", reason="needs the extra camera")
    program = """
import signal, time, numpy
signal.signal(signal.SIGINT, signal.default_int_handler)
from examples import robot

def frames():
    while True:
        yield numpy.zeros((90, 120, 3), numpy.uint8)
        print("frame", flush=True)

robot.main(frames())
print("stopped", flush=True)
"""
    assert_ctrl_c_ends(program, after="frame")


def test_real_faces(
    real_photo: np.ndarray, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(robot, "SETTLED", 0.0)

    def frames() -> Iterator[np.ndarray]:
        for _ in range(3):
            yield real_photo

    robot.main(frames())
    (line,) = capsys.readouterr().out.splitlines()
    assert line.partition(":")[0] in EMOTIONS
