"""Faces as cameras give them: small, out of focus, badly lit, noisy, compressed."""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from fer_edge.training.augment import resized

_SIDES = (12, 16, 20, 24, 32)
"""Pixels a side of a face that was far away."""
_BLUR = (0.5, 1.5)
"""Standard deviation in pixels of a face of 48x48."""
_GAMMA = 2.5
"""Largest exponent of the light curve, and the inverse of the smallest."""
_NOISE = (0.02, 0.1)
"""Standard deviation in shares of the pixel scale."""
_QUALITY = (0.5, 4.0)
"""Factor of JPEG's luminance table: 1 is quality 50, 4 about quality 12."""
_LOW, _HIGH = -2.0, 2.0
"""What normalised pixels span."""
# ITU-T T.81 (JPEG), table K.1.
_LUMINANCE = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)


def degrade(faces: Tensor, probability: float, generator: torch.Generator) -> Tensor:
    """Take each face, with ``probability``, through one fault of cameras, drawn at random.

    Low resolution, defocus, gamma, noise or the blocks of JPEG, each of a random strength; the
    common corruptions of Hendrycks and Dietterich 2019 (arXiv:1903.12261) that a face crop sees.

    Parameters
    ----------
    faces : float32 tensor, shape (N, C, H, W)
        Normalised pixels; is not changed.
    probability : float
    generator : torch.Generator
        On the device of ``faces``; the only source of randomness.

    Returns
    -------
    float32 tensor, shape (N, C, H, W)
    """
    if not probability:
        return faces
    n, device = len(faces), faces.device
    hit = torch.rand(n, device=device, generator=generator) < probability
    kind = torch.randint(len(_FAULTS), (n,), device=device, generator=generator)
    out = faces.clone()
    for index, fault in enumerate(_FAULTS):
        places = torch.nonzero(hit & (kind == index))[:, 0]
        if len(places):
            out[places] = fault(faces[places], generator)
    return out


def _between(faces: Tensor, limits: tuple[float, float], generator: torch.Generator) -> Tensor:
    """One number a face, shape (N, 1, 1, 1)."""
    drawn = torch.rand(len(faces), 1, 1, 1, device=faces.device, generator=generator)
    return limits[0] + (limits[1] - limits[0]) * drawn


def _small(faces: Tensor, generator: torch.Generator) -> Tensor:
    """As many pixels as the face would have had at a distance: one size a batch."""
    draw = torch.randint(len(_SIDES), (1,), device=faces.device, generator=generator)
    side = min(_SIDES[int(draw)], faces.shape[-1])
    return resized(resized(faces, side), faces.shape[-1])


def _blurred(faces: Tensor, generator: torch.Generator) -> Tensor:
    scale = faces.shape[-1] / 48
    sigma = _between(faces, _BLUR, generator)[:, 0, 0] * scale
    reach = math.ceil(3 * _BLUR[1] * scale)
    distance = torch.arange(-reach, reach + 1, device=faces.device)
    kernel = torch.exp(-(distance**2) / (2 * sigma**2))
    kernel = kernel / kernel.sum(1, keepdim=True)
    # Channels are blurred alike: a group of the convolution is one channel of one face.
    n, channels, height, width = faces.shape
    groups = n * channels
    kernels = kernel.repeat_interleave(channels, 0)
    flat = functional.pad(faces.reshape(1, groups, height, width), [reach] * 4, mode="reflect")
    flat = functional.conv2d(flat, kernels[:, None, None, :], groups=groups)
    flat = functional.conv2d(flat, kernels[:, None, :, None], groups=groups)
    return flat.reshape(faces.shape)


def _lit(faces: Tensor, generator: torch.Generator) -> Tensor:
    limit = math.log(_GAMMA)
    gamma = torch.exp(_between(faces, (-limit, limit), generator))
    light = ((faces - _LOW) / (_HIGH - _LOW)).clamp(0, 1)
    return light**gamma * (_HIGH - _LOW) + _LOW


def _noisy(faces: Tensor, generator: torch.Generator) -> Tensor:
    sigma = _between(faces, _NOISE, generator) * (_HIGH - _LOW)
    noise = torch.randn(faces.shape, device=faces.device, generator=generator)
    return (faces + sigma * noise).clamp(_LOW, _HIGH)


def _compressed(faces: Tensor, generator: torch.Generator) -> Tensor:
    """Blocks of 8x8 whose cosine transform is rounded as JPEG rounds the luminance."""
    device = faces.device
    height, width = faces.shape[-2:]
    padded = functional.pad(faces, [0, -width % 8, 0, -height % 8], mode="replicate")
    k = torch.arange(8, device=device, dtype=torch.float32)
    cosine = torch.cos((2 * k[None] + 1) * k[:, None] * math.pi / 16) / 2
    cosine[0] /= math.sqrt(2)
    blocks = padded.unfold(2, 8, 8).unfold(3, 8, 8) * (255 / (_HIGH - _LOW))
    table = torch.tensor(_LUMINANCE, device=device, dtype=torch.float32)
    step = table * _between(faces, _QUALITY, generator)[..., None, None]
    rounded = torch.round(cosine @ blocks @ cosine.T / step) * step
    blocks = cosine.T @ rounded @ cosine * ((_HIGH - _LOW) / 255)
    n, channels, rows, columns = blocks.shape[:4]
    whole = blocks.permute(0, 1, 2, 4, 3, 5).reshape(n, channels, rows * 8, columns * 8)
    return whole[:, :, :height, :width].clamp(_LOW, _HIGH)


Fault = Callable[[Tensor, torch.Generator], Tensor]
_FAULTS: tuple[Fault, ...] = (_small, _blurred, _lit, _noisy, _compressed)
