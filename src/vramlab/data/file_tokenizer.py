"""A tokenizer of the package tokenizers, from its `tokenizer.json`.

Documents are tokenised in full and alike in each run: the file's truncation, padding and BPE
dropout are left out, and the special tokens that its template would add (a [CLS], a BOS) are too.
The text of a special token in a document is text, as in SentencePiece: it never becomes the token.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson

from vramlab.base.errors import ConfigError, CorpusError
from vramlab.config import tokenizer_file
from vramlab.data.tokenizer import Tokenizer, not_a_tokenizer, read_checked, write_with_checksum

_BY_CHARACTER = ("BPE", "Unigram")
"""The models in which an unknown character leaves the rest of its word known."""
_BESIDE = "."  # what a character is looked at between: no normal form changes or joins it


def prepare(path: Path, eos: str | None, pad: str | None, target: Path) -> FileTokenizer:
    """Write a `tokenizer.json` and the ids of its special tokens to `target`, as one file.

    Args:
        path: the `tokenizer.json`.
        eos: text of the token that ends a document; None for the one that the files name.
        pad: text of the padding token; None for the one that the files name, or else `eos`.
        target: the file to write; its checksum is written beside it.

    Raises:
        ConfigError: the file is missing, no tokenizer, or has no such token; or the package
            tokenizers is not installed.
    """
    found = tokenizer_file.read(path, eos, pad)
    content = found.content | {"truncation": None, "padding": None}
    if content["model"].get("dropout") is not None:
        content["model"] = content["model"] | {"dropout": None}
    whole = {"eos": found.eos, "pad": found.pad, "tokenizer": content}
    tokenizer = FileTokenizer.of(whole, path)
    if tokenizer.vocab_size != found.vocab_size or not tokenizer.has_the_ids_of(content):
        raise ConfigError(
            f"{path}: gives its added_tokens other ids than the package tokenizers reads from it; "
            "write it anew with `tokenizers.Tokenizer.from_file(path).save(path)`"
        )
    write_with_checksum(target, orjson.dumps(whole))
    return tokenizer


class FileTokenizer(Tokenizer):
    """What `prepare` wrote."""

    parallel = True

    def __init__(self, path: Path) -> None:
        """Load the file.

        Raises:
            CorpusError: the file is missing, no tokenizer, or not as it was written.
            ConfigError: the package tokenizers is not installed.
        """
        try:
            whole = orjson.loads(read_checked(path))
        except ValueError as error:
            raise not_a_tokenizer(path, error) from None
        self._take(whole, path)

    @classmethod
    def of(cls, whole: dict[str, Any], path: Path) -> FileTokenizer:
        """The tokenizer of the content of such a file; errors name `path`."""
        tokenizer = cls.__new__(cls)
        tokenizer._take(whole, path)
        return tokenizer

    def _take(self, whole: dict[str, Any], path: Path) -> None:
        content = whole["tokenizer"]
        self._path = path
        self._tokenizer = _load(content, path)
        self._tokenizer.encode_special_tokens = True  # as ordinary text
        self.vocab_size = max(self._tokenizer.get_vocab().values()) + 1
        self.eos, self.pad = whole["eos"], whole["pad"]
        model = content["model"]
        self.model_type = type(self._tokenizer.model).__name__
        """BPE, Unigram, WordPiece or WordLevel."""
        unknown = model.get("unk_token")
        self.unk = model.get("unk_id") if unknown is None else self._tokenizer.token_to_id(unknown)
        self._byte_fallback = bool(model.get("byte_fallback"))
        special = (a["content"] for a in content.get("added_tokens") or [] if a.get("special"))
        self._special = {self._tokenizer.token_to_id(t): t for t in special if len(t) > 1}
        self._special.pop(self.unk, None)

    def has_the_ids_of(self, content: dict[str, Any]) -> bool:
        """Whether each added token of the JSON has the id that is written there."""
        added = content.get("added_tokens") or []
        return all(self._tokenizer.token_to_id(a["content"]) == a["id"] for a in added)

    def encode(self, text: str) -> list[int]:
        """The token ids of a text."""
        return self._encode([text])[0]

    def encode_documents(self, texts: list[str]) -> list[list[int]]:
        """The token ids of each text with EOS at its end."""
        return [[*ids, self.eos] for ids in self._encode(texts)]

    def _encode(self, texts: list[str]) -> list[list[int]]:
        try:
            encodings = self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)
            return [self._as_text(encoding.ids) for encoding in encodings]
        except TypeError:  # no text
            raise
        except Exception as error:  # noqa: BLE001  the package raises no narrower one
            raise CorpusError(
                f"{self._path}: cannot tokenise a document ({error}); take another tokenizer"
            ) from None

    def _as_text(self, ids: list[int]) -> list[int]:
        """The ids of a text, with the characters of special tokens instead of these.

        A Unigram or WordLevel model has `</s>` among its pieces and finds it in a text.
        """
        if self._special.keys().isdisjoint(ids):
            return ids
        tokenize = self._tokenizer.model.tokenize
        return [
            found
            for token in ids
            for found in (
                [piece.id for character in self._special[token] for piece in tokenize(character)]
                if token in self._special
                else [token]
            )
        ]

    def decode(self, ids: list[int]) -> str:
        """The text of token ids."""
        return str(self._tokenizer.decode(ids, skip_special_tokens=False))

    def parts(self, text: str) -> Sequence[str]:
        """The characters of a text; its words for a model that loses whole words."""
        return text if self.model_type in _BY_CHARACTER else text.split()

    def known(self, part: str) -> int:
        """How many characters of a character or word are not lost."""
        if self.model_type in _BY_CHARACTER:
            return int(all(map(self._has, self._symbols(part))))
        encoding = self._tokenizer.encode(part, add_special_tokens=False)
        spans = zip(encoding.ids, encoding.offsets, strict=True)
        lost: int = sum(end - start for token, (start, end) in spans if token == self.unk)
        return len(part) - lost

    def _symbols(self, character: str) -> str:
        """What the model sees of a character: a byte-level one sees a symbol for each byte."""
        whole = self._seen(f"{_BESIDE}{character}{_BESIDE}")
        first, last = whole.find(_BESIDE), whole.rfind(_BESIDE)
        # A pre-tokenizer may drop punctuation, and then adds nothing that is not of the character.
        return whole[first + 1 : last] if first < last else self._seen(character)

    def _seen(self, text: str) -> str:
        if self._tokenizer.normalizer is not None:
            text = self._tokenizer.normalizer.normalize_str(text)
        if self._tokenizer.pre_tokenizer is None:
            return text
        return "".join(word for word, _ in self._tokenizer.pre_tokenizer.pre_tokenize_str(text))

    def _has(self, symbol: str) -> bool:
        found = self._tokenizer.token_to_id(symbol)
        if found is not None and found != self.unk:
            return True
        names = [f"<0x{byte:02X}>" for byte in symbol.encode()]
        return self._byte_fallback and all(map(self._is_token, names))

    def _is_token(self, text: str) -> bool:
        return self._tokenizer.token_to_id(text) is not None


def _load(content: dict[str, Any], path: Path) -> Any:
    # Said, because the package asks when a process forks that has not.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    try:
        import tokenizers  # noqa: PLC0415  needed only by those who have such a file
    except ImportError:
        raise ConfigError(
            f"{path}: needs the package tokenizers, which is not installed; install what "
            "envs/cpu.txt or envs/gpu.txt lists, or train a tokenizer (tokenizer.source "
            "sentencepiece)"
        ) from None
    try:
        return tokenizers.Tokenizer.from_str(orjson.dumps(content).decode())
    except Exception as error:  # noqa: BLE001  the package raises no narrower one
        raise ConfigError(
            f"{path}: is no tokenizer that the package tokenizers {tokenizers.__version__} reads "
            f"({error}); give another tokenizer.json"
        ) from None
