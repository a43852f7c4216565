"""Training: from a data set to a run folder with checkpoints, metrics and pictures."""
