"""The shape of a model: its layers, heads and sizes, and the features that plain arithmetic does not size exactly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.llmhost.core.plugins.module_utils.gguf import GgufHeader, SkippedArray
from ansible_collections.llmhost.core.plugins.module_utils.model_error import ModelError

MAX_LAYERS = 10_000
MAX_SIZE = 2**40

# Decoders of the plain kind: full attention in every layer, one feed-forward network, nothing recurrent.
PLAIN = {
    "baichuan", "bloom", "command-r", "exaone", "falcon", "gemma", "glm4", "gpt2", "gptneox", "granite", "internlm2",
    "llama", "minicpm", "mistral", "mistral3", "olmo2", "orion", "phi2", "phi3", "qwen2", "qwen3", "refact", "seed_oss",
    "smollm3", "stablelm", "starcoder2", "xverse", "yi",
}  # fmt: skip


@dataclass(frozen=True)
class Architecture:
    """What the sizes of a model in memory follow from."""

    name: str
    layers: int
    embedding_length: int
    feed_forward_length: int | None
    head_count: int
    head_count_kv: int | list[int]
    head_dim_k: int
    head_dim_v: int
    context_length: int
    vocab_size: int
    expert_count: int
    expert_used_count: int
    sliding_window: int | None
    unsupported: tuple[str, ...]

    @classmethod
    def from_gguf(cls, header: GgufHeader) -> Architecture:
        """Read the metadata of a GGUF file."""
        name = header.metadata.get("general.architecture")
        if not isinstance(name, str) or not name:
            raise _missing(header.name, "general.architecture")
        numbers = _Numbers(header.name, {key: _plain(value) for key, value in header.metadata.items()}, f"{name}.")
        layers, embedding = numbers.required("block_count", MAX_LAYERS), numbers.required("embedding_length")
        heads = numbers.largest("attention.head_count")
        head_dim = embedding // heads if heads else 0
        tokens = header.metadata.get("tokenizer.ggml.tokens")
        listed = tokens.count if isinstance(tokens, SkippedArray) else len(tokens) if isinstance(tokens, tuple) else 0
        return cls(
            name=name,
            layers=layers,
            embedding_length=embedding,
            feed_forward_length=numbers.largest("feed_forward_length") or None,
            head_count=heads,
            head_count_kv=numbers.by_layer("attention.head_count_kv", layers, heads),
            head_dim_k=numbers.largest("attention.key_length") or head_dim,
            head_dim_v=numbers.largest("attention.value_length") or head_dim,
            context_length=numbers.largest("context_length"),
            vocab_size=listed or numbers.largest("vocab_size"),
            expert_count=numbers.largest("expert_count"),
            expert_used_count=numbers.largest("expert_used_count"),
            sliding_window=numbers.largest("attention.sliding_window") or None,
            unsupported=_features(numbers, GGUF_FEATURES, name),
        )

    @classmethod
    def from_config(cls, config: Mapping[str, Any], where: str) -> Architecture:
        """Read a ``config.json``; the text part of one that describes several models."""
        nested = config.get("text_config")
        text: dict[str, Any] = {**config, **nested} if isinstance(nested, dict) else dict(config)
        name = text.get("model_type")
        if not isinstance(name, str) or not name:
            raise _missing(where, "model_type")
        if text.get("use_sliding_window") is False:
            text.pop("sliding_window", None)
        numbers = _Numbers(where, text)
        embedding = numbers.required("hidden_size", MAX_SIZE, "n_embd", "d_model")
        heads = numbers.required("num_attention_heads", MAX_SIZE, "n_head")
        kv_heads = numbers.largest("num_key_value_heads") or (1 if text.get("multi_query") is True else heads)
        head_dim = numbers.largest("head_dim") or (embedding // heads if heads else 0)
        return cls(
            name=name,
            layers=numbers.required("num_hidden_layers", MAX_LAYERS, "n_layer"),
            embedding_length=embedding,
            feed_forward_length=numbers.largest("intermediate_size", "n_inner", "ffn_dim") or None,
            head_count=heads,
            head_count_kv=kv_heads,
            head_dim_k=head_dim,
            head_dim_v=numbers.largest("v_head_dim") or head_dim,
            context_length=numbers.largest("max_position_embeddings", "n_positions", "max_seq_len"),
            vocab_size=numbers.largest("vocab_size"),
            expert_count=numbers.largest("num_local_experts", "num_experts", "n_routed_experts"),
            expert_used_count=numbers.largest("num_experts_per_tok"),
            sliding_window=numbers.largest("sliding_window") or None,
            unsupported=_features(numbers, CONFIG_FEATURES, name),
        )


# Feature of an architecture -> the keys (or beginnings of keys, with a final dot) that give it away when they are set.
GGUF_FEATURES = {
    "mla": ("attention.kv_lora_rank", "attention.key_length_mla"),
    "ssm": ("ssm.", "wkv.", "shortconv."),
    "linear_attention": ("full_attention_interval", "kda."),
    "sliding_window": ("attention.sliding_window",),
    "moe": ("expert_count",),
    "shared_kv": ("attention.shared_kv_layers",),
    "mtp": ("nextn_predict_layers",),
    "per_layer_head_dims": ("attention.key_length_swa", "attention.value_length_swa"),
    "encoder": ("pooling_type", "decoder_start_token_id", "attention.relative_buckets_count"),
}
CONFIG_FEATURES = {
    "mla": ("kv_lora_rank",),
    "ssm": ("ssm_cfg", "mamba_d_state", "state_size", "ssm_state_size", "conv_L_cache"),
    "linear_attention": ("full_attention_interval", "linear_num_value_heads", "linear_attn_config"),
    "sliding_window": ("sliding_window", "attention_chunk_size"),
    "moe": ("num_local_experts", "num_experts", "n_routed_experts"),
    "shared_kv": ("num_kv_shared_layers",),
    "mtp": ("num_nextn_predict_layers", "mtp_num_hidden_layers"),
    "per_layer_head_dims": ("global_head_dim", "block_configs"),
    "vision": ("vision_config", "audio_config"),
}


class _Numbers:
    """The numbers of a model's metadata, each checked before it is believed."""

    def __init__(self, where: str, values: Mapping[str, Any], prefix: str = "") -> None:
        self._where = where
        self._values = {key.removeprefix(prefix): value for key, value in values.items() if key.startswith(prefix)}

    def required(self, key: str, limit: int = MAX_SIZE, *synonyms: str) -> int:
        """Return a number that must be there and not zero."""
        for name in (key, *synonyms):
            if self.largest(name):
                return self._checked(name, self.largest(name), limit)
        raise _missing(self._where, key)

    def largest(self, key: str, *synonyms: str) -> int:
        """Return the number, or the largest of those that layers have; 0 if there is none."""
        for name in (key, *synonyms):
            numbers = self._numbers(name)
            if numbers:
                return max(numbers)
        return 0

    def by_layer(self, key: str, layers: int, otherwise: int) -> int | list[int]:
        """Return one number for all layers, or one for each."""
        numbers = self._numbers(key) or [otherwise]
        return numbers[0] if len(set(numbers)) == 1 else (numbers + [max(numbers)] * layers)[:layers]

    def is_set(self, key: str) -> bool:
        """Say whether a key, or any key that begins with it if it ends with a dot, has a value that means something."""
        if key.endswith("."):
            return any(name.startswith(key) for name in self._values)
        value = self._values.get(key)
        return any(value) if isinstance(value, (list, tuple)) else bool(value)

    def _numbers(self, key: str) -> list[int]:
        value = self._values.get(key)
        numbers = value if isinstance(value, (list, tuple)) else [value]
        # A negative number is how some say "none".
        return [self._checked(key, max(number, 0), MAX_SIZE) for number in numbers if type(number) is int]

    def _checked(self, key: str, number: int, limit: int) -> int:
        if number <= limit:
            return number
        message = f"{self._where} is not sound: {key} is {number}"
        raise ModelError("model.invalid", message, "Choose or fetch another file.")


def _plain(value: Any) -> Any:
    return None if isinstance(value, SkippedArray) else value


def _features(numbers: _Numbers, table: Mapping[str, tuple[str, ...]], name: str) -> tuple[str, ...]:
    found = [feature for feature, keys in table.items() if any(numbers.is_set(key) for key in keys)]
    return tuple(found if name in PLAIN or found else ["architecture"])


def _missing(where: str, key: str) -> ModelError:
    return ModelError(
        "model.invalid", f"{where} does not describe a language model: it has no {key}", "Choose another file."
    )
