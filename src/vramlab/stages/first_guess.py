"""Where the search for the largest batch begins: at the prediction, where the run makes one."""

from __future__ import annotations

from collections.abc import Iterable

from vramlab.measure.predicted_peaks import PredictedPeaks
from vramlab.results.base import read
from vramlab.results.estimate import EstimateRecord


def predicted_peaks(records: Iterable[str], device: str) -> PredictedPeaks | None:
    """Where the search begins; None without a prediction of two peaks for this kind of device.

    Args:
        records: files of predictions, none or the technique's.
        device: `cpu` or `cuda`.
    """
    for path in records:
        for estimate in read(EstimateRecord, path).estimates:
            if estimate.device == device and len(estimate.peaks) > 1:
                return PredictedPeaks(estimate.peaks, complete=not estimate.caveats)
    return None
