"""Training: a step, an epoch, validation, and going on where a run was stopped."""
