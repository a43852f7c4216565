"""Networks made for colour, fed with grayscale faces or with colour."""

from torch import Tensor, nn


class GrayInput(nn.Module):
    """Repeat a gray channel three times; three of colour pass. Export folds the repetition into
    the convolution."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.network(x.expand(-1, 3, -1, -1))
        return logits
