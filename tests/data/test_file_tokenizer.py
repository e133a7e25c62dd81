"""A tokenizer of the package tokenizers: its ids, what it leaves out, what it refuses."""

import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer
from tokenizers_for_tests import FILES, TEXTS, from_file, tokenizer_json, trained

from vramlab.base.errors import ConfigError, CorpusError
from vramlab.data.file_tokenizer import FileTokenizer, prepare
from vramlab.data.load_tokenizer import load
from vramlab.data.packing import pack
from vramlab.data.sentencepiece_tokenizer import SentencePieceTokenizer
from vramlab.data.sequences import Sequences
from vramlab.data.tokenizer import measure_fit


@pytest.fixture(scope="module")
def every(tmp_path_factory):
    """A tokenizer of each kind, and the package's own of the same file."""
    found = {}
    for kind in FILES:
        folder = tmp_path_factory.mktemp(kind)
        ours = from_file(folder, kind)
        theirs = Tokenizer.from_file(str(folder / "tokenizer.json"))
        theirs.no_truncation()
        theirs.no_padding()
        found[kind] = ours, theirs
    return found


def edit(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize("kind", FILES)
def test_it_gives_the_ids_of_the_package_and_the_end_of_the_document(every, kind):
    ours, theirs = every[kind]
    expected = [theirs.encode(text, add_special_tokens=False).ids for text in TEXTS]
    assert [ours.encode(text) for text in TEXTS] == expected
    assert ours.encode_documents(TEXTS) == [[*ids, ours.eos] for ids in expected]
    assert max(map(len, expected)) > 16, "the file would cut WordPiece's"


@pytest.mark.parametrize("kind", FILES)
def test_the_vocabulary_holds_every_token(every, kind):
    ours, theirs = every[kind]
    assert ours.vocab_size == max(theirs.get_vocab().values()) + 1
    assert ours.model_type == json.loads(theirs.to_str())["model"]["type"]


@pytest.mark.parametrize("kind", FILES)
@given(text=st.text(max_size=20), special=st.integers(0, 3))
def test_special_tokens_never_come_out_of_a_text(every, kind, text, special):
    ours, theirs = every[kind]
    names = ["</s>", "[SEP]", "<|endoftext|>", "<pad> <s> [CLS]"]
    found = set(ours.encode(f"{names[special]} {text}{names[special]}"))
    tokens = {theirs.token_to_id(name) for name in " ".join(names).split()} - {None}
    assert tokens
    assert not tokens & found


def test_the_pieces_of_a_special_token_in_a_text_are_its_characters(every):
    ours, theirs = every["Unigram"]
    assert theirs.encode("</s>", add_special_tokens=False).ids == [ours.eos]
    assert ours.decode(ours.encode("a </s>")).count("s") == 1


def test_the_text_of_a_special_token_takes_no_spaces_with_it(tmp_path):
    """A mask takes the space before it, where it is the token."""
    path = tokenizer_json(tmp_path)
    package = Tokenizer.from_file(str(path))
    package.add_special_tokens([AddedToken("<mask>", lstrip=True, rstrip=True)])
    package.save(str(path))
    text = "a   <mask>   b"
    assert package.decode(package.encode(text).ids, skip_special_tokens=False) != text
    ours = prepare(path, None, None, tmp_path / "t.model")
    assert ours.decode(ours.encode(text)) == text


def test_a_byte_level_tokenizer_knows_every_character(every):
    ours, _ = every["byte-level"]
    fit = measure_fit(ours, ["zażółć 漢字 😀\n\t x\u0301 \u200b"])
    assert fit.characters == fit.covered == len("zażółć 漢字 😀\n\t x\u0301 \u200b")
    assert ours.unk is None


def test_bytes_that_a_tokenizer_lacks_are_characters_that_it_does_not_know(tmp_path):
    """BPE without an unknown token drops them without a word."""
    path = tokenizer_json(tmp_path)

    def forget_one_byte(content):
        content["model"]["vocab"].pop("æ")  # the first byte of 漢 as a symbol
        content["model"]["merges"] = []

    ours = prepare(edit(path, forget_one_byte), None, None, tmp_path / "t.model")
    assert "漢" not in ours.decode(ours.encode("漢字a"))
    assert measure_fit(ours, ["漢a"]).covered == 1


def test_a_tokenizer_that_falls_back_on_bytes_knows_every_character(tmp_path):
    """As Llama 2's: a byte of an unknown character has a token of its own."""
    path = tokenizer_json(tmp_path, vocab_size=300)

    def fall_back(content):
        names = [f"<0x{byte:02X}>" for byte in range(256)]
        vocabulary = {"</s>": 0, "<unk>": 1, "a": 2, ".": 3, "▁": 4}
        vocabulary |= {name: 5 + i for i, name in enumerate(names)}
        content["model"] |= {"vocab": vocabulary, "merges": [], "unk_token": "<unk>"}
        content["model"]["byte_fallback"] = True
        content["added_tokens"] = [
            content["added_tokens"][0] | {"content": text, "id": vocabulary[text]}
            for text in ("</s>", "<unk>")
        ]
        content["pre_tokenizer"] = None
        content["normalizer"] = {
            "type": "Replace",
            "pattern": {"String": " "},
            "content": "▁",
        }

    ours = prepare(edit(path, fall_back), None, None, tmp_path / "t.model")
    assert ours.unk == 1
    assert measure_fit(ours, ["a 漢."]).covered == 4
    assert 1 not in ours.encode("a 漢.")


@pytest.mark.parametrize(("kind", "lost"), [("Unigram", 2), ("WordPiece", 3)])
def test_unknown_characters_are_counted(every, kind, lost):
    """WordPiece loses the word that has one."""
    ours, _ = every[kind]
    words = TEXTS[0].split()[:5]
    text = " ".join([*words, "β", "aβ"])
    fit = measure_fit(ours, [text])
    assert fit.characters - fit.covered == lost
    assert fit.words == 7
    assert fit.cut_lines == 0
    assert ours.encode(text).count(ours.unk) == 2


@pytest.mark.parametrize("kind", FILES)
def test_a_character_that_vanishes_is_no_unknown_one(every, kind):
    ours, _ = every[kind]
    fit = measure_fit(ours, [TEXTS[0], "\n \n"])
    assert fit.covered == fit.characters > 0


def test_dropout_is_left_out(tmp_path):
    def drop(content):
        content["model"]["dropout"] = 0.5

    path = edit(tokenizer_json(tmp_path), drop)
    ours = prepare(path, None, None, tmp_path / "t.model")
    assert ours.encode(TEXTS[0]) == ours.encode(TEXTS[0])


@pytest.mark.parametrize(
    ("vocabulary", "dtype"), [(300, np.uint16), (70_000, np.uint32)], ids=["small", "large"]
)
def test_the_stream_s_type_holds_the_largest_id(tmp_path, vocabulary, dtype):
    path = tokenizer_json(tmp_path, vocab_size=300)
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.add_tokens([f"zzz{i}" for i in range(vocabulary - tokenizer.get_vocab_size())])
    tokenizer.add_special_tokens(["</s>"])
    tokenizer.save(str(path))
    ours = prepare(path, "</s>", None, tmp_path / "t.model")
    assert (ours.eos, ours.vocab_size) == (vocabulary, vocabulary + 1)
    pack(TEXTS, ours, tmp_path / "x.npy")
    sequences = Sequences(tmp_path / "x.npy", 16)
    assert sequences.stream.dtype == dtype
    assert sequences.stream[0] == sequences.pad == vocabulary


def test_both_kinds_are_loaded_by_what_is_in_the_file(tmp_path):
    (tmp_path / "a").mkdir()
    trained(tmp_path / "a")
    from_file(tmp_path / "b")
    assert isinstance(load(tmp_path / "a/tokenizer.model"), SentencePieceTokenizer)
    assert isinstance(load(tmp_path / "b/tokenizer.model"), FileTokenizer)


@pytest.mark.parametrize("place", [0, 100, -1])
def test_a_damaged_file_is_refused(tmp_path, place):
    from_file(tmp_path)
    path = tmp_path / "tokenizer.model"
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    for read in (load, FileTokenizer):
        with pytest.raises(CorpusError, match=r"tokenizer\.model: is no tokenizer \(it does not"):
            read(path)
    path.unlink()
    with pytest.raises(CorpusError, match=r"tokenizer\.model: is no tokenizer"):
        load(path)


def test_what_the_package_does_not_read_is_refused(tmp_path):
    def other(content):
        content["pre_tokenizer"] = {"type": "Tomorrow"}

    path = edit(tokenizer_json(tmp_path), other)
    with pytest.raises(ConfigError, match=r"that the package tokenizers [\d.]+ reads .*; give"):
        prepare(path, None, None, tmp_path / "t.model")
    assert not (tmp_path / "t.model").exists()


@pytest.mark.parametrize("ids", [(900,), (401, 400)], ids=["far", "swapped"])
def test_ids_that_the_package_gives_otherwise_are_refused(tmp_path, ids):
    """It numbers added tokens that its model does not have in their order."""

    def other(content):
        one = content["added_tokens"][0]
        content["added_tokens"] += [one | {"id": i, "content": f"<{i}>"} for i in ids]

    path = edit(tokenizer_json(tmp_path), other)
    with pytest.raises(ConfigError, match="other ids than the package tokenizers reads from it"):
        prepare(path, None, None, tmp_path / "t.model")


def test_a_model_without_an_unknown_token_refuses_what_it_does_not_know(tmp_path):
    def without(content):
        content["model"]["unk_id"] = None

    path = edit(tokenizer_json(tmp_path, "Unigram"), without)
    ours = prepare(path, None, None, tmp_path / "t.model")
    with pytest.raises(CorpusError, match=r"tokenizer\.json: cannot tokenise a document"):
        ours.encode("漢")


def test_without_the_package_one_sentence_says_what_to_install(tmp_path):
    path = tokenizer_json(tmp_path)
    code = (
        "import sys; sys.modules['tokenizers'] = None; from pathlib import Path;"
        "from vramlab.base.errors import ConfigError;"
        "from vramlab.data.file_tokenizer import prepare\n"
        "try: prepare(Path(sys.argv[1]), None, None, Path(sys.argv[1] + '.model'))\n"
        "except ConfigError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)],
        env={"PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "needs the package tokenizers, which is not installed; install" in done.stdout
    assert "envs/cpu.txt" in done.stdout
