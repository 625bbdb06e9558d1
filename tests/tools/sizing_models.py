"""The shape and the weights of a measured case."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

from ansible_collections.llmhost.core.plugins.module_utils.model.model_error import ModelError
from ansible_collections.llmhost.core.plugins.module_utils.shape.config_shape import shape_from_config
from ansible_collections.llmhost.core.plugins.module_utils.shape.gguf_shape import shape_from_gguf
from ansible_collections.llmhost.core.plugins.module_utils.shape.shape import FULL, LATENT, Layer, Shape
from ansible_collections.llmhost.core.plugins.module_utils.size import GIB, MIB
from ansible_collections.llmhost.core.plugins.module_utils.sizing.estimate import FACTS
from ansible_collections.llmhost.core.plugins.module_utils.weights.vision import with_tower
from ansible_collections.llmhost.core.plugins.module_utils.weights.vision_tower import tower_from_config
from ansible_collections.llmhost.core.plugins.module_utils.weights.weights import Weights
from ansible_collections.llmhost.core.plugins.module_utils.weights.weights_from_shape import weights_from_shape

from tests.tools.sizing_cases import FORK, VLLM, Case, read_configs

SYNONYMS = {"Q2_K_M": "Q2_K"}  # llama.cpp prints Q2_K as "Q2_K - Medium"
TIED = ("gemma", "command-r", "cohere2")
NAMES = {"gpt-oss": "gpt-oss", "gemma-3": "gemma3", "gemma-2": "gemma2", "qwen3": "qwen3", "qwen2": "qwen2"}
CONFIGS = read_configs()


def shape_of(case: Case) -> Shape:
    """Return the shape: of the config named, of the header's keys, else of the facts of the log."""
    found = None if {"layers", "ffn"} <= set(case.arch) else config_of(case)
    if "metadata" in case.facts:
        found = None
    gguf = case.engine != VLLM
    shape = shape_from_gguf(_metadata(case)) if found is None else shape_from_config(found, gguf=gguf)
    if gguf:
        shape = dataclasses.replace(shape, tied_embeddings=_tied(case, shape))
    if case.arch.get("layers") == len(shape.layers):  # the file has no layers of multi-token prediction
        shape = dataclasses.replace(shape, draft_layers=())
    if case.engine == FORK:
        shape = _cached_by(case, shape)
    return shape


def config_of(case: Case) -> Mapping[str, Any] | None:
    """Return the public config: the case's own, that which is named, or that of the model's name."""
    named = case.facts.get("config") or case.facts.get("model", "")
    if isinstance(named, Mapping):
        return dict(named)
    if named in CONFIGS:
        return dict(CONFIGS[str(named)]["config"])
    wanted = _plain(str(named))
    for repository, entry in CONFIGS.items():
        names = [repository.rsplit("/", 1)[-1], *entry.get("aliases", ())]
        if any(_plain(name) == wanted for name in names):
            return dict(entry["config"])
    return None


def weights_of(case: Case, shape: Shape) -> Weights | None:
    """Return the weights of the case's format; None where the mix of quantisations is its publisher's own.

    A file whose size is another than that of llama.cpp's mix of the same name is such a one.
    """
    target = target_of(case)
    if case.facts.get("mix") == "own" or not target:
        return None
    if case.engine == VLLM:
        return with_tower(weights_from_shape(shape, target, "safetensors"), tower_from_config(config_of(case) or {}))
    try:
        found = weights_from_shape(shape, target, "gguf")
    except ModelError:  # a type of the fork's own
        return None
    size = _file_bytes(case)
    return found if not size or abs(found.total_bytes - size) <= 0.006 * size else None


def stand_in(case: Case, shape: Shape) -> Weights | None:
    """Return llama.cpp's own mix for one of the same name: near enough for what GPUs copy of weights in RAM.

    The fork copies none of its own types, which its mixes are made of.
    """
    if case.engine == FORK:
        return None
    try:
        return weights_from_shape(shape, target_of(case) or "Q4_K_M", "gguf")
    except ModelError:
        return None


def _file_bytes(case: Case) -> float:
    """Return the size of the file as the log says it, 0 where it does not."""
    text = str(case.reported.get("file_size_reported") or case.facts.get("file_size") or "")
    found = re.match(r"([\d.]+) (GiB|MiB)", text)
    return float(found.group(1)) * (GIB if found.group(2) == "GiB" else MIB) if found else 0.0


def target_of(case: Case) -> str:
    """Return the quantisation by the name that repositories give it."""
    text = str(case.facts.get("format", ""))
    if case.engine == VLLM:
        found = text.removeprefix("safetensors").split("(")[0].strip().upper() or "BF16"
        return "FP8_BLOCK" if found == "FP8" and _scaled_by_block(case) else found
    text = text.removeprefix("GGUF").strip()
    text = re.sub(r" - (Medium|Small|Large)", lambda found: f"_{found.group(1)[0]}", text)
    target = re.split(r" - |\s", text)[0].replace("_K_", "_K_").removesuffix("_R4").removesuffix("_R8")
    return "" if target in ("?", "") else SYNONYMS.get(target, target.upper())


def _scaled_by_block(case: Case) -> bool:
    config = config_of(case) or {}
    scheme = config.get("quantization_config")
    return isinstance(scheme, Mapping) and bool(scheme.get("weight_block_size"))


def _metadata(case: Case) -> dict[str, Any]:
    keys = case.section("metadata")
    if keys:
        return dict(keys)
    name = _name(case)
    found: dict[str, Any] = {"general.architecture": name}
    for fact, key in FACTS.items():
        value = case.arch.get(fact)
        if value not in (None, 0, "", "0"):
            found[f"{name}.{key}"] = int(value) if not isinstance(value, list) else value
    head = found.get(f"{name}.attention.key_length")
    if head is not None:
        found.setdefault(f"{name}.attention.value_length", head)
    return found


def _name(case: Case) -> str:
    if case.arch.get("name"):
        return str(case.arch["name"])
    model = str(case.facts.get("model", "")).lower()
    return next((name for part, name in NAMES.items() if part in model), "llama")


def _tied(case: Case, shape: Shape) -> bool:
    tied = case.arch.get("tied")
    return shape.tied_embeddings or shape.architecture.startswith(TIED) if tied is None else bool(tied)


def _cached_by(case: Case, shape: Shape) -> Shape:
    """Return the shape with latent rows, or with ``-mla 0`` the keys and values of every head, whatever the header."""
    latent = str(case.facts.get("mla_attn", "3")) != "0"

    def cached(layer: Layer) -> Layer:
        attention = layer.attention
        if attention is None or not attention.kv_lora_rank:
            return layer
        kind, heads = (LATENT, 1) if latent else (FULL, attention.heads)
        return dataclasses.replace(layer, attention=dataclasses.replace(attention, kind=kind, kv_heads=heads))

    return dataclasses.replace(shape, layers=tuple(cached(layer) for layer in shape.layers))


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.rsplit("/", 1)[-1].lower().split("(")[0])
