"""Small configurations of many families of transformers' causal language models."""

from __future__ import annotations

VOCABULARY, LENGTH = 96, 20
WINDOW = 6

_SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": None,
}
_GROUPED = _SIZES | {"num_key_value_heads": 2}
_EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
_GPT2 = {
    "vocab_size": VOCABULARY,
    "n_embd": 32,
    "n_layer": 2,
    "n_head": 4,
    "n_positions": 64,
    "resid_pdrop": 0.0,
    "embd_pdrop": 0.0,
    "attn_pdrop": 0.0,
    "bos_token_id": None,
    "eos_token_id": None,
}
_GEMMA = _GROUPED | {"head_dim": 16}

FAMILIES = {
    "llama": _GROUPED,
    "llama-tied": _GROUPED | {"model_type": "llama", "tie_word_embeddings": True},
    "qwen2": _GROUPED,
    "qwen3": _GROUPED | {"head_dim": 16},
    "gemma": _GEMMA,
    "gemma2": _GEMMA | {"sliding_window": WINDOW, "final_logit_softcapping": 0.5},
    "gemma3_text": _GEMMA | {"sliding_window": WINDOW, "num_hidden_layers": 3},
    "mistral": _GROUPED | {"sliding_window": WINDOW},
    "phi": _SIZES | {"resid_pdrop": 0.0, "embd_pdrop": 0.0},
    "phi3": _GROUPED,
    "gpt2": _GPT2,
    "gptj": _GPT2 | {"rotary_dim": 4, "tie_word_embeddings": False},
    "gpt_neox": _SIZES,
    "gpt_bigcode": _GPT2,
    "bloom": {
        "vocab_size": VOCABULARY,
        "hidden_size": 32,
        "n_layer": 2,
        "n_head": 4,
        "bos_token_id": None,
        "eos_token_id": None,
        "pad_token_id": None,
    },
    "olmo": _GROUPED,
    "olmo2": _GROUPED,
    "opt": {
        "vocab_size": VOCABULARY,
        "hidden_size": 32,
        "ffn_dim": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 64,
        "word_embed_proj_dim": 32,
        "dropout": 0.0,
        "pad_token_id": 1,
        "bos_token_id": None,
        "eos_token_id": None,
    },
    "falcon": {
        "vocab_size": VOCABULARY,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "bos_token_id": None,
        "eos_token_id": None,
    },
    "granite": _GROUPED
    | {
        "logits_scaling": 8.0,
        "embedding_multiplier": 12.0,
        "residual_multiplier": 0.22,
        "attention_multiplier": 0.3,
    },
    "cohere": _GROUPED | {"logit_scale": 0.25},
    "stablelm": _GROUPED,
    "starcoder2": _GROUPED | {"sliding_window": WINDOW},
    "smollm3": _GROUPED,
    "nemotron": _GROUPED,
    "glm": _GROUPED | {"head_dim": 8},
    "mixtral": _GROUPED | {"num_local_experts": 4, "num_experts_per_tok": 2},
    "qwen3_moe": _GROUPED | _EXPERTS | {"head_dim": 16},
    "apertus": _GROUPED,  # its activation's parameters get their values in the constructor
    "ernie4_5_moe": _GROUPED | {"moe_num_experts": 4, "moe_k": 2, "moe_intermediate_size": 16},
    "olmoe": _GROUPED | {"num_experts": 4, "num_experts_per_tok": 2},
    "phimoe": _GROUPED
    | {
        "num_local_experts": 4,
        "num_experts_per_tok": 2,
        "router_jitter_noise": 0.0,
        "input_jitter_noise": 0.0,
    },
    "gemma4_text": _GROUPED
    | {
        "head_dim": 8,
        "global_head_dim": 16,  # layers of full attention have wider heads
        "sliding_window": WINDOW,
        "vocab_size_per_layer_input": VOCABULARY,
        "hidden_size_per_layer_input": 8,
        "num_kv_shared_layers": 0,
        "layer_types": ["sliding_attention", "full_attention"],
    },
    "llama4_text": _GROUPED
    | {
        "head_dim": 8,
        "intermediate_size_mlp": 48,
        "num_local_experts": 4,
        "num_experts_per_tok": 1,
    },
}
"""The keys of each family's configuration, without dropout; what is left out is its default."""
FAMILIES["gemma4"] = {
    "text_config": FAMILIES["gemma4_text"] | {"pad_token_id": 0},
    "vision_config": {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "head_dim": 16,
    },
    "audio_config": None,
}
"""A model that takes pictures as well."""

_MAMBA = {"mamba_d_state": 8, "mamba_d_conv": 2, "mamba_expand": 2, "mamba_dt_rank": 4}
_DELTA = {
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 2,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "linear_conv_kernel_dim": 2,
}
MIXERS = {
    "jamba": _GROUPED
    | _MAMBA
    | {"num_experts": 2, "num_experts_per_tok": 1, "attn_layer_period": 2, "attn_layer_offset": 1},
    "qwen3_next": _GROUPED
    | _DELTA
    | _EXPERTS
    | {
        "head_dim": 8,
        "shared_expert_intermediate_size": 16,
        "layer_types": ["linear_attention", "full_attention"],
    },
    "recurrent_gemma": {k: v for k, v in _GROUPED.items() if k != "max_position_embeddings"}
    | {"lru_width": 32, "block_types": ["recurrent", "attention"], "attention_window_size": WINDOW},
}
"""Families with layers that let tokens see each other without attention."""
ONLY_MIXERS = {
    "mamba": {
        key: _SIZES[key]
        for key in (
            "vocab_size",
            "hidden_size",
            "num_hidden_layers",
            "bos_token_id",
            "eos_token_id",
        )
    }
    | {"state_size": 8, "conv_kernel": 2, "expand": 2, "time_step_rank": 4, "pad_token_id": None},
    "rwkv": {
        "vocab_size": VOCABULARY,
        "hidden_size": 32,
        "attention_hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "bos_token_id": None,
        "eos_token_id": None,
    },
}
"""Families without feed-forward layers that treat each token by itself."""


def configuration(name: str) -> dict[str, object]:
    """The `model.config` of a family."""
    return {"model_type": name} | (FAMILIES | MIXERS | ONLY_MIXERS)[name]
