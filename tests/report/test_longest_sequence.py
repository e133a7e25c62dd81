"""The longest sequence stands beside its prediction, and in a sentence."""

import pytest
from report import made_up
from report.test_tables import replaced

from vramlab.report import tables
from vramlab.report.formats import csv_text
from vramlab.report.grid import grid
from vramlab.report.longest_sequence import longest, longest_sequences, predicted
from vramlab.results.longest_sequence import MOST_TOKENS, LongestSequenceRecord

CONFIG = made_up.experiment(["fp32", "bf16", "checkpointing"], measure={"longest_sequence": 1})


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return made_up.make_results(tmp_path_factory.mktemp("lengths"), CONFIG)


def rows(results):
    return longest_sequences(results).set_index("technique").to_dict("index")


def test_the_longest_is_told_with_its_prediction_and_in_times_of_the_baseline(results):
    found = rows(results)
    assert found["bf16"]["longest_sequence"] == 64 * 944
    assert found["bf16"]["times_baseline"] == pytest.approx(944 / 728)
    # The peaks lie on a line, and the headroom of 1 MiB takes no unit of some 43 MiB.
    assert found["bf16"]["predicted_longest"] == 64 * 943
    assert found["bf16"]["longest_error_percent"] == pytest.approx(-100 / 944, abs=1e-3)
    assert found["checkpointing"]["longest_error_percent"] < -5, "it is predicted to take more"


def test_a_search_that_no_memory_ended_has_no_prediction_to_compare(results):
    bounded = replaced(results, lambda r: isinstance(r, LongestSequenceRecord), bounded_by="model")
    assert predicted(bounded, bounded.longest_sequences["bf16"]) is None


def test_each_trial_has_a_row(results):
    table = tables.TABLES["length_search"](results)
    assert list(table[table["technique"] == "fp32"]["length"]) == [64, 64 * 728, 64 * 729]
    assert list(table["fits"])[:3] == ["yes", "yes", "no"]


def test_the_sentence_names_the_longest(results, two):
    assert longest(results) == (
        "`checkpointing` takes the longest sequences at a batch of 1: 68,608 tokens, 1.47× those "
        "of `fp32`."
    )
    assert longest(two) == ""


def test_the_longest_that_is_looked_at_is_a_lower_bound(results):
    capped = replaced(
        results,
        lambda r: isinstance(r, LongestSequenceRecord) and r.technique == "bf16",
        longest=MOST_TOKENS,
        bounded_by="model",
    )
    assert longest(capped) == (
        "`bf16` takes the longest sequences at a batch of 1: at least 4,194,304 tokens, the most "
        "that is searched."
    )
    found = rows(capped)
    assert found["bf16"]["times_baseline"] is None
    assert found["checkpointing"]["times_baseline"] is not None
    table = grid(longest_sequences(capped))
    cells = [row[table.headings.index("Longest sequence")] for row in table.rows]
    assert cells == ["46,592", "≥ 4,194,304", "68,608"]
    assert "4194304" in csv_text(longest_sequences(capped))
