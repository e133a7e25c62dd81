"""A run with a tokenizer that is there already: no corpus trains it, and its file is watched."""

import copy
import json

import numpy as np
import pytest
from backports import zstd
from pipeline import TINY, Checkout, made_once, make_checkout
from tokenizers import Tokenizer
from tokenizers_for_tests import tokenizer_json

pytestmark = [pytest.mark.workflow, pytest.mark.slow]

TARGET = "results/tiny/report/index.html"


def config(**tokenizer):
    changed = copy.deepcopy(TINY)
    changed["tokenizer"] = {"source": "file", "path": "own/tokenizer.json", **tokenizer}
    changed["techniques"] = {"fp32": {}, "bf16": {"precision": "bf16", "loss_head": "fused"}}
    return changed


def make(folder):
    checkout = make_checkout(folder)
    tokenizer_json(folder / "own", vocab_size=290)
    checkout.configure(config())
    checkout.run()


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    return Checkout(made_once(tmp_path_factory, "finished-own-tokenizer", make))


def record(checkout, name):
    return json.loads((checkout.root / "results/tiny" / name).read_text())


def test_the_whole_pipeline_runs_with_it(finished):
    results = finished.root / "results/tiny"
    assert (finished.root / TARGET).is_file()
    package = Tokenizer.from_file(str(finished.root / "own/tokenizer.json"))
    for split in ("train", "validation"):
        with zstd.open(results / f"corpus/{split}.jsonl.zst", "rt", encoding="utf-8") as lines:
            texts = [json.loads(line)["text"] for line in lines]
        stream = np.load(results / f"sequences/{split}.npy").tolist()
        assert package.decode(stream, skip_special_tokens=False) == "".join(
            f"<|endoftext|>{text}" for text in [*texts, ""]
        )
    found = record(finished, "tokenizer/tokenizer.json")
    assert (found["model_type"], found["vocab_size"]) == ("BPE", 290)
    assert found["coverage"] == {"train": 1.0, "validation": 1.0}
    tokens = record(finished, "sequences/validation.json")["tokens"]
    for name in ("fp32/own", "bf16/equal"):
        epoch = record(finished, f"epoch/16/{name}/seed9.json")
        assert epoch["status"] == "ok"
        assert epoch["validation"]["tokens"] == tokens - 1
        assert epoch["validation"]["perplexity"] < 290


def test_nothing_changed_nothing_to_do(checkout):
    assert checkout.planned() == set()


def test_touching_the_file_reruns_nothing(checkout):
    (checkout.root / "own/tokenizer.json").touch()
    assert checkout.planned() == set()


def test_a_changed_file_reruns_what_is_tokenised(checkout):
    path = checkout.root / "own/tokenizer.json"
    content = json.loads(path.read_text())
    content["pre_tokenizer"]["add_prefix_space"] = True
    path.write_text(json.dumps(content))
    planned = checkout.planned()
    stages = {file.split("/")[0] for file in planned}
    assert stages == {"tokenizer", "sequences", "profile", "epoch", "report"}
    assert "tokenizer/tokenizer.model" in planned


def test_a_larger_vocabulary_reruns_the_search_as_well(checkout):
    path = checkout.root / "own/tokenizer.json"
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.add_tokens(["gęślą"])
    tokenizer.save(str(path))
    planned = checkout.planned()
    assert {"tokenizer/tokenizer.model", "batch_size/16/fp32.json"} <= planned
    assert not {file for file in planned if file.startswith("corpus/")}


def test_the_file_that_names_its_special_tokens_is_watched_too(checkout):
    (checkout.root / "own/tokenizer_config.json").write_text('{"eos_token": "A"}')
    assert "tokenizer/tokenizer.model" in checkout.planned()


def test_another_end_of_a_document_reruns_the_tokenizer(checkout):
    checkout.configure(config(eos="A"))
    assert {"tokenizer/tokenizer.model", "sequences/train.npy"} <= checkout.planned()


def test_a_file_whose_path_is_no_input_is_watched_too(checkout):
    """Snakemake reads braces in a path as a wildcard."""
    own = checkout.root / "own"
    own.rename(own.with_name("{own}"))
    checkout.configure(config(path="{own}/tokenizer.json"))
    made = "results/tiny/tokenizer/tokenizer.model"
    checkout.run(made)
    assert checkout.planned(made) == set()
    path = checkout.root / "{own}/tokenizer.json"
    path.write_text(path.read_text() + "\n")
    assert "tokenizer/tokenizer.model" in checkout.planned(made)


@pytest.mark.parametrize(
    ("tokenizer", "says"),
    [
        ({"path": "nowhere.json"}, "nowhere.json: cannot be read (No such file or directory)"),
        ({"path": "own"}, "own: is a folder; name the tokenizer.json in it"),
        ({"path": "test.yaml"}, "test.yaml: is no JSON"),
        ({"eos": "</s>"}, "tokenizer.eos is '</s>', a token that own/tokenizer.json does not have"),
        ({"source": "model"}, "tokenizer.source model needs model.source transformers"),
        ({"source": "hub"}, "'tokenizer' has the source 'hub'"),
    ],
)
def test_a_tokenizer_that_is_none_is_refused_before_any_job(fresh, tokenizer, says):
    tokenizer_json(fresh.root / "own", vocab_size=290)
    section = {"source": "file", "path": "own/tokenizer.json"} | tokenizer
    if section["source"] == "model":
        del section["path"]
    fresh.configure(TINY | {"tokenizer": section})
    done = fresh.snakemake("--dry-run")
    output = done.stdout + done.stderr
    assert done.returncode != 0
    assert [line for line in output.splitlines() if line.startswith("vramlab:") and says in line]
    assert "Traceback" not in output
