import itertools
from pathlib import Path

import numpy as np
import pytest

from fer_edge.errors import BrokenOffError, CaptureError
from fer_edge.runtime.capture import Camera
from fer_edge.runtime.capture.base import Source
from fer_edge.runtime.capture.video_spans import WHOLE, Span, _Part, find_spans, open_span

pytest.importorskip("av", reason="needs the extra camera")

from tests.archive.fakes import frames_of, write_video

CASES = {
    "a.mp4": ("libx264", {}),
    "open.mp4": ("libx264", {"x264-params": "open-gop=1:bframes=3"}),
    "a.mkv": ("libx264", {}),
    "a.ts": ("libx264", {}),
    "open.ts": ("libx264", {"x264-params": "open-gop=1:bframes=3"}),
    "a.avi": ("mpeg4", {}),
    "a.webm": ("libvpx", {}),
    "open265.mp4": ("libx265", {"x265-params": "log-level=none:open-gop=1"}),
}


def read(path: Path, span: Span) -> tuple[list, Exception | None]:
    with Camera(Source("a", False, lambda: open_span(path, span, 1))) as camera:
        frames = [(span.first + one.index, one.position, one.image) for one in camera]
        return frames, camera.error


@pytest.mark.parametrize("name", CASES)
def test_spans_have_the_frames_of_the_whole(name: str, tmp_path: Path) -> None:
    codec, options = CASES[name]
    path = write_video(tmp_path / name, codec, **options)
    spans = find_spans(path, 1.0)
    assert len(spans) > 2
    assert all(a.end == b.begin for a, b in itertools.pairwise(spans))
    parts = [read(path, span) for span in spans]
    assert [error for _, error in parts] == [None] * len(spans)
    whole, pieces = frames_of(path), [frame for frames, _ in parts for frame in frames]
    assert [one[:2] for one in pieces] == [
        (index, pytest.approx(position)) for index, position, _ in whole
    ]
    for mine, theirs in zip(pieces, whole, strict=True):
        np.testing.assert_array_equal(mine[2], theirs[2])


def test_short_and_timeless_recordings_stay_whole(tmp_path: Path) -> None:
    assert find_spans(write_video(tmp_path / "a.mp4"), 4.0) == [WHOLE]
    raw = write_video(tmp_path / "a.h264")
    assert find_spans(raw, 1.0) == [WHOLE]
    assert len(read(raw, WHOLE)[0]) == 100


def test_the_last_span_is_not_much_shorter_than_the_others(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", frames=95)
    firsts = [span.first for span in find_spans(path, 1.5)]
    assert firsts == [0, 30, 60]


def test_a_container_that_misses_the_key_frame_is_read_from_its_beginning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_video(tmp_path / "a.mp4")
    *_, span = find_spans(path, 1.0)
    expected, _ = read(path, span)
    made = []
    plain = _Part.__init__

    def misses(self: _Part, opened: tuple, of: Span, threads: int, *, seek: bool) -> None:
        made.append(seek)
        plain(self, opened, of, threads, seek=False)
        if seek:
            opened[1].seek(opened[1].duration)

    monkeypatch.setattr(_Part, "__init__", misses)
    found, error = read(path, span)
    assert (made, error) == ([True, False], None)
    assert [one[:2] for one in found] == [one[:2] for one in expected]


def test_damage_is_told_by_the_span_that_has_it(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4")
    spans = find_spans(path, 1.5)
    data = bytearray(path.read_bytes())
    at = data.index(b"mdat") + 4
    middle = at + (len(data) - at) // 2
    data[middle : middle + 400] = bytes(400)
    path.write_bytes(data)
    errors = [read(path, span)[1] for span in spans]
    assert errors[0] is None
    assert any(isinstance(error, BrokenOffError) for error in errors)
    assert all(error is None or "packets cannot be decoded" in str(error) for error in errors)


def test_a_recording_that_breaks_off_is_told_by_its_last_span(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mkv")
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])
    spans = find_spans(path, 1.0)
    errors = [read(path, span)[1] for span in spans]
    assert errors[:-1] == [None] * (len(spans) - 1)
    assert "breaks off after" in str(errors[-1])


@pytest.mark.parametrize("data", [b"", b"no video at all", bytes(5000)])
def test_what_is_no_video_is_said(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(data)
    with pytest.raises(CaptureError, match=r"a\.mp4"):
        find_spans(path, 1.0)
