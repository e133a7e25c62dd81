"""The tiny model and corpus of the tests of training."""

from training.conftest import make_learner, sequences

__all__ = ["make_learner", "sequences"]
