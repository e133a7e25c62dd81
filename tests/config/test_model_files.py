"""The files of a model: what is missing is said when the configuration is read."""

import json
import os

import pytest
from pipeline import TINY
from pydantic import ValidationError

from vramlab.base.errors import ConfigError
from vramlab.config import experiment, model_files
from vramlab.config.model import TransformersConfig


@pytest.fixture
def here(tmp_path, monkeypatch):
    (tmp_path / "models/good").mkdir(parents=True)
    (tmp_path / "models/good/config.json").write_text(
        json.dumps({"model_type": "llama", "vocab_size": 1000})
    )
    (tmp_path / "models/empty").mkdir()
    (tmp_path / "models/broken").mkdir()
    (tmp_path / "models/broken/config.json").write_text("{")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def checked(**changes):
    changes.setdefault("techniques", {"fp32": {}})
    return experiment.check_files(experiment.parse({**TINY, **changes}))


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ("models/none", "model.path models/none: there is no such folder"),
        ("./none", "model.path none: there is no such folder"),
        ("none/", "model.path none: there is no such folder"),
        ("/a/b/none", "model.path /a/b/none: there is no such folder"),
        ("models/empty", "models/empty: has no config.json"),
        ("models/broken", "models/broken/config.json: is no JSON"),
        ({"source": "python", "path": "none.py"}, "model.path none.py: there is no such file"),
    ],
)
def test_a_missing_or_broken_file_is_said_at_once(here, model, says):
    with pytest.raises(ConfigError) as caught:
        checked(model=model)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["{", "a b", "-x", "x.", "a--b", "a/b--c", "ż", "a\n", "x" * 97])
def test_what_the_hub_cannot_have_is_no_name(here, name):
    """As the hub's own package has it."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    with pytest.raises(HFValidationError):
        validate_repo_id(name)
    with pytest.raises(ValidationError, match="is no folder, and no name that the hub can have"):
        TransformersConfig(source="transformers", path=name)


def test_a_file_is_named_with_its_folder(here):
    (here / "config.json").write_text("{}")
    with pytest.raises(
        ConfigError, match=r"config\.json: is a file; give the folder that it is in"
    ):
        model_files.read_folder(here / "config.json")


@pytest.mark.parametrize("name", ["gpt2", "Qwen/Qwen2.5-0.5B", "a_b/c-d.e_f"])
def test_a_name_on_the_hub_is_no_folder(here, name):
    assert TransformersConfig(source="transformers", path=name).folder is None
    assert checked(model=name) == 300


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_cannot_be_read(here):
    (here / "models/good/config.json").chmod(0)
    with pytest.raises(ConfigError, match="cannot be read"):
        checked(model="models/good")


def test_a_tokenizer_beyond_the_rows_that_the_model_keeps_is_told(here):
    """Text cannot be trained on then; what is predicted has the tokens of the model."""

    def refused(**changes):
        changes.setdefault("techniques", {"fp32": {}})
        return experiment.tokens_beyond_model(experiment.parse({**TINY, **changes}))

    model = {"source": "transformers", "path": "models/good", "vocabulary": "own"}
    assert checked(model=model) == 300
    assert refused(model=model) is None
    more = {"vocab_size": 1001}
    assert checked(model=model, tokenizer=more) == 1000
    assert "1,000 tokens, fewer than the 1,001 of the tokenizer" in refused(
        model=model, tokenizer=more
    )
    for fitting in ({"vocabulary": "tokenizer"}, {"overrides": {"vocab_size": 1001}}):
        assert checked(model={**model, **fitting}, tokenizer=more) == 1001
        assert refused(model={**model, **fitting}, tokenizer=more) is None


@pytest.mark.parametrize(
    ("model", "size"),
    [
        ({}, None),
        ("gpt2", None),
        ("models/good", 1000),
        ({"source": "transformers", "config": {"model_type": "llama"}}, None),
        (
            {
                "source": "transformers",
                "config": {"model_type": "gemma3", "text_config": {"vocab_size": 7}},
            },
            7,
        ),
    ],
)
def test_the_vocabulary_that_a_model_has_by_itself(here, model, size):
    config = experiment.parse({**TINY, "model": model, "techniques": {"fp32": {}}})
    assert config.model_vocabulary == size
