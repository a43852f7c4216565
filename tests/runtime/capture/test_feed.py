import threading
import time

import numpy as np
import pytest

from fer_edge.errors import InputError
from fer_edge.runtime.capture import Feed, State, camera

from .fakes import image, wait_until


def test_the_newest_frame_is_kept_and_the_others_are_counted() -> None:
    with Feed("ros") as feed:
        for value in range(3):
            feed.put(image(value))
        frame = feed.read()
        assert frame is not None
        assert (frame.index, frame.image[0, 0, 0], frame.source) == (2, 2, "ros")
        assert (feed.live, feed.dropped) == (True, 2)
        assert feed.read(timeout=0) is None


def test_a_reader_gets_what_another_thread_puts_and_ends_with_the_feed() -> None:
    feed = Feed()
    seen: list[int] = []
    reader = threading.Thread(target=lambda: seen.extend(frame.index for frame in feed))
    reader.start()
    feed.put(image(0))
    wait_until(lambda: seen == [0])
    feed.close()
    reader.join(5)
    assert not reader.is_alive()
    feed.put(image(1))
    assert feed.read() is None


def test_a_frame_is_as_old_as_its_program_says() -> None:
    taken = time.monotonic() - 0.5
    with Feed() as feed:
        feed.put(image(0), taken)
        frame = feed.read()
        assert frame is not None
        assert (frame.captured, frame.time, frame.position) == (taken, taken, None)
        with pytest.raises(InputError, match=r"time\.monotonic"):
            feed.put(image(0), time.time())


def test_what_is_no_image_is_refused_where_it_comes_from() -> None:
    with Feed() as feed:
        with pytest.raises(InputError, match="feed: frame 0 must be uint8"):
            feed.put(np.zeros((4, 6, 3)))
        feed.put(image(0))
        assert feed.read() is not None


def test_silence_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with Feed() as feed:
        feed.put(image(0))
        assert feed.state is State.RUNNING
        monkeypatch.setattr(camera, "STALLED_AFTER", 0.02)
        wait_until(lambda: feed.state is State.STALLED)


def test_what_waits_to_be_read_tells_since_when() -> None:
    with Feed("front") as feed:
        assert feed.waiting_since is None
        feed.put(image(1), captured=1.5)
        assert feed.waiting_since == 1.5
        feed.read()
        assert feed.waiting_since is None
