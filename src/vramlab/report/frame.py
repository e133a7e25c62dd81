"""Rows as a table of pandas."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pandas as pd

Row = dict[str, Any]


def frame(rows: Iterable[Row]) -> pd.DataFrame:
    """The rows, of objects: a whole number stays whole beside a missing one."""
    return pd.DataFrame(list(rows), dtype=object)
