from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fer_edge.archive.listing import Found
from fer_edge.archive.plan import FEWEST_PHOTOS, MOST_PHOTOS, Plan, whole_videos
from fer_edge.archive.store import FolderStore
from fer_edge.archive.tasks import Cut, Photos, Piece, video_part
from fer_edge.errors import DataError
from fer_edge.runtime.capture.video_spans import WHOLE


def found(names: list[str], size: int = 9) -> list[Found]:
    return [Found(name, size, 1) for name in names]


PHOTOS = [f"/a/{n:05d}.jpg" for n in range(3000)]


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(1, 700), min_size=1, max_size=4), st.integers(1, 40))
def test_every_photo_is_in_one_part_however_the_listing_grows(steps: list[int], slots: int) -> None:
    plan, end = Plan(), 0
    for step in steps:
        end += step
        before = dict(plan.photos)
        added = plan.extend(found(PHOTOS[:end]), slots)
        # What was planned before stays as it was.
        assert plan.photos == before | added.photos
    assert sorted(file for files in plan.photos.values() for file in files) == PHOTOS[:end]
    assert all(len(files) <= MOST_PHOTOS for files in plan.photos.values())


def test_parts_are_of_a_size_that_keeps_all_workers_busy() -> None:
    sizes = [
        {len(files) for files in Plan().extend(found(PHOTOS), slots).photos.values()}
        for slots in (1, 10, 1000)
    ]
    assert sizes == [{MOST_PHOTOS}, {75}, {FEWEST_PHOTOS}]


def test_a_plan_is_read_as_it_was_saved(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    plan = Plan()
    for files in (found(["/a/1.jpg", "/a/\udcff.mp4"]), found(["/a/2.jpg"], size=0)):
        plan.extend(files, 2).save(store)
        assert Plan.load(store) == plan
    plan.extend(found(["/a/1.jpg"]), 2).save(store)
    assert len(store.names("plan")) == 2
    assert plan.changed([Found("/a/1.jpg", 10, 1), *found(["/a/2.jpg"], size=0)]) == ["/a/1.jpg"]


def test_a_damaged_plan_is_said(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    for text in (b"{", b"[]\n", b'{"part": "a"}\n', b'{"video": ["a", "b", 1]}\n'):
        store.write("plan/000000.jsonl", text)
        with pytest.raises(DataError, match=r"plan/000000\.jsonl of the archive is damaged"):
            Plan.load(store)


def test_what_is_done_is_not_done_again() -> None:
    plan = Plan()
    plan.extend(found(["/a/1.jpg", "/a/2.mp4", "/a/3.mp4"]), 1)
    (part,) = plan.photos
    assert list(plan.open_tasks([])) == [
        Cut("/a/2.mp4"),
        Cut("/a/3.mp4"),
        Photos(part, ("/a/1.jpg",)),
    ]
    two = [Piece("/a/2.mp4", WHOLE, number, 2).part for number in range(2)]
    one = Piece("/a/3.mp4", WHOLE, 0, 1).part
    # Of a video that is done in part the spans have to be found again.
    assert list(plan.open_tasks([part, two[0], one])) == [Cut("/a/2.mp4")]
    assert list(plan.open_tasks([part, *two, one])) == []
    assert whole_videos([part, two[0], one]) == {video_part("/a/3.mp4")}
