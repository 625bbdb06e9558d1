"""The quantisation that a config.json names."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.llmhost.core.plugins.module_utils.weights.config_quantization import target_of_config
from ansible_collections.llmhost.core.plugins.module_utils.weights.quantization_target import SAFETENSORS, Target
from ansible_collections.llmhost.core.plugins.module_utils.weights.weights_from_shape import weights_from_shape
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.known_shapes import QWEN3_30B_A3B


def compressed(**weights: Any) -> dict[str, Any]:
    return {"quant_method": "compressed-tensors", "config_groups": {"group_0": {"weights": weights}}}


EIGHT = {"num_bits": 8, "type": "int"}
CONFIGS: list[tuple[dict[str, Any], str]] = [
    ({}, "BF16"),
    ({"torch_dtype": "bfloat16"}, "BF16"),
    ({"torch_dtype": "float16"}, "FP16"),
    ({"dtype": "float32"}, "FP32"),
    ({"text_config": {"torch_dtype": "float16"}}, "FP16"),
    ({"quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]}}, "FP8_BLOCK"),
    ({"quantization_config": {"quant_method": "fp8", "activation_scheme": "static"}}, "FP8_STATIC"),
    ({"quantization_config": {"quant_method": "fp8", "activation_scheme": "dynamic"}}, "FP8"),
    ({"quantization_config": {"quant_method": "awq", "bits": 4, "group_size": 128}}, "AWQ"),
    ({"quantization_config": {"quant_method": "awq", "bits": 4, "group_size": 64}}, "AWQ_G64"),
    ({"quantization_config": {"quant_method": "gptq", "bits": 8, "group_size": 32}}, "GPTQ_INT8_G32"),
    ({"quantization_config": {"quant_method": "gptq", "bits": 4, "group_size": -1}}, "GPTQ"),
    ({"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}}, "BNB_4BIT"),
    ({"quantization_config": {"quant_method": "bitsandbytes", "load_in_8bit": True}}, "BNB_8BIT"),
    ({"quantization_config": {"quant_method": "mxfp4"}}, "MXFP4"),
    ({"quantization_config": {"quant_method": "modelopt", "quant_algo": "NVFP4"}}, "NVFP4"),
    ({"quantization_config": compressed(num_bits=8, type="float", strategy="channel")}, "FP8"),
    ({"quantization_config": compressed(num_bits=8, type="float", strategy="tensor")}, "FP8_TENSOR"),
    ({"quantization_config": compressed(num_bits=8, type="float", strategy="block")}, "FP8_BLOCK"),
    ({"quantization_config": compressed(num_bits=4, type="float", strategy="tensor_group")}, "NVFP4"),
    ({"quantization_config": compressed(num_bits=4, type="int", group_size=128, symmetric=True)}, "W4A16"),
    ({"quantization_config": compressed(num_bits=4, type="int", group_size=32, symmetric=False)}, "W4A16_ASYM_G32"),
    ({"quantization_config": compressed(num_bits=8, type="int", strategy="group", group_size=128)}, "W8A16"),
    ({"compression_config": {"config_groups": {"a": {"weights": EIGHT, "input_activations": EIGHT}}}}, "W8A8"),
    ({"text_config": {"quantization_config": {"quant_method": "awq"}}}, "AWQ"),
    ({"quantization_config": {"quant_method": "something new"}, "torch_dtype": "float16"}, "FP16"),
]  # fmt: skip


@pytest.mark.parametrize(("config", "target"), CONFIGS)
def test_the_configuration_names_its_quantisation(config: dict[str, Any], target: str) -> None:
    assert target_of_config(config) == target
    assert Target.from_text(target, SAFETENSORS).form == SAFETENSORS
    assert weights_from_shape(QWEN3_30B_A3B, target, SAFETENSORS).total_bytes > 15 * 10**9


KEYS = st.sampled_from(
    [
        "quantization_config", "config_groups", "weights", "quant_method", "quant_algo", "bits", "num_bits", "type",
        "group_size", "strategy", "torch_dtype", "text_config", "weight_block_size", "load_in_8bit", "symmetric",
    ]
)  # fmt: skip
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from(["awq", "gptq", "fp8", "compressed-tensors", "float", "int", "NVFP4", "block", "group", ""]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=12,
)


@settings(deadline=None)
@given(st.dictionaries(KEYS, VALUES))
def test_whatever_it_says_the_target_is_one_that_is_known(config: dict[str, Any]) -> None:
    assert Target.from_text(target_of_config(config), SAFETENSORS).scheme.bits in (4, 8, 16, 32)
