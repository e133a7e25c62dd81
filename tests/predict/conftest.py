"""The one thread of the tests of measurements."""

from measure.conftest import swift

__all__ = ["swift"]
