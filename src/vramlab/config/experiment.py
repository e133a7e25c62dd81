"""The whole configuration file, checked in one place before any work starts."""

from __future__ import annotations

import itertools
import json
import re
import reprlib
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, NamedTuple, Union, get_args, get_origin

import psutil
import yaml
from pydantic import BaseModel, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from vramlab.base.errors import ConfigError, nearest, suggestion
from vramlab.config import model_files, tokenizer_file
from vramlab.config.axes import OPTIMIZER_VALUES
from vramlab.config.base import Section, Seed
from vramlab.config.corpus import CorpusConfig
from vramlab.config.estimate import EstimateConfig
from vramlab.config.measure import MeasureConfig
from vramlab.config.model import DecoderConfig, ModelConfig, TransformersConfig
from vramlab.config.report import ReportConfig
from vramlab.config.sweep import SweepConfig
from vramlab.config.technique import Setting, Technique
from vramlab.config.tokenizer import (
    FileTokenizerConfig,
    ModelTokenizerConfig,
    SentencePieceConfig,
    TokenizerConfig,
)
from vramlab.config.training import TrainingConfig

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", max_length=64)]


class Run(NamedTuple):
    """One technique, measured at one sequence length and one batch setting."""

    technique: str
    length: int
    setting: Setting


class Experiment(Section):
    """The configuration file."""

    experiment: Name
    """Name of the experiment: the results are in `results/<experiment>/`."""
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1)] = (9,)
    """Seeds; each repeats every full epoch. The first also seeds the profiles."""
    sequence_length: Annotated[int, Field(ge=2)] = 256
    """Tokens of a training sequence."""
    corpus: CorpusConfig
    tokenizer: TokenizerConfig = SentencePieceConfig()
    model: ModelConfig = DecoderConfig()
    training: TrainingConfig = TrainingConfig()
    measure: MeasureConfig = MeasureConfig()
    estimate: EstimateConfig = EstimateConfig()
    baseline: str = "fp32"
    """The technique that the others are compared with, and whose largest batch all run at."""
    techniques: Annotated[dict[Name, Technique], Field(min_length=1)]
    """Name and axes of each technique."""
    sweep: SweepConfig = SweepConfig()
    report: ReportConfig = ReportConfig()

    @model_validator(mode="after")
    def _names_exist(self) -> Experiment:
        for where, name in [
            ("baseline", self.baseline),
            *(("sweep.techniques", name) for name in self.sweep.techniques),
        ]:
            if name not in self.techniques:
                raise ValueError(
                    f"{where} names the technique {name!r}, which is not under techniques; "
                    + suggestion(name, self.techniques)
                )
        if len(set(self.seeds)) != len(self.seeds):
            raise ValueError(f"seeds lists a seed twice: {list(self.seeds)}; keep one of each")
        return self

    @model_validator(mode="after")
    def _techniques_suit(self) -> Experiment:
        model = self.model
        grouped = isinstance(model, DecoderConfig) and model.key_value_heads != model.heads
        accumulates = self.training.effective_batch_size is not None
        clips = self.training.gradient_clipping is not None
        for name, technique in self.techniques.items():
            if grouped and technique.attention == "plain":
                raise ValueError(
                    f"techniques.{name}: attention plain has no grouped heads; set attention to "
                    "another value, such as sdpa, or remove model.kv_heads"
                )
            if accumulates and not technique.accumulates:
                what = "cuda_graphs" if technique.cuda_graphs else "optimizer in-backward"
                raise ValueError(
                    f"techniques.{name}: {what} cannot add up the gradients of several "
                    "micro-batches; change it, or remove training.effective_batch_size"
                )
            if clips and not OPTIMIZER_VALUES[technique.optimizer].clips:
                raise ValueError(
                    f"techniques.{name}: optimizer {technique.optimizer} takes each gradient in "
                    "the backward pass, before the norm of all is known; change it, or remove "
                    "training.gradient_clipping"
                )
        return self

    @model_validator(mode="after")
    def _tokenizer_is_somewhere(self) -> Experiment:
        model = self.model
        if isinstance(self.tokenizer, ModelTokenizerConfig):
            tokenizer_of(model)
        pretrained = isinstance(model, TransformersConfig) and model.weights == "pretrained"
        if pretrained and isinstance(self.tokenizer, SentencePieceConfig):
            raise ValueError(
                "tokenizer: pretrained weights know the tokens of their own tokenizer only; set "
                "tokenizer.source to model or file, or model.weights to random"
            )
        return self

    @property
    def keeps_vocabulary(self) -> bool:
        """Whether the model keeps its own vocabulary, which may be larger than the tokenizer's."""
        return keeps_vocabulary(self.model, self.tokenizer)

    @property
    def tokenizer_file(self) -> Path | None:
        """The `tokenizer.json` that is used; None where a tokenizer is trained."""
        match self.tokenizer:
            case FileTokenizerConfig(path=path):
                return Path(path)
            case ModelTokenizerConfig():
                return tokenizer_of(self.model)
        return None

    @cached_property
    def vocab_size(self) -> int:
        """Tokens that the tokenizer knows, whose file is read once.

        Raises:
            ConfigError: the tokenizer's file is missing, no tokenizer, or without a special token.
        """
        if isinstance(self.tokenizer, SentencePieceConfig):
            return self.tokenizer.vocab_size
        assert self.tokenizer_file is not None
        own = self.tokenizer
        return tokenizer_file.read(self.tokenizer_file, own.eos, own.pad).vocab_size

    @property
    def model_vocabulary(self) -> int | None:
        """Tokens that the model has by itself; None where it has none of its own.

        Raises:
            ConfigError: the model's config.json is missing, or no JSON.
        """
        return model_files.own_vocabulary(self.model)

    @property
    def lengths(self) -> list[int]:
        """All sequence lengths, the main one first."""
        return list(dict.fromkeys((self.sequence_length, *self.sweep.lengths)))

    def searches(self) -> Iterator[tuple[str, int]]:
        """Each technique and sequence length whose largest batch is searched."""
        for name in self.techniques:
            yield name, self.sequence_length
        swept = dict.fromkeys((self.baseline, *self.sweep.techniques))
        for length, name in itertools.product(self.lengths[1:], swept):
            yield name, length

    def runs(self) -> Iterator[Run]:
        """Each run that is profiled; the baseline's two settings are one and the same."""
        for name, length in self.searches():
            if name != self.baseline:
                yield Run(name, length, "equal")
            yield Run(name, length, "own")

    def epochs(self) -> Iterator[tuple[Run, int]]:
        """Each run and seed that is trained for whole epochs: those at the main length."""
        for run, seed in itertools.product(self.runs(), self.seeds):
            if run.length == self.sequence_length:
                yield run, seed


def keeps_vocabulary(model: ModelConfig, tokenizer: TokenizerConfig | None) -> bool:
    """Whether a model keeps its own vocabulary beside a tokenizer, which may be larger than it."""
    return isinstance(model, TransformersConfig) and (
        model.vocabulary == "own"
        or model.weights == "pretrained"
        or isinstance(tokenizer, ModelTokenizerConfig)
    )


def tokenizer_of(model: ModelConfig) -> Path:
    """The `tokenizer.json` in a model's folder.

    Raises:
        ValueError: the model is not a folder of transformers, so that it has no tokenizer.
    """
    if isinstance(model, TransformersConfig) and model.folder is not None:
        return model.folder / "tokenizer.json"
    raise ValueError(
        "tokenizer.source model needs model.source transformers with a folder, which has the "
        "model's tokenizer.json; set both, or name a file: {source: file, path: tokenizer.json}"
    )


def parse(raw: Mapping[str, Any], where: str = "the configuration") -> Experiment:
    """Check a configuration that is already read.

    Args:
        raw: the mapping that the file holds.
        where: what the errors call it, such as the file's path.

    Raises:
        ConfigError: one sentence that names the first wrong key, and how many more there are.
    """
    try:
        return Experiment.model_validate(raw)
    except ValidationError as error:
        first, *others = sentences(error)
        more = f" (and {len(others)} more; `vramlab check` names all)" if others else ""
        raise ConfigError(f"{where}: {first}{more}") from None


def check_files(config: Experiment) -> int:
    """Refuse a model or a tokenizer whose files are missing.

    Returns:
        Tokens of the tokenizer, which its file says; no more than a model has that keeps its own,
        see `tokens_beyond_model`.

    Raises:
        ConfigError: one sentence that names the file and the key.
    """
    model_files.check(config.model)
    size, own = config.vocab_size, config.model_vocabulary
    return min(size, own) if config.keeps_vocabulary and own is not None else size


def tokens_beyond_model(config: Experiment) -> str | None:
    """Why text cannot be trained on, if the tokenizer has tokens that the model lacks; else None.

    A prediction needs no text, and so no tokenizer that fits.

    Raises:
        ConfigError: the files of the model or the tokenizer are missing.
    """
    size, own = config.vocab_size, config.model_vocabulary
    if config.keeps_vocabulary and own is not None and size > own:
        return fewer_tokens(own, size)
    return None


def fewer_tokens(own: int, size: int) -> str:
    """The sentence on a model that keeps its `own` tokens beside a tokenizer of more, `size`."""
    return (
        f"model.vocabulary: the model has {own:,} tokens, fewer than the {size:,} of the "
        "tokenizer; use the model's own tokenizer (tokenizer: model), or set model.vocabulary "
        "to tokenizer"
    )


def check_file(path: Path | str) -> None:
    """Refuse a file whose values are not what its lines say, or that no reader survives.

    YAML takes the last of two equal keys and forgets the first; a few lines of aliases stand for
    billions of values, or for themselves; deep nesting, a date such as 2026-13-45 or a number of
    5,000 digits are errors of Python in Snakemake's reader.

    Raises:
        ConfigError: one sentence, with the line where there is one.
    """
    text = _read(Path(path))
    root = _compose(text, path)
    if root is None:
        return
    try:
        values, depth = _size(root, {})
        if depth > _MAX_DEPTH:
            raise RecursionError
        if values > _MAX_VALUES:
            raise ConfigError(
                f"{path}: its aliases stand for {values:.0e} values; write it without them"
            )
        repeated = next(_repeated(root, ()), None)
    except RecursionError:
        raise ConfigError(
            f"{path}: contains itself, or is nested too deep; write it without aliases"
        ) from None
    if repeated:
        names, node = repeated
        raise ConfigError(
            f"{path}, line {node.start_mark.line + 1}: the key {'.'.join(names)!r} is there twice; "
            "remove or rename one"
        )
    _values(text, path)


_MAX_VALUES = 100_000
_MAX_DEPTH = 50
"""Sections within sections: a valid configuration has fewer than ten."""


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be read ({error.strerror}); give a readable file"
        ) from None
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{path}: is not in UTF-8 (byte {error.start}); save it in that encoding"
        ) from None


def _compose(text: str, path: Path | str) -> yaml.Node | None:
    """The nodes of YAML; None for JSON that YAML does not take, such as JSON with tabs."""
    try:
        return yaml.compose(text, Loader=yaml.SafeLoader)
    except RecursionError:
        raise ConfigError(f"{path}: is nested too deep; correct the file") from None
    except yaml.YAMLError as error:
        try:
            json.loads(text, object_pairs_hook=lambda pairs: _unique(pairs, path))
        except (ValueError, RecursionError):
            why = _told(error)
            raise ConfigError(f"{path}: is no valid YAML ({why}); correct the file") from None
        return None


def _told(error: Exception) -> str:
    """What PyYAML says, in one line: without the extract from the file, which has several."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        return f"line {mark.line + 1}, column {mark.column + 1}: {error.problem or error.context}"
    return " ".join(str(error).split())


_ERRORS_OF_YAML = (ValueError, ArithmeticError, AttributeError, LookupError)
"""What PyYAML's constructors raise besides: for `2026-13-45`, `!!int ""`, `!!timestamp x`."""


def _values(text: str, path: Path | str) -> Any:
    """What the file holds, read as JSON or else as YAML, as Snakemake does."""
    try:
        return json.loads(text)
    except ValueError:
        pass
    except RecursionError:
        raise ConfigError(f"{path}: is nested too deep; correct the file") from None
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, *_ERRORS_OF_YAML) as error:
        raise ConfigError(
            f"{path}: holds a value that is none ({_told(error)}); correct it, or put it in quotes"
        ) from None


def _unique(pairs: list[tuple[str, Any]], path: Path | str) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"{path}: the key {name!r} is there twice; remove or rename one")
    return dict(pairs)


def _size(node: yaml.Node, known: dict[int, tuple[int, int]]) -> tuple[int, int]:
    """How many values a node stands for, aliases included, and how deep they are nested."""
    if id(node) not in known:
        children: list[yaml.Node] = []
        if isinstance(node, yaml.SequenceNode):
            children = node.value
        elif isinstance(node, yaml.MappingNode):
            children = [part for pair in node.value for part in pair]
        sizes = [_size(child, known) for child in children]
        values = 1 + sum(count for count, _ in sizes)
        known[id(node)] = values, 1 + max((depth for _, depth in sizes), default=0)
    return known[id(node)]


def _repeated(
    node: yaml.Node | None, above: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], yaml.Node]]:
    """Each key that its mapping has already had, with the names of those above it."""
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _repeated(item, above)
    if not isinstance(node, yaml.MappingNode):
        return
    seen = set()
    for key, value in node.value:
        names = (*above, str(key.value))
        if names in seen:
            yield names, key
        seen.add(names)
        yield from _repeated(value, names)


def load(path: Path | str) -> Experiment:
    """Read and check a configuration file (YAML or JSON).

    Raises:
        ConfigError: the file is missing, no YAML, or fails a check.
    """
    return parse(read_file(path), str(path))


def read_file(path: Path | str) -> dict[str, Any]:
    """What a configuration file (YAML or JSON) holds.

    Raises:
        ConfigError: the file is missing, no YAML, or refused by `check_file`.
    """
    path = Path(path)
    check_file(path)
    raw = _values(_read(path), path)
    if not isinstance(raw, dict):
        raise ConfigError(f"{path}: holds no mapping of keys to values; see config/README.md")
    return raw


def warnings(config: Experiment) -> Iterator[str]:
    """What is likely to be a mistake on this machine, a sentence each."""
    limit = config.measure.memory_limit_gib
    total = psutil.virtual_memory().total / 2**30
    if config.measure.device == "cpu" and limit is not None and limit > total:
        yield (
            f"measure.memory_limit_gib is {limit:g}, more than the {total:.3g} GiB of this "
            "machine; a job that takes more than there is will be killed"
        )


def sentences(error: ValidationError) -> list[str]:
    """What is wrong with each key of a configuration.

    Mistyped keys come first: each often makes a required one missing as well, and is the cause.
    """
    found = error.errors()
    # What is wrong within a list is left out of it by pydantic, and then it is too short as well.
    inside = {e["loc"][:length] for e in found for length in range(len(e["loc"]))}
    causes = [e for e in found if e["type"] != _TOO_SHORT or e["loc"] not in inside]
    return [_sentence(e) for e in sorted(causes, key=lambda e: e["type"] != _UNKNOWN)]


_TOO_SHORT = "too_short"
_SECTION = ("model_type", "model_attributes_type", "dict_type")
"""What pydantic says of a value where a section is meant."""
_BESIDE = {
    "adapter": "adapter_rank or adapter_targets",
    "loss_head": "chunk_tokens",
    "attention": "window",
    "parallel": "processes",
}
"""The keys of a technique that say more of a value; others write them as a mapping."""
_PLAIN = {
    **dict.fromkeys(
        _SECTION,
        "should hold keys with values of their own",
    ),
    **dict.fromkeys(
        ("int_type", "int_parsing", "int_from_float", "int_parsing_size"),
        "should be a whole number; change it",
    ),
    **dict.fromkeys(("float_type", "float_parsing"), "should be a number; change it"),
    **dict.fromkeys(("bool_type", "bool_parsing"), "should be true or false; change it"),
    "finite_number": "should be a finite number; change it",
    "string_type": "should be a text; put it in quotes",
    "tuple_type": "should be a list, such as [1, 2]",
}
"""What pydantic says of the types of Python, in words of YAML; by its names of errors."""
_UNKNOWN = "extra_forbidden"
"""What pydantic calls a key that is not known."""


def _sentence(first: ErrorDetails) -> str:
    key = _dotted(first["loc"])
    if first["type"] == _UNKNOWN:
        name = str(first["loc"][-1])
        text = f"unknown key {key!r}; {suggestion(name, _siblings(first['loc']))}"
    elif first["type"] == "missing":
        text = f"the key {key!r} is missing; add it (config/README.md explains each key)"
    elif first["type"] == "union_tag_invalid":
        text = f"{key!r} has the source " + _of_known(
            first["ctx"]["tag"], first["ctx"]["expected_tags"]
        )
    elif first["type"] == "literal_error":
        text = f"{key!r} has the value " + _of_known(first["input"], first["ctx"]["expected"])
        text += _beside(first)
    elif first["type"] == "union_tag_not_found":
        text = f"{key!r} has no source; name one of " + ", ".join(map(repr, _sources(first["loc"])))
    elif first["type"] == _TOO_SHORT:
        least = first["ctx"]["min_length"]
        text = (
            f"{key!r} is empty; give it one entry at least"
            if least == 1
            else f"{key!r} has {first['ctx']['actual_length']} entries; give it {least} at least"
        )
    elif first["type"] == "string_too_short":
        text = f"{key!r} is empty; give it a value"
    elif first["type"] == "invalid_key":
        text = f"{key!r} is a key that is no text; put it in quotes"
    elif first["type"] in _PLAIN:
        text = f"{key!r} has the value {_short(first['input'])} and {_PLAIN[first['type']]}"
        text += _some_keys(first)
    elif first["type"] == "string_pattern_mismatch":
        key, name = key.removesuffix(".[key]"), first["input"]
        text = (
            f"{key!r}: {name!r} is no name; use letters, digits, - and _, a letter or digit first"
        )
    elif first["type"] == "value_error":
        text = f"{key + ': ' if key else ''}{first['ctx']['error']}"
    else:
        text = f"{key!r} has the value {_short(first['input'])}"
        what = first["msg"].removeprefix("Input should ")
        text += f" and should {what}" if what != first["msg"] else f": {what}"
        text += "; change it"
    return text


def _some_keys(wrong: ErrorDetails) -> str:
    """The end of a sentence on a section that is none: some of its keys, where they are known."""
    if wrong["type"] not in _SECTION:
        return ""
    keys = _siblings((*wrong["loc"], ""))
    such = f", such as {' and '.join(keys[:2])}" if keys else ""
    return f"{such} (config/README.md explains each key); change it"


def _beside(wrong: ErrorDetails) -> str:
    """The end of a sentence on a mapping where a name is meant: which key says more of it."""
    key = _BESIDE.get(str(wrong["loc"][-1]))
    if key is None or not isinstance(wrong["input"], Mapping):
        return ""
    return f" by its name alone, and write {key} as a key beside it"


def _of_known(value: Any, expected: str) -> str:
    """A value that is none of those that are known, with the nearest of them.

    Args:
        value: as the user wrote it.
        expected: the known ones as pydantic lists them, each in quotation marks.
    """
    known = re.findall(r"'([^']*)'", expected)
    near = _meant(value, known) if isinstance(value, str) else []
    advice = f"did you mean {' or '.join(map(repr, near))}?" if near else "take one of these"
    listed = ", ".join(map(repr, known))
    return f"{_short(value)}, and known {'are' if len(known) > 1 else 'is'} {listed}; {advice}"


_ALIASES = {
    **dict.fromkeys(("gpu", "nvidia", "gpus"), "cuda"),
    **dict.fromkeys(("float32", "f32", "float", "32"), "fp32"),
    **dict.fromkeys(("bfloat16", "bfloat"), "bf16"),
    **dict.fromkeys(("float8", "f8"), "fp8"),
    **dict.fromkeys(("huggingface", "hf", "hub"), "transformers"),
    **dict.fromkeys(("file", "files", "folder", "path"), "local"),
    **dict.fromkeys(("adamw", "adamw_torch"), "adam"),
    **dict.fromkeys(("zero", "zero3", "deepspeed"), "fsdp"),
    **dict.fromkeys(("flash_attention_2", "flash-attn", "fa2"), "flash"),
}
"""Names that others give to a value; their spelling is nearer to another one, or to none."""


def _meant(value: str, known: list[str]) -> list[str]:
    """Those of the known values that may be meant, best first."""
    low = value.lower()
    exact = [name for name in known if name == _ALIASES.get(low, low)]
    return exact or nearest(low, known)


def _short(value: Any) -> str:
    """A value as it may be quoted, however large; in YAML's words where Python's differ."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    return reprlib.repr(value)


def _dotted(location: tuple[int | str, ...]) -> str:
    """The key as the user wrote it, without the tags that pydantic adds for unions."""
    return ".".join(str(part) for part, _ in _walk(location))


def _sources(location: tuple[int | str, ...]) -> list[str]:
    """The sources that are known for the section at `location`."""
    *_, (name, model) = _walk(location)
    annotation = model.model_fields[str(name)].annotation if model else None
    members = (member.model_fields.get("source") for member in _members(annotation))
    return [get_args(field.annotation)[0] for field in members if field is not None]


def _siblings(location: tuple[int | str, ...]) -> list[str]:
    """The keys that are known where the last part of `location` stands."""
    steps = list(_walk(location))
    model = steps[-1][1]
    return list(model.model_fields) if model else []


def _walk(location: tuple[int | str, ...]) -> Iterator[tuple[int | str, type[BaseModel] | None]]:
    """Each real key of `location`, with the section that it stands in."""
    current: Any = Experiment
    for part in location:
        union = {
            get_args(member.model_fields["source"].annotation)[0]: member
            for member in _members(current)
            if "source" in member.model_fields and member is not current
        }
        if part in union:  # pydantic names the member of a tagged union as a part of its own
            current = union[part]
            continue
        if _is_scalar_union(current):
            continue  # the part is pydantic's name of a member
        model = current if isinstance(current, type) and issubclass(current, BaseModel) else None
        yield part, model
        if model is not None:
            field = model.model_fields.get(str(part))
            current = field.annotation if field else None
        elif get_origin(current) is dict:
            current = get_args(current)[1]
        elif get_origin(current) is tuple:
            current = get_args(current)[0]
        else:
            current = None


def _is_scalar_union(annotation: Any) -> bool:
    """Whether it allows several kinds of value, none of which has parts."""
    return get_origin(annotation) in {Union, UnionType} and not any(
        get_origin(part) in {dict, tuple, list} or _members(part) for part in get_args(annotation)
    )


def _members(annotation: Any) -> list[type[BaseModel]]:
    """The sections that an annotation allows."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _members(part)]
