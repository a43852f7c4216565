from dataclasses import replace

import numpy as np
import torch

from fer_edge.data import synthetic_dataset
from fer_edge.training.loss import class_weights, logit_adjustment, soft_targets


def test_class_weights_worked_out_by_hand() -> None:
    labels = torch.tensor([0, 0, 0, 0, 1, 2, 3, 4, 5, 6])
    assert class_weights(labels, 0) is None
    # 1/n per class, times 10 faces over 7 classes.
    torch.testing.assert_close(class_weights(labels, 1), torch.tensor([10 / 28] + [10 / 7] * 6))
    # 1/sqrt(n) per class sums to 4 * 1/2 + 6 = 8 over the faces.
    torch.testing.assert_close(class_weights(labels, 0.5), torch.tensor([0.625] + [1.25] * 6))


def test_a_class_without_faces_weighs_nothing() -> None:
    weights = class_weights(torch.tensor([0, 0, 0, 2]), 1, classes=3)
    # 1/3 and 1 per class, times 4 faces over 2 classes.
    torch.testing.assert_close(weights, torch.tensor([2 / 3, 0, 2]))


def test_smoothing_is_weighed_by_the_face_and_not_by_what_it_goes_to() -> None:
    data = synthetic_dataset(7)
    rare = torch.ones(7)
    rare[1] = 1000
    targets = soft_targets(data, 0.1, None, torch.device("cpu"), rare)
    for label, target in zip(data.labels, targets, strict=True):
        weight = 1000 if label == 1 else 1
        wanted = torch.full((7,), weight * 0.1 / 7)
        wanted[label] += weight * 0.9
        torch.testing.assert_close(target, wanted)


def test_a_face_with_soft_labels_weighs_as_far_as_it_has_each() -> None:
    data = synthetic_dataset(2)
    shares = np.zeros((2, 7), np.float32)
    shares[0, [1, 3]] = 0.25, 0.75
    shares[1, 0] = 1
    weights = torch.tensor([2.0, 8, 1, 4, 1, 1, 1])
    targets = soft_targets(
        replace(data, soft_labels=shares), 0.0, None, torch.device("cpu"), weights
    )
    torch.testing.assert_close(targets.sum(1), torch.tensor([0.25 * 8 + 0.75 * 4, 2.0]))


def test_logit_adjustment_knows_of_smoothing_and_leaves_what_is_never_said() -> None:
    labels = torch.tensor([0, 0, 0, 2])
    torch.testing.assert_close(
        logit_adjustment(labels, 0.5, 3), 0.5 * torch.tensor([0.75, 1, 0.25]).log()
    )
    smoothed = torch.tensor([0.9 * 0.75 + 0.1 / 3, 0.1 / 3, 0.9 * 0.25 + 0.1 / 3])
    torch.testing.assert_close(logit_adjustment(labels, 2, 3, 0.1), 2 * smoothed.log())
