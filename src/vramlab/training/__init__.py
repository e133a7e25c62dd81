"""Training: a step, an epoch, validation, and resuming from a checkpoint."""
