import torch

from fer_edge.training.loss import class_weights


def test_class_weights_worked_out_by_hand() -> None:
    labels = torch.tensor([0, 0, 0, 0, 1, 2, 3, 4, 5, 6])
    assert class_weights(labels, 0) is None
    # 1/n per class, times 10 faces over 7 classes.
    torch.testing.assert_close(class_weights(labels, 1), torch.tensor([10 / 28] + [10 / 7] * 6))
    # 1/sqrt(n) per class sums to 4 * 1/2 + 6 = 8 over the faces.
    torch.testing.assert_close(class_weights(labels, 0.5), torch.tensor([0.625] + [1.25] * 6))
