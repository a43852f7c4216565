import torch

from fer_edge.training.loss import class_weights, logit_adjustment


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


def test_logit_adjustment_leaves_what_is_never_said() -> None:
    labels = torch.tensor([0, 0, 0, 2])
    torch.testing.assert_close(
        logit_adjustment(labels, 0.5, 3), 0.5 * torch.tensor([0.75, 1, 0.25]).log()
    )
