"""The tokenizer: its ids, its determinism, what it refuses."""

import os
import subprocess
import sys

import pytest
from tokenizers_for_tests import TEXTS, trained

from vramlab.base.errors import CorpusError
from vramlab.config.tokenizer import BOS_ID, EOS_ID, PAD_ID, UNK_ID, TokenizerConfig
from vramlab.data.tokenizer import Tokenizer, measure_fit, train


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("tokenizer"))


def test_special_ids(tokenizer):
    assert tokenizer.vocab_size == 400
    assert (UNK_ID, BOS_ID, EOS_ID, PAD_ID) == (0, 1, 2, 3)
    processor = tokenizer._processor
    assert [processor.unk_id(), processor.bos_id(), processor.eos_id()] == [0, 1, 2]
    assert processor.pad_id() == 3


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
            "from tokenizers_for_tests import TEXTS; from vramlab.data import tokenizer as t;"
            "from vramlab.config.tokenizer import TokenizerConfig as C;"
            f"t.train(iter(TEXTS), C(vocab_size=300, model_type={model_type!r}), Path(sys.argv[1]))"
        )
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        subprocess.run([sys.executable, "-c", code, str(path)], check=True, env=environment)
        models.append(path.read_bytes())
    assert models[0] == models[1]


def test_a_very_long_line_is_used_for_training(tmp_path):
    line = " ".join(["zażółć gęślą jaźń"] * 2000)  # 40 kB, which SentencePiece skips by default
    config = TokenizerConfig(vocab_size=20, character_coverage=1.0)
    train([line], config, tmp_path / "t.model")
    assert UNK_ID not in Tokenizer(tmp_path / "t.model").encode("jaźń gęślą")


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
        Tokenizer(tmp_path / "t.model")


def test_fit_counts_words_bytes_and_unknown_characters(tokenizer):
    fit = measure_fit(tokenizer, [TEXTS[0], "ą\nβ 漢"])
    assert fit.words == len(TEXTS[0].split()) + 3
    assert fit.utf8_bytes == len((TEXTS[0] + "ą\nβ 漢").encode())
    assert fit.characters - fit.covered == 2  # the Greek and the Chinese one
