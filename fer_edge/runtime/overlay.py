"""A moment drawn on its frame."""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image as Pillow
from PIL import ImageColor, ImageDraw, ImageFont

from fer_edge.runtime.capture.base import Image, State
from fer_edge.runtime.moment import Moment, SeenFace
from fer_edge.runtime.palette import color_of

_DARK, _LIGHT, _ALARM = "#14171c", "#ffffff", "#e5383b"
_SHADE = 170
"""Opacity of the ground below text, 0..255."""
_STATES = {
    State.OPENING: "opening",
    State.STALLED: "stalled: no new frames",
    State.LOST: "lost: opening it again",
    State.CLOSED: "ended",
}


class _Area(NamedTuple):
    left: int
    top: int
    right: int
    bottom: int

    def meets(self, other: "_Area") -> bool:
        return (
            self.left < other.right
            and other.left < self.right
            and self.top < other.bottom
            and other.top < self.bottom
        )

    def inside(self, width: int, height: int) -> bool:
        return self.left >= 0 and self.top >= 0 and self.right <= width and self.bottom <= height


def draw_overlay(
    moment: Moment, *, fps: float | None = None, state: State = State.RUNNING
) -> Image:
    """Draw boxes, labels, probabilities, frame age and what else is told onto a copy of the frame.

    Sizes follow the frame's. The bars of a face stand beside its box where there is room for them;
    in a crowd the label alone is shown.

    Parameters
    ----------
    moment : Moment
    fps : float, optional
        Frames per second, shown as they are.
    state : State
        Of the stream; shown unless it is running.

    Returns
    -------
    uint8 array, shape (H, W, 3), BGR
    """
    image = moment.frame.image
    # Pillow's RGB, read as BGR: colours swap instead of millions of pixels.
    canvas = Pillow.fromarray(image)
    canvas = canvas.convert("RGB") if image.ndim == 2 else canvas.copy()
    painter = _Painter(canvas)
    placed = [(face, _area(face)) for face in moment.faces]
    for face, box in placed:
        painter.box(box, color_of(face.shown))
    facts = [f"{moment.age_ms:,.0f} ms"]
    if fps is not None:
        facts.insert(0, f"{fps:.1f} fps")
    taken = painter.status(moment.frame.source, "   ".join(facts), _STATES.get(state))
    taken += [painter.label(face, box, taken) for face, box in placed]
    taken += [box for _, box in placed]
    for face, box in placed:
        bars = painter.bars(face, box, taken)
        if bars is not None:
            taken.append(bars)
    return np.asarray(canvas)


class _Painter:
    """Draws in sizes that fit a canvas whose channels are BGR."""

    def __init__(self, canvas: Pillow.Image) -> None:
        self._width, self._height = canvas.size
        # Larger frames are looked at on larger screens, but not in proportion.
        self._unit = max(min(self._height, 0.75 * self._width) / 480, 0.2) ** 0.8
        self._draw = ImageDraw.Draw(canvas, "RGBA")
        self._font = _font(max(round(16 * self._unit), 9))
        self._small = _font(max(round(12 * self._unit), 8))

    def box(self, area: _Area, color: str) -> None:
        thick = self._px(2.5)
        # A dark edge keeps it visible on a ground of its own colour.
        edge = _Area(area.left - 1, area.top - 1, area.right + 1, area.bottom + 1)
        self._draw.rounded_rectangle(edge, self._px(8), outline=_bgr(_DARK, _SHADE), width=1)
        self._draw.rounded_rectangle(area, self._px(7), outline=_bgr(color), width=thick)

    def label(self, face: SeenFace, box: _Area, taken: Sequence[_Area]) -> _Area:
        """Emotion and its probability above the box, or inside it where that is taken."""
        text = face.shown
        if face.emotion is not None:
            text += f" {100 * face.probabilities[face.label]:.0f} %"
        width, height = self._size(text, self._font, pad=7)
        left = min(max(box.left, 0), max(self._width - width, 0))
        inside = self._px(5)
        tops = (box.top - height - self._px(3), max(box.top, 0) + inside)
        areas = [_Area(left, top, left + width, top + height) for top in tops]
        low = min(box.bottom, self._height) - inside
        last = _Area(left, low - height, left + width, low)
        area = self._free(areas, taken) or last
        self._draw.rounded_rectangle(area, self._px(5), fill=_bgr(color_of(face.shown)))
        self._text(area, text, self._font, _DARK)
        return area

    def bars(self, face: SeenFace, box: _Area, taken: Sequence[_Area]) -> _Area | None:
        """A bar per emotion on a panel beside the box; None where there is no room."""
        pad, gap, length = self._px(7), self._px(6), self._px(56)
        row = self._px(15)
        names = max(round(self._small.getlength(name)) for name in face.classes)
        width = names + length + gap + 2 * pad
        height = row * len(face.classes) + 2 * pad
        places = [
            (box.right + gap, box.top),
            (box.left - gap - width, box.top),
            (box.right + gap, box.bottom - height),
            (box.left - gap - width, box.bottom - height),
            (box.left, box.bottom + gap),
        ]
        areas = [_Area(left, top, left + width, top + height) for left, top in places]
        panel = self._free(areas, taken)
        if panel is None:
            return None
        outline = _bgr(color_of(face.shown), 140)
        self._draw.rounded_rectangle(panel, self._px(5), fill=_bgr(_DARK, _SHADE), outline=outline)
        start = panel.left + pad + names + gap
        for index, (emotion, share) in enumerate(
            zip(face.classes, face.probabilities, strict=True)
        ):
            top = panel.top + pad + index * row
            middle = top + row / 2
            chosen = index == face.label and face.emotion is not None
            self._draw.text(
                (start - gap, middle),
                emotion,
                _bgr(_LIGHT, 255 if chosen else 190),
                self._small,
                anchor="rm",
            )
            bar = (start, top + self._px(3), start + length, top + row - self._px(3))
            self._draw.rectangle(bar, fill=_bgr(_LIGHT, 36))
            filled = start + round(length * float(share))
            if filled > start:
                color = _bgr(color_of(emotion), 255 if chosen else 200)
                self._draw.rectangle((*bar[:2], filled, bar[3]), fill=color)
        return panel

    def status(self, source: str, facts: str, alarm: str | None) -> list[_Area]:
        """Source and facts in the upper corners, and what is wrong below."""
        edge, pad = self._px(8), self._px(7)
        width, height = self._size(facts, self._font, pad=7)
        right = self._width - edge
        chips = [self._chip(_Area(right - width, edge, right, edge + height), facts)]
        name = self._shortened(source, right - width - 2 * edge - 2 * pad)
        if name:
            width, height = self._size(name, self._font, pad=7)
            chips.append(self._chip(_Area(edge, edge, edge + width, edge + height), name))
        if alarm is not None:
            text = self._shortened(alarm, self._width - 2 * pad)
            width, height = self._size(text, self._font, pad=12)
            left, low = (self._width - width) // 2, self._height - edge
            area = _Area(left, low - height, left + width, low)
            chips.append(self._chip(area, text, _ALARM, 230))
        return chips

    def _free(self, areas: Sequence[_Area], taken: Sequence[_Area]) -> _Area | None:
        """The first that is inside the frame and meets none of those taken."""
        free = (
            area
            for area in areas
            if area.inside(self._width, self._height)
            and not any(area.meets(other) for other in taken)
        )
        return next(free, None)

    def _chip(self, area: _Area, text: str, ground: str = _DARK, opacity: int = _SHADE) -> _Area:
        self._draw.rounded_rectangle(area, self._px(5), fill=_bgr(ground, opacity))
        self._text(area, text, self._font, _LIGHT)
        return area

    def _text(self, area: _Area, text: str, font: ImageFont.FreeTypeFont, color: str) -> None:
        middle = ((area.left + area.right) / 2, (area.top + area.bottom) / 2)
        self._draw.text(middle, text, _bgr(color), font, anchor="mm")

    def _size(self, text: str, font: ImageFont.FreeTypeFont, pad: int) -> tuple[int, int]:
        return round(font.getlength(text)) + 2 * self._px(pad), round(font.size) + self._px(pad)

    def _shortened(self, text: str, width: float) -> str:
        """The text, or its end, which tells files and addresses apart; empty without room."""
        if self._font.getlength(text) <= width:
            return text
        while text and self._font.getlength(f"…{text}") > width:
            text = text[1:]
        return text and f"…{text}"

    def _px(self, size: float) -> int:
        return max(round(size * self._unit), 1)


def _area(face: SeenFace) -> _Area:
    box = face.box
    left, top = round(box.x), round(box.y)
    right, bottom = round(box.x + box.width), round(box.y + box.height)
    return _Area(left, top, max(right, left + 1), max(bottom, top + 1))


@functools.cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    # Pillow's own, so that it looks the same everywhere.
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont)
    return font


@functools.cache
def _bgr(color: str, opacity: int = 255) -> tuple[int, int, int, int]:
    red, green, blue = ImageColor.getrgb(color)[:3]
    return blue, green, red, opacity
