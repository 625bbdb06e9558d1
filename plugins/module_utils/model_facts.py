"""The model as the planner sees it: the fields of ``model_info`` that decide something."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ansible_collections.llmhost.core.plugins.module_utils import record
from ansible_collections.llmhost.core.plugins.module_utils.record import Record


def _heads_by_layer(value: Any, layers: int, otherwise: int) -> tuple[int, ...]:
    """Spread one number over all layers, or take a list with one number a layer.

    A list that is too short is padded with its largest number: an odd header is sized too high, never too low.
    """
    if isinstance(value, (list, tuple)):
        heads = [head for head in value if isinstance(head, int) and not isinstance(head, bool) and head >= 0]
        return tuple((heads + [max(heads, default=otherwise)] * layers)[:layers])
    known = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    return (value if known else otherwise,) * layers


@dataclass(frozen=True)
class ModelFacts:
    """Everything about the model that a decision rests on."""

    request: str
    source: str
    repo: str
    commit: str
    path: str
    format: str
    quantization: str
    architecture: str
    weights_bytes: int
    total_bytes: int
    first_file: str
    token_embedding_bytes: int
    output_bytes: int
    tied_embeddings: bool
    layers: int
    embedding_length: int
    feed_forward_length: int
    head_count: int
    kv_heads: tuple[int, ...]
    head_dim_k: int
    head_dim_v: int
    context_length: int
    vocab_size: int
    sliding_window: int
    chat_template: bool
    unsupported: tuple[str, ...]

    @classmethod
    def from_facts(cls, facts: Record) -> ModelFacts:
        """Read the result of ``model_info``."""
        files = record.sections(facts, "files")
        layers = min(record.integer(facts, "layers"), _MOST_LAYERS)
        head_count = record.integer(facts, "head_count")
        embedding = record.integer(facts, "embedding_length")
        return cls(
            request=record.text(record.section(facts, "request"), "model"),
            source=record.text(facts, "source", "local"),
            repo=record.text(facts, "repo"),
            commit=record.text(facts, "commit"),
            path=record.text(facts, "path"),
            format=record.text(facts, "format", "unknown"),
            quantization=record.text(facts, "quantization", "unknown"),
            architecture=record.text(facts, "architecture", "unknown"),
            weights_bytes=record.integer(facts, "weights_bytes"),
            total_bytes=record.integer(facts, "total_bytes"),
            first_file=record.text(files[0], "name") if files else "",
            token_embedding_bytes=record.integer(facts, "token_embedding_bytes"),
            output_bytes=record.integer(facts, "output_bytes"),
            tied_embeddings=record.flag(facts, "tied_embeddings"),
            layers=layers,
            embedding_length=embedding,
            # Most models widen 4 times at most; the bound stands in where the header gives no single figure.
            feed_forward_length=record.integer(facts, "feed_forward_length", 4 * embedding),
            head_count=head_count,
            kv_heads=_heads_by_layer(facts.get("head_count_kv"), layers, head_count),
            head_dim_k=record.integer(facts, "head_dim_k"),
            head_dim_v=record.integer(facts, "head_dim_v"),
            context_length=record.integer(facts, "context_length"),
            vocab_size=record.integer(facts, "vocab_size"),
            sliding_window=record.integer(facts, "sliding_window"),
            chat_template=record.flag(facts, "chat_template"),
            unsupported=record.texts(facts, "unsupported"),
        )

    @property
    def layer_bytes(self) -> int:
        """The weights of one layer, rounded up: what is neither embedding nor output, spread evenly."""
        body = max(0, self.weights_bytes - self.token_embedding_bytes - self.output_bytes)
        return -(-body // self.layers) if self.layers else body


# No published model has more than a few hundred layers; the bound keeps a lying header from costing memory here.
_MOST_LAYERS = 4096
