"""The feed-forward network of each layer of a ``config.json``: dense, or a mixture of experts."""

from __future__ import annotations

from ansible_collections.llmhost.core.plugins.module_utils.shape.config_families import Family
from ansible_collections.llmhost.core.plugins.module_utils.shape.fields import Fields
from ansible_collections.llmhost.core.plugins.module_utils.shape.shape import FeedForward

# A network is a layer of its own there.
ALONE = ("nemotron_h", "nemotron_h_puzzle")
WITHOUT = ("mamba", "mamba2", "falcon_mamba")
BOTH_NETWORKS = ("arctic", "gemma4", "gemma4_text", "gemma4_unified", "gemma4_unified_text")
FOUR_TIMES = {"gpt2", "gpt_bigcode", "bloom", "falcon", "RefinedWeb", "RefinedWebModel", "mpt", "gptj"}


class ConfigFeedForwards:
    """All feed-forward networks of a model."""

    def __init__(self, family: Family, fields: Fields, layers: int) -> None:
        """Read what all layers have in common."""
        self._fields = fields
        self._kind = fields.text("model_type")
        self._gated = family.gated_network
        self._widths = self._adjusted(fields.by_layer("intermediate_size", layers, self._usual_width()))
        self._layers = layers
        self._experts = fields.number("experts")
        self._sparse = tuple(self._is_mixture(number) for number in range(layers))
        self._letters = self._single_layers()

    def layer(self, number: int) -> FeedForward | None:
        """Return the network of one layer; of a layer for drafts that of the last layer."""
        number = min(number, self._layers - 1)
        if self._kind in WITHOUT or (self._kind in ALONE and self._letters[number] not in ("E", "-", "moe", "mlp")):
            return None
        width = self._widths[number]
        if not self._sparse[number]:
            width = self._fields.number("intermediate_size_mlp") or self._dense_width(width)
            return FeedForward(width, self._gated) if width else None
        expert = self._fields.number("expert_width") or width
        return FeedForward(
            length=width if self._kind in BOTH_NETWORKS else 0,
            gated=self._gated,
            experts=self._experts,
            experts_used=self._fields.number("experts_used", 1),
            expert_length=expert,
            shared_length=self._shared(expert),
        )

    def _single_layers(self) -> tuple[str, ...]:
        """Return what each layer is called where a layer is one thing only."""
        pattern = self._fields.text("hybrid_override_pattern") or self._fields.raw("layer_types")
        listed = [str(name) for name in pattern] if isinstance(pattern, (str, list)) else []
        return (*listed[: self._layers], *("",) * (self._layers - len(listed)))

    def _dense_width(self, width: int) -> int:
        # Of a mixture whose intermediate_size is that of an expert.
        return self._fields.number("prefix_dense_intermediate_size") or width

    def _adjusted(self, widths: tuple[int, ...]) -> tuple[int, ...]:
        """Return the widths that LFM2 makes of the one in its config (``Lfm2MLP`` of Transformers 5.23)."""
        if self._kind != "lfm2" or not self._fields.flag("block_auto_adjust_ff_dim", True):
            return widths
        factor = self._fields.raw("block_ffn_dim_multiplier")
        factor = factor if isinstance(factor, (int, float)) and 0 < factor < 2**16 else 1
        multiple = self._fields.number("block_multiple_of", 256) or 1
        return tuple(-(-int(factor * int(2 * width / 3)) // multiple) * multiple for width in widths)

    def _usual_width(self) -> int:
        return 4 * self._fields.number("hidden_size") if self._kind in FOUR_TIMES else 0

    def _shared(self, expert: int) -> int:
        fields = self._fields
        if self._kind.startswith("llama4"):
            return expert
        total = fields.number("shared_width")
        count = fields.number("shared_experts")
        if self._kind == "granitemoe":
            return 0
        if self._kind.startswith("nemotron_h"):
            return fields.number("moe_shared_expert_intermediate_size", expert) * max(count, 1)
        return total or count * expert

    def _is_mixture(self, number: int) -> bool:
        """Say whether a layer has experts, by whichever way its family says so."""
        fields = self._fields
        if self._experts <= 1:
            return False
        if self._kind in ALONE:
            return self._single_layers()[number] in ("E", "moe")
        listed = fields.raw("mlp_layer_types")
        if isinstance(listed, list):
            return number < len(listed) and listed[number] != "dense"
        if isinstance(fields.raw("mlp_only_layers"), list) and number in fields.raw("mlp_only_layers"):
            return False
        if number < fields.number("dense_layers"):
            return False
        return self._by_step(number)

    def _by_step(self, number: int) -> bool:
        fields = self._fields
        frequency = fields.raw("moe_layer_freq")
        if isinstance(frequency, list):
            return number < len(frequency) and bool(frequency[number])
        if isinstance(fields.raw("moe_layers"), list):
            return number in fields.raw("moe_layers")
        if isinstance(fields.raw("moe_layers_enum"), str):
            return str(number) in fields.text("moe_layers_enum").split(",")
        if "expert_layer_period" in fields:
            return number % max(fields.number("expert_layer_period"), 1) == fields.number("expert_layer_offset")
        if fields.raw("moe_layer_end_index") != -1 and number > fields.number("moe_layer_end_index", self._layers):
            return False
        names = (
            "interleave_moe_layer_step",
            "moe_layer_interval",
            "moe_layer_frequency",
            "decoder_sparse_step",
            "moe_layer_freq",
        )
        step = max(fields.first(*names, default=1), 1)
        if "moe_layer_freq" in fields:
            return number % step == 0
        return (number + 1) % step == 0
