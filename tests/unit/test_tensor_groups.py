"""The tensors of a model's files in the groups that an engine places as one."""

from __future__ import annotations

import pytest
from ansible_collections.llmhost.core.plugins.module_utils.model.gguf import Tensor
from ansible_collections.llmhost.core.plugins.module_utils.model.safetensors import StoredTensor
from ansible_collections.llmhost.core.plugins.module_utils.shape.shape import Layer, Shape
from ansible_collections.llmhost.core.plugins.module_utils.weights.tensor_groups import (
    weights_from_gguf,
    weights_from_safetensors,
)
from ansible_collections.llmhost.core.plugins.module_utils.weights.weights import LayerWeights, Weights
from hypothesis import given, settings
from hypothesis import strategies as st


def shape(layers: int = 2, architecture: str = "llama", tied: bool = False, drafts: int = 0) -> Shape:
    return Shape(architecture, 8, 32, 512, (Layer(),) * layers, (Layer(),) * drafts, tied)


def gguf(names: dict[str, int], model: Shape) -> Weights:
    """Group tensors of the given bytes; a name that ends with .bias or holds norm has one dimension."""
    tensors = [
        Tensor(name, (size,) if "norm" in name or name.endswith(".bias") else (1, size), "I8", True, 0, size)
        for name, size in names.items()
    ]
    return weights_from_gguf(tensors, model)


def stored(names: dict[str, int], model: Shape, config: dict[str, object] | None = None) -> Weights:
    tensors = [
        StoredTensor(name, "F8_E4M3", (size,) if "norm" in name or name.endswith(".bias") else (1, size), size)
        for name, size in names.items()
    ]
    return weights_from_safetensors(tensors, model, config or {})


def summary(weights: Weights) -> dict[str, int]:
    """Return the sums that are not zero: the layers' as split, replicated and expert bytes of the number."""
    sums = {
        "embedding": weights.token_embedding_bytes,
        "input": weights.input_bytes - weights.token_embedding_bytes,
        "output": weights.output_bytes,
        "tail": weights.output_norm_bytes,
        "projector": weights.projector_bytes,
    }
    for prefix, layers in (("", weights.layers), ("draft", weights.draft_layers)):
        for number, layer in enumerate(layers):
            sums[f"{prefix}{number} split"] = layer.split_bytes
            sums[f"{prefix}{number} replicated"] = layer.replicated_bytes
            sums[f"{prefix}{number} expert"] = layer.expert_bytes
    return {name: size for name, size in sums.items() if size}


# Names from published files of the families; what llama.cpp does with them is LLM_TENSOR_INFOS of src/llama-arch.cpp.
GGUF_PLACES = [
    ("llama", "token_embd.weight", "embedding"),
    ("bert", "position_embd.weight", "input"),
    ("bert", "token_types.weight", "input"),
    ("gemma4", "per_layer_token_embd.weight", "input"),
    ("bloom", "token_embd_norm.weight", "0 replicated"),
    ("lfm2", "token_embd_norm.weight", "tail"),
    ("llama", "rope_freqs.weight", "0 replicated"),
    ("phi3", "rope_factors_long.weight", "0 replicated"),
    ("gemma3n", "per_layer_model_proj.weight", "0 replicated"),
    ("gemma3n", "altup_proj.weight", "tail"),
    ("llama", "output_norm.weight", "tail"),
    ("llama", "output.weight", "output"),
    ("phi2", "output.bias", "tail"),
    ("llama", "blk.1.attn_q.weight", "1 split"),
    ("qwen2", "blk.1.attn_q.bias", "1 replicated"),
    ("llama", "blk.1.ffn_norm.weight", "1 replicated"),
    ("qwen3moe", "blk.0.ffn_gate_inp.weight", "0 replicated"),
    ("qwen3moe", "blk.0.ffn_gate_exps.weight", "0 expert"),
    ("llama4", "blk.0.ffn_gate_up_exps.weight", "0 expert"),
    ("gpt-oss", "blk.0.ffn_down_exps.bias", "0 expert"),
    ("grovemoe", "blk.0.ffn_up_chexps.weight", "0 expert"),
    ("llama", "blk.0.ffn_up.7.weight", "0 expert"),
    ("qwen2moe", "blk.0.ffn_up_shexp.weight", "0 split"),
    ("deepseek2", "blk.0.attn_kv_a_mqa.weight", "0 replicated"),
    ("deepseek2", "blk.0.attn_q_a.weight", "0 replicated"),
    ("deepseek2", "blk.0.attn_kv_b.weight", "0 split"),
    ("qwen3next", "blk.0.ssm_in.weight", "0 split"),
    ("glm4moe", "blk.2.nextn.eh_proj.weight", "draft0 replicated"),
    ("glm4moe", "blk.2.attn_q.weight", "draft0 split"),
    ("glm4moe", "blk.3.ffn_up_exps.weight", "draft0 expert"),
    ("t5", "enc.blk.1.attn_q.weight", "1 split"),
    ("llama", "mm.0.weight", "projector"),
    ("llama", "v.blk.0.attn_q.weight", "projector"),
]


@pytest.mark.parametrize(("architecture", "name", "place"), GGUF_PLACES)
def test_a_tensor_of_a_gguf_file_has_its_place(architecture: str, name: str, place: str) -> None:
    assert summary(gguf({name: 7}, shape(2, architecture))) == {place: 7}


CHECKPOINT_PLACES = [
    ("model.embed_tokens.weight", "embedding"),
    ("model.language_model.embed_tokens.weight", "embedding"),
    ("transformer.wte.weight", "embedding"),
    ("transformer.wpe.weight", "input"),
    ("backbone.embeddings.weight", "embedding"),
    ("transformer.embedding.word_embeddings.weight", "embedding"),
    ("model.language_model.embed_tokens_per_layer.weight", "input"),
    ("model.norm.weight", "tail"),
    ("lm_head.weight", "output"),
    ("language_model.lm_head.weight", "output"),
    ("transformer.output_layer.weight", "output"),
    ("output.weight", "output"),
    ("lm_head.qweight", "output"),
    ("model.layers.1.self_attn.q_proj.weight", "1 split"),
    ("model.layers.1.self_attn.q_proj.weight_scale_inv", "1 split"),
    ("model.layers.1.self_attn.q_proj.bias", "1 split"),
    ("model.layers.1.self_attn.o_proj.bias", "1 replicated"),
    ("model.layers.1.self_attn.q_norm.weight", "1 replicated"),
    ("model.layers.1.post_attention_layernorm.weight", "1 replicated"),
    ("transformer.h.1.ln_1.bias", "1 replicated"),
    ("model.layers.0.mlp.gate_proj.qweight", "0 split"),
    ("model.layers.0.mlp.gate.weight", "0 replicated"),
    ("model.layers.0.mlp.router.weight", "0 replicated"),
    ("model.layers.0.block_sparse_moe.gate.weight", "0 replicated"),
    ("model.layers.0.mlp.shared_expert_gate.weight", "0 replicated"),
    ("model.layers.0.mlp.shared_experts.up_proj.weight", "0 split"),
    ("model.layers.0.mlp.experts.127.up_proj.weight", "0 expert"),
    ("model.layers.0.mlp.experts.gate_up_proj_blocks", "0 expert"),
    ("model.layers.0.block_sparse_moe.experts.3.w2.weight", "0 expert"),
    ("model.layers.0.block_sparse_moe.input_linear.weight", "0 expert"),
    ("model.layers.0.self_attn.kv_a_proj_with_mqa.weight", "0 replicated"),
    ("model.layers.0.self_attn.q_a_proj.weight", "0 replicated"),
    ("model.layers.0.self_attn.kv_b_proj.weight", "0 split"),
    ("model.layers.0.self_attn.indexer.wq_b.weight", "0 replicated"),
    ("model.layers.0.linear_attn.in_proj_qkvz.weight", "0 split"),
    ("backbone.layers.0.mixer.in_proj.weight", "0 split"),
    ("model.layers.2.eh_proj.weight", "draft0 replicated"),
    ("model.layers.2.self_attn.q_b_proj.weight", "draft0 split"),
    ("model.layers.2.mlp.experts.0.up_proj.weight", "draft0 expert"),
    ("mtp.layers.0.self_attn.q_proj.weight", "draft0 split"),
    ("mtp.fc.weight", "draft0 split"),
    ("model.mtp_layers.0.self_attn.q_proj.weight", "draft0 split"),
    ("vision_tower.vision_model.encoder.layers.3.mlp.fc1.weight", "projector"),
    ("model.visual.blocks.1.attn.qkv.weight", "projector"),
    ("multi_modal_projector.linear_1.weight", "projector"),
    ("model.vision_tower.embeddings.position_embedding.weight", "projector"),
    ("model.audio_tower.conformer.0.attention.post.weight", "projector"),
    ("mlp1.1.weight", "projector"),
    ("model.transformer.ff_out.weight", "output"),
    ("model.transformer.wte.embedding", "embedding"),
    ("model.transformer.blocks.0.ff_out.weight", "0 split"),
    ("model.sam_model.blocks.0.attn.qkv.weight", "projector"),
    ("vpm.encoder.layers.0.self_attn.q_proj.weight", "projector"),
    ("resampler.kv_proj.weight", "projector"),
]


@pytest.mark.parametrize(("name", "place"), CHECKPOINT_PLACES)
def test_a_tensor_of_a_checkpoint_has_its_place(name: str, place: str) -> None:
    assert summary(stored({name: 7}, shape())) == {place: 7}


def test_names_that_differ_in_one_word_are_told_apart() -> None:
    names = {
        "model.layers.0.q_proj.weight": 1,
        "model.mtp_layers.0.q_proj.weight": 2,
        "model.layers.1.q_proj.weight": 4,
    }
    assert summary(stored(names, shape())) == {"0 split": 1, "1 split": 4, "draft0 split": 2}


def test_an_output_matrix_that_is_tied_counts_once() -> None:
    names = {"model.embed_tokens.weight": 64, "lm_head.weight": 64}
    assert summary(stored(names, shape(tied=True))) == {"embedding": 64}
    assert summary(stored(names, shape(tied=False))) == {"embedding": 64, "output": 64}
    # llama.cpp loads what the file has.
    assert summary(gguf({"token_embd.weight": 64, "output.weight": 64}, shape(tied=True))) == {
        "embedding": 64,
        "output": 64,
    }


@pytest.mark.parametrize(("tied", "repacked"), [(False, 100), (True, 107)])
def test_what_a_cpu_reorders_is_held_twice_but_at_the_ends_of_the_file(tied: bool, repacked: int) -> None:
    sizes = {"token_embd.weight": 7, "blk.0.ffn_up.weight": 100, "output_norm.weight": 1, "output.weight": 1000}
    tensors = [
        Tensor(name, (8,) if "norm" in name else (8, 8), "F32" if "norm" in name else "Q4_0", True, 0, size)
        for name, size in sizes.items()
    ]

    assert weights_from_gguf(tensors, shape(1, tied=tied)).repacked_bytes == repacked


def test_layers_are_there_even_if_the_files_have_nothing_for_them() -> None:
    weights = gguf({"blk.0.attn_q.weight": 3}, shape(3, drafts=2))
    assert weights.layers == (LayerWeights(3), LayerWeights(), LayerWeights())
    assert weights.draft_layers == (LayerWeights(), LayerWeights())


def test_without_known_layers_the_files_say_how_many_there_are() -> None:
    assert len(gguf({"blk.4.attn_q.weight": 3}, shape(0)).layers) == 5
    assert len(stored({"model.layers.4.q_proj.weight": 3}, shape(0)).layers) == 5


# As the formats store a matrix of 64 x 128 parameters.
PACKED = [
    ({"quantization_config": {"quant_method": "awq", "bits": 4}}, ("qweight", "I32", (64, 16))),
    ({"quantization_config": {"quant_method": "gptq", "bits": 8}}, ("qweight", "I32", (16, 128))),
    ({"quantization_config": {"quant_method": "mxfp4"}}, ("up_proj_blocks", "U8", (64, 4, 16))),
    ({"quantization_config": {"quant_algo": "NVFP4"}}, ("weight", "U8", (64, 64))),
    ({"quantization_config": {"load_in_4bit": True}}, ("weight", "U8", (4096, 1))),
    ({"quantization_config": {"load_in_8bit": True}}, ("weight", "I8", (64, 128))),
    ({"quantization_config": {"config_groups": {"a": {"weights": {"num_bits": 8}}}}}, ("weight", "I8", (64, 128))),
    ({"quantization_config": {"config_groups": {"a": {"weights": {"num_bits": 4}}}}}, ("w_packed", "I32", (64, 16))),
    ({"text_config": {"quantization_config": {"bits": 4}}}, ("qweight", "I32", (64, 16))),
    ({"quantization_config": {"quant_method": "fp8"}}, ("weight", "F8_E4M3", (64, 128))),
    ({"quantization_config": 3}, ("weight", "I8", (64, 128))),
    ({}, ("weight", "BF16", (64, 128))),
]


@pytest.mark.parametrize(("config", "tensor"), PACKED)
def test_packed_numbers_count_as_the_parameters_they_hold(
    config: dict[str, object], tensor: tuple[str, str, tuple[int, ...]]
) -> None:
    suffix, dtype, dimensions = tensor
    side = ("scales", "qzeros", "g_idx", "weight_scale", "weight.absmax", "weight.quant_state.bitsandbytes__nf4")
    name = "model.layers.0.mlp.up_proj."
    tensors = [StoredTensor(name + suffix, dtype, dimensions, 1000)]
    tensors += [StoredTensor(name + suffix, "F16", (64, 1), 10) for suffix in side]
    weights = weights_from_safetensors(tensors, shape(1), config)
    assert (weights.parameters, weights.total_bytes, weights.layers[0].split_bytes) == (64 * 128, 1060, 1060)


NAMES = st.one_of(
    st.text(max_size=40),
    st.from_regex(r"\A(blk|model\.layers|mtp\.layers|h)\.\d{1,10}\.\w{1,12}\.(weight|bias)\Z"),
    st.sampled_from([name for _, name, _ in GGUF_PLACES] + [name for name, _ in CHECKPOINT_PLACES]),
)


@settings(deadline=None)
@given(st.dictionaries(NAMES, st.integers(0, 2**50), max_size=8), st.integers(0, 3), st.integers(0, 2))
def test_no_byte_is_lost_whatever_the_tensors_are_called(names: dict[str, int], layers: int, drafts: int) -> None:
    for weights in (gguf(names, shape(layers, drafts=drafts)), stored(names, shape(layers, drafts=drafts))):
        assert weights.total_bytes == sum(names.values())
        assert len(weights.layers) == layers or not layers
        assert len(weights.draft_layers) >= drafts
        assert len(weights.layers) + len(weights.draft_layers) <= 4096 + len(names) + drafts
