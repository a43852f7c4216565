import io

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from fer_edge.contract import PIXEL_MEAN, PIXEL_SCALE
from fer_edge.training import degrade as faults
from fer_edge.training.degrade import degrade


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def faces() -> Tensor:
    """Smooth shapes with edges, within the pixel scale, (60, 1, 48, 48)."""
    grid = torch.linspace(-1, 1, 48)
    turn = torch.rand(60, 1, 1, generator=generator(1)) * 6
    waves = torch.sin(6 * grid[:, None] + turn) * torch.cos(5 * grid[None, :] - turn)
    shapes = waves + 0.8 * (waves > 0.2)
    return (shapes.clamp(-1.5, 1.5) + 0.1)[:, None]


def detail(faces: Tensor) -> Tensor:
    """Mean step from pixel to pixel, of each face."""
    return faces.diff(dim=-1).abs().mean((1, 2, 3)) + faces.diff(dim=-2).abs().mean((1, 2, 3))


def test_as_many_faces_as_asked_for_have_a_fault(faces: Tensor) -> None:
    many = faces.repeat(20, 1, 1, 1)
    out = degrade(many, 0.3, generator())
    share = (out != many).flatten(1).any(1).float().mean()
    # 1,200 draws: four standard deviations of a share of 0.3.
    assert float(share) == pytest.approx(0.3, abs=0.053)
    assert degrade(many, 0.0, generator()) is many


def test_the_same_seed_gives_the_same_faults(faces: Tensor) -> None:
    torch.testing.assert_close(
        degrade(faces, 1.0, generator(3)), degrade(faces, 1.0, generator(3)), rtol=0, atol=0
    )
    assert not torch.equal(degrade(faces, 1.0, generator(3)), degrade(faces, 1.0, generator(4)))


@pytest.mark.parametrize("shape", [(5, 1, 48, 48), (3, 3, 96, 96), (4, 1, 24, 24), (2, 3, 50, 50)])
@pytest.mark.parametrize("fault", faults._FAULTS)
def test_every_fault_keeps_shape_and_scale(fault: faults.Fault, shape: tuple[int, ...]) -> None:
    some = torch.rand(shape, generator=generator(2)) * 4 - 2
    out = fault(some, generator())
    assert out.shape == shape
    assert torch.isfinite(out).all()
    # Bicubic enlarging overshoots at edges.
    assert -2.6 < float(out.min()) < float(out.max()) < 2.6


@pytest.mark.parametrize("fault", [faults._small, faults._blurred])
def test_small_and_blurred_faces_lose_detail(fault: faults.Fault, faces: Tensor) -> None:
    out = fault(faces, generator())
    assert (detail(out) < detail(faces)).all()
    torch.testing.assert_close(out.mean((1, 2, 3)), faces.mean((1, 2, 3)), atol=0.05, rtol=0)


def test_light_changes_either_way_and_order_stays(faces: Tensor) -> None:
    out = faults._lit(faces, generator())
    shift = (out - faces).mean((1, 2, 3))
    assert shift.min() < -0.3
    assert shift.max() > 0.3
    rank = faces.flatten(1).argsort(stable=True, dim=1)
    assert (out.flatten(1).gather(1, rank).diff(dim=1) >= -1e-6).all()


def test_noise_is_of_the_strength_that_is_said() -> None:
    flat = torch.zeros(60, 1, 48, 48)
    sigma = faults._noisy(flat, generator()).std((1, 2, 3)) / 4
    # 2,304 pixels tell a standard deviation to 1.5 %.
    assert 0.019 < float(sigma.min()) < 0.035
    assert 0.085 < float(sigma.max()) < 0.105


def test_blocks_are_those_of_a_jpeg(faces: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within two grey levels on average of what Pillow's JPEG of quality 50 gives."""
    monkeypatch.setattr(faults, "_QUALITY", (1.0, 1.0))
    pixels = (faces * PIXEL_SCALE + PIXEL_MEAN).round().clamp(0, 255)
    ours = faults._compressed((pixels - PIXEL_MEAN) / PIXEL_SCALE, generator())
    for face, told in zip(pixels, ours, strict=True):
        file = io.BytesIO()
        Image.fromarray(face[0].numpy().astype(np.uint8)).save(file, "JPEG", quality=50)
        theirs = torch.from_numpy(np.asarray(Image.open(file)).astype(np.float32))
        assert (told[0] * PIXEL_SCALE + PIXEL_MEAN - theirs).abs().mean() < 2
