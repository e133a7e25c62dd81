"""Each family's loss and gradients are those of transformers' own forward pass, in float64."""

import pytest
import torch
from families import FAMILIES, LENGTH, MIXERS, ONLY_MIXERS, VOCABULARY, configuration
from marks import some

from vramlab.base.errors import ModelError
from vramlab.config.measure import MeasureConfig
from vramlab.config.model import DecoderConfig, TransformersConfig
from vramlab.config.targets import IGNORED
from vramlab.config.technique import Technique
from vramlab.config.workload import Workload
from vramlab.model.language_model import UnsuitableModel
from vramlab.model.sources import trained_range
from vramlab.predict.estimate import Limits, estimates
from vramlab.training.learner import build
from vramlab.training.machine import Machine, obstacle

transformers = pytest.importorskip("transformers", reason="the package transformers is absent")

CPU = torch.device("cpu")
BOUND = 1e-6
"""Of the relative errors. Rounding gives 1e-16 in float64, and about 1e-7 where transformers'
explicit attention computes its softmax in float32."""
SHOWN = {
    *("llama", "llama-tied", "qwen2", "qwen3", "qwen3_moe", "gemma2", "gemma4_text", "mistral"),
    *("phi", "gpt2", "gpt_neox", "olmo2", "granite", "cohere", "opt", "bloom", "jamba", "mamba"),
}
"""The families with which CI compares all techniques; the others take as long on demand."""
NO_SDPA = {"gptj", "bloom", *ONLY_MIXERS}
"""Families that have explicit attention only, or none."""
NO_FEED_FORWARD = {"opt", *ONLY_MIXERS}
"""Families whose feed-forward layers are no modules of their own, or see several tokens."""


def make(config, axes=None, seed=3, length=LENGTH, **model):
    """The learner of a configuration written out, in float64."""
    learner = build(of(config, axes, seed=seed, length=length, **model), CPU)
    learner.model.double()
    with_experts_one_by_one(learner.model.network)
    return learner


def of(config, axes=None, *, seed=3, length=LENGTH, **model):
    """The workload of a configuration written out."""
    return Workload(
        technique=Technique(**(axes or {})),
        model=TransformersConfig(source="transformers", config=config, **model),
        vocab_size=VOCABULARY,
        length=length,
        seed=seed,
    )


def with_experts_one_by_one(network):
    """The grouped matrix product, which transformers prefers, does not take float64."""
    if network._can_set_experts_implementation():
        network.set_experts_implementation("eager")


def official(config, state, attention=None):
    """transformers' own model with our weights, in float64."""
    config = dict(config)
    options = {} if attention is None else {"attn_implementation": attention}
    read = transformers.AutoConfig.for_model(config.pop("model_type"), **config)
    model = transformers.AutoModelForCausalLM.from_config(read, **options).double()
    with_experts_one_by_one(model)
    model.load_state_dict({name.removeprefix("network."): value for name, value in state.items()})
    return model


def batch(length=LENGTH):
    tokens = torch.randint(4, VOCABULARY, (3, length + 1), generator=torch.manual_seed(1))
    inputs, targets = tokens[:, :-1], tokens[:, 1:].clone()
    targets[1, 15:] = IGNORED
    return inputs, targets


def official_loss(model, inputs, targets):
    logits = model(input_ids=inputs, use_cache=False).logits
    return torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="sum"
    )


def errors(learner, model):
    """Relative errors of the loss and of all gradients together, and of the worst gradient."""
    inputs, targets = batch()
    loss, expected = learner.loss_sum(inputs, targets), official_loss(model, inputs, targets)
    loss.backward()
    expected.backward()
    gradients = dict(model.named_parameters())
    ours = dict(learner.model.network.named_parameters())
    assert ours.keys() == gradients.keys()
    scale = max(p.grad.norm() for p in gradients.values() if p.grad is not None)
    worst = 0.0
    for name, parameter in ours.items():
        if gradients[name].grad is None:
            assert parameter.grad is None, name
            continue
        # A key's bias has no gradient but rounding: hence the small part of the largest one.
        size = gradients[name].grad.norm() + 1e-3 * scale
        worst = max(worst, ((parameter.grad - gradients[name].grad).norm() / size).item())
    return (abs(loss - expected) / expected).item(), worst


TECHNIQUES = {
    "full": {},
    "chunked, sdpa": {"loss_head": "chunked", "attention": "sdpa"},
    "fused, math, block": {"loss_head": "fused", "attention": "math", "checkpointing": "block"},
    "selective, chunks of 7": {
        "checkpointing": "selective",
        "loss_head": "fused",
        "chunk_tokens": 7,
    },
    "recomputed": {"feed_forward": "recomputed", "attention": "math"},
    "tiled": {"feed_forward": "tiled"},
}


@pytest.mark.parametrize("family", some(FAMILIES | MIXERS | ONLY_MIXERS, shown=SHOWN))
def test_loss_and_gradients_are_transformers_own(family):
    config = configuration(family)
    for name, axes in TECHNIQUES.items():
        if axes.get("attention") == "sdpa" and family in NO_SDPA:
            with pytest.raises(UnsuitableModel, match="no attention sdpa for"):
                make(config, axes)
            continue
        if "feed_forward" in axes and family in NO_FEED_FORWARD:
            with pytest.raises(UnsuitableModel, match="as a module of its own"):
                make(config, axes)
            continue
        learner = make(config, axes)
        explicit = "eager" if axes.get("attention") == "math" else None
        loss, gradient = errors(learner, official(config, learner.model.state_dict(), explicit))
        assert loss < BOUND, name
        assert gradient < BOUND, name


@pytest.mark.parametrize("family", FAMILIES)
def test_the_parts_of_a_family_are_found(family):
    learner = make(configuration(family))
    parts, layers = learner.model.parts, FAMILIES[family].get("num_hidden_layers", 2)
    assert len(parts.blocks) == len(parts.attention) == layers
    assert len(parts.feed_forward) == layers * {"opt": 2, "gemma4_text": 3, "gemma4": 3}.get(
        family, 1
    )
    assert learner.model.vocabulary == VOCABULARY


@pytest.mark.parametrize(("family", "layers"), [("jamba", 2), ("qwen3_next", 2), ("mamba", 0)])
def test_a_layer_that_mixes_tokens_is_no_feed_forward_layer(family, layers):
    parts = make(configuration(family)).model.parts
    assert len(parts.feed_forward) == layers
    names = {type(module).__name__ for module in parts.feed_forward}
    assert not any("Mixer" in name or "Delta" in name for name in names)


def test_the_width_of_attention_may_differ_from_layer_to_layer():
    layers = make(configuration("gemma4_text")).model.attention_layers()
    assert [(layer.width, layer.window) for layer in layers] == [(4 * 8, 6), (4 * 16, None)]


def test_an_adapter_is_beside_layers_that_return_a_product_only():
    learner = make(configuration("phimoe"), {"adapter": "lora"})
    adapted = {name.split(".lora_A")[0] for name, _ in learner.model.named_parameters()}
    assert any(name.endswith("q_proj") for name in adapted)
    assert not any(name.endswith("router.lora_B") or "router.base" in name for name in adapted)
    loss, own = learner.loss_sum(*batch()), make(configuration("phimoe"))
    assert loss.item() == pytest.approx(own.loss_sum(*batch()).item(), rel=1e-5)


def test_a_layer_that_peft_refuses_is_one_sentence():
    work = of(configuration("mamba"), {"adapter": "lora"})
    assert "peft refuses an adapter for one of the layers" in obstacle(work, Machine("cpu"))
    make(configuration("mamba"), {"adapter": "lora", "adapter_targets": ["in_proj"]})


WINDOWED = ["mistral", "gemma2", "gemma3_text", "qwen2", "qwen3", "phi3", "starcoder2", "mixtral"]


@pytest.mark.parametrize("family", WINDOWED)
def test_a_window_is_the_official_one_in_every_layer(family):
    config = configuration(family)
    learner = make(config, {"attention": "masked", "window": 4})
    settings = {"sliding_window": 4}
    if family in {"qwen2", "qwen3"}:
        settings |= {"use_sliding_window": True, "max_window_layers": 0}
    read = transformers.CONFIG_MAPPING[family](**{**FAMILIES[family], **settings})
    if getattr(read, "layer_types", None):
        settings["layer_types"] = ["sliding_attention"] * len(read.layer_types)
    loss, gradient = errors(learner, official(config | settings, learner.model.state_dict()))
    assert loss < BOUND
    assert gradient < BOUND


@pytest.mark.parametrize("family", WINDOWED)
@pytest.mark.parametrize(("window", "reach"), [(1, 1), (4, 4), (50, LENGTH - 3)])
def test_a_token_has_influence_only_inside_the_window(family, window, reach):
    layers = {"num_hidden_layers": 1}
    learner = make(configuration(family) | layers, {"attention": "masked", "window": window})
    inputs = batch()[0][:1]
    changed = inputs.clone()
    changed[0, 3] = 4 + (inputs[0, 3] - 3) % (VOCABULARY - 4)
    with torch.no_grad():
        moved = (learner.model(inputs) - learner.model(changed)).abs().amax(-1)[0] > 1e-12
    assert moved.nonzero().ravel().tolist() == list(range(3, 3 + reach))


@pytest.mark.parametrize("family", ["llama", "gpt2", "moshi", "inkling_text", "minimax"])
def test_an_architecture_without_a_window_refuses_one(family):
    config = {"model_type": family, "vocab_size": VOCABULARY}
    why = obstacle(of(config, {"attention": "masked", "window": 4}), Machine("cpu"))
    assert why.startswith(f"{family} has no window in its attention")


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2", "opt", "mixtral", "apertus"])
def test_random_weights_have_the_distribution_that_transformers_gives(family):
    config = configuration(family)
    ours = make(config).model.state_dict()
    read = {name: value for name, value in config.items() if name != "model_type"}
    torch.manual_seed(4)
    theirs = transformers.AutoModelForCausalLM.from_config(
        transformers.AutoConfig.for_model(config["model_type"], **read)
    ).state_dict()
    for name, value in theirs.items():
        mine, expected = ours[f"network.{name}"].double(), value.double()
        spread = float(expected.std(correction=0))
        error = 6 / max(expected.numel(), 2) ** 0.5  # six standard errors of a mean
        assert float(mine.std(correction=0)) == pytest.approx(spread, rel=error, abs=1e-9), name
        bound = 2 * error * spread + 1e-6
        assert float(mine.mean()) == pytest.approx(float(expected.mean()), abs=bound), name


def test_equal_seeds_give_equal_weights_for_every_technique():
    config = configuration("qwen2")
    expected = build(of(config), CPU).model.state_dict()
    for axes in TECHNIQUES.values():
        state = build(of(config, axes), CPU).model.state_dict()
        assert all(torch.equal(state[name], value) for name, value in expected.items())
    other = build(of(config, seed=4), CPU).model.state_dict()
    name = "network.model.embed_tokens.weight"
    assert not torch.equal(other[name], expected[name])


@pytest.mark.parametrize(
    ("family", "changed"),
    [("llama", {}), ("gemma2", {}), ("gpt2", {}), ("llama", {"tie_word_embeddings": True})],
)
def test_an_update_in_the_backward_pass_is_that_of_adam(family, changed):
    config, data = configuration(family) | changed, batch()
    weights = []
    for optimizer in ("adam", "in-backward"):
        learner = make(config, {"optimizer": optimizer, "loss_head": "fused"})
        steps = learner.optimizer(1e-3)
        for _ in range(2):
            learner.loss_sum(*data).backward()
            steps.step()
            steps.zero_grad()
        weights.append(list(learner.model.parameters()))
    for one, other in zip(*weights, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


def test_bfloat16_keeps_buffers_and_agrees_within_its_rounding():
    config = configuration("llama")
    expected = make(config)
    reference = official_loss(official(config, expected.model.state_dict()), *batch()).item()
    for precision, weights in (("bf16", torch.float32), ("pure-bf16", torch.bfloat16)):
        learner = build(of(config, {"precision": precision}), CPU)
        assert {p.dtype for p in learner.model.parameters()} == {weights}
        assert {b.dtype for b in learner.model.buffers()} == {torch.float32}  # rotary frequencies
        loss = learner.loss_sum(*batch())
        assert loss.item() == pytest.approx(reference, rel=2e-3)
        assert loss.item() != pytest.approx(reference, rel=1e-9)


def refusal(model, vocab_size=VOCABULARY, length=LENGTH, **axes):
    """The sentence with which a model is refused, by either kind of error."""
    work = Workload(
        technique=Technique(**axes), model=model, vocab_size=vocab_size, length=length, seed=3
    )
    with pytest.raises((ModelError, UnsuitableModel)) as caught:
        build(work, CPU)
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert len(sentence) < 500
    return sentence


def written(**config):
    return TransformersConfig(source="transformers", config=config)


LLAMA = configuration("llama")


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        (
            {"model_type": "lama"},
            "model.config.model_type: transformers knows no 'lama'; did you mean 'llama'",
        ),
        (
            LLAMA | {"hiden_size": 64},
            "model.config: llama has no key 'hiden_size'; did you mean 'hidden_size'",
        ),
        ({"model_type": "t5"}, "t5 is an encoder-decoder; use a causal language model"),
        ({"model_type": "vit"}, "transformers has no causal language model of type vit"),
        (LLAMA | {"hidden_size": 33}, "model.config: llama refuses it (Class validation error"),
        (LLAMA | {"hidden_act": "none"}, "transformers cannot make a llama of this configuration"),
        (LLAMA | {"num_key_value_heads": 3}, "transformers cannot make a llama of this"),
        (LLAMA | {"num_hidden_layers": "2"}, "model.config: llama refuses it (Validation error"),
        (
            {"model_type": "bert-generation"} | {"hidden_size": 32, "num_attention_heads": 4},
            "sees later tokens, so it cannot be trained to predict them",
        ),
        (
            {"model_type": "bert", "hidden_size": 48, "num_hidden_layers": 1, "is_decoder": True},
            "than a product with its output embedding, a factor and a tanh (addmm)",
        ),
        (
            {"model_type": "gemma2", "hidden_size": 32, "sliding_window": None},
            "the forward pass of Gemma2ForCausalLM raised ValueError (Could not find a `sliding_w",
        ),
        (
            {"model_type": "bloom", "hidden_size": 32, "n_head": 2, "hidden_dropout": 2.0},
            "the forward pass of BloomForCausalLM raised ValueError (dropout probability has to",
        ),
    ],
)
def test_a_configuration_that_cannot_be_used_is_one_sentence(config, sentence):
    assert sentence in refusal(written(**config))


@pytest.mark.parametrize(
    "config",
    [
        {"model_type": "bert-generation", "hidden_size": 32, "num_attention_heads": 4},
        {"model_type": "bert", "hidden_size": 48, "num_hidden_layers": 1},
        {"model_type": "bert", "hidden_size": 48, "num_hidden_layers": 1, "is_decoder": True},
    ],
)
def test_a_model_that_no_technique_can_train_is_refused_and_not_skipped(config):
    work = of(config)
    with pytest.raises(ModelError):
        obstacle(work, Machine("cpu"))
    with pytest.raises(ModelError):
        list(estimates("it", work, Limits(MeasureConfig(), [24])))


def test_a_key_that_only_the_code_of_a_model_reads_is_taken():
    learner = make(configuration("qwen3_moe") | {"head_dim": 4})
    assert learner.model.network.model.layers[0].self_attn.q_proj.out_features == 4 * 4


def test_a_mistyped_override_is_one_sentence():
    model = TransformersConfig(source="transformers", config=LLAMA, overrides={"n_layers": 1})
    assert "model.overrides: llama has no key 'n_layers'; " in refusal(model)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    ("attention", "flag"), [("flash", "_supports_flash_attn"), ("flex", "_supports_flex_attn")]
)
def test_a_kernel_is_there_where_transformers_says_so(family, attention, flag):
    """A prediction takes another kernel in its place, and asks for the one that was meant."""
    auto = transformers.models.auto.modeling_auto
    kind = auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES[configuration(family)["model_type"]]
    work = of(configuration(family), {"attention": attention, "precision": "bf16"})
    why = obstacle(work, Machine.with_gpus((9, 0)))
    if why is not None or not getattr(getattr(transformers, kind), flag):
        absent = f"transformers has no attention {attention} for {family}"
        assert absent in why or f"{family} cannot be predicted" in why


def test_overrides_and_the_tokenizers_vocabulary_are_set():
    learner = make(LLAMA | {"vocab_size": 32_000}, overrides={"num_hidden_layers": 1})
    assert len(learner.model.decoder_blocks()) == 1
    assert learner.model.vocabulary == VOCABULARY


def test_more_tokens_than_learned_positions_are_refused():
    assert "more than the 64 positions" in refusal(written(**configuration("gpt2")), length=65)
    assert "more than the 64 positions" in refusal(written(**configuration("opt")), length=65)
    # A table of sinusoids, which ends as well.
    for family in ("gptj", "codegen"):
        keys = configuration("gptj") | {"model_type": family}
        assert "more than the 64 positions" in refusal(written(**keys), length=65)
        make(keys, length=64)
    make(LLAMA, length=65)  # computed positions have no end


YARN = {"rope_type": "yarn", "factor": 4.0}


@pytest.mark.parametrize(
    ("changes", "tokens"),
    [
        ({}, 64),
        ({"rope_parameters": {"rope_type": "linear", "factor": 2.0}}, 128),
        # As Qwen2.5 has it, and as DeepSeek and Llama 3.1 do.
        ({"rope_parameters": YARN | {"original_max_position_embeddings": 64}}, 256),
        ({"rope_parameters": YARN | {"original_max_position_embeddings": 16}}, 64),
    ],
)
def test_the_tokens_that_a_model_is_made_for(changes, tokens):
    assert trained_range(written(**(LLAMA | changes))) == tokens


def test_the_tokens_that_other_models_are_made_for():
    assert trained_range(written(**configuration("gemma3_text"))) == 64  # two kinds of layers
    assert trained_range(written(**configuration("gemma4"))) == 64
    assert trained_range(written(**configuration("bloom"))) is None
    assert trained_range(DecoderConfig()) is None


@pytest.mark.parametrize("family", ["falcon", "bloom", "gptj"])
def test_a_model_that_takes_no_kernel_from_outside_says_so(family):
    work = of(configuration(family), {"attention": "flash", "precision": "bf16"})
    why = obstacle(work, Machine.with_gpus((9, 0)))
    assert f"{family} cannot be predicted" in why or f"no attention flash for {family}" in why
