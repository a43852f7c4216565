import itertools

import numpy as np
import pytest
from PIL import ImageColor

from fer_edge.runtime.capture import State
from fer_edge.runtime.overlay import draw_overlay
from fer_edge.runtime.palette import EMOTION_COLORS
from tests.moments import GROUND, moment, seen


def bgr(emotion: str) -> list[int]:
    return list(ImageColor.getrgb(EMOTION_COLORS[emotion]))[::-1]


def colored(picture: np.ndarray, emotion: str) -> np.ndarray:
    """Where the picture has the emotion's colour, (H, W)."""
    return (picture == bgr(emotion)).all(axis=2)


@pytest.mark.parametrize("size", [(480, 640), (1080, 1920), (120, 160), (16, 1000), (1, 1)])
@pytest.mark.parametrize("channels", [(), (3,)])
def test_a_picture_of_the_frames_size_and_the_frame_untouched(
    size: tuple[int, int], channels: tuple[int, ...]
) -> None:
    image = np.full((*size, *channels), GROUND, np.uint8)
    picture = draw_overlay(moment(seen(), image=image), fps=29.97, state=State.LOST)
    assert (picture.shape, picture.dtype) == ((*size, 3), np.uint8)
    assert (image == GROUND).all()
    assert size == (1, 1) or (picture != GROUND).any()


def test_the_box_has_the_colour_of_the_emotion_on_its_edge_and_nothing_inside() -> None:
    picture = draw_overlay(moment(seen((200, 150, 100, 120))))
    happy = colored(picture, "happy")
    for y, x in ((151, 250), (269, 250), (210, 201), (210, 299)):
        assert happy[y, x]
    assert (picture[180:250, 220:280] == GROUND).all()
    assert not colored(picture, "sad").any()


def test_bars_are_as_long_as_probabilities() -> None:
    lengths = []
    for share in (0.4, 0.8):
        picture = draw_overlay(moment(seen((200, 150, 100, 120), share=share)))
        beside = colored(picture, "happy")[150:, 304:]
        lengths.append(beside.any(axis=0).sum())
    assert lengths[1] == pytest.approx(2 * lengths[0], abs=3)


@pytest.mark.parametrize("state", State)
def test_a_state_is_shown_unless_all_is_well(state: State) -> None:
    plain = draw_overlay(moment(captured=0.0))
    picture = draw_overlay(moment(captured=0.0), state=state)
    assert (picture[430:] != plain[430:]).any() == (state is not State.RUNNING)
    assert (picture[:430] == plain[:430]).all()


def test_source_and_facts_stand_in_the_corners() -> None:
    bare = draw_overlay(moment(captured=0.0))
    more = draw_overlay(moment(captured=0.0), fps=30)
    other = draw_overlay(moment(captured=0.0, source="window"))
    assert (bare[50:] == GROUND).all()
    assert (bare != more).any(axis=(0, 2)).nonzero()[0].min() > 320
    assert (bare != other).any(axis=(0, 2)).nonzero()[0].max() < 320


def test_a_long_name_is_shortened_not_drawn_over_the_facts() -> None:
    facts = draw_overlay(moment(captured=0.0), fps=30)[:50, 520:]
    long = moment(captured=0.0, source="rtsp://camera.example/" + 40 * "long/")
    assert (draw_overlay(long, fps=30)[:50, 520:] == facts).all()


@pytest.mark.parametrize(
    "box", [(0, 0, 100, 100), (560, 0, 80, 100), (-50, -60, 120, 120), (600, 440, 90, 90)]
)
def test_a_label_at_the_border_is_whole_and_covers_no_other_text(
    box: tuple[float, float, float, float],
) -> None:
    corners = draw_overlay(moment(captured=0.0))
    written = (corners[:40] != GROUND).any(axis=2)
    picture = draw_overlay(moment(seen(box), captured=0.0))
    free = draw_overlay(moment(seen((250, 200, 20, 20)), captured=0.0))
    assert not (colored(picture, "happy")[:40] & written).any()
    # A label in the open has about as much colour.
    assert colored(picture, "happy").sum() > 0.8 * colored(free, "happy")[:197].sum()


def test_in_a_crowd_labels_stay_and_bars_give_way() -> None:
    places = itertools.product(range(0, 640, 80), range(40, 480, 88))
    faces = [seen((x, y + 20, 70, 60)) for x, y in places]
    picture = draw_overlay(moment(*faces))
    for face in faces:
        inside = picture[int(face.box.y) + 5 : int(face.box.y) + 55, int(face.box.x) + 5 :][:, :60]
        assert (inside == GROUND).all()
