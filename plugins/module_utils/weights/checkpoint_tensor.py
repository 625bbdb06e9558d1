"""The names of the tensors of a Hugging Face checkpoint: what a tensor is, by its name, whatever the model family."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ansible_collections.llmhost.core.plugins.module_utils.model.safetensors import StoredTensor

# A path is read up to the first of these followed by a number: what stands before says which network it is.
_LAYER = re.compile(r"(?:^|\.)(?:layers|h|blocks|block|mtp_layers|mtp_block)\.(\d{1,9})(?=\.)")
_TOWERS = re.compile(
    r"(?:^|\.)(?:vision|visual|image|audio|sound|speech|video|vit|vpm|apm|tts|talker|token2wav|code2wav|resampler|"
    r"aligner|mlp1|multi_modal|multimodal|mm_|modality|connector|patch_merger|pre_mm|embed_vision|embed_audio|"
    r"img_|sam_|qwen2_model|view_seperator|encoder\.vision|projector|qformer|query_tokens|language_projection|model_connector)"
)
_DRAFT = re.compile(r"(?:^|\.)(?:mtp|mtp_\w+|nextn\w*)(?:\.|$)")
_EMBEDDING = re.compile(
    r"(?:^|\.)(?:embed_tokens|wte|word_embeddings|tok_embeddings|embed_in|embeddings|embedding|embed_tokens_extend)"
    r"(?:\.word_embeddings)?\.(?:weight|embedding)$"
)
_INPUT = re.compile(
    r"(?:^|\.)(?:wpe|embed_positions|position_embeddings|token_type_embeddings|embed_tokens_per_layer|ngram_embeddings"
    r"|rotary_emb|freqs_cis)(?:\.|$)"
)
_OUTPUT = re.compile(r"(?:^|\.)(?:lm_head|embed_out|output_layer|output|ff_out)\.(?!.*norm)(?:\w+\.)*\w+$")
_EXPERT = re.compile(r"\.(?:experts|block_sparse_moe|moe)\.(?!gate\.|router|shared|e_score)")
_REPLICATED = re.compile(
    r"norm|layernorm|_ln\b|\.ln_|(?:mlp|moe|ffn|feed_forward|mixer|block_sparse_moe)\.(?:gate|router|gate_proj_inp)\.|"
    r"router|shared_expert_gate|e_score_correction|q_a_proj|kv_a_proj|qkv_a_proj|indexer|\.[fg]_a_proj|eh_proj|"
    r"per_layer_(?:input_gate|projection)|altup|laurel|kv_down|q_down|(?:o_proj|down_proj|dense|out_proj)\.bias$"
)
_SIDE = re.compile(
    r"(?:^|[._])(?:scales?|scale_inv|scale_2|zeros|qzeros|g_idx|zero_point|absmax|quant_map|shape|weight_format|SCB|"
    r"input_scale|global_scale|bitsandbytes__\w+)$"
)
_OF_LAYERS = {"SPLIT", "REPLICATED", "EXPERT"}
_BITS_OF_DTYPE = {"I8": 8, "U8": 8, "I32": 32, "U32": 32}


class CheckpointTensors:
    """How the tensors of one checkpoint are to be read; ``config`` is its ``config.json``."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        """Take from the configuration how many bits a packed parameter has."""
        self._bits = packed_bits(config)
        self._seen: dict[tuple[str, str, bool], tuple[str, bool]] = {}  # layers repeat each other's names

    def place(self, name: str, dimensions: int) -> tuple[str, int | None, bool]:
        """Return group (a name of ``tensor_groups.Group``), layer (None outside of layers), and draft or not."""
        found = _LAYER.search(name)
        head, tail = (name[: found.start(1)], name[found.end() :]) if found else (name, "")
        key = (head, tail, dimensions < 2)
        if key not in self._seen:
            path = name[: found.start()] if found else name
            self._seen[key] = _group(name, head, path, dimensions, bool(found))
        group, draft = self._seen[key]
        number = int(found[1]) if found else 0
        return group, number if group in _OF_LAYERS else None, draft

    def parameters(self, tensor: StoredTensor) -> int:
        """Return how many parameters a tensor holds: none in scales and the like, several in a packed number."""
        if _SIDE.search(tensor.name.rpartition(".")[2]):
            return 0
        width = _BITS_OF_DTYPE.get(tensor.dtype)
        if width is None or (tensor.dtype == "I8" and self._bits is None):
            return tensor.elements
        return tensor.elements * width // (self._bits or 4)


def _group(name: str, head: str, path: str, dimensions: int, layer: bool) -> tuple[str, bool]:
    """Return the group of a tensor, and whether it belongs to the layers of multi-token prediction.

    ``head`` is the name up to the number of its layer, ``path`` what stands before the word for a layer.
    """
    if _TOWERS.search(path):
        return "PROJECTOR", False
    draft = bool(_DRAFT.search(head))
    if layer or draft:
        if _EXPERT.search(name):
            return "EXPERT", draft
        side = bool(_SIDE.search(name))
        repeated = _REPLICATED.search(name) or (dimensions < 2 and not side and not name.endswith(".bias"))
        return "REPLICATED" if repeated else "SPLIT", draft
    if _EMBEDDING.search(name):
        return "EMBEDDING", False
    if _INPUT.search(name):
        return "INPUT", False
    return "OUTPUT" if _OUTPUT.search(name) else "TAIL", False


def packed_bits(config: Mapping[str, Any]) -> int | None:
    """Return the bits of a weight that several of share a stored number; None if the configuration does not say."""
    text = config.get("text_config")
    for holder in (config, text if isinstance(text, Mapping) else {}):
        for key in ("quantization_config", "compression_config", "quantization"):
            found = _bits(holder.get(key))
            if found:
                return found
    return None


def _bits(settings: Any) -> int | None:
    if not isinstance(settings, Mapping):
        return None
    if settings.get("load_in_4bit") is True:
        return 4
    if settings.get("load_in_8bit") is True:
        return 8
    groups = settings.get("config_groups")
    first = next(iter(groups.values()), None) if isinstance(groups, Mapping) else None
    weights = first.get("weights") if isinstance(first, Mapping) else None
    numbers = (
        settings.get("bits"),
        settings.get("w_bit"),
        weights.get("num_bits") if isinstance(weights, Mapping) else None,
    )
    return next((number for number in numbers if type(number) is int and 0 < number <= 32), None)
