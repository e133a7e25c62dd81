"""`vramlab check`: all that is wrong is named at once, without torch where no model is made."""

import importlib.util
import itertools
import json
import math
import os
import random
import re
import socket
import subprocess
import sys
import time
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest
import torch
from backports import zstd
from pipeline import ROOT, TINY
from pyarrow import parquet
from pydantic import TypeAdapter
from servers import Faults, FaultyServer

from vramlab.base.errors import CorpusError, VramlabError
from vramlab.check import corpora, data_sets, local_corpus, machine
from vramlab.check import techniques as module
from vramlab.check.all import findings
from vramlab.config.corpus import LocalSource, SyntheticSource
from vramlab.config.experiment import Experiment
from vramlab.config.technique import Technique
from vramlab.config.tokenizer import SentencePieceConfig
from vramlab.config.workload import Workload
from vramlab.data.corpus.synthetic import write_layout
from vramlab.data.sentencepiece_tokenizer import train
from vramlab.model.sources import make_model
from vramlab.training.machine import Machine, obstacle

VERSE = "Litwo! Ojczyzno moja! ty jesteś jak zdrowie. "
# Of as many words as the vocabulary of `TINY` takes.
TEXT = VERSE * 200 + " ".join(
    random.Random(9).choices(
        [
            "".join(w)
            for w in itertools.product(
                ["ma", "te", "ko", "ry", "bu", "zna"],
                ["li", "pro", "wa", "do", "nie"],
                ["my", "ch", "sta"],
            )
        ],
        k=400,
    )
)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def said(severity=None, **changes):
    """What is found in `TINY` with other sections; of one severity, or all."""
    raw = {**TINY, "techniques": {"fp32": {}}, **changes}
    return [f.text for f in findings(raw, "t.yaml") if severity in {None, f.severity}]


def corpus(validation=None, **train):
    return {
        "train": {"source": "local", **train},
        "validation": validation or {"source": "split", "share": 0.3},
    }


def books(folder, count=20, text=TEXT):
    folder.mkdir(exist_ok=True)
    for i in range(count):
        (folder / f"{i:02}.txt").write_text(f"{i} {text}", "utf-8")


def test_nothing_is_wrong(here):
    books(here / "books")
    assert said(corpus=corpus(path="books")) == []
    assert said() == []


def test_all_that_is_wrong_is_named_at_once(here):
    bad = here / "bad"
    books(bad, 2)
    (bad / "cp1250.txt").write_bytes("zażółć".encode("cp1250"))
    (bad / "utf16.txt").write_bytes("zażółć".encode("utf-16"))
    (bad / "key.jsonl").write_text('{"body": "x"}\n')
    (bad / "late.jsonl").write_text('{"text": "x"}\n' * 50 + "{\n")
    (bad / "no.jsonl.zst").write_bytes(b"none")
    (bad / "no.parquet").write_bytes(b"none")
    parquet.write_table(pa.table({"txt": ["x"]}), bad / "key.parquet")
    (bad / "out.txt").symlink_to("/etc/hostname")
    (bad / "dead.txt").symlink_to("nowhere")
    (bad / "c.pdf").write_text("x")
    found = said(
        sequence_lenght=4,
        seeds=9,
        corpus=corpus(path="bad", validation={"source": "local", "path": "none"}),
        tokenizer={"source": "file", "path": "none.json"},
        model="./none",
        techniques={"fp32": {"attention": "flash"}, "b": {"loss_head": "fuse"}},
    )
    for part in (
        "t.yaml: unknown key 'sequence_lenght'",
        "t.yaml: 'seeds' has the value 9 and should be a list",
        "techniques.fp32: attention flash computes in 16 bits",
        "'techniques.b.loss_head' has the value 'fuse'",
        "bad/cp1250.txt: is not in utf-8 at byte 2; set `encoding`",
        "bad/utf16.txt: is not in utf-8 at byte 0",
        "bad/key.jsonl: line 1 has no key 'text'",
        "bad/late.jsonl: line 51 is no valid JSON",
        "bad/no.jsonl.zst: is no whole zstd file",
        "bad/no.parquet: is no whole Parquet file",
        "bad/key.parquet: has no column 'text'",
        "bad/out.txt: is a link that leads out of the folder",
        "bad/dead.txt: is a link that leads nowhere",
        "such as bad/c.pdf",
        "none: is no file and no folder",
        "none.json: cannot be read",
        "model.path none: there is no such folder",
    ):
        [sentence] = [sentence for sentence in found if part in sentence]
        assert "\n" not in sentence
    assert len(found) == 17


WRONG = {
    "null": None,
    "a list": [1],
    "a text": "x",
    "a number": 3,
    "a truth": True,
    "nothing": {},
    "keys that are none": {1: {2: [None]}},
}


@pytest.mark.parametrize("key", sorted(Experiment.model_fields))
@pytest.mark.parametrize("change", ["left out", "misspelled", *WRONG])
def test_no_section_that_is_wrong_hides_the_others(here, key, change):
    """In place of any section, nothing or anything: a traceback fails the test."""
    whole = {
        **dict.fromkeys(Experiment.model_fields),
        **{name: f.get_default(call_default_factory=True) for name, f in OPTIONAL.items()},
        **TINY,
        "techniques": {"fp32": {}},
        "corpus": corpus(path="none"),
    }
    raw = {k: TypeAdapter(Any).dump_python(v, mode="json") for k, v in whole.items()}
    told = raw.pop(key)
    if change == "misspelled":
        raw[f"{key}x"] = told
    elif change in WRONG:
        raw[key] = WRONG[change]
    found = [f.text for f in findings(raw, "t.yaml")]
    if change == "misspelled":
        assert f"t.yaml: unknown key '{key}x'; did you mean '{key}'" in found[0]
    if change == "left out" and key not in OPTIONAL:
        missing = f"the key '{key}' is missing; add it (config/README.md explains each key)"
        assert f"t.yaml: {missing}" in found
    if key != "corpus":
        assert [s for s in found if s.startswith("none: is no file and no folder")]


OPTIONAL = {n: f for n, f in Experiment.model_fields.items() if not f.is_required()}


def test_techniques_that_are_right_are_looked_at_beside_one_that_is_wrong(monkeypatch):
    found = said(techniques={"h": {"precision": "fp8"}, "x": {"precision": "fp13"}, "a b": {}})
    assert [s for s in found if "h will be skipped" in s]


def test_it_takes_no_torch_and_about_a_second(here):
    """Of the processor, so that others on the machine do not count."""
    books(here / "books")
    (here / "t.yaml").write_text(json.dumps(TINY | {"corpus": corpus(path="books")}))
    code = (
        "import resource, sys; from vramlab.command.main import main; status = main(['check', "
        "'--configfile', 't.yaml']); print(status, 'torch' in sys.modules, "
        "'snakemake' in sys.modules, resource.getrusage(resource.RUSAGE_SELF).ru_utime)"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    status, torch, snakemake, seconds = done.stdout.splitlines()[-1].split()
    assert (status, torch, snakemake) == ("0", "False", "False"), done.stdout
    assert float(seconds) < 3  # a limit against heavy imports


def test_the_rest_of_a_long_file_is_read_while_there_is_time(here):
    rows = b'{"text": "x"}\n' * 1000
    (here / "a.jsonl").write_bytes(rows + b"{\n")
    (here / "a.jsonl.zst").write_bytes(zstd.compress(rows + b"\xff\n"))
    (here / "x").mkdir()
    for path in here.glob("a.*"):
        path.rename(here / "x" / path.name)
    found, _ = corpora.findings(
        *(parsed(corpus(path="x")), [16], None, here / "results"), seconds=60
    )
    assert len(found) == 2
    found, _ = corpora.findings(
        *(parsed(corpus(path="x")), [16], None, here / "results"), seconds=0
    )
    assert found == []


def parsed(section):
    from vramlab.config.corpus import CorpusConfig

    return CorpusConfig.model_validate(section)


@pytest.mark.parametrize(
    ("options", "rows", "says"),
    [
        ({"quality": "meta.qualty"}, [{"quality": "LOW"}] * 3, "did you mean 'meta.quality'?"),
        ({}, [{"quality": "LOW"}] * 3, "has no document of quality HIGH with a text (LOW: 3)"),
        ({"label": None}, [{}] * 3, "has no document of quality HIGH with a text (none: 3)"),
        ({}, [{"quality": 3}], "the quality label of line 1 is of the type int"),
        ({}, [], "holds no document"),
    ],
)
def test_keys_and_labels_of_the_quality(here, options, rows, says):
    lines = [json.dumps({"text": TEXT, "meta": meta}) + "\n" for meta in rows]
    (here / "a.jsonl").write_text("".join(lines))
    [sentence] = said("error", corpus=corpus(path="a.jsonl", **options))
    assert says in sentence


@pytest.mark.parametrize(
    ("count", "text", "changes", "severity", "says"),
    [
        (1, TEXT, {}, "error", "a split leaves no document for training"),
        (3, TEXT, {}, "warning", "share 0.3 of 3 documents leaves one for validation"),
        (20, "ala", {"sequence_length": 1000}, "error", "fewer than the 1,000 tokens of one"),
        (20, "ala " * 9, {"sequence_length": 256}, "warning", "fewer than one sequence of 256"),
        (20, "ala " * 9, {"sweep": {"lengths": [256]}}, "warning", "one sequence of 256"),
        (
            20,
            TEXT,
            {"tokenizer": {"vocab_size": 9_000_000}},
            "error",
            "9000000 is too large for the",
        ),
        (9, VERSE * 10, {"tokenizer": {"vocab_size": 290}}, "error", "290 is too large for the tr"),
        (1, VERSE, {"tokenizer": {"vocab_size": 2**24}}, "error", "is too large for the train"),
        (2, TEXT, {"tokenizer": {"vocab_size": 2900, "model_type": "bpe"}}, "error", "too large"),
    ],
)
def test_too_little_text(here, count, text, changes, severity, says):
    books(here / "books", count, text)
    found = said(severity, corpus=corpus(path="books"), **changes)
    assert [sentence for sentence in found if says in sentence], found


@pytest.mark.parametrize("model_type", ["unigram", "bpe"])
def test_a_vocabulary_is_refused_as_it_is_by_the_training(here, model_type):
    """In the words and with the number of the stage, and not where it is one smaller."""
    books(here / "books")
    mine = corpus({"source": "local", "path": "books/00.txt"}, path="books")
    tokenizer = {"vocab_size": 5000, "model_type": model_type}
    [refused] = said("error", corpus=mine, tokenizer=tokenizer)
    texts = [path.read_text("utf-8") for path in sorted((here / "books").iterdir())]
    with pytest.raises(CorpusError) as of_the_stage:
        train(texts, SentencePieceConfig(**tokenizer), here / "m.model")
    assert refused == str(of_the_stage.value)
    most = int(re.search(r"at most (\d+)", refused)[1])
    assert said("error", corpus=mine, tokenizer=tokenizer | {"vocab_size": most}) == []
    train(texts, SentencePieceConfig(vocab_size=most, model_type=model_type), here / "m.model")


def test_of_a_long_corpus_the_vocabulary_is_told_by_its_beginning(here, monkeypatch):
    monkeypatch.setattr(local_corpus, "SAMPLE_BYTES", 30_000)
    books(here / "books", 3, TEXT * 9)  # a document has more than is kept
    mine = {"corpus": corpus(path="books"), "tokenizer": {"vocab_size": 5000}}
    text, _ = local_corpus.look(LocalSource(source="local", path="books"), ["HIGH"], math.inf)
    assert text.sample_bytes == sum(len(part.encode()) for part in text.sample) == 30_000
    assert not said("error", **mine)
    text = "tokenizer.vocab_size: is 5,000, and the training corpus has pieces for about "
    assert [sentence for sentence in said("warning", **mine) if text in sentence]


def test_lone_surrogates_are_no_obstacle(here):
    lines = [json.dumps({"text": f"{i} \ud800 {TEXT}"}) for i in range(9)]
    (here / "a.jsonl").write_text("\n".join(lines))
    assert "Traceback" not in "".join(said(corpus=corpus(path="a.jsonl")))


BOTH = (
    "corpus.validation: {} is in corpus.train too, so that the perplexity is of text that was "
    "trained on; give other text, or hold some out by validation: {{source: split}}"
)


def test_the_same_text_on_both_sides(here):
    books(here / "books")
    one = {"source": "local", "path": "books/00.txt"}
    found = said(corpus=corpus(one, path="books"))
    assert found == [BOTH.format(here / "books/00.txt")]
    other = {"source": "local", "path": "./books/"}
    found = said(corpus=corpus(other, path="books"))
    assert found == [BOTH.format(f"{here / 'books/00.txt'} and 19 more")]
    made = TINY["corpus"]["train"]
    text = "the synthetic corpus (40 documents, 60 words, seed 1)"
    assert said(corpus={"train": made, "validation": made}) == [BOTH.format(text)]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.txt", "", "a.txt: is empty (0 bytes); put text into it, or give another corpus"),
        ("a.txt", " \n", "a.txt: holds no text of quality HIGH: its document is empty; put"),
        (
            "a.jsonl",
            '{"text": ""}\n' * 3,
            "a.jsonl: holds no text of quality HIGH: its 3 documents",
        ),
        ("a.jsonl", "", "a.jsonl: holds no document"),
    ],
)
def test_a_corpus_without_text(here, name, content, says):
    (here / name).write_text(content)
    [sentence] = said("error", corpus=corpus(path=name))
    assert sentence.startswith(says)


@pytest.mark.parametrize(
    ("split", "held"),
    [
        ({"share": 0.01}, 1),  # which is more than its share of the text
        ({"share": 0.01, "by": "bytes"}, 1),
        ({"share": 0.5}, 2),
        ({"share": 0.6, "by": "bytes"}, 2.4),
    ],
)
def test_a_split_has_whole_documents(here, split, held):
    """Four documents that are equally long."""
    books(here / "books", 4)
    size = sum(path.stat().st_size for path in (here / "books").iterdir()) * held / 4
    mine = corpus({"source": "split", **split}, path="books")

    def short(share):
        length = int(size * share / corpora.BYTES_PER_TOKEN)
        found = said("warning", corpus=mine, sequence_length=length)
        return [s for s in found if s.startswith("corpus.validation: has")]

    assert short(0.9) == []
    [sentence] = short(1.1)
    assert f"has by its share about {int(size):,} bytes of text" in sentence


def test_the_split_leaves_training_one_document(here):
    """Which of the two is not known, so that only more text than both would be surely too much."""
    (here / "a.jsonl").write_text(
        "".join(json.dumps({"text": text}) + "\n" for text in ("ala ma kota " * 30, "a"))
    )
    mine = corpus({"source": "split", "share": 0.5}, path="a.jsonl")
    assert said("error", corpus=mine, sequence_length=300, tokenizer=SMALL) == []
    assert said("error", corpus=mine, sequence_length=400, tokenizer=SMALL)


SMALL = {"vocab_size": 12, "model_type": "bpe"}


@pytest.fixture
def layout(tmp_path_factory):
    folder = tmp_path_factory.mktemp("layout")
    made = SyntheticSource(source="synthetic", documents=30, words=40)
    write_layout({"books": made, "more": made}, folder)
    return folder


def speakleash(base, name="books", **changes):
    source = {"source": "speakleash", "base": base, "name": name}
    return {"train": source, "validation": source, **changes}


def test_a_data_set_is_looked_up_without_fetching_it(layout):
    with FaultyServer(layout) as server:
        assert said(corpus=speakleash(server.base)) == [BOTH.format("the data set books")]
        [sentence] = said("error", corpus=speakleash(server.base, "boks"))
        assert "lists no data set 'boks'; did you mean 'books'?" in sentence
        assert not [r for r in server.requests if r.path.endswith(".zst")]
    assert said("error", corpus=speakleash(layout.as_uri())) == []
    assert "cannot be" in said("error", corpus=speakleash("file:///none"))[0]


def test_a_server_that_does_not_answer_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(data_sets, "ANSWER_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        begin = time.monotonic()
        found = said(corpus=two(f"http://127.0.0.1:{silent.getsockname()[1]}"))
        assert time.monotonic() - begin < 1.5  # a limit against one wait after the other
    [sentence] = found
    assert sentence.startswith("books, more: nothing is said of the text, since http://")
    assert "did not answer within 0.2 seconds" in sentence


def two(base):
    return speakleash(base, validation={"source": "speakleash", "base": base, "name": "more"})


def test_a_server_is_tried_once(layout):
    """Its download tries again, so that nothing is certain."""
    with FaultyServer(layout, Faults(ending=".manifest", status=503)) as server:
        [sentence] = said("warning", corpus=speakleash(server.base))[:1]
        assert "books.manifest: the server answers 503" in sentence
        assert len([r for r in server.requests if r.path.endswith("books.manifest")]) == 1
    gone = server.base  # whose server has ended
    [sentence] = said(corpus=two(gone))
    assert sentence.startswith("books, more: nothing is said of the text, since http://")
    assert re.search(r"cannot be reached \((?!\w*\(host=)", sentence)
    assert said("error", corpus=two(gone)) == []


def test_a_data_set_without_the_wanted_quality(layout):
    manifest = layout / "books.manifest"
    content = json.loads(manifest.read_text())
    content["stats"]["quality"] = {"LOW": 1.0}
    manifest.write_text(json.dumps(content))
    [sentence] = said("error", corpus=speakleash(layout.as_uri()))
    assert "books: has no document of quality HIGH" in sentence


def model_folder(folder, **config):
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", **config}))
    return f"./{folder.name}"


def test_weights_that_are_missing_are_all_named(here):
    path = model_folder(here / "m")
    model = {"source": "transformers", "path": path, "weights": "pretrained"}
    assert "has no .safetensors file" in "".join(said("error", model=model))
    index = {"weight_map": {"a": "1.safetensors", "b": "2.safetensors", "c": "3.safetensors"}}
    (here / "m/model.safetensors.index.json").write_text(json.dumps(index))
    (here / "m/2.safetensors").write_bytes(b"")
    found = [s for s in said("error", model=model) if "is missing" in s]
    assert [s.split(":")[0] for s in found] == ["m/1.safetensors", "m/3.safetensors"]


@pytest.mark.parametrize(
    ("own", "model", "severity", "says"),
    [
        (200, {"vocabulary": "own"}, "error", "200 tokens, fewer than the 300 of the tokenizer"),
        (1500, {"vocabulary": "own"}, "warning", "has 300 tokens, and the model by itself 1,500"),
        (60, {}, "warning", "has 300 tokens, and the model by itself 60"),
        (1499, {}, "warning", None),
    ],
)
def test_vocabularies_that_do_not_fit(here, own, model, severity, says):
    path = model_folder(here / "m", vocab_size=own)
    found = said(severity, model={"source": "transformers", "path": path, **model})
    assert found == [] if says is None else says in "".join(found)


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("def make_modle(tokens): ...", "has no function make_model"),
        ("def make_model(:", "is no Python that can be read"),
    ],
)
def test_code_that_has_no_model_is_not_run(here, code, says):
    (here / "m.py").write_text(f"open('ran', 'w')\n{code}\n")
    [found] = said("error", model={"source": "python", "path": "m.py"})
    assert says in found
    assert not (here / "ran").exists()


def llama(**changes):
    config = {"model_type": "llama", "hidden_size": 32, "num_hidden_layers": 1, "vocab_size": 300}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 4, "intermediate_size": 64}
    return {"source": "transformers", "config": config | heads | changes}


CODE = (
    "from torch import nn\ndef make_model(tokens, width=4):\n    return nn.Embedding(tokens, width)"
)
LORA = {"attention": "sdpa", "adapter": "lora", "adapter_targets": ["q_prj"]}


@pytest.mark.parametrize(
    ("model", "techniques", "says"),
    [
        (llama(hiden_size=8), {"fp32": {}}, "model.config: llama has no key 'hiden_size'; did"),
        (llama(model_type="lama"), {"fp32": {}}, "transformers knows no 'lama'; did you mean"),
        (llama(hidden_size=33), {"fp32": {}}, "The hidden size (33) is not a multiple of"),
        (
            {"source": "transformers", "config": {"model_type": "t5"}},
            {"fp32": {}},
            "model.config: t5 is an encoder-decoder",
        ),
        (
            llama(),
            {"fp32": {}, "l": LORA, "m": LORA},
            "techniques.l, techniques.m: adapter_targets ['q_prj'] match no linear layer of the",
        ),
        (
            {"d_model": 16, "layers": 1, "heads": 2},
            {"fp32": {}, "l": LORA},
            "adapter_targets ['q_prj'] match no linear layer of the model; it has",
        ),
        ("m.py", {"fp32": {}}, None),
        ("m.py widht", {"fp32": {}}, "got an unexpected keyword argument 'widht'"),
        ("import.py", {"fp32": {}}, "cannot be imported (ModuleNotFoundError: No module named"),
    ],
)
def test_a_model_is_made_as_the_stages_make_it(here, model, techniques, says):
    """In their words: the first stage that makes it ends with the same sentence."""
    (here / "m.py").write_text(CODE)
    (here / "import.py").write_text(f"import nonexisting\n{CODE}")
    if isinstance(model, str):
        path, *arguments = model.split()
        model = {"source": "python", "path": path, "arguments": dict.fromkeys(arguments, 8)}
    found = said("error", model=model, techniques=techniques)
    if says is None:
        assert found == []
        return
    [sentence] = found
    assert says in sentence
    raw = {**TINY, "techniques": techniques, "model": model}
    technique = Technique.model_validate(list(techniques.values())[-1])
    asked = Workload(
        technique=technique,
        model=Experiment.model_validate(raw).model,
        vocab_size=300,
        length=16,
        seed=1,
    )
    with pytest.raises(VramlabError) as of_the_stage:
        make_model(asked, torch.device("cpu"))
    assert sentence.endswith(str(of_the_stage.value))


def test_what_a_model_has_no_place_for_is_skipped(here):
    (here / "m.py").write_text(CODE)
    model = {"source": "python", "path": "m.py"}
    axes = {"checkpointing": "block"}
    [found] = said(model=model, techniques={"fp32": {}, "a": axes, "b": {"attention": "sdpa"}})[:1]
    assert found.startswith("techniques: a will be skipped: checkpointing block works block by bl")


def test_sequences_longer_than_a_model_has_positions(here):
    gpt2 = {"model_type": "gpt2", "n_layer": 1, "n_embd": 8, "n_head": 2, "n_positions": 32}
    model = {"source": "transformers", "config": gpt2}
    assert said("error", model=model) == []
    [found] = said("error", model=model, sweep={"lengths": [64]})
    assert found.startswith("sequence_length 64 is more than the 32 positions that the model has")


def test_sequences_longer_than_computed_positions_are_made_for(here):
    """They run, so that it is no error; and it is said once for all techniques."""
    model, techniques = llama(max_position_embeddings=32), {"fp32": {}, "bf16": {}}
    assert said(model=model, techniques=techniques, sequence_length=32) == []
    [found] = said(model=model, techniques=techniques, sweep={"lengths": [64]})
    assert found.startswith("The model is made for 32 tokens (max_position_embeddings), and sequen")
    assert "sequences of 64 tokens are longer" in found
    assert said("error", model=model, techniques=techniques, sweep={"lengths": [64]}) == []


def test_code_that_ends_the_process(here):
    (here / "m.py").write_text("import sys\ndef make_model(tokens):\n    sys.exit('no')\n")
    [found] = said("error", model={"source": "python", "path": "m.py"})
    assert "SystemExit: no" in found


def test_a_model_of_a_configuration_with_other_mistakes_is_made(here):
    found = said(model=llama(hiden_size=8), tokenizer=None, seeds=None)
    assert len([s for s in found if "llama has no key 'hiden_size'" in s]) == 1


def test_code_that_writes_does_so_beside_the_findings(here, capsys):
    (here / "m.py").write_text(f"print('hello')\n{CODE}")
    assert said(model={"source": "python", "path": "m.py"}) == []
    assert capsys.readouterr().out == ""


def test_a_skipped_baseline_is_told(here):
    [found] = said(techniques={"fp32": {"precision": "tf32"}})
    assert found.endswith("; fp32 is the baseline, at whose largest batch the others are compared")


def test_each_technique_that_a_cpu_cannot_run_is_named_with_the_reason(here):
    axes = {
        "tf32": {"precision": "tf32"},
        "compiled": {"compile": "default"},
        "fp8": {"precision": "fp8"},
        "cce": {"precision": "bf16", "loss_head": "cce"},
        "flash": {"precision": "bf16", "attention": "flash"},
        "flash2": {"precision": "bf16", "attention": "flash", "window": 4},
        "offload": {"offload": "activations"},
        "all": {"parallel": "ddp", "processes": "all"},
    }
    found = said(techniques={"fp32": {}, **axes})
    config = Experiment.model_validate({**TINY, "techniques": {"fp32": {}, **axes}})
    for name in axes.keys() - {"flash2"}:
        asked = Workload(
            technique=config.techniques[name], model=config.model, vocab_size=9, length=9, seed=1
        )
        reason = obstacle(asked, Machine.here(torch.device("cpu")))
        names = "flash, flash2" if name == "flash" else name
        assert f"techniques: {names} will be skipped: {reason}" in found
    assert len(found) == len(axes) - 1


def test_an_earlier_run_that_is_not_there(here):
    (here / "empty").mkdir()
    found = said("error", report={"compare": ["results/nope", "empty"]})
    assert found[0].startswith("report.compare: results/nope is no folder; give the results folder")
    assert found[1].startswith("report.compare: empty holds no results of runs")


GPU = machine.Gpu("NVIDIA H100", 80 * 2**30, (9, 0))


@pytest.mark.parametrize(
    ("cards", "measure", "techniques", "says"),
    [
        ([], {"device": "cuda"}, {}, "measure.device: is cuda, and this machine has no NVIDIA GPU"),
        ([], {"device": "auto"}, {}, "so that the CPU is taken"),
        ([GPU], {"memory_limit_gib": 90}, {}, "is 90, more than the 80 GiB of NVIDIA H100"),
        (
            [GPU],
            {},
            {"d": {"parallel": "ddp", "processes": 2}},
            "techniques: d will be skipped: 2 processes need as many GPUs, and torch sees 1",
        ),
        ([GPU], {}, {}, None),
    ],
)
def test_devices(monkeypatch, cards, measure, techniques, says):
    monkeypatch.setattr(machine, "gpus", lambda: cards)
    monkeypatch.setattr(module, "gpus", lambda: cards)
    monkeypatch.setattr(machine, "_version", lambda _: "2.11.0+cu128")
    found = said(measure=measure, techniques={"fp32": {}, **techniques})
    assert found == [] if says is None else [s for s in found if says in s]


def test_a_torch_for_cpus_beside_a_gpu(monkeypatch):
    monkeypatch.setattr(machine, "gpus", lambda: [GPU])
    monkeypatch.setattr(machine, "_version", lambda _: "2.13.0+cpu")
    assert "torch 2.13.0+cpu is a build for CPUs" in "".join(said("error", measure={}))


def test_packages_that_are_not_installed(monkeypatch):
    """On a machine whose GPU has all that the techniques need."""
    absent = {"flash_attn", "peft"}
    found_as = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name in absent else found_as(name)
    )
    monkeypatch.setattr(module, "gpus", lambda: [GPU])
    techniques = {
        "fp32": {},
        "f": {"attention": "flash", "precision": "bf16"},
        "g": {"attention": "flash", "precision": "bf16", "window": 4},
        "h": {"adapter": "lora"},
    }
    model = {"d_model": 64, "layers": 1, "heads": 2}  # heads that flash-attn has kernels for
    found = said("warning", techniques=techniques, measure={"device": "auto"}, model=model)
    assert [s for s in found if "f, g will be skipped: the package flash-attn is not inst" in s]
    assert [s for s in found if "h will be skipped: the package peft is not installed" in s]


def test_room_on_the_disk(monkeypatch, here):
    full = SimpleNamespace(free=2**29)
    monkeypatch.setattr("shutil.disk_usage", lambda _: full)
    assert "has 0.5 GiB free, and the results may take" in "".join(said("warning"))
    (here / "results").write_text("")
    assert "is no folder, and the results belong below it" in "".join(said("error"))
