import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image

from fer_edge.contract import EMOTIONS
from fer_edge.runtime.live import LivePage
from fer_edge.runtime.palette import color_of
from tests.runtime.capture.fakes import wait_until

from .chromium import PROGRAM, Chromium
from .viewers import moment

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="needs Chromium: apt install chromium")

SEEN = np.full((360, 640, 3), (200, 120, 40), np.uint8)
"""BGR."""
CONTRAST = """
(() => {
  const style = getComputedStyle(document.documentElement);
  const light = (name) => {
    const pen = document.createElement("canvas").getContext("2d");
    pen.fillStyle = style.getPropertyValue(name);
    pen.fillRect(0, 0, 1, 1);
    const [r, g, b] = [...pen.getImageData(0, 0, 1, 1).data].map((byte) => {
      const part = byte / 255;
      return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ratios = {};
  for (const text of ["--text", "--faint", "--good", "--bad", "--warn"]) {
    for (const under of ["--panel", "--page"]) {
      const [low, high] = [light(text), light(under)].sort((a, b) => a - b);
      ratios[text + under] = (high + 0.05) / (low + 0.05);
    }
  }
  return ratios;
})()
"""
"""WCAG 2.2, 1.4.3."""


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    with Chromium(tmp_path_factory.mktemp("chromium")) as tab:
        yield tab


@contextmanager
def feed(
    page: LivePage,
    *sources: str,
    emotions: tuple[str, ...] = ("happy", "sad"),
    classes: tuple[str, ...] = EMOTIONS,
) -> Iterator[None]:
    """Show moments, 20 a second, for as long as the context lasts."""
    done = threading.Event()

    def show() -> None:
        for index in itertools.count():
            for source in sources or ("door",):
                page.show(moment(index, source, emotions=emotions, image=SEEN, classes=classes))
            if done.wait(0.05):
                return

    thread = threading.Thread(target=show)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def text(selector: str) -> str:
    return f"document.querySelector({selector!r}).textContent"


def pixel(x: int, y: int) -> str:
    """Of the first video, at a place of the frame."""
    return f"""(() => {{
      const canvas = document.querySelector(".frame canvas");
      const scale = canvas.width / {SEEN.shape[1]};
      const pen = canvas.getContext("2d");
      return [...pen.getImageData({x} * scale, {y} * scale, 1, 1).data].slice(0, 3);
    }})()"""


def test_what_is_seen(tab: Chromium, page: LivePage, tmp_path: Path) -> None:
    tab.errors.clear()
    with feed(page):
        tab.open(page.start(), width=1280, height=800)
        tab.wait_for("document.querySelectorAll('.card').length === 2")
        assert tab.evaluate(text("#connection")) == "Live"
        assert tab.evaluate(text(".state")) == "running"
        assert tab.evaluate(
            "[...document.querySelectorAll('.emotion')].map(e => e.textContent)"
        ) == [
            "happy",
            "sad",
        ]
        bars = "[...document.querySelectorAll('.card [role=meter]')].map(e => e.ariaValueNow)"
        assert tab.evaluate(bars) == [
            "79" if i == shown else "4" for shown in (3, 4) for i in range(7)
        ]
        assert tab.evaluate(text(".figures")).startswith("1"), "20 frames a second, more or less"
        tab.wait_for("document.querySelectorAll('.lanes li').length === 2")
        assert tab.evaluate("document.querySelector('.lanes canvas').ariaLabel") == (
            "happy 100 % of the time"
        )
        # The video as the camera saw it, and on it the left side of the box, amber.
        assert tab.evaluate(pixel(40, 55)) == pytest.approx([40, 120, 200], abs=4)
        assert tab.evaluate(pixel(20, 55)) == pytest.approx([0xD2, 0x96, 0x00], abs=4)
        tab.screenshot(tmp_path / "page.png")
    with Image.open(tmp_path / "page.png") as picture:
        assert picture.width >= 1200
    assert tab.errors == []


def test_labels_of_somebody_else_have_names_and_colours(tab: Chromium, page: LivePage) -> None:
    tab.errors.clear()
    with feed(page, emotions=("awe",), classes=("anger", "happy", "awe")):
        tab.open(page.start(), width=1280, height=800)
        tab.wait_for("document.querySelectorAll('.card').length === 1")
        assert tab.evaluate(text(".emotion")) == "awe"
        legend = "[...document.querySelectorAll('.legend li')].map(e => e.textContent)"
        tab.wait_for(f"{legend}.length === 3")
        assert tab.evaluate(legend) == ["anger", "happy", "awe"]
        tab.wait_for("document.querySelectorAll('.lanes li').length === 1")
        assert tab.evaluate("document.querySelector('.lanes canvas').ariaLabel") == (
            "awe 100 % of the time"
        )
        hexes = color_of("awe").removeprefix("#")
        rgb = [int(hexes[i : i + 2], 16) for i in (0, 2, 4)]
        assert tab.evaluate(pixel(20, 55)) == pytest.approx(rgb, abs=4)
    assert tab.errors == []


@pytest.mark.parametrize(("width", "height"), [(360, 740), (740, 360)])
def test_a_phone_has_nothing_to_scroll_sideways(
    tab: Chromium, page: LivePage, width: int, height: int
) -> None:
    with feed(page, "the door of the house", "hall"):
        tab.open(page.start(), width=width, height=height, phone=True)
        tab.wait_for("document.querySelectorAll('.card').length === 4")
        assert tab.evaluate("document.documentElement.scrollWidth") == width
        assert tab.evaluate("document.querySelector('.frame').clientHeight") < height


def test_sources_can_be_chosen(tab: Chromium, page: LivePage) -> None:
    with feed(page, "door", "hall"):
        tab.open(page.start(), width=1280, height=800)
        tab.wait_for("document.querySelectorAll('.stream').length === 2")
        buttons = "[...document.querySelectorAll('#sources button')]"
        assert tab.evaluate(f"{buttons}.map(b => b.textContent)") == ["All", "door", "hall"]
        tab.evaluate(f"{buttons}[2].click()")
        tab.wait_for("document.querySelectorAll('.stream').length === 1")
        assert tab.evaluate(text(".name")) == "hall"
        assert tab.evaluate(f"{buttons}.map(b => b.ariaPressed)") == ["false", "false", "true"]
        tab.wait_for("document.querySelectorAll('.card').length === 2")
        (viewer,) = page._broadcast._viewers
        wait_until(lambda: viewer._wanted == {"hall"})
        tab.evaluate("document.querySelector('.stream').click()")
        tab.wait_for("document.querySelectorAll('.stream').length === 2")
        wait_until(lambda: viewer._wanted is None)


def test_what_is_old_is_said_and_the_page_comes_back_by_itself(tab: Chromium) -> None:
    page = LivePage(port=0)
    url = page.start()
    tab.open(url, width=1280, height=800)
    with feed(page):
        tab.wait_for("document.querySelectorAll('.card').length === 2")
        assert tab.evaluate("document.querySelector('.stale')") is None
    tab.wait_for("/sends no pictures.*s old/.test(document.querySelector('.stale').textContent)")
    tab.wait_for("document.querySelector('#faces .empty').textContent === 'No picture.'")
    page.close()
    tab.wait_for("/No connection/.test(document.querySelector('.stale').textContent)")
    assert "trying again" in tab.evaluate(text("#connection"))
    with LivePage(port=urlsplit(url).port or 0) as again, feed(again, emotions=("fear",)):
        again.start()
        tab.wait_for("document.querySelector('.emotion').textContent === 'fear'")
        assert tab.evaluate("document.querySelector('.stale')") is None
        assert tab.evaluate(text("#connection")) == "Live"


def test_an_old_picture_is_old_for_who_comes_late_too(tab: Chromium, page: LivePage) -> None:
    seen = moment(image=SEEN)
    object.__setattr__(seen, "finished", seen.finished - 100)
    page.show(seen)
    tab.open(page.start(), width=1280, height=800)
    tab.wait_for("/10[0-9] s old/.test(document.querySelector('.stale').textContent)")
    assert tab.evaluate("document.querySelectorAll('.card, .lanes li').length") == 0


def test_a_hidden_page_is_sent_nothing(tab: Chromium, page: LivePage) -> None:
    hide: Callable[[str], str] = (
        "Object.defineProperty(document, 'hidden', {{ value: {}, configurable: true }});"
        "document.dispatchEvent(new Event('visibilitychange'))"
    ).format
    with feed(page):
        tab.open(page.start(), width=1280, height=800)
        tab.wait_for("document.querySelector('.card')")
        tab.evaluate(hide("true"))
        wait_until(lambda: not page._broadcast._viewers)
        tab.evaluate(hide("false"))
        wait_until(lambda: bool(page._broadcast._viewers))
        tab.wait_for(f"{text('#connection')} === 'Live' && !document.querySelector('.stale')")


def test_a_token_that_is_no_longer_valid_is_said(tab: Chromium) -> None:
    page = LivePage("0.0.0.0", 0)
    parts = urlsplit(page.start())
    tab.open(f"http://127.0.0.1:{parts.port}/?{parts.query}", width=1280, height=800)
    tab.wait_for(f"{text('#connection')} === 'Live'")
    page.close()
    with LivePage("0.0.0.0", parts.port or 0) as again:
        again.start()
        tab.wait_for(f"/new token/.test({text('#connection')})")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_in_both_schemes(tab: Chromium, page: LivePage, scheme: str) -> None:
    feature = {"name": "prefers-color-scheme", "value": scheme}
    tab.call("Emulation.setEmulatedMedia", features=[feature])
    tab.open(page.start(), width=1280, height=800)
    tab.wait_for(f"matchMedia('(prefers-color-scheme: {scheme})').matches")
    tab.wait_for("getComputedStyle(document.documentElement).getPropertyValue('--text')")
    ratios = tab.evaluate(CONTRAST)
    assert min(ratios.values()) >= 4.5, ratios
