"""What the loss of a training is made of."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from fer_edge.contract import EMOTIONS
from fer_edge.data import FaceDataset


def soft_targets(
    data: FaceDataset,
    smoothing: float,
    face_weights: NDArray[np.float32] | None,
    device: torch.device,
) -> Tensor:
    """What the network is to say of each face, float32 (N, labels), times the face's weight.

    Parameters
    ----------
    data : FaceDataset
        Soft labels count where it has them.
    smoothing : float
        Share that is spread evenly over the labels.
    face_weights : float32 array, shape (N,), optional
        Are scaled to a mean of 1.
    device : torch.device
    """
    classes = len(data.classes)
    targets = (
        torch.as_tensor(np.array(data.soft_labels), device=device)
        if data.soft_labels is not None
        else functional.one_hot(
            torch.as_tensor(np.array(data.labels), device=device), classes
        ).float()
    )
    targets = (1 - smoothing) * targets + smoothing / classes
    if face_weights is not None:
        # Cross-entropy is linear in its targets, so a face's weight can sit in them.
        weights = torch.as_tensor(face_weights / face_weights.mean(), device=device)
        targets *= weights[:, None]
    return targets


def class_weights(labels: Tensor, exponent: float, classes: int = len(EMOTIONS)) -> Tensor | None:
    """Weights of the loss per class, mean 1 over the faces; None for an exponent of 0.

    A class without faces has weight 0: what smoothing gives to it would outweigh the labels.
    """
    if exponent == 0:
        return None
    counts = torch.bincount(labels, minlength=classes).float()
    weights = torch.where(counts > 0, counts.clamp(min=1) ** -exponent, 0)
    return weights / (weights * counts).sum() * counts.sum()


def logit_adjustment(labels: Tensor, tau: float, classes: int = len(EMOTIONS)) -> Tensor:
    """What to subtract from the logits, float32 (classes,): tau times the log of each share.

    A class without faces is left as it is.

    Menon et al. 2020 (arXiv:2007.07314), section 4.2.
    """
    shares = torch.bincount(labels, minlength=classes) / len(labels)
    return tau * torch.where(shares > 0, shares, 1).log()
