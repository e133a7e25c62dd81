"""The stage that measures how well the tokenizer fits: its numbers, and when it warns."""

import orjson
import pytest
from backports import zstd
from tokenizers import Tokenizer
from tokenizers_for_tests import FILES, TEXTS, of_any_kind, tokenizer_json

from vramlab.base.errors import CorpusError
from vramlab.data.file_tokenizer import prepare
from vramlab.results.base import read
from vramlab.results.tokenizer import TokenizerRecord
from vramlab.stages import assess_tokenizer, sequences

GREEK = "Ἄνδρα μοι ἔννεπε, Μοῦσα, πολύτροπον, ὃς μάλα πολλὰ"


def assess(folder, train, validation, kind="SentencePiece", made=None, **params):
    """The record of a tokenizer of `TEXTS`, or of one that is made, for these two corpora."""
    if made is None:
        of_any_kind(folder, kind)
    model, splits = str(made or folder / "tokenizer.model"), {}
    for split, texts in (("train", train), ("validation", validation)):
        names = [str(folder / f"{split}{ending}") for ending in (".jsonl.zst", ".npy", ".json")]
        lines = (orjson.dumps({"text": text}) + b"\n" for text in texts)
        (folder / f"{split}.jsonl.zst").write_bytes(zstd.compress(b"".join(lines)))
        files = sequences.Files(names[0], model, *names[1:])
        sequences.run(split, {"lengths": [16]}, 1, files)
        splits[split] = names
    params = {
        "tokenizer": {"model_type": "unigram"},
        "model_vocabulary": None,
        "keeps_vocabulary": False,
        **params,
    }
    assess_tokenizer.run(params, model, splits, str(folder / "record.json"))
    return read(TokenizerRecord, folder / "record.json")


def test_a_corpus_in_its_own_script_gives_no_warning(tmp_path, caplog):
    record = assess(tmp_path, TEXTS * 9, TEXTS[:3])
    assert record.coverage == {"train": 1, "validation": 1}
    assert record.unknown == {"train": 0, "validation": 0}
    assert record.cut_lines == 0
    assert not [r for r in caplog.records if r.levelname == "WARNING"]


def test_a_validation_corpus_in_another_script_is_warned_of(tmp_path, caplog):
    record = assess(tmp_path, TEXTS, [GREEK])
    letters = sum(not character.isspace() and character != "," for character in GREEK)
    assert record.coverage["validation"] == pytest.approx(1 - letters / len(GREEK))
    assert record.unknown["validation"] > 0
    assert "of the characters of the validation corpus are unknown to the tokenizer" in caplog.text
    assert "of the train corpus" not in caplog.text


def test_lines_that_the_training_cuts_are_warned_of(tmp_path, caplog):
    record = assess(tmp_path, [*TEXTS, "a" * 25_000], TEXTS[:3])
    assert record.cut_lines == 1
    assert "1 lines of the training corpus are longer than 10000 bytes" in caplog.text


@pytest.mark.parametrize("kind", FILES)
def test_the_numbers_of_a_tokenizer_from_a_file(tmp_path, caplog, kind):
    record = assess(tmp_path, TEXTS, [*TEXTS[:3], "漢"], kind)
    package = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    package.no_truncation()
    package.no_padding()
    tokens = sum(len(package.encode(text, add_special_tokens=False).ids) for text in TEXTS)
    assert record.model_type == {"byte-level": "BPE"}.get(kind, kind)
    assert record.vocab_size == max(package.get_vocab().values()) + 1
    assert record.fertility["train"] == tokens / sum(len(text.split()) for text in TEXTS)
    assert record.bytes_per_token["train"] == sum(len(t.encode()) for t in TEXTS) / tokens
    assert record.coverage["train"] == 1
    assert record.unknown == {"train": 0, "validation": int(kind != "byte-level")}
    assert (record.coverage["validation"] < 1) is (kind != "byte-level")
    assert record.cut_lines is None
    assert "are longer than" not in caplog.text


def test_unknown_tokens_are_told_from_separators_where_one_token_is_both(tmp_path):
    path = tokenizer_json(tmp_path, "Unigram")
    prepare(path, "<unk>", None, tmp_path / "other.model")
    record = assess(tmp_path, TEXTS, [*TEXTS[:2], "β a β"], made=tmp_path / "other.model")
    assert record.unknown == {"train": 0, "validation": 2}


def test_a_corpus_of_which_no_token_is_left_is_refused(tmp_path):
    """BPE without an unknown token drops what it does not know."""
    path = tokenizer_json(tmp_path)
    content = orjson.loads(path.read_bytes())
    content["model"] |= {"vocab": {"a": 1, "<|endoftext|>": 0}, "merges": []}
    path.write_bytes(orjson.dumps(content))
    prepare(path, None, None, tmp_path / "other.model")
    with pytest.raises(CorpusError, match=r"validation\.jsonl\.zst: has no character that the"):
        assess(tmp_path, ["a b " * 20], ["b"], made=tmp_path / "other.model")


def test_the_tokens_that_occur_are_counted(tmp_path):
    path = tokenizer_json(tmp_path, "WordPiece")
    record = assess(tmp_path, TEXTS, TEXTS[:1], "WordPiece")
    package = Tokenizer.from_file(str(path))
    package.no_truncation()
    package.no_padding()
    ids = [package.encode(text, add_special_tokens=False).ids for text in TEXTS]
    assert record.used["train"] == len({token for text in ids for token in text})
    assert record.used["validation"] == len(set(ids[0]))
    assert record.pieces == {"train": sum(map(len, ids)), "validation": len(ids[0])}


@pytest.mark.parametrize(("texts", "said"), [(TEXTS[:3], True), (TEXTS * 40, False)])
def test_a_vocabulary_beyond_what_the_corpus_supports_is_warned_of(tmp_path, caplog, texts, said):
    record = assess(tmp_path, texts, TEXTS[:3])
    assert record.too_large is said
    assert ("so that most embeddings are hardly trained" in caplog.text) is said


@pytest.mark.parametrize(
    ("factor", "keeps", "says"),
    [
        (5, True, "the embeddings of all others take memory and are never trained"),
        (5, False, "the model that is measured has other embeddings than yours"),
        (0.2, False, "the model that is measured has other embeddings than yours"),
        (4, True, None),
        (1, False, None),
    ],
)
def test_a_vocabulary_far_from_the_models_is_warned_of(tmp_path, caplog, factor, keeps, says):
    size = assess(tmp_path, TEXTS * 40, TEXTS).vocab_size
    assert "by itself" not in caplog.text
    own = {"model_vocabulary": int(size * factor), "keeps_vocabulary": keeps}
    record = assess(tmp_path, TEXTS * 40, TEXTS, **own)
    assert (record.far_from_model is not None) is (says is not None)
    assert ("by itself" in caplog.text) is (says is not None)
    assert says is None or says in caplog.text
