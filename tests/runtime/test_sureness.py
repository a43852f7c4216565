"""An emotion is named only where it is right as often as wanted."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from fer_edge import Camera, Recognizer
from fer_edge.artifact import Artifact
from fer_edge.data import synthetic_dataset
from fer_edge.emotions import UNSURE
from fer_edge.errors import UsageError
from fer_edge.metrics import SurePoint
from fer_edge.models.carried import carried_model
from fer_edge.pixels.boxes import Box
from fer_edge.runtime.detection import Detection
from fer_edge.runtime.overlay import draw_overlay
from fer_edge.runtime.summary import Summary
from tests.moments import moment, seen

FACES = synthetic_dataset(70, split="val").faces


def recorded(precision: str = "fp32") -> dict[float, SurePoint]:
    score = Artifact.load(carried_model()).manifest.scores[precision]
    return {point.wanted: point for point in score.sure}


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_emotions_below_the_recorded_threshold_are_none(precision: str) -> None:
    wanted = min(recorded(precision))
    with (
        Recognizer(precision=precision) as plain,
        Recognizer(precision=precision, sure=wanted) as careful,
    ):
        every, named = plain(FACES), careful(FACES)
        answers = careful.submit(FACES).result(30)
    assert careful.threshold == recorded(precision)[wanted].threshold
    assert plain.threshold == 0
    np.testing.assert_array_equal(named.probabilities, every.probabilities)
    sure = every.probabilities.max(axis=1) >= careful.threshold
    assert 0 < sure.sum() < len(sure)
    assert None not in every.emotions
    assert named.emotions == [
        emotion if good else None for emotion, good in zip(every.emotions, sure, strict=True)
    ]
    assert answers.emotions == named.emotions
    assert [emotion for emotion, _ in named] == named.emotions


def test_a_share_between_two_takes_the_stricter_threshold() -> None:
    with Recognizer(precision="fp32", sure=0.82) as recognizer:
        assert recognizer.threshold == recorded()[0.85].threshold


@pytest.mark.parametrize(
    ("wanted", "says", "hint"),
    [
        (0.99, "No threshold makes 99 % of the answers of .* in fp32 right", "Ask for 0.9 at most"),
        (1.5, "sure must be above 0 and below 1, got 1.5", "0.9 for 90 %"),
        (0, "sure must be above 0 and below 1, got 0", "0.9 for 90 %"),
    ],
)
def test_a_share_that_nothing_reaches_is_refused(wanted: float, says: str, hint: str) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        Recognizer(precision="fp32", sure=wanted)
    assert hint in (caught.value.hint or "")


def test_what_was_not_scored_says_how_it_is(tmp_path: Path) -> None:
    graph = tmp_path / "lone.onnx"
    shutil.copy(carried_model() / "fp32.onnx", graph)
    with pytest.raises(UsageError, match="is a lone graph") as caught:
        Recognizer(graph, sure=0.9)
    assert f"fer-edge export {graph} --data" in (caught.value.hint or "")

    folder = tmp_path / "unscored"
    shutil.copytree(carried_model(), folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    for score in manifest["scores"].values():
        score["sure"] = []
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(UsageError, match="records no thresholds for fp32"):
        Recognizer(folder, precision="fp32", sure=0.9)


def test_faces_of_photos_and_cameras_are_unsure_alike() -> None:
    frame = np.repeat(np.repeat(FACES[0].squeeze(), 4, axis=0), 4, axis=1)

    def detector(_: np.ndarray) -> list[Detection]:
        return [Detection(Box(24, 24, 144, 144), 0.9)]

    with Recognizer(precision="fp32", sure=0.9) as recognizer:
        # Whatever the model makes of a made-up face, a threshold of 1 is more.
        recognizer._threshold = 1.0
        (photo,) = recognizer.find(frame, detector=detector)
        with Camera([frame] * 3, fps=10) as camera:
            moments = list(recognizer.watch(camera, detector=detector))
    assert photo.emotion is None
    assert photo.shown == UNSURE
    assert len(moments) == 3
    for one in moments:
        (face,) = one.faces
        assert face.emotion is None
        (told,) = one.to_dict()["faces"]
        assert told["emotion"] is None
        assert max(told["probabilities"].values()) > 0
        assert one.to_rows()[0]["emotion"] is None


def test_a_share_of_the_time_may_be_unsure() -> None:
    summary = Summary()
    for share in (0.4, 0.9, 0.9, 0.9):
        summary.add(moment(seen(share=share)).with_threshold(0.5))
    assert summary.shares["happy"] == 0.75
    assert list(summary.shares.items())[-1] == (UNSURE, 0.25)
    assert sum(summary.shares.values()) == 1


def test_an_unsure_face_is_drawn_in_another_colour_and_without_its_emotion() -> None:
    named = draw_overlay(moment(seen(share=0.6)).with_threshold(0.5))
    unsure = draw_overlay(moment(seen(share=0.6)).with_threshold(0.7))
    # Left edge of the box, BGR: yellow for happy; else gray.
    colour, gray = named[210, 200].astype(int), unsure[210, 200].astype(int)
    assert np.ptp(colour) > 100
    assert np.ptp(gray) < 40
