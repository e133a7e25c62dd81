"""Sequences beyond the positions that a model is made for: one note, where it holds."""

import pytest
from report import made_up

from vramlab.report import language
from vramlab.report.load import Results
from vramlab.report.page import page
from vramlab.report.trained_range import of_predictions, of_results, sentence
from vramlab.results.estimate import EstimateRecord

BEYOND = "The model is made for 300 tokens (`max_position_embeddings`), and"


@pytest.mark.parametrize(
    ("lengths", "longest", "what"),
    [
        ([301], 0, " sequences of 301 tokens are longer: "),
        ([299, 4096, 301], 300, " sequences of 301 and 4,096 tokens are longer: "),
        ([300], 1024, " the longest sequences, of up to 1,024 tokens, are longer: "),
        (
            [301],
            1024,
            " sequences of 301 tokens and the longest sequences, of up to 1,024 tokens, are long",
        ),
    ],
)
def test_sequences_beyond_what_a_model_is_made_for(lengths, longest, what):
    assert sentence(300, lengths, longest).startswith(BEYOND + what)


@pytest.mark.parametrize(("trained", "longest"), [(300, 300), (None, 2**22)])
def test_sequences_within_it(trained, longest):
    assert sentence(trained, [300, 2], longest) == ""


def test_predictions(results):
    records = results.records(EstimateRecord)
    assert of_predictions(records) == []
    made_for = [told(record, 300) for record in records]
    most = max(max(e.longest) for record in records for e in record.estimates)
    [found] = of_predictions(made_for)
    assert (
        f"sequences of 512 and 2,048 tokens and the longest sequences, of up to {most:,}" in found
    )
    assert of_predictions([told(record, 2**22) for record in records]) == []


def test_the_page_says_what_was_measured(results):
    """The lengths that ran, and the longest that was searched; the cards are of no matter there."""
    assert of_results(results) == []
    searched = max(r.longest or 0 for r in results.longest_sequences.values())
    assert searched > 2048
    made_for = with_range(results, searched)
    assert of_results(made_for) == []
    [found] = of_results(with_range(results, searched - 1))
    assert f"the longest sequences, of up to {searched:,} tokens, are longer" in found
    shown = page("t", with_range(results, 300), made_up.SETTINGS, [], {})
    assert any(BEYOND in text for text in shown.warnings)


def test_in_polish():
    with language.use("pl") as polish:
        text = sentence(300, [40_960], 81_920)
        assert "sekwencje o 40\u202f960 tokenach i najdłuższe, do 81\u202f920 tokenów" in text
        assert not polish.missing


def told(record, trained):
    estimates = [e.model_copy(update={"trained_range": trained}) for e in record.estimates]
    return record.model_copy(update={"estimates": estimates})


def with_range(results, trained):
    files = {
        path: told(record, trained) if isinstance(record, EstimateRecord) else record
        for path, record in results.files.items()
    }
    return Results(results.baseline, results.length, results.techniques, files)
