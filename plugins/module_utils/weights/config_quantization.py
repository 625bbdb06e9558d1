"""The quantisation that a ``config.json`` itself names, in the words of ``quantization_target.py``.

The keys are those of transformers (``quantization_config``), compressed-tensors and ModelOpt.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.llmhost.core.plugins.module_utils import record

_DTYPES = {"float16": "FP16", "half": "FP16", "float32": "FP32", "float": "FP32", "float8_e4m3fn": "FP8"}
_USUAL_GROUP = 128


def target_of_config(config: Mapping[str, Any]) -> str:
    """Return a target for ``weights_from_shape``: the checkpoint's format, BF16 where the configuration is silent."""
    parts = (config, record.section(config, "text_config"))
    for part in parts:
        for key in ("quantization_config", "compression_config", "quantization"):
            found = _method(record.section(part, key))
            if found:
                return found
    for part in parts:
        dtype = record.text(part, "dtype") or record.text(part, "torch_dtype")
        if dtype:
            return _DTYPES.get(dtype.removeprefix("torch."), "BF16")
    return "BF16"


def _method(settings: Mapping[str, Any]) -> str:
    method = record.text(settings, "quant_method").lower()
    algorithm = record.text(settings, "quant_algo").upper()
    if algorithm:
        return {"NVFP4": "NVFP4", "W4A16_NVFP4": "NVFP4", "FP8": "FP8_STATIC", "W4A16_AWQ": "AWQ"}.get(algorithm, "")
    if method in ("fp8", "fbgemm_fp8"):
        return _fp8(settings)
    if method in ("awq", "gptq", "gptqmodel", "auto-round", "autoround"):
        return _integers("AWQ" if method == "awq" else "GPTQ", settings)
    if method == "bitsandbytes":
        return "BNB_8BIT" if record.flag(settings, "load_in_8bit") else "BNB_4BIT"
    if method == "mxfp4":
        return "MXFP4"
    return _compressed(settings)


def _fp8(settings: Mapping[str, Any]) -> str:
    if isinstance(settings.get("weight_block_size"), (list, tuple)):
        return "FP8_BLOCK"
    return "FP8_STATIC" if record.text(settings, "activation_scheme") == "static" else "FP8"


def _integers(name: str, settings: Mapping[str, Any]) -> str:
    eight = record.integer(settings, "bits", 4) == 8
    return ("GPTQ_INT8" if eight else name) + _group(settings)


def _group(settings: Mapping[str, Any]) -> str:
    group = record.integer(settings, "group_size") or record.integer(settings, "q_group_size") or _USUAL_GROUP
    return "" if group == _USUAL_GROUP or not 16 <= group <= 9999 else f"_G{group}"


def _compressed(settings: Mapping[str, Any]) -> str:
    groups = record.section(settings, "config_groups")
    first = next((group for group in groups.values() if isinstance(group, Mapping)), None)
    weights = record.section(first, "weights") if first else {}
    if not weights:
        return ""
    bits, strategy = record.integer(weights, "num_bits"), record.text(weights, "strategy")
    if record.text(weights, "type") == "float":
        if bits == 4:
            return "NVFP4"
        return {"tensor": "FP8_TENSOR", "block": "FP8_BLOCK"}.get(strategy, "FP8")
    if bits == 4:
        return ("W4A16" if record.flag(weights, "symmetric", default=True) else "W4A16_ASYM") + _group(weights)
    return "W8A8" if first and first.get("input_activations") else "W8A16" + _group(weights)
