"""The configuration: what it refuses, in one sentence, and which runs it asks for."""

import copy
import json
import re
from pathlib import Path

import pytest
import yaml
from pipeline import TINY
from pydantic import ValidationError

from vramlab.base.errors import ConfigError
from vramlab.config import experiment, reference
from vramlab.config.experiment import Experiment, Run

CONFIG = Path(__file__).resolve().parents[2] / "config"


def raw():
    return yaml.safe_load((CONFIG / "config.yaml").read_text(encoding="utf-8"))


def changed(dotted, value):
    config = raw()
    *parents, key = dotted.split(".")
    section = config
    for parent in parents:
        section = section.setdefault(parent, {})
    section[key] = value
    return config


@pytest.mark.parametrize("name", sorted(path.name for path in CONFIG.glob("*.yaml")))
def test_the_shipped_configurations_are_valid(name):
    config = experiment.load(CONFIG / name)
    assert config.baseline in config.techniques


def test_the_mission_is_the_default():
    config = experiment.load(CONFIG / "config.yaml")
    assert config.corpus.train.name == "wolne_lektury_corpus"
    assert config.corpus.validation.name == "1000_novels_corpus_CLARIN-PL"
    assert config.corpus.quality == ("HIGH",)
    assert (config.tokenizer.vocab_size, config.sequence_length) == (12_000, 256)
    assert (config.model.d_model, config.model.layers, config.model.d_ff) == (128, 4, 1024)
    assert (config.training.learning_rate, config.training.epochs) == (1e-3, 1)
    assert config.seeds == (9,)
    assert config.measure.profile_steps == 20


@pytest.mark.parametrize(
    ("dotted", "value", "says"),
    [
        ("tokenzier", {}, ["'tokenzier'", "'tokenizer'"]),
        ("corpus.train.nam", "x", ["'corpus.train.nam'", "'name'"]),
        ("techniques.flash.windwo", 4, ["'techniques.flash.windwo'", "'window'"]),
        ("measure.memory_limit", 4, ["'measure.memory_limit'", "'memory_limit_gib'"]),
        ("techniques.fp32.attention", "flash", ["techniques.fp32", "16 bits", "bf16"]),
        ("techniques.sdpa.window", 8, ["techniques.sdpa", "no window", "masked"]),
        ("techniques.new", {"attention": "masked"}, ["techniques.new", "needs a window"]),
        ("techniques.windowed.window", 0, ["'techniques.windowed.window'", "0"]),
        ("techniques.fp32.chunk_tokens", 8, ["techniques.fp32", "no chunks", "fused"]),
        ("techniques.fp32.cuda_graphs", True, ["techniques.fp32", "needs compiled code"]),
        (
            "techniques.new",
            {"offload": "activations", "compile": "default"},
            ["techniques.new", "offload cannot see"],
        ),
        (
            "techniques.new",
            {"feed_forward": "tiled", "checkpointing": "selective"},
            ["techniques.new", "checkpointing selective keeps"],
        ),
        ("techniques.new", {"processes": 2}, ["techniques.new", "2 processes", "ddp or fsdp"]),
        ("techniques.new", {"processes": "all"}, ["techniques.new", "all processes"]),
        ("techniques.new", {"parallel": "ddp"}, ["techniques.new", "at least two processes"]),
        ("techniques.new", {"parallel": "ddp", "processes": 0}, ["techniques.new.processes", "0"]),
        ("techniques.new", {"parallel": "ddp", "processes": "al"}, ["new.processes", "'al'"]),
        (
            "techniques.new",
            {"parallel": "fsdp", "processes": 2, "compile": "default"},
            ["techniques.new", "not compiled"],
        ),
        (
            "techniques.new",
            {"parallel": "ddp", "processes": 2, "optimizer": "in-backward"},
            ["techniques.new", "before ddp has added up"],
        ),
        (
            "techniques.new",
            {"parallel": "fsdp", "processes": 2, "optimizer": "ao-4bit"},
            ["techniques.new", "copied to a checkpoint"],
        ),
        (
            "techniques.new",
            {"parallel": "ddp", "processes": 2, "optimizer": "ao-offload"},
            ["techniques.new", "before ddp has added it up"],
        ),
        (
            "techniques.new",
            {"parallel": "fsdp", "processes": 2, "optimizer": "8bit"},
            ["techniques.new", "share of a weight"],
        ),
        (
            "techniques.new",
            {"checkpointing": "budget"},
            ["techniques.new", "needs checkpointing_budget", "{budget: 0.5}"],
        ),
        (
            "techniques.new",
            {"checkpointing": {"budget": 1.5}},
            ["techniques.new.checkpointing.budget", "less than or equal to 1"],
        ),
        (
            "techniques.new",
            {"checkpointing": {"budget": 0.5}, "parallel": "fsdp", "processes": 2},
            ["techniques.new", "fsdp gathers its weights for one run"],
        ),
        (
            "techniques.new",
            {"parallel": "fsdp", "processes": 2, "offload": "activations"},
            ["techniques.new", "fsdp gathered"],
        ),
        ("training.weight_decay", -0.1, ["'training.weight_decay'", "-0.1"]),
        ("training.gradient_clipping", 0, ["'training.gradient_clipping'", "0"]),
        ("training.warmup_steps", -1, ["'training.warmup_steps'", "-1"]),
        ("model.heads", 3, ["d_model 128", "heads 3"]),
        ("model.kv_heads", 3, ["heads 4", "kv_heads 3"]),
        ("model.kv_heads", 2, ["techniques.fp32", "no grouped heads", "sdpa"]),
        ("model.dropout", 1.5, ["'model.dropout'", "1.5"]),
        ("baseline", "fp31", ["'fp31'", "'fp32'"]),
        ("sweep.techniques", ["flsh"], ["'flsh'", "'flash'"]),
        ("experiment", "../escape", ["'experiment'", "../escape"]),
        ("corpus.train.name", "../escape", ["'corpus.train.name'", "../escape"]),
        ("corpus.overlap", "nearly", ["'corpus.overlap'", "'nearly'"]),
        ("corpus.overlap_threshold", 0, ["'corpus.overlap_threshold'", "0"]),
        ("corpus.train", {"source": "split"}, ["corpus.train", "split"]),
        ("corpus.validation", {"source": "split", "shar": 0.1}, ["validation.shar'", "'share'"]),
        ("corpus.validation", {"source": "split", "share": 1}, ["corpus.validation.share", "1"]),
        ("corpus.train", {"source": "local", "path": "a", "files": "../b"}, ["leads out"]),
        (
            "corpus.train",
            {"source": "mix", "parts": [{"wieght": 1, "corpus": {"source": "synthetic"}}] * 2},
            ["'corpus.train.parts.0.wieght'", "'weight'"],
        ),
        (
            "corpus.train",
            {"source": "mix", "parts": [{"corpus": {"source": "local", "pth": "a"}}] * 2},
            ["'corpus.train.parts.0.corpus.pth'", "'path'"],
        ),
        ("seeds", [1, 1], ["seeds", "twice"]),
        ("seeds", [-1], ["'seeds.0'", "-1"]),
        ("seeds", [2**64], ["'seeds.0'", str(2**64)]),
        ("corpus.validation", {"source": "split", "seed": -1}, ["validation.seed'", "-1"]),
        ("seeds", 9, ["'seeds' has the value 9 and should be a list"]),
        ("techniques.my tech", {}, ["'techniques.my tech'", "'my tech' is no name"]),
        ("techniques.x", {"precision": "fp12"}, ["'techniques.x.precision'", "'fp12'"]),
    ],
)
def test_a_mistake_is_named_in_one_sentence(dotted, value, says):
    with pytest.raises(ConfigError) as error:
        experiment.parse(changed(dotted, value), "config/config.yaml")
    text = str(error.value)
    assert text.startswith("config/config.yaml: ")
    assert "\n" not in text
    for part in says:
        assert part in text


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: 1\nb: 2\na: 3\n", "bad.yaml, line 3: the key 'a' is there twice"),
        (
            "techniques:\n  fp32: {}\n  fp32: {precision: bf16}\n",
            "line 3: the key 'techniques.fp32'",
        ),
        ("parts:\n  - {w: 1, w: 2}\n", "line 2: the key 'parts.w' is there twice"),
    ],
)
def test_a_key_that_is_there_twice_is_refused(tmp_path, text, says):
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=re.escape(says)):
        experiment.check_file(path)


def test_the_shipped_configurations_say_each_key_once():
    for path in CONFIG.glob("*.yaml"):
        experiment.check_file(path)


def test_a_missing_key_is_named():
    config = raw()
    del config["corpus"]["validation"]
    with pytest.raises(ConfigError, match=r"'corpus\.validation' is missing"):
        experiment.parse(config)


@pytest.mark.parametrize(
    "axes", [{"optimizer": "in-backward"}, {"compile": "default", "cuda_graphs": True}]
)
def test_what_cannot_accumulate_is_refused_where_the_training_does(axes):
    raw = changed("training.effective_batch_size", 64)
    raw["techniques"] = {"fp32": {}, "new": axes}
    with pytest.raises(ConfigError, match=r"techniques\.new: .* several micro-batches"):
        experiment.parse(raw)
    del raw["training"]["effective_batch_size"]
    assert not experiment.parse(raw).techniques["new"].accumulates


@pytest.mark.parametrize("optimizer", ["in-backward", "ao-offload"])
def test_gradients_that_are_taken_in_the_backward_pass_cannot_be_clipped(optimizer):
    raw = changed("training.gradient_clipping", 1.0)
    raw["techniques"] = {"fp32": {}, "new": {"optimizer": optimizer}}
    with pytest.raises(
        ConfigError, match=r"techniques\.new: .* takes each gradient in the backward pass"
    ):
        experiment.parse(raw)
    raw["training"]["gradient_clipping"] = None
    experiment.parse(raw)


@pytest.mark.parametrize(
    ("text", "says"),
    [("a: [", "no valid YAML"), ("- 1", "no mapping"), ("\xff", "is not in UTF-8")],
)
def test_a_file_that_is_no_configuration_is_refused(tmp_path, text, says):
    path = tmp_path / "bad.yaml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError, match=says):
        experiment.load(path)


LAUGHS = "a0: &a0 [1, 1]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 30)
)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (LAUGHS.encode(), "its aliases stand for"),
        (b"a: &a [*a]", "contains itself"),
        (b"a: &a {b: *a}", "contains itself"),
        (b"a: " + b"[" * 50_000, "nested too deep"),
        (b"{" + b'"a": {' * 50_000, "nested too deep"),
        (b"a: " + b"[" * 99 + b"]" * 99, "nested too deep"),
        (b"[" * 50_000 + b"]" * 50_000, "nested too deep"),
        (b"a: 2026-13-45", "holds a value that is none"),
        (b"a: " + b"9" * 5000, "holds a value that is none"),
        (b"a: 0b_", "holds a value that is none"),
        (b"? [a]\n: b", "holds a value that is none"),
        (b"a: !!python/name:os.system", "holds a value that is none"),
        ("zażółć".encode("iso8859-2"), "is not in UTF-8"),
        ("a: 1".encode("utf-16"), "is not in UTF-8"),
        (b"a: \x00", "is no valid YAML"),
        (b'{\n\t"a": 1,\n\t"a": 2\n}', "the key 'a' is there twice"),
        (None, "Is a directory"),
    ],
    ids=[
        *("billion laughs", "itself in a list", "itself in a mapping", "deep", "deep json"),
        *("less deep", "deep and closed", "no date", "5,000 digits", "no number"),
        *("list as key", "tag of Python"),
        *("latin", "utf-16", "control character", "json with a key twice", "folder"),
    ],
)
def test_a_hostile_file_ends_in_one_sentence(tmp_path, content, says):
    path = tmp_path / "bad.yaml"
    path.mkdir() if content is None else path.write_bytes(content)
    for check in (experiment.check_file, experiment.load):
        with pytest.raises(ConfigError, match=says) as error:
            check(path)
        assert "\n" not in str(error.value)


def test_json_with_tabs_is_read(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(raw(), indent="\t"))
    experiment.check_file(path)
    assert experiment.load(path) == experiment.parse(raw())


def test_a_huge_value_is_quoted_short():
    with pytest.raises(ConfigError) as error:
        experiment.parse(changed("sequence_length", ["x" * 10_000] * 10_000))
    assert len(str(error.value)) < 1000


@pytest.mark.parametrize(("gib", "said"), [(1, 0), (10**9, 1)])
def test_a_limit_beyond_the_memory_of_the_machine_is_said(gib, said):
    config = experiment.parse(
        {**raw(), "measure": {"device": "cpu", "memory_limit_gib": gib}, "techniques": {"fp32": {}}}
    )
    assert len([w for w in experiment.warnings(config) if "memory_limit_gib" in w]) == said


def test_each_technique_runs_twice_and_the_baseline_once():
    config = experiment.parse(changed("techniques", {"fp32": {}, "bf16": {"precision": "bf16"}}))
    assert list(config.runs()) == [
        Run("fp32", 256, "own"),
        Run("bf16", 256, "equal"),
        Run("bf16", 256, "own"),
    ]
    assert [seed for _, seed in config.epochs()] == [9, 9, 9]


def test_a_sweep_adds_searches_and_profiles_with_the_baseline_but_no_epochs():
    changes = copy.deepcopy(raw())
    changes["sweep"] = {"lengths": [1024, 256], "techniques": ["sdpa"]}
    changes["seeds"] = [1, 2]
    config = experiment.parse(changes)
    assert config.lengths == [256, 1024]
    swept = [(name, length) for name, length in config.searches() if length == 1024]
    assert swept == [("fp32", 1024), ("sdpa", 1024)]
    epochs = list(config.epochs())
    assert {run.length for run, _ in epochs} == {256}
    assert len(epochs) == 2 * (2 * len(config.techniques) - 1)


def test_the_corpora_of_a_mix_are_fetched_one_by_one():
    changes = raw()
    parts = [
        {"weight": 3, "corpus": {"source": "speakleash", "name": "x", "max_bytes": 7}},
        {"corpus": {"source": "local", "path": "y.parquet"}},
    ]
    changes["corpus"] |= {
        "train": {"source": "mix", "parts": parts, "max_documents": 9},
        "validation": {"source": "split", "share": 0.1, "seed": 3},
    }
    corpus = experiment.parse(changes).corpus
    assert list(corpus.parts("train")) == ["train-1", "train-2"] == list(corpus.parts("validation"))
    train, validation = corpus.selection("train"), corpus.selection("validation")
    assert train.weights == (3, 1)
    assert [limits.max_bytes for limits in train.part_limits] == [7, None]
    assert train.limits.max_documents == 9
    assert (train.held_out.kept, validation.held_out.kept) == (False, True)
    split = {"share": 0.1, "seed": 3, "by": "documents", "kept": True}
    assert validation.held_out.model_dump() == split


def test_the_reference_is_generated_from_the_models():
    assert (CONFIG / "README.md").read_text(encoding="utf-8") == reference.readme()
    assert json.loads((CONFIG / "schema.json").read_text()) == json.loads(reference.schema())


@pytest.mark.parametrize(
    ("measure", "said"),
    [
        ({"headroom": {"gib": 1, "share": 0.1}}, "give one of the two"),
        ({"headroom": {"share": 1}}, "measure.headroom.share"),
        ({"headroom": {"gib": -1}}, "measure.headroom.gib"),
        ({"headroom": {"gib": 8}, "memory_limit_gib": 8}, "leaves nothing of memory_limit_gib 8"),
    ],
    ids=["gib and share", "all", "negative", "the whole limit"],
)
def test_a_headroom_is_one_size_below_the_limit(measure, said):
    with pytest.raises(ConfigError, match=re.escape(said)):
        experiment.parse({**raw(), "measure": measure})


@pytest.mark.parametrize(
    ("peaks", "said"),
    [({"bf16": 0}, "measure.peak_tflops.bf16"), ({"fp16": 312}, "measure.peak_tflops.fp16")],
)
def test_a_peak_is_positive_and_of_a_known_type(peaks, said):
    with pytest.raises(ConfigError, match=re.escape(said)):
        experiment.parse({**raw(), "measure": {"peak_tflops": peaks}})


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"measure": {"device": "gpu"}}, "did you mean 'cuda'?"),
        ({"measure": {"device": "CUDA"}}, "did you mean 'cuda'?"),
        ({"model": {"source": "huggingface"}}, "did you mean 'transformers'?"),
        ({"measure": None}, "'measure' has the value null and should hold keys with values"),
        ({"techniques": ["fp32"]}, "'techniques' has the value ['fp32'] and should hold keys"),
        ({"techniques": {}}, "'techniques' is empty; give it one entry at least"),
        ({"corpus": {"train": {}}}, "'corpus.train' has no source; name one of 'speakleash', 'lo"),
        ({"seeds": ["a"]}, "'seeds.0' has the value 'a' and should be a whole number; change it"),
        ({"seeds": []}, "'seeds' is empty; give it one entry at least"),
        ({"sequence_length": 1.5}, "has the value 1.5 and should be a whole number; change it"),
        ({"training": {"learning_rate": "x"}}, "has the value 'x' and should be a number; change"),
        ({"baseline": True}, "'baseline' has the value true and should be a text; put it in quot"),
        ({"training": {1: 2}}, "'training.1' is a key that is no text; put it in quotes"),
        ({"model": {"source": "transformers", "path": ""}}, "'model.path' is empty; give it a va"),
    ],
)
def test_a_wrong_kind_of_value_is_said_in_plain_words(changes, says):
    with pytest.raises(ConfigError) as refused:
        experiment.parse(TINY | changes)
    assert says in str(refused.value)


def _numbers(section):
    """Each key of the configuration that may hold a number or a list of them, with its section."""
    for key, field in section.model_fields.items():
        members = experiment._members(field.annotation)
        for member in members:
            yield from _numbers(member)
        kinds = set(re.findall(r"\b(int|float|bool)\b", repr(field.annotation)))
        if not members and kinds & {"int", "float"} and "bool" not in kinds:
            yield section, key


@pytest.mark.parametrize(
    ("section", "key"), sorted(set(_numbers(Experiment)), key=lambda pair: (str(pair[0]), pair[1]))
)
@pytest.mark.parametrize("value", [True, False, [True], [2, False]])
def test_a_truth_is_no_number(section, key, value):
    with pytest.raises(ValidationError) as refused:
        section.model_validate({key: value})
    found = [e for e in refused.value.errors() if e["loc"][0] == key]
    assert found
    if isinstance(value, bool):
        assert found[0]["type"] in {"int_type", "float_type", "tuple_type"}


def test_the_place_of_a_truth_is_told():
    for changes, says in (
        ({"measure": {"longest_sequence": True}}, "'measure.longest_sequence' has the value true"),
        ({"seeds": [9, True]}, "'seeds.1' has the value true and should be a whole number"),
        ({"measure": {"headroom": {"gib": True}}}, "'measure.headroom.gib' has the value true and"),
    ):
        with pytest.raises(ConfigError) as refused:
            experiment.parse(TINY | changes)
        assert says in str(refused.value)


OF_PYDANTIC = re.compile(r"Input should|valid (dict|int|num|str)|instance of|after valid|discrimin")


@pytest.mark.parametrize("key", sorted(Experiment.model_fields))
@pytest.mark.parametrize("value", [None, [], ["a"], [1], {}, {1: 2}, "", "x", 3, -1, 1.5, True])
def test_no_sentence_is_pydantics(key, value):
    """Of a section, and of each key that it has."""
    below = TINY.get(key) if isinstance(TINY.get(key), dict) else {}
    for raw in (TINY | {key: value}, *(TINY | {key: below | {k: value}} for k in below)):
        try:
            Experiment.model_validate(raw)
        except ValidationError as error:
            found = experiment.sentences(error)
            assert not [s for s in found if OF_PYDANTIC.search(s)], found


def test_what_is_wrong_beside_the_first_is_counted_and_where_it_is_named():
    with pytest.raises(ConfigError) as refused:
        experiment.parse(TINY | {"sequence_length": 0, "seeds": 9, "baselin": "x"}, "t.yaml")
    assert str(refused.value).endswith(" (and 2 more; `vramlab check` names all)")


@pytest.mark.parametrize(
    ("technique", "says"),
    [
        (
            {"precision": "bf32"},
            "'techniques.a.precision' has the value 'bf32', and known are 'fp32', 'tf32', 'bf16', "
            "'pure-bf16', 'fp8', 'pure-bf16-fp8'; did you mean 'tf32' or 'fp32' or 'bf16'?",
        ),
        ({"precision": 16}, "'pure-bf16', 'fp8', 'pure-bf16-fp8'; take one of these"),
        ({"attention": "flsh"}, "did you mean 'flash'"),
        ({"processes": "al"}, "'techniques.a.processes' has the value 'al' and should be a whole"),
        ({"cuda_graphs": "yess"}, "has the value 'yess' and should be true or false; change it"),
        ({"precision": "float32"}, "did you mean 'fp32'?"),
        (
            "bf16",
            "'techniques.a' has the value 'bf16' and should hold keys with values of their own, "
            "such as precision and attention (config/README.md",
        ),
        (
            {"checkpointing": {"budgt": 0.5}},
            "'techniques.a.checkpointing' has the value {'budgt': 0.5}, and known are 'none', "
            "'block', 'selective', '{budget: 0.5}'; take one of these",
        ),
        ({"checkpointing": 0.5}, "'{budget: 0.5}'; take one of these"),
        ({"checkpointing": {"budget": 2}}, "'techniques.a.checkpointing.budget' has the value 2"),
        ({"checkpointing": {"budget": "x"}}, "checkpointing.budget' has the value 'x' and should"),
        ({"checkpointing": {"budget": True}}, "checkpointing.budget' has the value true and shou"),
        ({"checkpointing_budget": 2}, "'techniques.a.checkpointing_budget' has the value 2 and"),
        ({"adapter": {"rank": 8}}, "by its name alone, and write adapter_rank or adapter_targets "),
        ({"loss_head": {"chunked": 8}}, "by its name alone, and write chunk_tokens as a key besi"),
        ({"attention": {"window": 8}}, "by its name alone, and write window as a key beside it"),
        ({"parallel": {"ddp": 2}}, "by its name alone, and write processes as a key beside it"),
    ],
)
def test_a_wrong_value_is_named_with_what_may_be_meant(technique, says):
    techniques = {"fp32": {}, "a": technique}
    with pytest.raises(ConfigError) as refused:
        experiment.parse(TINY | {"techniques": techniques})
    assert says in str(refused.value)
    assert "Input should" not in str(refused.value)


@pytest.mark.parametrize(
    ("section", "says"),
    [
        ({"tokenizer": {"source": "sentencepice"}}, "did you mean 'sentencepiece'?"),
        ({"model": {"source": "transfomers", "path": "x"}}, "did you mean 'transformers'?"),
        ({"measure": {"device": "cudda"}}, "did you mean 'cuda'"),
    ],
)
def test_a_wrong_source_is_named_with_what_may_be_meant(section, says):
    with pytest.raises(ConfigError, match=re.escape(says)):
        experiment.parse(TINY | section)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: b: c", "(line 1, column 5: mapping values are not allowed here)"),
        ("a:\n\t- b", "(line 2, column 1: found character"),
        ('x: "abc\n', "(line 2, column 1: found unexpected end of stream)"),
        ("a: !!timestamp x", "holds a value that is none ("),
    ],
)
def test_yaml_that_is_none_is_told_by_line_and_column(tmp_path, text, says):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as refused:
        experiment.read_file(path)
    assert says in str(refused.value)
    assert "\\n" not in str(refused.value)
