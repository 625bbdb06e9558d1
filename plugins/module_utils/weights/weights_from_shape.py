"""The weights of a model that does not exist yet in the wanted quantisation: computed from its shape alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from ansible_collections.llmhost.core.plugins.module_utils.shape.shape import Layer, Shape
from ansible_collections.llmhost.core.plugins.module_utils.weights.checkpoint_quantization import Scheme, stored_bytes
from ansible_collections.llmhost.core.plugins.module_utils.weights.gguf_mix import (
    FUSED_VALUES,
    MADE_WITH_IMATRIX,
    Mix,
    ModelFacts,
    category,
    type_size,
)
from ansible_collections.llmhost.core.plugins.module_utils.weights.layer_style import family, plain_name
from ansible_collections.llmhost.core.plugins.module_utils.weights.model_tensors import ModelTensors
from ansible_collections.llmhost.core.plugins.module_utils.weights.quantization_target import GGUF, Target
from ansible_collections.llmhost.core.plugins.module_utils.weights.tensor import ModelTensor
from ansible_collections.llmhost.core.plugins.module_utils.weights.tensor_groups import Group, gguf_place
from ansible_collections.llmhost.core.plugins.module_utils.weights.weights import LayerWeights, Weights

# The heads of these are listed by layer, so a first layer without attention counts as one without heads.
_LISTS_HEADS_BY_LAYER = {
    "bailingmoe3", "glm5next", "granitehybrid", "jamba", "kimik3", "kimilinear", "lfm2", "lfm2moe", "nemotronh",
    "nemotronhmoe", "plamo2",
}  # fmt: skip
_SEVENTY_BILLION_LAYERS = {"deci": 80, "jais2": 68, "llama": 80, "olmo": 80, "qwen2": 80}
# Its experts are published in MXFP4 alone, and llama.cpp does not quantise them a second time.
_EXPERTS_STAY_MXFP4 = {"gptoss"}
# llama.cpp's conversion leaves the layers of multi-token prediction of these out (conversion/deepseek.py).
_DRAFTS_ARE_DROPPED = {"deepseekv2", "deepseekv3", "deepseekv4", "kimik2", "kimik25"}
_BY_PLACE = ("attn_v", "ffn_down", "ffn_gate", "ffn_up")
_VALUES = ("attn_v", *FUSED_VALUES)


def weights_from_shape(shape: Shape, target: str, form: str | None = None, *, imatrix: bool | None = None) -> Weights:
    """Return the bytes of a model of this shape, quantised as ``target`` (``Q4_K_M``, ``BF16``, ``AWQ`` …).

    ``form`` (``gguf`` or ``safetensors``) decides where a name is known in both worlds; without it ``BF16``, ``FP16``,
    ``MXFP4`` and ``NVFP4`` are checkpoints. ``imatrix`` says whether a GGUF file is made with an importance matrix; by
    default it is for the formats that nobody makes without. It adds 0.4 % to Q4_0. A mix is that of the quantiser which
    made nearly all published files (``gguf_mix.FUSED_VALUES``). Towers for images and sound are not
    in the shape: see ``vision.py``. Raise ModelError for a target that nobody knows.
    """
    wanted = Target.from_text(target, form)
    tensors = ModelTensors.from_shape(shape)
    if wanted.form == GGUF and plain_name(shape.architecture) in _DRAFTS_ARE_DROPPED:
        kept = replace(shape, draft_layers=())
        weights = _sum(kept, tensors, _GgufSizes(kept, tensors, wanted, imatrix))
        return replace(weights, draft_layers=(LayerWeights(),) * len(shape.draft_layers))
    if wanted.form == GGUF:
        return _sum(shape, tensors, _GgufSizes(shape, tensors, wanted, imatrix))
    return _sum(shape, tensors, _CheckpointSizes(wanted.scheme))


def model_facts(shape: Shape, tensors: ModelTensors) -> ModelFacts:
    """Return what the rules of llama.cpp's quantiser ask of a model."""
    name, layers = family(shape.architecture), (*shape.layers, *shape.draft_layers)
    kinds: dict[Layer, int] = {}
    for layer in layers:
        if layer not in kinds:
            kinds[layer] = sum(category(tensor.name) in _VALUES for tensor in tensors.layer(layer))
    heads, kv_heads = _first_heads(shape, name)
    networks = [layer.feed_forward for layer in shape.layers if layer.feed_forward]
    return ModelFacts(
        family=name,
        layers=len(layers),
        value_tensors=sum(kinds[layer] for layer in layers),
        experts=max((network.experts for network in networks), default=0),
        queries_per_key=heads // kv_heads if kv_heads else 0,
        seventy_billion=len(shape.layers) == _SEVENTY_BILLION_LAYERS.get(name)
        and (name != "llama" or heads != kv_heads),
        tied=shape.tied_embeddings,
    )


def _first_heads(shape: Shape, name: str) -> tuple[int, int]:
    for layer in shape.layers:
        if layer.attention:
            return layer.attention.heads, layer.attention.kv_heads
        if name in _LISTS_HEADS_BY_LAYER:
            break
    return 0, 0


class _Sizes(Protocol):
    """How many bytes a tensor takes; asked in the order of layers, and of names in each."""

    def depends_on_place(self, tensor: ModelTensor) -> bool:
        """Say whether the same tensor takes other bytes in another layer."""

    def size_bytes(self, tensor: ModelTensor, layer: int = 0) -> int:
        """Return the bytes."""


class _GgufSizes:
    def __init__(self, shape: Shape, tensors: ModelTensors, target: Target, imatrix: bool | None) -> None:
        facts = model_facts(shape, tensors)
        with_matrix = target.name in MADE_WITH_IMATRIX if imatrix is None else imatrix
        self._mix = Mix(target.name, facts, with_matrix, "Q8_0" if target.eight_bit_ends else None)
        self._mxfp4 = facts.family in _EXPERTS_STAY_MXFP4

    def depends_on_place(self, tensor: ModelTensor) -> bool:
        return category(tensor.name) in _BY_PLACE

    def size_bytes(self, tensor: ModelTensor, layer: int = 0) -> int:
        if self._mxfp4 and tensor.name.endswith("_exps.weight"):
            return type_size("MXFP4", tensor)
        return type_size(self._mix.type_of(tensor, layer), tensor)


@dataclass(frozen=True)
class _CheckpointSizes:
    scheme: Scheme

    def depends_on_place(self, tensor: ModelTensor) -> bool:
        return False

    def size_bytes(self, tensor: ModelTensor, layer: int = 0) -> int:
        return stored_bytes(tensor, self.scheme)


@dataclass(frozen=True)
class _Kind:
    """One kind of layer: what is the same in each layer of it, and the tensors that are not."""

    always: LayerWeights
    by_place: tuple[tuple[Group, ModelTensor], ...]
    parameters: int

    @classmethod
    def from_tensors(cls, tensors: Sequence[ModelTensor], sizes: _Sizes) -> _Kind:
        placed = [(gguf_place(f"blk.0.{tensor.name}", tensor.dimensions, 1).group, tensor) for tensor in tensors]
        same = [(group, tensor) for group, tensor in placed if not sizes.depends_on_place(tensor)]
        other = tuple((group, tensor) for group, tensor in placed if sizes.depends_on_place(tensor))
        always = _layer([(group, sizes.size_bytes(tensor)) for group, tensor in same])
        return cls(always, other, sum(tensor.elements for tensor in tensors))

    def weights(self, number: int, sizes: _Sizes) -> LayerWeights:
        """Return the bytes of the layer of this number."""
        if not self.by_place:
            return self.always
        rest = _layer([(group, sizes.size_bytes(tensor, number)) for group, tensor in self.by_place])
        return LayerWeights(
            self.always.split_bytes + rest.split_bytes,
            self.always.replicated_bytes + rest.replicated_bytes,
            self.always.expert_bytes + rest.expert_bytes,
        )


def _layer(parts: Sequence[tuple[Group, int]]) -> LayerWeights:
    sums = dict.fromkeys((Group.SPLIT, Group.REPLICATED, Group.EXPERT), 0)
    for group, size in parts:
        sums[group] += size
    return LayerWeights(*sums.values())


def _sum(shape: Shape, tensors: ModelTensors, sizes: _Sizes) -> Weights:
    sums, count = dict.fromkeys(Group, 0), 0
    for tensor in tensors.outer():
        sums[gguf_place(tensor.name, tensor.dimensions, 1, shape.architecture).group] += sizes.size_bytes(tensor)
        count += tensor.elements
    kinds: dict[tuple[Layer, bool], _Kind] = {}
    layers: list[LayerWeights] = []
    main = len(shape.layers)
    for number, layer in enumerate((*shape.layers, *shape.draft_layers)):
        key = (layer, number >= main)
        if key not in kinds:
            kinds[key] = _Kind.from_tensors(tensors.layer(*key), sizes)
        layers.append(kinds[key].weights(number, sizes))
        count += kinds[key].parameters
    if main:  # what llama.cpp handles with the first layer
        layers[0] = replace(layers[0], replicated_bytes=layers[0].replicated_bytes + sums[Group.REPLICATED])
    return Weights(
        token_embedding_bytes=sums[Group.EMBEDDING],
        input_bytes=sums[Group.EMBEDDING] + sums[Group.INPUT],
        output_bytes=sums[Group.OUTPUT],
        output_norm_bytes=sums[Group.TAIL] + (0 if main else sums[Group.REPLICATED]),
        layers=tuple(layers[:main]),
        draft_layers=tuple(layers[main:]),
        parameters=count,
        exact=False,
    )
