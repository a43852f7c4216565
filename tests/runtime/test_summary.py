from pathlib import Path

import numpy as np
import pytest

from fer_edge.errors import UsageError
from fer_edge.runtime.summary import Summary
from fer_edge.runtime.summary_plot import plot_summary
from tests.moments import moment, seen
from tests.pictures import assert_picture


def summary(seconds: float = 10.0, tracks: int = 2, timed: bool = True) -> Summary:
    """Track 0 is happy, then angry; each other comes when half the time is over."""
    summed = Summary()
    for i in range(int(seconds * 10)):
        late = i >= seconds * 5
        faces = [seen(label=0 if late else 3)]
        faces += [seen(label=6, track=track) for track in range(1, tracks) if late]
        summed.add(moment(*faces, index=i, position=i / 10 if timed else None))
    return summed


def test_shares_of_the_time_of_all_faces() -> None:
    summed = summary()
    assert summed.to_dict() == {
        "frames": 100,
        "seconds": 9.9,
        "faces": 150,
        "tracks": 2,
        "shares": {
            **dict.fromkeys(["disgust", "fear", "sad", "surprise"], 0.0),
            **dict.fromkeys(["angry", "happy", "neutral"], 0.3333),
        },
    }


def test_nothing_is_a_summary_too() -> None:
    assert Summary().to_dict()["shares"]["happy"] == 0


@pytest.mark.parametrize("bins", [4, 50, 200])
def test_probabilities_over_time(bins: int) -> None:
    over = summary().over_time(0, bins)
    assert over.shape == (bins, 7)
    assert over.sum(axis=1) == pytest.approx(np.ones(bins))
    assert over[: bins // 2, 3] == pytest.approx(0.7)
    assert over[-bins // 2 :, 0] == pytest.approx(0.7)
    unseen = np.isnan(summary().over_time(1, bins)).all(axis=1)
    assert unseen[: bins // 2].all()
    assert not unseen[-bins // 2 :].any()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("tracks", [1, 20])
def test_a_picture(tmp_path: Path, tracks: int) -> None:
    plot_summary(summary(tracks=tracks), "cost $5_$.mp4", tmp_path / "a.png")
    assert_picture(tmp_path / "a.png")


@pytest.mark.filterwarnings("error")
def test_a_picture_of_images_without_time_or_of_nobody(tmp_path: Path) -> None:
    plot_summary(summary(timed=False), "photos", tmp_path / "a.png")
    plot_summary(Summary(), "nobody", tmp_path / "b.png")
    assert (tmp_path / "a.png").stat().st_size > (tmp_path / "b.png").stat().st_size


def test_another_ending_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a name for a PNG"):
        plot_summary(summary(), "party", tmp_path / "a.jpg")
