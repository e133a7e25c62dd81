"""SentencePiece: its ids, its determinism, what it refuses."""

import os
import random
import subprocess
import sys

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from tokenizers_for_tests import TEXTS, trained

from vramlab.base.errors import CorpusError
from vramlab.config.tokenizer import SentencePieceConfig
from vramlab.data import sentencepiece_tokenizer as module
from vramlab.data.normalisation import is_blank, normalise
from vramlab.data.sentencepiece_tokenizer import (
    BOS_ID,
    EOS_ID,
    LONGEST_LINE,
    PAD_ID,
    UNK_ID,
    SentencePieceTokenizer,
    train,
)
from vramlab.data.tokenizer import measure_fit


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("tokenizer"))


def test_special_ids(tokenizer):
    assert tokenizer.vocab_size == 400
    assert (UNK_ID, BOS_ID, EOS_ID, PAD_ID) == (0, 1, 2, 3)
    processor = tokenizer._processor
    assert [processor.unk_id(), processor.bos_id(), processor.eos_id()] == [0, 1, 2]
    assert processor.pad_id() == 3
    assert (tokenizer.unk, tokenizer.eos, tokenizer.pad) == (UNK_ID, EOS_ID, PAD_ID)


@pytest.mark.parametrize("text", ["</s>", "a <s> b </s> c <pad>", "<unk>"])
def test_control_pieces_never_come_out_of_a_text(tokenizer, text):
    assert not {BOS_ID, EOS_ID, PAD_ID} & set(tokenizer.encode(text))


@pytest.mark.parametrize("model_type", ["unigram", "bpe"])
def test_equal_texts_give_equal_bytes_on_any_number_of_cores(tmp_path, model_type):
    models = []
    for cores in ({0}, set(os.sched_getaffinity(0))):
        path = tmp_path / f"{len(models)}.model"
        code = (
            "import os, sys; from pathlib import Path;"
            f"os.sched_setaffinity(0, {cores});"
            "from tokenizers_for_tests import TEXTS;"
            "from vramlab.data import sentencepiece_tokenizer as t;"
            "from vramlab.config.tokenizer import SentencePieceConfig as C;"
            f"t.train(iter(TEXTS), C(vocab_size=300, model_type={model_type!r}), Path(sys.argv[1]))"
        )
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        subprocess.run([sys.executable, "-c", code, str(path)], check=True, env=environment)
        models.append(path.read_bytes())
    assert models[0] == models[1]


def test_a_very_long_line_is_used_for_training(tmp_path):
    line = " ".join(["zażółć gęślą jaźń"] * 2000)  # 40 kB, which SentencePiece skips by default
    config = SentencePieceConfig(vocab_size=20, character_coverage=1.0)
    train([line], config, tmp_path / "t.model")
    assert UNK_ID not in SentencePieceTokenizer(tmp_path / "t.model").encode("jaźń gęślą")


_random = random.Random(9)
LONG_WORDS = {
    "hex": "".join(_random.choices("0123456789abcdef", k=300_000)),
    "Chinese": "".join(_random.choices("一二三四五六七八九十", k=100_000)),
    "one character": "a" * 2_000_000,
    "data URI": "data:image/png;base64," + "".join(_random.choices("ABCDwxyz0189+/", k=200_000)),
    "accents": "a" + "\u0301" * 100_000,
    "a ligature of 18 letters": "\ufdfa" * 20_000,
}
"""Documents of one line without a space; each ended SentencePiece's training, or took minutes."""


@pytest.mark.parametrize("name", LONG_WORDS)
def test_a_long_line_without_spaces_leaves_the_vocabulary_as_good(tmp_path, name):
    texts = [*TEXTS, LONG_WORDS[name]]
    train(texts, SentencePieceConfig(vocab_size=400, character_coverage=1.0), tmp_path / "t.model")
    tokenizer = SentencePieceTokenizer(tmp_path / "t.model")
    pieces = sum(map(len, tokenizer.encode_documents(TEXTS)))
    alone = SentencePieceConfig(vocab_size=300, character_coverage=1.0)
    train(TEXTS, alone, tmp_path / "alone.model")
    without = SentencePieceTokenizer(tmp_path / "alone.model").encode_documents(TEXTS)
    assert pieces < 1.5 * sum(map(len, without))


@given(st.lists(st.text(max_size=3), max_size=20), st.integers(1, 4000))
def test_no_line_of_the_training_is_too_long_and_nothing_is_lost(words, repeats):
    line = "".join(words).replace("\u2585", "").strip()
    parts = module._parts(line * repeats)
    assert all(len(normalise(part).encode()) <= LONGEST_LINE for part in parts)
    assert len(parts) > 1 or parts == [line * repeats]
    if (line * repeats).isascii() and "  " not in line and line.isprintable():
        # A space at a cut is one of its part's ends, where the normal form has none.
        assert "".join(parts).replace(" ", "") == (line * repeats).replace(" ", "")


HOSTILE = st.one_of(
    st.text(min_size=1, max_size=30),
    st.text("\u200b\ufdfa\u0301\u0316\u2581\u2585\u3164\x00\t\n\u2028a 漢", min_size=1, max_size=9),
)


@hypothesis.settings(max_examples=60)
@given(st.lists(st.tuples(HOSTILE, st.integers(1, 3000)), min_size=1, max_size=5))
def test_any_texts_give_a_tokenizer_or_one_sentence(tmp_path_factory, parts):
    texts = [text * repeats for text, repeats in parts]
    path = tmp_path_factory.mktemp("any") / "t.model"
    try:
        train([*TEXTS[:5], *texts], SentencePieceConfig(vocab_size=150), path)
    except CorpusError as error:
        assert str(error).isprintable()
        return
    tokenizer = SentencePieceTokenizer(path)
    fit = measure_fit(tokenizer, texts)
    assert 0 <= fit.covered <= fit.characters
    for text in texts:
        assert bool(tokenizer.encode(text)) is not is_blank(text)


def test_a_line_is_cut_where_a_word_or_a_script_ends():
    words = module._parts("zażółć gęślą " * 5000)
    assert {word for part in words for word in part.split()} == {"zażółć", "gęślą"}
    sentences = module._parts("一二三，四五。" * 5000)
    assert all(part.endswith(("，", ",", "。")) for part in sentences[:-1])


def test_a_line_of_20_megabytes_is_cut_as_any_other():
    parts = module._parts("0" * 20_000_000)
    assert sum(map(len, parts)) == 20_000_000
    assert max(map(len, parts)) <= LONGEST_LINE


def test_lines_that_are_cut_are_counted(tokenizer):
    fit = measure_fit(tokenizer, [f"a\n{'b' * 10_001}\nc", "ż" * 5000, "ż" * 5001])
    assert fit.cut_lines == 2


@pytest.mark.parametrize("text", ["\u2585", "\u200b\n\u200b", " \n"])
def test_texts_without_a_character_are_no_training_corpus(tmp_path, text):
    with pytest.raises(CorpusError, match="has no line with a character"):
        train([text] * 3, SentencePieceConfig(vocab_size=300), tmp_path / "t.model")
    assert not list(tmp_path.iterdir())


def test_fewer_lines_than_sentencepiece_draws_from_are_refused(tmp_path):
    for lines in (1, 100):
        with pytest.raises(ValidationError, match="greater than or equal to 101"):
            SentencePieceConfig(training_lines=lines)
    trained(tmp_path, training_lines=101, vocab_size=100)


def test_a_vocabulary_too_large_names_the_largest(tmp_path):
    with pytest.raises(CorpusError, match=r"vocab_size 90000 is too large .* at most (\d+)") as e:
        trained(tmp_path, vocab_size=90_000)
    largest = int(str(e.value).split("at most ")[1].split(";")[0])
    assert trained(tmp_path, vocab_size=largest).vocab_size == largest


def test_a_vocabulary_too_small_names_the_smallest(tmp_path):
    with pytest.raises(CorpusError, match=r"vocab_size 10 is too small .* need \d+"):
        trained(tmp_path, vocab_size=10)
    assert not list(tmp_path.iterdir())


def test_a_damaged_model_is_refused(tmp_path):
    (tmp_path / "t.model").write_bytes(b"nothing")
    with pytest.raises(CorpusError, match=r"t\.model: is no tokenizer"):
        SentencePieceTokenizer(tmp_path / "t.model")


def test_fit_counts_words_bytes_and_unknown_characters(tokenizer):
    fit = measure_fit(tokenizer, [TEXTS[0], "ą\nβ 漢"])
    assert fit.words == len(TEXTS[0].split()) + 3
    assert fit.utf8_bytes == len((TEXTS[0] + "ą\nβ 漢").encode())
    assert fit.characters - fit.covered == 2  # the Greek and the Chinese one


def test_a_character_is_covered_where_the_mark_of_a_space_is_not(tmp_path):
    line = "".join(random.Random(9).choices("abcdefghij", k=100_000))
    train([line], SentencePieceConfig(vocab_size=100), tmp_path / "t.model")
    tokenizer = SentencePieceTokenizer(tmp_path / "t.model")
    assert measure_fit(tokenizer, [line]).covered == 100_000
    assert not tokenizer.covers(" ")
    assert not tokenizer.covers("\u200b")  # which becomes a space
    assert tokenizer.covers("\x01")  # which becomes nothing
