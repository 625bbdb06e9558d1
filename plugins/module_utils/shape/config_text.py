"""The part of a ``config.json`` that describes the language model, with one name for each thing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.llmhost.core.plugins.module_utils.shape.config_defaults import DEFAULTS

NESTED = (
    "text_config",
    "llm_config",
    "language_config",
    "thinker_config",
    "language_model_config",
    "text_model_config",
)
"""Where models with pictures or sound keep it; each may hold another one."""

# What a nested part that does not name its kind is.
SPEECHLESS = {
    "aya_vision": "cohere2",
    "bailing_moe_v3_vl": "bailing_hybrid",
    "cohere2_vision": "cohere2",
    "deepseek_vl_v2": "deepseek_v2",
    "gemma3": "gemma3_text",
    "idefics3": "llama",
    "kimi_k25": "deepseek_v3",
    "kimi_vl": "deepseek_v3",
    "lfm2-vl": "lfm2",
    "lfm2_vl": "lfm2",
    "llava": "llama",
    "llava_next": "llama",
    "llava_onevision": "qwen2",
    "mistral3": "mistral",
    "mllama": "mllama_text_model",
    "paligemma": "gemma",
    "pixtral": "mistral",
    "smolvlm": "llama",
    "voxtral": "llama",
}

SYNONYMS: dict[str, tuple[str, ...]] = {
    "hidden_size": ("n_embd", "d_model", "dim", "embed_dim", "model_dim"),
    "num_hidden_layers": ("n_layer", "n_layers", "num_transformer_layers", "num_layers"),
    "num_attention_heads": ("n_head", "n_heads", "num_heads"),
    "num_key_value_heads": (
        "n_head_kv", "num_kv_heads", "n_kv_heads", "num_attention_groups", "attn_config.kv_n_heads",
    ),
    "head_dim": ("attention_head_dim", "kv_channels", "hidden_size_per_head"),
    "intermediate_size": (
        "ffn_dim", "ffn_hidden_size", "n_inner", "hidden_dim", "block_ff_dim", "ffn_config.ffn_hidden_size",
    ),
    "vocab_size": ("padded_vocab_size",),
    "max_position_embeddings": (
        "n_positions", "n_ctx", "max_seq_len", "max_sequence_length", "seq_length", "model_max_length", "max_seqlen",
        "max_context_length", "context_length",
    ),
    "sliding_window": ("sliding_window_size", "swa_window_size", "window_size", "attention_window_size"),
    "tie_word_embeddings": ("tie_embedding", "share_input_output_layers"),
    "experts": (
        "num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts", "num_routed_experts",
        "ffn_config.moe_num_experts", "moe.num_experts", "moe_num_primary_experts", "experts_num",
    ),
    "experts_used": (
        "num_experts_per_tok", "num_experts_per_token", "moe_k", "moe_topk", "top_k_experts", "moe_top_k",
        "ffn_config.moe_top_k", "moe.num_experts_per_tok", "moe_num_active_primary_experts", "num_selected_experts",
    ),
    "expert_width": (
        "moe_intermediate_size", "expert_ffn_hidden_size", "moe_ffn_hidden_size", "expert_intermediate_size",
        "moe_expert_intermediate_size", "moe.expert_hidden_dim", "expert_dim",
    ),
    "shared_width": (
        "shared_expert_intermediate_size", "moe_shared_expert_intermediate_size", "shared_intermediate_size",
        "share_expert_dim", "shared_expert_ffn_hidden_size",
    ),
    "shared_experts": (
        "n_shared_experts", "num_shared_experts", "moe_num_shared_experts", "num_shared_expert",
    ),
    "dense_layers": ("first_k_dense_replace", "num_dense_layers", "n_dense_layers", "moe_layer_start_index"),
    "drafts": ("num_nextn_predict_layers", "mtp_num_hidden_layers", "num_mtp_layers", "num_mtp_modules"),
    "layer_types": ("layers_block_type", "block_types", "layer_type"),
}  # fmt: skip

GROUPS = (
    "attn_config",
    "ffn_config",
    "moe",
    "linear_attn_config",
    "sparse_attention_config",
    "attention_other_setting",
)


def language_part(config: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
    """Return the language model's own fields, defaults of its class filled in, and whether they were nested."""
    outer, part, nested = dict(config), dict(config), False
    parent = str(config.get("model_type") or "")
    for _ in range(3):
        inner = next((part[name] for name in NESTED if isinstance(part.get(name), dict)), None)
        if inner is None:
            break
        own = inner.get("model_type") or SPEECHLESS.get(parent) or (f"{parent}_text" if parent else "")
        parent = str(part.get("model_type") or parent)
        part, nested = {**_inherited(part), **inner, "model_type": own}, True
    if not part.get("model_type") and isinstance(part.get("n_layers"), int) and "dim" in part:
        part["model_type"] = "mixtral" if isinstance(part.get("moe"), dict) else "mistral"  # Mistral's params.json
    kind = part.get("model_type")
    defaults = DEFAULTS.get(kind, {}) if isinstance(kind, str) else {}
    fields = _one_name(part)
    required = () if nested else ("hidden_size", "num_hidden_layers", "num_attention_heads")
    filled = {key: value for key, value in defaults.items() if key not in required}
    if "quantization_config" in outer:
        fields.setdefault("quantization_config", outer["quantization_config"])
    return {**_one_name(filled), **fields}, nested


def _inherited(part: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a nested part takes over from the one around it."""
    return {key: part[key] for key in ("tie_word_embeddings", "quantization_config") if key in part}


def _one_name(part: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields with their usual names, and those of known groups as ``group.name``."""
    flat = dict(part)
    for group in GROUPS:
        inner = part.get(group)
        if isinstance(inner, dict):
            flat |= {f"{group}.{key}": value for key, value in inner.items()}
    for usual, others in SYNONYMS.items():
        if flat.get(usual) is None:
            found = next((flat[name] for name in others if flat.get(name) is not None), None)
            if found is not None:
                flat[usual] = found
    return flat
