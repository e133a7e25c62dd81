"""What a `tokenizer.json` says without the package tokenizers: its vocabulary, its special tokens.

The vocabulary sizes the model, so it is needed before any job runs, and for an estimate on a
machine that has no corpus. Source of the format: the package's `Tokenizer.save`, and
`tokenizer_config.json` and `special_tokens_map.json` of transformers, which name special tokens.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from vramlab.base.errors import ConfigError, nearest

MAX_VOCABULARY = 2**31
BESIDE = ("tokenizer_config.json", "special_tokens_map.json")
"""The files that may stand beside a `tokenizer.json`, in the order in which they are asked."""
USUAL_EOS = (
    *("<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>", "<|eos|>", "<EOS>", "[EOS]"),
    *("<｜end▁of▁sentence｜>", "<|im_end|>", "[SEP]"),
)
"""What tokens are called that end a text; those that end a document before those that end a turn
of a conversation or a sentence, since a tokenizer may have both."""
USUAL_PAD = ("<pad>", "[PAD]", "<|pad|>", "<PAD>", "<|padding|>")
_SHOWN = 8


@dataclass(frozen=True)
class TokenizerFile:
    """A `tokenizer.json`, read and found to be one."""

    path: Path
    content: dict[str, Any]
    """The JSON."""
    vocab_size: int
    """The largest token id + 1."""
    eos: int
    """The token that ends a document."""
    pad: int
    """The token that fills the last sequence."""


def read(path: Path | str, eos: str | None = None, pad: str | None = None) -> TokenizerFile:
    """Read a `tokenizer.json`, and find its special tokens.

    Args:
        path: the file.
        eos: text of the token that ends a document; None for the one that the files name.
        pad: text of the padding token; None for the one that the files name, or else `eos`.

    Raises:
        ConfigError: a file is missing or no such JSON, or has no such token.
    """
    path = Path(path)
    content = _tokenizer(path)
    named = [_special_tokens(beside) for beside in files_of(path)[1:]]
    eos_id = _eos(path, content, eos, named)
    return TokenizerFile(
        path=path,
        content=content,
        vocab_size=_vocabulary(path, content),
        eos=eos_id,
        pad=_pad(path, content, pad, named, eos_id),
    )


def vocabulary_of(path: Path | str) -> int:
    """The largest token id of a `tokenizer.json` + 1, added tokens included.

    Raises:
        ConfigError: the file is missing, or no such JSON.
    """
    return _vocabulary(Path(path), _tokenizer(Path(path)))


def files_of(path: Path | str) -> list[Path]:
    """A `tokenizer.json` and the files beside it that name its special tokens."""
    path = Path(path)
    return [path, *filter(Path.is_file, map(path.with_name, BESIDE))]


def _json(path: Path) -> dict[str, Any]:
    if path.is_dir():
        raise ConfigError(f"{path}: is a folder; name the tokenizer.json in it")
    try:
        content = orjson.loads(path.read_bytes())
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be read ({error.strerror}); give a tokenizer.json"
        ) from None
    except ValueError as error:
        raise ConfigError(f"{path}: is no JSON ({error}); give a tokenizer.json") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: is no JSON object; give a tokenizer.json")
    return content


def _tokenizer(path: Path) -> dict[str, Any]:
    content = _json(path)
    try:
        ids = list(_ids(content))
    except (LookupError, TypeError, ValueError, AttributeError):
        ids = []
    if not ids or not all(type(token_id) is int and token_id >= 0 for token_id in ids):
        raise ConfigError(
            f"{path}: is no tokenizer of the package tokenizers (it has no vocabulary under "
            "model.vocab); give a tokenizer.json as its `save` writes it"
        )
    return content


def _ids(content: dict[str, Any]) -> Iterator[Any]:
    vocabulary = content["model"]["vocab"]
    if isinstance(vocabulary, list):  # Unigram: pairs of a piece and its score
        yield from range(len([str(piece) for piece, _ in vocabulary]))
    else:
        yield from vocabulary.values()
    yield from (added["id"] for added in _added(content))


def _added(content: dict[str, Any]) -> list[dict[str, Any]]:
    return content.get("added_tokens") or []


def _vocabulary(path: Path, content: dict[str, Any]) -> int:
    size: int = max(_ids(content)) + 1
    if size > MAX_VOCABULARY:
        raise ConfigError(
            f"{path}: has the token id {size - 1}, beyond the largest of {MAX_VOCABULARY - 1}; "
            "give another tokenizer.json"
        )
    return size


def _id_of(content: dict[str, Any], text: str) -> int | None:
    vocabulary = content["model"]["vocab"]
    if isinstance(vocabulary, list):
        pieces = (index for index, (piece, _) in enumerate(vocabulary) if piece == text)
        known = next(pieces, None)
    else:
        known = vocabulary.get(text)
    return next((added["id"] for added in _added(content) if added["content"] == text), known)


def _special_tokens(path: Path) -> tuple[Path, dict[str, str]]:
    """The texts of special tokens that a file beside a tokenizer names."""
    texts = {}
    for name, value in _json(path).items():
        text = value.get("content") if isinstance(value, dict) else value
        if isinstance(text, str):
            texts[name] = text
    return path, texts


_Named = list[tuple[Path, dict[str, str]]]


def _eos(path: Path, content: dict[str, Any], eos: str | None, named: _Named) -> int:
    texts = [added["content"] for added in _added(content)]
    if eos is not None:
        return _known(path, content, "eos", eos)
    for beside, special in named:
        if (text := special.get("eos_token")) is not None:
            if (found := _id_of(content, text)) is None:
                raise ConfigError(
                    f"{beside}: names the token {text!r} as eos_token, which {path} does not have; "
                    f"set tokenizer.eos to one that it has ({_some(texts)})"
                )
            return found
    for text in USUAL_EOS:
        if text in texts and (found := _id_of(content, text)) is not None:
            return found
    raise ConfigError(
        f"{path}: says of no token that it ends a document; set tokenizer.eos to the text of one "
        f"({_some(texts)})"
    )


def _pad(path: Path, content: dict[str, Any], pad: str | None, named: _Named, eos: int) -> int:
    if pad is not None:
        return _known(path, content, "pad", pad)
    texts = [added["content"] for added in _added(content)]
    usual = [text for text in USUAL_PAD if text in texts]
    told = [special["pad_token"] for _, special in named if "pad_token" in special]
    ids = (_id_of(content, text) for text in itertools.chain(told, usual))
    return next((found for found in ids if found is not None), eos)


def _known(path: Path, content: dict[str, Any], key: str, text: str) -> int:
    if (found := _id_of(content, text)) is not None:
        return found
    texts = [added["content"] for added in _added(content)]
    near = nearest(text, texts)
    hint = " or ".join(map(repr, near)) if near else _some(texts)
    raise ConfigError(
        f"tokenizer.{key} is {text!r}, a token that {path} does not have; set it to one that it "
        f"has ({hint})"
    )


def _some(texts: Iterable[str]) -> str:
    """Examples of the tokens to choose from."""
    shown = list(itertools.islice(texts, _SHOWN + 1))
    if not shown:
        return "it has no added tokens; see its model.vocab"
    more = ", ..." if len(shown) > _SHOWN else ""
    return "such as " + ", ".join(map(repr, shown[:_SHOWN])) + more
