import numpy as np
import pytest

from fer_edge.data import duplicates, synthetic_dataset
from fer_edge.data.duplicates import blank, contrast, find_duplicates, first_copies

FACES = synthetic_dataset(24, seed=3).faces


def test_distinct_faces_have_no_copies() -> None:
    assert find_duplicates(FACES, threshold=0.99) == []


def test_exact_copies_are_one_group() -> None:
    (group,) = find_duplicates(np.concatenate([FACES, FACES[[5, 5]]]), threshold=0.99)
    assert (group.members, group.kind, group.correlation) == ((5, 24, 25), "exact", 1.0)


@pytest.mark.parametrize("change", [lambda x: 0.7 * x + 30, lambda x: x + 3 * (x > 128)])
def test_light_contrast_and_recompression_leave_a_near_copy(change) -> None:
    other = change(FACES[7].astype(float)).clip(0, 255).astype(np.uint8)
    (group,) = find_duplicates(np.concatenate([FACES, other[None]]), threshold=0.99)
    assert (group.members, group.kind) == ((7, 24), "near")
    assert 0.99 <= group.correlation < 1.0001


def test_mirrored_copies_are_told_from_near_ones() -> None:
    (group,) = find_duplicates(np.concatenate([FACES, FACES[[4]][:, :, ::-1]]), threshold=0.99)
    assert (group.members, group.kind) == ((4, 24), "mirrored")


def test_the_loosest_link_names_the_group() -> None:
    lighter = FACES[[2]] // 2 + 60
    (group,) = find_duplicates(np.concatenate([FACES, FACES[[2]], lighter]), threshold=0.99)
    assert (group.members, group.kind) == ((2, 24, 25), "near")


def test_copies_are_found_across_blocks() -> None:
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (1100, 48, 48), dtype=np.uint8)
    told: list[tuple[int, int]] = []
    faces = np.concatenate([noise, noise[[3]] // 2])
    (group,) = find_duplicates(faces, progress=lambda done, total: told.append((done, total)))
    assert group.members == (3, 1100)
    assert told == [(1024, 1101), (1101, 1101)]


def test_frames_of_a_video_need_no_memory_for_every_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    frames = [face + rng.normal(0, 4, (60, 48, 48)) for face in FACES[:3].astype(float)]
    faces = np.concatenate([*frames, frames[0][:5, :, ::-1]]).clip(0, 255).astype(np.uint8)
    faces[7] = faces[3]
    wanted = find_duplicates(faces)
    assert sorted(len(group.members) for group in wanted) == [60, 60, 65]
    kept: list[int] = []
    tightest = duplicates._tightest

    def spied(matches: list[tuple[float, int, int]], n: int) -> list[tuple[float, int, int]]:
        forest = tightest(matches, n)
        kept.append(len(forest))
        return forest

    monkeypatch.setattr(duplicates, "_tightest", spied)
    monkeypatch.setattr(duplicates, "_MATCHES", 0)
    monkeypatch.setattr(duplicates, "_PAIRS", 100)
    assert find_duplicates(faces) == wanted
    assert kept
    assert max(kept) < len(faces)


def test_blank_images_are_copies_of_nothing() -> None:
    gray = np.full((3, 48, 48), 90, np.uint8)
    gray[1:] += np.indices((48, 48)).sum(0).astype(np.uint8) % 3
    assert blank(gray).all()
    assert not blank(FACES).any()
    assert find_duplicates(gray) == []
    assert find_duplicates(FACES[:0]) == []


def test_contrast_is_the_standard_deviation() -> None:
    np.testing.assert_allclose(contrast(FACES), [face.std() for face in FACES], rtol=1e-5)


def test_first_copies_point_to_the_first() -> None:
    assert first_copies(FACES[[0, 1, 0, 2, 1]]).tolist() == [0, 1, 0, 3, 1]
