"""Packing loses no token, and each token but the first is a target exactly once."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers_for_tests import KINDS, TEXTS, of_any_kind

from vramlab.base.errors import CorpusError
from vramlab.config.targets import IGNORED
from vramlab.data.packing import pack
from vramlab.data.sequences import Sequences, count


@pytest.fixture(scope="module", params=KINDS)
def tokenizer(request, tmp_path_factory):
    return of_any_kind(tmp_path_factory.mktemp("tokenizer"), request.param)


def test_the_stream_holds_each_document_between_separators(tokenizer, tmp_path):
    counts = pack(iter(TEXTS), tokenizer, tmp_path / "x.npy")
    stream = np.load(tmp_path / "x.npy")
    expected = [tokenizer.eos]
    for text in TEXTS:
        expected += [*tokenizer.encode(text), tokenizer.eos]
    assert stream.tolist() == expected
    assert (counts.documents, counts.tokens) == (len(TEXTS), len(expected))
    assert counts.utf8_bytes == sum(len(text.encode()) for text in TEXTS)
    assert stream.dtype == np.uint16
    assert [path.name for path in tmp_path.iterdir()] == ["x.npy"]


def test_threads_keep_the_order(tokenizer, tmp_path):
    texts = [f"{number} {TEXTS[number % len(TEXTS)] * 30}" for number in range(300)]
    for threads in (1, 7):
        pack(iter(texts), tokenizer, tmp_path / f"{threads}.npy", threads)
    assert (tmp_path / "1.npy").read_bytes() == (tmp_path / "7.npy").read_bytes()


def test_a_failing_document_leaves_no_file(tokenizer, tmp_path):
    with pytest.raises(TypeError):
        pack(iter([*TEXTS, None, *TEXTS]), tokenizer, tmp_path / "x.npy")
    assert not list(tmp_path.iterdir())


def test_decoding_the_stream_gives_the_text(tokenizer, tmp_path):
    pack(iter(TEXTS), tokenizer, tmp_path / "x.npy")
    assert letters("".join(documents_of(tokenizer, tmp_path / "x.npy"))) == letters("".join(TEXTS))


DOCUMENTS = st.lists(
    st.one_of(
        st.text(max_size=40),
        st.lists(st.sampled_from([*TEXTS[0].split(), *TEXTS[1].split()])).map(" ".join),
    ).map(lambda text: text.replace("\x00", "")),
    max_size=8,
)


def test_a_byte_level_stream_decodes_to_the_very_documents(tmp_path_factory):
    """No token is lost, whatever the text: special tokens in it, any script, runs of spaces."""
    folder = tmp_path_factory.mktemp("bytes")
    tokenizer = of_any_kind(folder, "byte-level")

    @given(texts=DOCUMENTS, special=st.sampled_from(["", "<|endoftext|>"]))
    def decodes(texts, special):
        texts = [special + text + special for text in texts]
        counts = pack(iter(texts), tokenizer, folder / "x.npy")
        assert counts.documents == len(texts)
        assert documents_of(tokenizer, folder / "x.npy") == texts

    decodes()


@pytest.mark.parametrize("kind", ["SentencePiece", "WordPiece", "Unigram"])
def test_a_stream_of_known_words_decodes_to_them(tmp_path_factory, kind):
    folder = tmp_path_factory.mktemp("words")
    tokenizer = of_any_kind(folder, kind)
    words = sorted({word for text in TEXTS for word in text.split()})

    @given(st.lists(st.lists(st.sampled_from(words), min_size=1), max_size=8))
    def decodes(documents):
        pack(map(" ".join, documents), tokenizer, folder / "x.npy")
        found = map(letters, documents_of(tokenizer, folder / "x.npy"))
        assert list(found) == [letters("".join(document)) for document in documents]

    decodes()


def documents_of(tokenizer, path):
    """What stands between the separators of a stream, as text."""
    stream = np.load(path)
    ends = np.flatnonzero(stream == tokenizer.eos)
    assert (ends[0], ends[-1]) == (0, len(stream) - 1)
    parts = (stream[a + 1 : b].tolist() for a, b in itertools.pairwise(ends))
    return [tokenizer.decode(part) for part in parts]


def letters(text):
    """Without white space: the kinds differ in where a decoder puts it."""
    return "".join(text.split())


@given(tokens=st.integers(2, 300), length=st.integers(1, 320), pad=st.integers(0, 12))
def test_each_token_is_a_target_once(tokens, length, pad):
    stream = np.arange(tokens) + 10
    sequences = Sequences.of(stream, length, pad)
    inputs, targets = sequences.arrays(np.arange(len(sequences)))
    assert inputs.shape == targets.shape == (count(tokens, length), length)
    assert inputs.dtype == targets.dtype == np.int64
    real = targets[targets != IGNORED]
    assert real.tolist() == stream[1:].tolist()
    # The last token of the stream is an input where the row has room behind the last target.
    seen = inputs.ravel().tolist()
    assert seen[:tokens] == stream.tolist()[: len(seen)]
    assert set(seen[tokens:]) <= {pad}
    assert sequences.tokens == tokens - 1
    assert sequences.tokens_of(np.arange(len(sequences))) == tokens - 1


@given(st.lists(st.integers(0, 9), min_size=1, max_size=10, unique=True))
def test_any_rows_in_any_order(rows):
    sequences = Sequences.of(np.arange(96) + 10, 10)
    inputs, targets = sequences.arrays(np.array(rows))
    for row, i, t in zip(rows, inputs, targets, strict=True):
        assert i[0] == row * 10 + 10
        assert t[0] == row * 10 + 11
    assert sequences.tokens_of(np.array(rows)) == (targets != IGNORED).sum()


@pytest.mark.parametrize("damage", ["truncated", "not an array", "two dimensions", "one token"])
def test_a_damaged_stream_is_refused(tmp_path, damage):
    path = tmp_path / "x.npy"
    np.save(path, np.arange(100, dtype=np.uint16))
    match damage:
        case "truncated":
            path.write_bytes(path.read_bytes()[:150])
        case "not an array":
            path.write_text("text")
        case "two dimensions":
            np.save(path, np.zeros((2, 2), np.uint16))
        case "one token":
            np.save(path, np.zeros(1, np.uint16))
    with pytest.raises(CorpusError, match=r"x\.npy: holds .* delete it"):
        Sequences(path, 4)


def test_a_row_past_the_end_has_no_target():
    """What a rank without rows computes: see training/parallel.py."""
    for tokens in (9, 10):
        sequences = Sequences.of(np.arange(tokens) + 10, 4, pad=3)
        _, targets = sequences.arrays(np.array([len(sequences)]))
        assert (targets == IGNORED).all()


def test_the_padding_token_is_stored_with_the_stream(tokenizer, tmp_path):
    pack(iter(TEXTS), tokenizer, tmp_path / "x.npy")
    assert Sequences(tmp_path / "x.npy", 4).pad == tokenizer.pad


@pytest.mark.parametrize("place", [140, -2, -14])  # a token, the padding token, the checksum
def test_a_stream_with_a_flipped_bit_is_refused(tokenizer, tmp_path, place):
    path = tmp_path / "x.npy"
    pack(iter(TEXTS), tokenizer, path)
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    with pytest.raises(CorpusError, match="does not have the bytes that were written"):
        Sequences(path, 4)


def test_a_missing_stream_is_refused(tmp_path):
    with pytest.raises(CorpusError, match="holds no sequences"):
        Sequences(tmp_path / "x.npy", 4)
