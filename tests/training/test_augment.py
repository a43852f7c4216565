import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from fer_edge.training.augment import augment, in_color, mix, resized
from fer_edge.training.config import TrainConfig

N = 300
NOTHING = dict.fromkeys(("flip", "rotation", "shift", "scale", "brightness", "erasing"), 0.0)
CENTRE = 23.5
RADIUS = 12.0


@pytest.fixture
def augmented(config: Callable[..., TrainConfig]) -> Callable[..., Tensor]:
    def apply(faces: Tensor, seed: int = 0, **strengths: float) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        return augment(faces, config(**(NOTHING | strengths)), generator)

    return apply


@pytest.fixture
def moved(augmented: Callable[..., Tensor]) -> Callable[..., tuple[Tensor, Tensor]]:
    """Where a dot right of the centre goes, as (x, y) from the centre, one per face."""
    axis = torch.arange(48.0) - CENTRE
    dot = torch.exp(-(axis[:, None] ** 2 + (axis[None, :] - RADIUS) ** 2) / 4)

    def move(**strengths: float) -> tuple[Tensor, Tensor]:
        out = augmented(dot.expand(N, 1, 48, 48), **strengths)[:, 0]
        mass = out.sum((1, 2))
        return (out * axis).sum((1, 2)) / mass, (out * axis[:, None]).sum((1, 2)) / mass

    return move


def faces() -> Tensor:
    return torch.randn(N, 1, 48, 48, generator=torch.Generator().manual_seed(1))


def assert_fills(values: Tensor, low: float, high: float) -> None:
    """Values lie within the bounds, and reach into the outer tenth on either side."""
    margin = (high - low) / 10
    assert low - margin / 10 <= values.min() < low + margin
    assert high - margin < values.max() <= high + margin / 10


def test_faces_are_scaled_either_way() -> None:
    smooth = torch.linspace(-1, 1, 48).expand(2, 3, 48, 48)
    for size in (32, 96):
        scaled = resized(smooth, size)
        assert scaled.shape == (2, 3, size, size)
        wanted = (torch.arange(size) + 0.5) / size * 48 / 23.5 - 48 / 47
        inner = slice(size // 8, -size // 8)
        torch.testing.assert_close(scaled[0, 0, 5, inner], wanted[inner], atol=0.01, rtol=0)
    assert resized(smooth, 48) is smooth


def test_gray_and_colour_become_each_other() -> None:
    colour = torch.randn(4, 3, 5, 5)
    gray = in_color(colour, 1)
    assert gray.shape == (4, 1, 5, 5)
    wanted = 0.299 * colour[:, 0] + 0.587 * colour[:, 1] + 0.114 * colour[:, 2]
    torch.testing.assert_close(gray[:, 0], wanted)
    assert torch.equal(in_color(gray, 3), gray.repeat(1, 3, 1, 1))
    assert in_color(gray, 1) is gray
    # A gray face in three channels is the same in one.
    torch.testing.assert_close(in_color(in_color(gray, 3), 1), gray)


def test_a_colour_face_moves_as_one(augmented: Callable[..., Tensor]) -> None:
    gray = faces()
    strengths = {"flip": 0.5, "rotation": 20, "shift": 0.1, "scale": 0.1, "brightness": 0.3}
    moved = augmented(gray.repeat(1, 3, 1, 1), **strengths)
    torch.testing.assert_close(moved[:, 2], augmented(gray, **strengths)[:, 0])


def test_no_strength_changes_nothing(augmented: Callable[..., Tensor]) -> None:
    torch.testing.assert_close(augmented(faces()), faces(), atol=1e-4, rtol=0)


def test_flip_mirrors_the_share_of_faces_asked_for(augmented: Callable[..., Tensor]) -> None:
    mirrored = faces().flip(3)
    torch.testing.assert_close(augmented(faces(), flip=1.0), mirrored, atol=1e-4, rtol=0)

    out = augmented(faces(), flip=0.5)
    flipped = (out - mirrored).abs().amax((1, 2, 3)) < 1e-3
    kept = (out - faces()).abs().amax((1, 2, 3)) < 1e-3
    assert (flipped ^ kept).all()
    assert 0.4 < flipped.float().mean() < 0.6


def test_rotation_turns_up_to_the_limit_either_way(
    moved: Callable[..., tuple[Tensor, Tensor]],
) -> None:
    x, y = moved(rotation=10.0)
    assert_fills(torch.rad2deg(torch.atan2(y, x)), -10, 10)
    torch.testing.assert_close(torch.hypot(x, y), torch.full((N,), RADIUS), atol=0.2, rtol=0)


def test_rotation_and_flip_together_keep_the_shape(
    moved: Callable[..., tuple[Tensor, Tensor]],
) -> None:
    x, y = moved(rotation=10.0, flip=1.0)
    assert_fills(torch.rad2deg(torch.atan2(y, -x)), -10, 10)
    torch.testing.assert_close(torch.hypot(x, y), torch.full((N,), RADIUS), atol=0.2, rtol=0)


def test_shift_moves_up_to_its_share_of_the_side(
    moved: Callable[..., tuple[Tensor, Tensor]],
) -> None:
    x, y = moved(shift=0.1)
    assert_fills(x - RADIUS, -4.8, 4.8)
    assert_fills(y, -4.8, 4.8)


def test_scale_changes_the_distance_from_the_centre(
    moved: Callable[..., tuple[Tensor, Tensor]],
) -> None:
    x, y = moved(scale=0.1)
    assert_fills(RADIUS / x, 0.9, 1.1)
    assert y.abs().max() < 0.05


def test_brightness_changes_light_and_contrast(augmented: Callable[..., Tensor]) -> None:
    # Draws in the order of the code: with one seed both calls get the same light.
    light = augmented(torch.zeros(N, 1, 48, 48), brightness=0.2)
    assert light.std((1, 2, 3)).max() < 1e-6
    assert_fills(light[:, 0, 0, 0], -0.4, 0.4)
    contrast = augmented(torch.ones(N, 1, 48, 48), brightness=0.2) - light
    assert_fills(contrast[:, 0, 0, 0], 0.8, 1.2)


def test_erasing_covers_one_rectangle_within_bounds(augmented: Callable[..., Tensor]) -> None:
    flat = torch.full((N, 1, 48, 48), 9.0)  # noise does not reach it
    erased = (augmented(flat, erasing=1.0) < 8)[:, 0]
    heights = erased.any(2).sum(1)
    widths = erased.any(1).sum(1)
    area = erased.sum((1, 2))
    assert torch.equal(area, heights * widths)
    # 2 to 20 % of the area; the sides are rounded to whole pixels.
    sides = torch.stack([heights, widths]).float()
    assert ((sides - 1).prod(0) < 0.2 * 48**2).all()
    assert ((sides + 1).prod(0) > 0.02 * 48**2).all()
    ratio = heights / widths
    assert 0.4 < ratio.min() < 0.8
    assert 1.3 < ratio.max() < 2.5

    share = (augmented(flat, erasing=0.25) < 8).any(3).any(2).float().mean()
    assert 0.15 < share < 0.35


def test_the_generator_is_the_only_source_of_randomness(
    config: Callable[..., TrainConfig],
) -> None:
    before = torch.get_rng_state()
    first, again, other = (
        augment(faces(), config(), torch.Generator().manual_seed(seed)) for seed in (3, 3, 4)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(before, torch.get_rng_state())


def test_shape_and_type_stay(augmented: Callable[..., Tensor]) -> None:
    out = augmented(faces()[:5], rotation=180.0, shift=1.0, scale=0.9, erasing=1.0)
    assert out.shape == (5, 1, 48, 48)
    assert out.dtype == torch.float32
    assert math.isfinite(out.sum())


@pytest.fixture
def mixed(config: Callable[..., TrainConfig]) -> Callable[..., tuple[Tensor, Tensor]]:
    """Faces of one value each, mixed, and the share of itself that each target keeps."""

    def apply(seed: int = 0, **alphas: float) -> tuple[Tensor, Tensor]:
        torch.manual_seed(seed)
        values = torch.arange(64.0)[:, None, None, None].expand(64, 1, 48, 48)
        targets = torch.eye(64)
        return mix(values, targets, config(**alphas), torch.Generator().manual_seed(seed))

    return apply


@pytest.mark.parametrize("alphas", [{"mixup": 0.4}, {"cutmix": 1.0}, {"mixup": 1.0, "cutmix": 1.0}])
def test_a_mixed_target_has_the_shares_of_its_face(
    mixed: Callable[..., tuple[Tensor, Tensor]], alphas: dict[str, float]
) -> None:
    for seed in range(4):
        faces, targets = mixed(seed, **alphas)
        torch.testing.assert_close(targets.sum(1), torch.ones(64))
        expected = targets @ torch.arange(64.0)
        torch.testing.assert_close(faces.mean((1, 2, 3)), expected, atol=1e-3, rtol=0)


def test_mixup_blends_and_cutmix_pastes(mixed: Callable[..., tuple[Tensor, Tensor]]) -> None:
    def patchworks(**alphas: float) -> int:
        batches = [mixed(seed, **alphas)[0] for seed in range(20)]
        return sum(bool((faces.amax((2, 3)) != faces.amin((2, 3))).any()) for faces in batches)

    assert patchworks(mixup=1.0) == 0
    assert patchworks(cutmix=1.0) >= 18  # a patch may have no area
    assert 4 <= patchworks(mixup=1.0, cutmix=1.0) <= 16


def test_no_alpha_mixes_nothing(mixed: Callable[..., tuple[Tensor, Tensor]]) -> None:
    faces, targets = mixed()
    assert torch.equal(faces[:, 0, 0, 0], torch.arange(64.0))
    assert torch.equal(targets, torch.eye(64))


def test_a_smaller_face_keeps_its_mean() -> None:
    small = resized(faces() + 3, 32)
    assert small.shape == (N, 1, 32, 32)
    torch.testing.assert_close(
        small.mean((1, 2, 3)), (faces() + 3).mean((1, 2, 3)), atol=0.05, rtol=0
    )
