"""Weights of a folder: those of transformers, or one sentence that says why not."""

import json
import math
import socket
import time

import pytest
import torch
from families import LENGTH, VOCABULARY, configuration

from vramlab.base.errors import ModelError
from vramlab.config.model import TransformersConfig
from vramlab.config.technique import Technique
from vramlab.config.workload import Workload
from vramlab.model.language_model import UnsuitableModel
from vramlab.training.learner import build

transformers = pytest.importorskip("transformers", reason="the package transformers is absent")
safetensors = pytest.importorskip("safetensors.torch", reason="safetensors is absent")

CPU = torch.device("cpu")
FAMILIES = ["llama", "gemma2", "gpt2", "mixtral"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A folder of each family, as save_pretrained writes it."""
    found = {}
    for family in FAMILIES:
        config = dict(configuration(family))
        torch.manual_seed(8)
        network = transformers.AutoModelForCausalLM.from_config(
            transformers.AutoConfig.for_model(config.pop("model_type"), **config)
        )
        found[family] = tmp_path_factory.mktemp(family)
        network.save_pretrained(found[family])
    return found


@pytest.fixture
def folder(folders, tmp_path):
    """A copy of Llama's folder, for tests that spoil it."""
    for file in folders["llama"].iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path


def of(path, axes=None, weights="pretrained", **model):
    return Workload(
        technique=Technique(**(axes or {})),
        model=TransformersConfig(source="transformers", path=str(path), weights=weights, **model),
        vocab_size=VOCABULARY,
        keeps_vocabulary=True,
        length=LENGTH,
        seed=3,
    )


def batch():
    tokens = torch.randint(4, VOCABULARY, (3, LENGTH + 1), generator=torch.manual_seed(1))
    return tokens[:, :-1], tokens[:, 1:]


@pytest.mark.parametrize("loss_head", ["full", "chunked", "fused"])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_perplexity_is_that_of_transformers(folders, family, loss_head):
    inputs, targets = batch()
    official = transformers.AutoModelForCausalLM.from_pretrained(folders[family]).eval()
    learner = build(of(folders[family], {"loss_head": loss_head}), CPU)
    learner.model.eval()
    with torch.no_grad():
        logits = official(input_ids=inputs).logits
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
        perplexity = math.exp(learner.loss_sum(inputs, targets).item() / targets.numel())
    assert perplexity == pytest.approx(math.exp(loss.item()), rel=1e-5)


def test_an_attention_that_the_architecture_lacks_is_no_fault_of_its_weights(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(configuration("bloom")))
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(UnsuitableModel, match="transformers has no attention sdpa for bloom"):
        build(of(tmp_path, {"attention": "sdpa"}), CPU)


def test_all_weights_are_those_of_the_folder_whatever_the_technique(folders):
    official = transformers.AutoModelForCausalLM.from_pretrained(folders["llama"]).state_dict()
    for axes in ({}, {"checkpointing": "block"}, {"precision": "pure-bf16"}):
        state = build(of(folders["llama"], axes), CPU).model.state_dict()
        dtype = torch.bfloat16 if axes.get("precision") == "pure-bf16" else torch.float32
        assert state.keys() == {f"network.{name}" for name in official}
        for name, value in official.items():
            assert torch.equal(state[f"network.{name}"], value.to(dtype))


def test_the_folder_alone_gives_a_random_model_of_its_sizes(folder):
    (folder / "model.safetensors").unlink()
    learner = build(of(folder, weights="random"), CPU)
    assert learner.model.vocabulary == VOCABULARY
    assert len(learner.model.decoder_blocks()) == 2


def test_an_override_with_the_weights_kept_changes_the_function(folders):
    plain = build(of(folders["llama"]), CPU)
    other = build(of(folders["llama"], overrides={"rms_norm_eps": 0.5}), CPU)
    assert plain.loss_sum(*batch()).item() != other.loss_sum(*batch()).item()
    state = other.model.state_dict()
    assert all(torch.equal(state[name], value) for name, value in plain.model.state_dict().items())


def refusal(workload):
    with pytest.raises(ModelError) as caught:
        build(workload, CPU)
    sentence = str(caught.value)
    assert "\n" not in sentence
    return sentence


def test_a_pickle_is_never_loaded(folder):
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'exit 1'\ntR.")
    assert "holds only pytorch_model.bin, a pickle, which is never loaded" in refusal(of(folder))


def test_a_folder_without_weights_is_one_sentence(folder):
    (folder / "model.safetensors").unlink()
    assert "holds no weights; save it as safetensors" in refusal(of(folder))


def test_weights_of_another_shape_are_one_sentence(folder):
    sentence = refusal(of(folder, overrides={"intermediate_size": 64}))
    assert "do not fit its configuration (6 have another shape: model.layers.0.mlp" in sentence


def test_a_missing_weight_is_named(folder):
    file = folder / "model.safetensors"
    weights = safetensors.load_file(file)
    del weights["model.norm.weight"]
    safetensors.save_file(weights, file, {"format": "pt"})
    assert "(model.norm.weight is missing)" in refusal(of(folder))


def test_a_weight_without_a_place_is_named(folder):
    assert "(model.layers.1." in refusal(of(folder, overrides={"num_hidden_layers": 1}))


def test_a_broken_file_of_weights_is_one_sentence(folder):
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:500])
    assert "its weights cannot be loaded" in refusal(of(folder))


def test_a_folder_without_a_configuration_is_one_sentence(folder):
    (folder / "config.json").unlink()
    assert "has no config.json; give a folder that save_pretrained wrote" in refusal(of(folder))


def test_a_folder_that_is_not_there_is_one_sentence(folder):
    assert "there is no such folder" in refusal(of(folder / "none"))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{", "is no JSON that can be read"),
        ("[]", "holds no configuration of a model"),
        ("{}", "is of no type that transformers knows"),
        ('{"model_type": "lama"}', "is of no type that transformers knows"),
        ('{"model_type": "t5"}', "t5 is an encoder-decoder"),
        ('{"model_type": "llama", "hidden_size": "big"}', "is refused"),
        ('{"model_type": "llama", "hidden_size": 30, "num_attention_heads": 4}', "is refused"),
    ],
)
def test_a_configuration_that_cannot_be_used_is_one_sentence(folder, text, sentence):
    (folder / "config.json").write_text(text)
    assert sentence in refusal(of(folder, weights="random"))


def test_code_that_comes_with_a_model_is_not_run(folder):
    config = json.loads((folder / "config.json").read_text())
    config["model_type"] = "mine"
    config["auto_map"] = {
        "AutoConfig": "mine.MineConfig",
        "AutoModelForCausalLM": "mine.MineForCausalLM",
    }
    (folder / "config.json").write_text(json.dumps(config))
    ran = folder / "ran"
    (folder / "mine.py").write_text(f"open({str(ran)!r}, 'w')")
    sentence = refusal(of(folder, weights="random"))
    assert "Python code of its own, which is not run" in sentence
    assert "model.trust_remote_code" in sentence
    assert not ran.exists()


def test_known_architectures_ignore_code_that_comes_with_them(folder):
    """transformers has this model itself; the folder's code is for older versions."""
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {"AutoModelForCausalLM": "mine.MineForCausalLM"}
    (folder / "config.json").write_text(json.dumps(config))
    ran = folder / "ran"
    (folder / "mine.py").write_text(f"open({str(ran)!r}, 'w')")
    assert build(of(folder), CPU).model.vocabulary == VOCABULARY
    assert not ran.exists()


def test_a_missing_hub_is_one_sentence_and_quick(monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    began = time.monotonic()
    sentence = refusal(of("nobody/there-is-no-such-model", weights="random"))
    assert time.monotonic() - began < 20  # a limit against hanging
    assert "is no folder here, and the hub cannot be asked" in sentence
    assert "give a folder with config.json" in sentence


def test_a_hub_that_does_not_answer_is_asked_once(monkeypatch):
    """transformers asks six times, for half a minute, and says so each time."""
    from huggingface_hub import constants

    with socket.socket() as taken:  # bound, and not listening
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/{{repo_id}}/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url)
        began = time.monotonic()
        sentence = refusal(of("there-is-no-such-folder", weights="random"))
    assert time.monotonic() - began < 15
    assert sentence.startswith("model.path there-is-no-such-folder: is no folder here, and the hub")
    assert "refused" in sentence
    assert "\n" not in sentence
