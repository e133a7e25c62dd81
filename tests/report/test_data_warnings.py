"""Warnings of the data: each is said where it holds, on the page, and nowhere else."""

import pytest
from report import made_up
from report.test_tables import replaced

from vramlab.report import webpage
from vramlab.report.data_warnings import warnings
from vramlab.report.page import page
from vramlab.results.corpus import CorpusRecord
from vramlab.results.sequences import SequencesRecord
from vramlab.results.tokenizer import TokenizerRecord


def of(kind, split=None):
    return lambda record: isinstance(record, kind) and split in {None, getattr(record, "split", 0)}


def test_good_data_has_none(results):
    assert warnings(results) == []


@pytest.mark.parametrize(
    ("chosen", "changes", "says"),
    [
        (of(CorpusRecord, "validation"), {"kept": 1}, "one document in the validation corpus"),
        (of(CorpusRecord, "train"), {"kept": 1}, "one document in the training corpus"),
        (
            of(SequencesRecord, "validation"),
            {"tokens": 201, "sequences": {256: 1, 128: 2}},
            "The validation corpus has 200 tokens, fewer than one sequence of 256,",
        ),
        (of(TokenizerRecord), {"used": {"train": 5_999}}, "of which 5,999 occur in the training"),
        (of(TokenizerRecord), {"pieces": {"train": 59_999}}, "corpus of 59,999 tokens"),
        (of(TokenizerRecord), {"model_vocabulary": 60_000}, "The model has 60,000 tokens by"),
        (of(TokenizerRecord), {"model_vocabulary": 2_400}, "measured with the 12,000 of the"),
        (
            of(TokenizerRecord),
            {"model_vocabulary": 60_000, "keeps_vocabulary": True},
            "The model keeps the embeddings of its own 60,000 tokens",
        ),
    ],
)
def test_what_makes_the_numbers_mean_less_is_said(results, chosen, changes, says):
    if "used" in changes or "pieces" in changes:
        [tokenizer] = results.records(TokenizerRecord)
        changes = {key: getattr(tokenizer, key) | value for key, value in changes.items()}
    other = replaced(results, chosen, **changes)
    [sentence] = warnings(other)
    assert says in sentence
    text = webpage.to_html(page("T", other, made_up.SETTINGS, [], {}))
    assert sentence.split("(")[0].split("`")[0][:60] in text.split("<nav")[0]


@pytest.mark.parametrize(
    ("chosen", "changes"),
    [
        (of(CorpusRecord), {"kept": 1, "held_out": None}),  # one book, given as such
        (of(SequencesRecord), {"tokens": 257, "sequences": {256: 1}}),
        (of(TokenizerRecord), {"model_vocabulary": 59_999}),
        (of(TokenizerRecord), {"used": {}, "pieces": {}}),  # of an older record
    ],
)
def test_what_is_just_enough_is_not_said(results, chosen, changes):
    assert warnings(replaced(results, chosen, **changes)) == []
