"""Augmentation of whole batches on tensors, on the device that trains."""

import math

import torch
from torch import Tensor
from torch.nn import functional

from fer_edge.contract import PIXEL_MEAN, PIXEL_SCALE
from fer_edge.training.config import TrainConfig

_GRAY = (0.299, 0.587, 0.114)


def normalise(faces: Tensor) -> Tensor:
    """uint8 pixels to the float32 that networks see."""
    return (faces.float() - PIXEL_MEAN) / PIXEL_SCALE


def augment(faces: Tensor, config: TrainConfig, generator: torch.Generator) -> Tensor:
    """Flip, rotate, shift, scale, change the light of and erase part of each face.

    Parameters
    ----------
    faces : float32 tensor, shape (N, C, H, W)
        Normalised pixels.
    config : TrainConfig
        Strengths.
    generator : torch.Generator
        On the device of ``faces``; the only source of randomness.

    Returns
    -------
    float32 tensor, shape (N, C, H, W)
    """
    n = len(faces)

    def uniform(limit: float) -> Tensor:
        values = torch.rand(n, device=faces.device, generator=generator)
        return (values * 2 - 1) * limit

    angle = uniform(math.radians(config.rotation))
    zoom = 1 + uniform(config.scale)
    flip = torch.where(uniform(1).add(1).div(2) < config.flip, -1.0, 1.0)
    cos, sin = torch.cos(angle) * zoom, torch.sin(angle) * zoom
    # grid_sample measures in half sides, hence the factor 2.
    dx, dy = uniform(2 * config.shift), uniform(2 * config.shift)
    theta = torch.stack(
        [torch.stack([cos * flip, -sin, dx], 1), torch.stack([sin * flip, cos, dy], 1)], 1
    )
    grid = functional.affine_grid(theta, list(faces.shape), align_corners=False)
    faces = functional.grid_sample(faces, grid, padding_mode="border", align_corners=False)

    contrast = 1 + uniform(config.brightness)
    faces = faces * contrast[:, None, None, None]
    # Normalised pixels span four units (256 / 64); a strength of 1 shifts by half of them.
    faces = faces + uniform(2 * config.brightness)[:, None, None, None]
    return _erase(faces, config.erasing, generator)


def resized(faces: Tensor, size: int) -> Tensor:
    """Scale (N, C, H, W) faces to ``size`` pixels a side."""
    if faces.shape[-1] == size:
        return faces
    # Of what torch has, the nearest to what files are read with (fer_edge.pixels.crops.to_face).
    method = "bicubic" if faces.shape[-1] < size else "bilinear"
    return functional.interpolate(
        faces, size=(size, size), mode=method, antialias=True, align_corners=False
    )


def in_color(faces: Tensor, channels: int) -> Tensor:
    """Faces (N, C, H, W) in one channel of gray, by the ITU-R BT.601 weights, or in three."""
    if faces.shape[1] == channels:
        return faces
    if channels == 3:
        return faces.expand(-1, 3, -1, -1)
    return (faces * faces.new_tensor(_GRAY)[:, None, None]).sum(1, keepdim=True)


def mix(
    faces: Tensor, targets: Tensor, config: TrainConfig, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Blend each face and its target with another one of the batch.

    Mixup (Zhang et al. 2017, arXiv:1710.09412) where ``config.mixup`` is set, CutMix (Yun et al.
    2019, arXiv:1905.04899) where ``config.cutmix`` is, one of the two by chance where both are.

    Parameters
    ----------
    faces : float32 tensor, shape (N, C, H, W)
    targets : float32 tensor, shape (N, labels)
    config : TrainConfig
    generator : torch.Generator

    Returns
    -------
    faces, targets : the same shapes
    """
    if not config.mixup and not config.cutmix:
        return faces, targets
    n, _, height, width = faces.shape
    device = faces.device
    draws = torch.rand(3, device=device, generator=generator).tolist()
    cut = bool(config.cutmix) and (not config.mixup or draws[0] < 0.5)
    alpha = config.cutmix if cut else config.mixup
    # Draws from torch's global generator, which the trainer seeds every epoch.
    keep = float(torch.distributions.Beta(alpha, alpha).sample())
    other = torch.randperm(n, device=device, generator=generator)
    if cut:
        side = math.sqrt(1 - keep)
        h, w = round(height * side), round(width * side)
        top, left = round(draws[1] * (height - h)), round(draws[2] * (width - w))
        faces = faces.clone()
        faces[:, :, top : top + h, left : left + w] = faces[
            other, :, top : top + h, left : left + w
        ]
        keep = 1 - h * w / (height * width)
    else:
        faces = keep * faces + (1 - keep) * faces[other]
    return faces, keep * targets + (1 - keep) * targets[other]


def _erase(faces: Tensor, probability: float, generator: torch.Generator) -> Tensor:
    """Random erasing (Zhong et al. 2017, arXiv:1708.04896) of 2 to 20 % of the area, with noise."""
    n, _, height, width = faces.shape

    def rand() -> Tensor:
        return torch.rand(n, device=faces.device, generator=generator)

    area = 0.02 + 0.18 * rand()
    ratio = torch.exp((rand() * 2 - 1) * math.log(2))
    h, w = torch.sqrt(area * ratio) * height, torch.sqrt(area / ratio) * width
    top, left = rand() * (height - h), rand() * (width - w)
    y = torch.arange(height, device=faces.device)[None, :, None]
    x = torch.arange(width, device=faces.device)[None, None, :]
    inside = (y >= top[:, None, None]) & (y < (top + h)[:, None, None])
    inside = inside & (x >= left[:, None, None]) & (x < (left + w)[:, None, None])
    inside = inside & (rand() < probability)[:, None, None]
    noise = torch.randn(faces.shape, device=faces.device, generator=generator)
    return torch.where(inside[:, None], noise, faces)
