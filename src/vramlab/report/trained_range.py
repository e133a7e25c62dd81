"""Sequences that are longer than a model was made for, where nothing stops them.

Rotary positions are computed, so that a model takes sequences of any length. Beyond the positions
that it was trained at, its predictions are worse, and its memory is that of any sequence.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from vramlab.report.language import say
from vramlab.report.load import Results
from vramlab.report.wording import integer, listing
from vramlab.results.estimate import EstimateRecord


def sentence(trained: int | None, lengths: Iterable[int], longest: int = 0) -> str:
    """Which sequences are longer than the model was made for; empty where none is.

    Args:
        trained: tokens that it was made for; None where nothing says it.
        lengths: of the sequences that it is asked to take, in tokens.
        longest: tokens of the longest sequence that was predicted or searched.
    """
    if trained is None:
        return ""
    what = []
    if beyond := sorted({length for length in lengths if length > trained}):
        what.append(say("sequences of {lengths} tokens", lengths=listing(map(integer, beyond))))
    if longest > trained:
        what.append(
            say("the longest sequences, of up to {tokens} tokens,", tokens=integer(longest))
        )
    if not what:
        return ""
    return say(
        "The model is made for {trained} tokens (`max_position_embeddings`), and {what} are "
        "longer: they run, and take the memory that is told, but pretrained weights have not "
        "learned the positions beyond.",
        trained=integer(trained),
        what=listing(what),
    )


def of_predictions(records: Sequence[EstimateRecord]) -> list[str]:
    """The sentence on what was predicted, the longest sequences of all cards included."""
    found = [estimate for record in records for estimate in record.estimates]
    longest = max((tokens for estimate in found for tokens in estimate.longest), default=0)
    return _told(records, [record.sequence_length for record in records], longest)


def of_results(results: Results) -> list[str]:
    """The sentence on what was measured."""
    searched = (record.longest or 0 for record in results.longest_sequences.values())
    longest = max(searched, default=0)
    return _told(results.records(EstimateRecord), results.lengths, longest)


def _told(records: Sequence[EstimateRecord], lengths: Collection[int], longest: int) -> list[str]:
    ranges = (estimate.trained_range for record in records for estimate in record.estimates)
    trained = next((tokens for tokens in ranges if tokens is not None), None)
    text = sentence(trained, lengths, longest)
    return [text] if text else []
