"""What a network of somebody else sees in pictures, photos, cameras and recordings."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import fer_edge
from fer_edge.contract import EMOTIONS, Contract
from fer_edge.pixels.boxes import Box
from fer_edge.pixels.crops import crop_face, crop_faces, to_face
from fer_edge.runtime import Detection
from fer_edge.runtime.capture import Camera
from fer_edge.runtime.overlay import draw_overlay
from fer_edge.runtime.palette import EMOTION_COLORS, color_of
from fer_edge.runtime.preprocess import to_faces
from fer_edge.runtime.recording import analyze
from fer_edge.runtime.row_files import columns
from fer_edge.runtime.summary import Summary
from tests.tiny import CONTRACTS, EIGHT, FIVE, RGB, classify, tiny_artifact

of_each = pytest.mark.parametrize("contract", CONTRACTS, ids=["rgb", "eight", "five"])
PHOTO = np.random.default_rng(5).integers(0, 256, (90, 160, 3), dtype=np.uint8)
BOXES = [Box(30, 20, 40, 50), Box(-10, 60, 50, 50)]


def find_two(_: np.ndarray) -> list[Detection]:
    return [Detection(box, 0.9) for box in BOXES]


@pytest.fixture
def open_model(tmp_path: Path):
    def opened(contract: Contract) -> fer_edge.Recognizer:
        folder = tiny_artifact(tmp_path / "build", "fp32", contract=contract).folder
        return fer_edge.Recognizer(folder)

    return opened


@of_each
def test_called_and_submitted(open_model, contract: Contract) -> None:
    rng = np.random.default_rng(0)
    batch = rng.integers(0, 256, (3, *contract.crop_shape), dtype=np.uint8)
    with open_model(contract) as recognizer:
        assert recognizer.contract == contract
        for found in (recognizer(batch), recognizer.submit(batch).result(5)):
            np.testing.assert_allclose(found.probabilities, classify(batch, contract), atol=1e-5)
            assert found.classes == contract.labels
            assert found.emotions == [contract.labels[i] for i in found.labels]
        images = recognizer([PHOTO, PHOTO[..., 0], PHOTO[:50]], color="bgr")
        assert images.probabilities.shape == (3, len(contract.labels))
        assert recognizer([]).probabilities.shape == (0, len(contract.labels))
        assert recognizer.submit([]).result(5).emotions == []


@of_each
def test_faces_found_in_a_photo_carry_their_labels(open_model, contract: Contract) -> None:
    with open_model(contract) as recognizer:
        first, second = recognizer.find(PHOTO, detector=find_two, color="bgr")
    expected = classify(crop_faces(PHOTO, BOXES, contract), contract)
    np.testing.assert_allclose([first.raw, second.raw], expected, atol=1e-5)
    assert first.emotion == contract.labels[expected[0].argmax()]


@of_each
def test_watched_and_analyzed(open_model, contract: Contract) -> None:
    frames = [(PHOTO, 0.0), (PHOTO, 0.1)]
    expected = classify(crop_faces(PHOTO, BOXES, contract), contract)
    with open_model(contract) as recognizer:
        with Camera(frames) as camera:
            watched = list(recognizer.watch(camera, detector=find_two))
        with Camera(frames) as camera:
            moments = list(
                analyze(
                    lambda faces: recognizer(faces).probabilities,
                    camera,
                    find_two,
                    contract=contract,
                )
            )
        with Camera(frames) as camera:
            empty = list(recognizer.watch(camera, detector=lambda _: []))
    assert {moment.classes for moment in (*watched, *moments, *empty)} == {contract.labels}
    for moment in (*watched, *moments):
        np.testing.assert_allclose([face.raw for face in moment.faces], expected, atol=1e-5)
        (row, _), told = moment.to_rows(), moment.to_dict()
        assert list(row) == list(columns(contract.labels))
        assert list(told["faces"][0]["probabilities"]) == list(contract.labels)
    summary = Summary(contract.labels)
    for moment in moments:
        summary.add(moment)
    assert list(summary.shares) == list(contract.labels)
    assert sum(summary.shares.values()) == pytest.approx(1)
    track = moments[0].faces[0].track
    assert summary.over_time(track, 2).shape == (2, len(contract.labels))
    picture = draw_overlay(moments[0])
    color = color_of(moments[0].faces[0].emotion).removeprefix("#")
    bgr = [int(color[i : i + 2], 16) for i in (4, 2, 0)]
    assert (picture == bgr).all(axis=2).any()


def test_colour_is_kept_for_those_that_take_it() -> None:
    red = np.zeros((40, 40, 3), np.uint8)
    red[..., 0] = 200
    (face,) = to_faces([red], contract=RGB)
    assert face.shape == (3, 112, 112)
    assert [channel.mean() for channel in face] == [200, 0, 0]
    (swapped,) = to_faces([red], color="bgr", contract=RGB)
    assert [channel.mean() for channel in swapped] == [0, 0, 200]
    assert (to_faces(face[None], color="bgr", contract=RGB) == swapped).all()
    assert (to_faces(face[None], contract=RGB) == face).all()
    (gray,) = to_faces([red[..., 0]], contract=RGB)
    assert (gray == 200).all()
    (weighted,) = to_faces([red], contract=EIGHT)
    assert weighted.shape == (64, 64)
    assert (weighted == round(0.299 * 200)).all()


def test_a_larger_model_sees_what_a_smaller_one_has_lost() -> None:
    """A face of 100 pixels with stripes of one pixel keeps them at 112, and loses them at 48."""
    stripes = np.zeros((200, 200), np.uint8)
    stripes[:, ::2] = 255
    box = Box(50, 50, 100, 100)
    small = crop_faces(stripes, [box])[0].astype(float)
    large = crop_faces(stripes, [box], Contract(112))[0].astype(float)
    assert large.std() > 4 * small.std()


def test_pillow_and_frames_agree_on_crops() -> None:
    rgb = Image.fromarray(PHOTO[..., ::-1])
    for contract in CONTRACTS:
        expected = [to_face(crop_face(rgb, box), contract) for box in BOXES]
        np.testing.assert_array_equal(crop_faces(PHOTO, BOXES, contract), expected)


def test_labels_have_the_colour_of_what_they_mean_or_one_of_their_own() -> None:
    assert color_of("anger") == color_of("Angry") == EMOTION_COLORS["angry"]
    assert color_of("contempt") == color_of("3_contemptuous") == EMOTION_COLORS["contempt"]
    own = [color_of(label) for label in (*FIVE.labels, *EMOTIONS, "pain", "doubt")]
    assert len({*own}) == len({"awe", "bored", "pain", "doubt"} | {*EMOTIONS})
    assert all(len(color) == 7 for color in own)
