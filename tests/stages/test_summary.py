"""The file of the summary tells the model that was measured."""

import json
from pathlib import Path

import pytest
from report import made_up

from vramlab.report.load import KINDS
from vramlab.results.base import read, write
from vramlab.results.tokenizer import TokenizerRecord
from vramlab.stages.summary import write_summary

LLAMA = {
    "model_type": "llama",
    "hidden_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "vocab_size": 4_000,
}


def shape_of(tmp_path, model, **tokenizer):
    """`model.shape` of a summary, with these fields of the tokenizer's record."""
    config = made_up.experiment(["fp32"])
    files = made_up.write_results(tmp_path, config)
    [path] = files["tokenizer"]
    write(read(TokenizerRecord, path).model_copy(update=tokenizer), path)
    given = {
        "experiment": "made-up",
        "title": "",
        "settings": {"model": model, "training": {}, "seeds": [9]},
        "compare": [],
    }
    shown = {"baseline": "fp32", "length": 256, "techniques": ["fp32"]}
    output = tmp_path / "summary.json"
    inputs = {kind: files.get(kind, []) for kind in KINDS}
    write_summary(inputs, str(output), shown, json.dumps(given))
    content = json.loads(output.read_text())
    assert content["training"]["learning_rate"] == 1e-3
    assert content["seeds"] == [9]
    return content["model"]["shape"]


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "llama"
    path.mkdir()
    (path / "config.json").write_text(json.dumps(LLAMA))
    return str(path)


def test_overrides_and_the_tokenizers_tokens_are_in_the_shape(tmp_path, folder):
    model = {"source": "transformers", "path": folder, "overrides": {"num_hidden_layers": 2}}
    shape = shape_of(tmp_path, model, vocab_size=800)
    assert (shape["num_hidden_layers"], shape["vocab_size"]) == (2, 800)
    assert shape["hidden_size"] == 64


def test_a_vocabulary_that_the_model_keeps_stays(tmp_path, folder):
    model = {"source": "transformers", "path": folder, "vocabulary": "own"}
    shape = shape_of(tmp_path, model, vocab_size=800, keeps_vocabulary=True)
    assert (shape["num_hidden_layers"], shape["vocab_size"]) == (3, 4_000)


def test_a_key_with_two_names_is_there_once(tmp_path):
    """GPT-2 calls its layers n_layer, and takes num_hidden_layers for it."""
    config = {"model_type": "gpt2", "n_layer": 5}
    model = {"source": "transformers", "config": config, "overrides": {"num_hidden_layers": 2}}
    shape = shape_of(tmp_path, model, vocab_size=800)
    assert (shape["n_layer"], shape["vocab_size"]) == (2, 800)
    assert shape.get("num_hidden_layers", 2) == 2


def test_a_configuration_that_cannot_be_read_costs_its_shape_only(tmp_path, folder, caplog):
    Path(folder, "config.json").write_text("{")
    model = {"source": "transformers", "path": folder}
    assert shape_of(tmp_path, model, vocab_size=800) == {}
    assert "config.json" in caplog.text


def test_the_decoder_has_its_settings_instead(tmp_path):
    assert shape_of(tmp_path, {"d_model": 64}) == {}
