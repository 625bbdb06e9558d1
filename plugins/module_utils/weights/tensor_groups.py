"""The tensors of a model's files, in the groups that an engine places as one: input, layers, experts, output, rest."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, NamedTuple

from ansible_collections.llmhost.core.plugins.module_utils.llama_cpp.llama_repack import repacked_bytes
from ansible_collections.llmhost.core.plugins.module_utils.model.gguf import Tensor
from ansible_collections.llmhost.core.plugins.module_utils.model.safetensors import StoredTensor
from ansible_collections.llmhost.core.plugins.module_utils.shape.shape import MAX_LAYERS, Shape
from ansible_collections.llmhost.core.plugins.module_utils.weights.checkpoint_tensor import CheckpointTensors
from ansible_collections.llmhost.core.plugins.module_utils.weights.weights import LayerWeights, Weights


class Group(Enum):
    """Where a tensor belongs; the three kinds of a layer go with the number of that layer."""

    EMBEDDING = "token embedding"
    INPUT = "other tables of the input"
    OUTPUT = "output matrix"
    TAIL = "what else stands after the last layer"
    SPLIT = "layer, divided by tensor parallel"
    REPLICATED = "layer, repeated on every rank"
    EXPERT = "routed experts of a layer"
    PROJECTOR = "vision or audio tower"


class Place(NamedTuple):
    """A group, and the layer where there is one; ``draft`` for the layers of multi-token prediction."""

    group: Group
    layer: int = 0
    draft: bool = False


@dataclass
class _Sums:
    """The bytes of each place, as they come in."""

    bytes: dict[Place, int] = field(default_factory=dict)
    parameters: int = 0
    repacked_bytes: int = 0

    def add(self, place: Place, size_bytes: int, parameters: int) -> None:
        self.bytes[place] = self.bytes.get(place, 0) + size_bytes
        self.parameters += parameters

    def weights(self, layers: int, draft_layers: int) -> Weights:
        embedding = self._of(Group.EMBEDDING)
        drafts = sorted({place.layer for place in self.bytes if place.draft})
        missing = max(0, draft_layers - len(drafts))
        return Weights(
            token_embedding_bytes=embedding,
            input_bytes=embedding + self._of(Group.INPUT),
            output_bytes=self._of(Group.OUTPUT),
            output_norm_bytes=self._of(Group.TAIL),
            layers=tuple(self._layer(number, False) for number in range(layers)),
            draft_layers=tuple(self._layer(number, True) for number in drafts) + (LayerWeights(),) * missing,
            projector_bytes=self._of(Group.PROJECTOR),
            parameters=self.parameters,
            repacked_bytes=self.repacked_bytes,
        )

    def _of(self, group: Group) -> int:
        return self.bytes.get(Place(group), 0)

    def _layer(self, number: int, draft: bool) -> LayerWeights:
        kinds = (Group.SPLIT, Group.REPLICATED, Group.EXPERT)
        return LayerWeights(*(self.bytes.get(Place(kind, number, draft), 0) for kind in kinds))


def weights_from_gguf(tensors: Iterable[Tensor], shape: Shape) -> Weights:
    """Group the tensors of all files of a GGUF model (bytes as stored, so every type and every mix is exact).

    Which tensors belong to the input, the layers and the output follows LLM_TENSOR_INFOS in llama.cpp's
    src/llama-arch.cpp. Blocks from ``len(shape.layers)`` on are those of multi-token prediction. A tensor without a
    block that llama.cpp handles with the first layer (``rope_freqs``, ``token_embd_norm``) is counted there.
    """
    sums, copies = _Sums(), list[int]()
    layers = _layer_count(shape)
    for tensor in tensors:
        parameters = 0 if tensor.name.endswith((".scale", ".input_scale")) else tensor.elements
        place = gguf_place(tensor.name, len(tensor.shape), layers, shape.architecture)
        sums.add(place, tensor.size_bytes, parameters)
        if place.group is not Group.PROJECTOR:
            copies.append(repacked_bytes(tensor))
        if place.group is Group.EMBEDDING and shape.tied_embeddings:
            sums.repacked_bytes += repacked_bytes(tensor, looked_up=False)
    sums.repacked_bytes += _second_copies(copies)
    return sums.weights(layers or _highest(sums) + 1, len(shape.draft_layers))


def _second_copies(copies: list[int]) -> int:
    """Return the bytes of the copies of tensors that stay mapped: those at the ends of the file do not."""
    mapped = [number for number, size in enumerate(copies) if not size]
    return sum(copies[mapped[0] : mapped[-1]]) if mapped else 0


def weights_from_safetensors(
    tensors: Sequence[StoredTensor], shape: Shape, config: Mapping[str, Any] | None = None
) -> Weights:
    """Group the tensors of a checkpoint as vLLM loads them (bytes as stored).

    An output matrix that is stored although the model ties it to the embedding is left out, as vLLM skips it
    (``skip_prefixes`` in vllm/model_executor/models). ``config`` is the model's ``config.json``; it says how many
    parameters a packed number holds. What tensor parallel repeats follows the norms and the ReplicatedLinear layers of
    vLLM's models.
    """
    sums = _Sums()
    layers = _layer_count(shape)
    names = CheckpointTensors(config or {})
    for tensor in tensors:
        group, layer, draft = names.place(tensor.name, len(tensor.shape))
        place = Place(Group[group], 0 if layer is None else layer, draft)
        if layer is not None and layer >= (layers or MAX_LAYERS):
            place = Place(place.group, layer, True)
        if place.group is Group.OUTPUT and shape.tied_embeddings:
            continue
        sums.add(place, tensor.size_bytes, names.parameters(tensor))
    return sums.weights(layers or _highest(sums) + 1, len(shape.draft_layers))


_BLOCK = re.compile(r"(?:enc\.|dec\.)?blk\.(\d{1,9})\.")
_INPUT = {"position_embd", "token_types", "per_layer_token_embd", "masked_embd_centroids", "masked_embd_ordering"}
_FIRST_LAYER = {
    "rope_freqs", "rope_factors_long", "rope_factors_short", "token_embd_norm", "per_layer_model_proj",
    "per_layer_proj_norm", "hrm",
}  # fmt: skip
_OUTPUT_NORM_IS_CALLED_EMBEDDING_NORM = {"lfm2", "lfm2moe"}
_PROJECTOR = ("v.", "a.", "mm.")
# Also what the flag --cpu-moe of llama.cpp takes for experts, and the experts of files from before April 2024.
_EXPERT = re.compile(r"\.ffn_(?:up|down|gate|gate_up)(?:_(?:ch)?exps(?=\.)|\.\d+\.)")
_REPLICATED = re.compile(
    r"norm|\.bias$|scale$|ffn_gate_inp|exp_probs_b|attn_q_a\.|attn_kv_a|indexer|ssm_[fg]_a\.|nextn\.eh_proj|inp_gate|"
    r"blk\.\d+\.proj\.|altup|laurel|time_mix_(?:lerp|[wavg]\d)|ffn_latent|res_score|\.hc_"
)


def gguf_place(name: str, dimensions: int, layers: int, architecture: str = "") -> Place:
    """Return where a tensor of a GGUF file belongs in a model of ``layers`` layers (0: it is not known how many)."""
    block = _BLOCK.match(name)
    if block:
        number = int(block[1])
        if _EXPERT.search(name):
            group = Group.EXPERT
        else:
            group = Group.REPLICATED if dimensions < 2 or _REPLICATED.search(name) else Group.SPLIT
        return Place(group, number, number >= (layers or MAX_LAYERS))
    stem = name.partition(".")[0]
    if name == "token_embd.weight":
        return Place(Group.EMBEDDING)
    if name == "output.weight":
        return Place(Group.OUTPUT)
    if stem in _INPUT:
        return Place(Group.INPUT)
    if stem == "token_embd_norm" and architecture in _OUTPUT_NORM_IS_CALLED_EMBEDDING_NORM:
        return Place(Group.TAIL)
    if stem in _FIRST_LAYER:
        return Place(Group.REPLICATED)
    return Place(Group.PROJECTOR if name.startswith(_PROJECTOR) else Group.TAIL)


def _layer_count(shape: Shape) -> int:
    return min(len(shape.layers), MAX_LAYERS)


def _highest(sums: _Sums) -> int:
    """Return the highest layer that has a tensor; -1 if none has."""
    kinds = (Group.SPLIT, Group.REPLICATED, Group.EXPERT)
    numbers = [place.layer for place in sums.bytes if place.group in kinds and not place.draft]
    return max(numbers, default=-1)
