import torch

# A training may run beside the tests.
torch.set_num_threads(1)
