import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from fer_edge.data import FaceDataset
from fer_edge.data.analysis import analyse
from fer_edge.data.labels import Split
from fer_edge.data.page import render_page

NOISE = np.random.default_rng(0).integers(0, 256, (10, 48, 48), dtype=np.uint8)
OPEN = ("meta", "br", "rect")


@pytest.fixture
def splits() -> dict[Split, FaceDataset]:
    """Face 9 of train is val 0 under another label; train has six copies of face 1."""
    train = np.concatenate([NOISE, NOISE[[1] * 5]])
    labels = np.array([*range(7), 0, 1, 2, *[1] * 5])
    return {
        "train": FaceDataset.from_arrays(train, labels, "train"),
        "val": FaceDataset.from_arrays(NOISE[[9]], np.array([6]), "val"),
    }


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.opened: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in OPEN:
            self.opened.append(tag)
        self.links += [str(value) for key, value in attrs if key in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        if tag not in OPEN:
            assert self.opened.pop() == tag


def test_the_page_is_whole_and_needs_nothing_else(splits: dict[Split, FaceDataset]) -> None:
    page = render_page(analyse(splits, source="<b>.zip"), splits)
    tags = Tags()
    tags.feed(page)
    assert tags.opened == tags.links == []
    assert "<script" not in page
    assert "&lt;b&gt;.zip" in page
    assert "<b>.zip" not in page


def test_a_tile_shows_the_face_that_it_names(splits: dict[Split, FaceDataset]) -> None:
    page = render_page(analyse(splits), splits)
    sheet = re.search(r"data:image/png;base64,([^)]+)", page)
    assert sheet is not None
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(sheet[1]))))
    tiles = re.findall(r'title="\w+, (\w+) (\d+)" style="background-position:-(\d+)px -(\d+)', page)
    assert {(split, int(index)) for split, index, *_ in tiles} >= {("train", 9), ("val", 0)}
    for split, index, x, y in tiles:
        row, column = int(y) // 72 * 48, int(x) // 72 * 48
        tile = pixels[row : row + 48, column : column + 48]
        assert (tile == splits[split].faces[int(index)]).all()


def test_copies_that_disagree_come_first_and_large_groups_are_cut(
    splits: dict[Split, FaceDataset],
) -> None:
    page = render_page(analyse(splits), splits)
    assert page.index("fear, train 9") < page.index("disgust, train 1")
    assert "exact, 2 more" in page
    assert "disgust, train 13" not in page
    assert "Shown are 1," in render_page(analyse(splits), splits, groups=1)


def test_mislabelled_faces_are_shown_with_the_answer(splits: dict[Split, FaceDataset]) -> None:
    answers = np.eye(7, dtype=np.float32)[splits["train"].labels]
    answers[3] = np.eye(7)[0]
    report = analyse(splits, {"train": answers}, model="m")
    page = render_page(report, splits)
    assert '<span class="warn">happy</span> → <b>angry</b><br>0% → 100%' in page
    assert "Likely mislabelled: val" not in page
    assert "→" not in render_page(analyse(splits), splits)


def test_data_without_copies_makes_a_page(splits: dict[Split, FaceDataset]) -> None:
    alone = {"val": splits["val"]}
    assert "in 0 groups" in render_page(analyse(alone), alone)
