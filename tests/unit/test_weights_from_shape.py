"""Weights computed from the shape of a model: against public parameter counts, real logs and llama.cpp's quantiser."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import pytest
from ansible_collections.llmhost.core.plugins.module_utils.model.model_error import ModelError
from ansible_collections.llmhost.core.plugins.module_utils.shape import shape as shapes
from ansible_collections.llmhost.core.plugins.module_utils.shape.shape import (
    Attention,
    FeedForward,
    Layer,
    Recurrent,
    Shape,
)
from ansible_collections.llmhost.core.plugins.module_utils.weights.gguf_mix import BASES, Mix
from ansible_collections.llmhost.core.plugins.module_utils.weights.layer_style import STYLES, SYNONYMS
from ansible_collections.llmhost.core.plugins.module_utils.weights.model_tensors import ModelTensors
from ansible_collections.llmhost.core.plugins.module_utils.weights.quantization_target import (
    GGUF,
    SAFETENSORS,
    Target,
    form_of,
    known_targets,
)
from ansible_collections.llmhost.core.plugins.module_utils.weights.weights import LayerWeights
from ansible_collections.llmhost.core.plugins.module_utils.weights.weights_from_shape import (
    model_facts,
    weights_from_shape,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tools.quantiser import FIXTURE, MODELS, named
from tests.unit import known_shapes as known

MIB = 2**20
dense, mixture = known.dense, known.mixture

# As the model cards and the indexes of the checkpoints say.
PARAMETERS = [
    (known.LLAMA_3_8B, 8_030_261_248),
    (known.LLAMA_2_7B, 6_738_415_616),
    (known.LLAMA_2_70B, 68_976_648_192),
    (known.QWEN3_32B, 32_762_123_264),
    (known.QWEN3_30B_A3B, 30_532_122_624),
    (known.MIXTRAL_8X7B, 46_702_792_704),
    (dense("mistral", 32, 4096, 32, 8, 14336, 32000), 7_241_732_096),
    (dense("llama", 16, 2048, 32, 8, 8192, 128256, 64, True), 1_235_814_400),
    (dense("phi3", 32, 3072, 32, 32, 8192, 32064), 3_821_079_552),
    (dense("qwen2", 24, 896, 14, 2, 4864, 151936, 64, True), 494_032_768),
    (dense("qwen2", 28, 3584, 28, 4, 18944, 152064), 7_615_616_512),
    (dense("gemma", 28, 3072, 16, 16, 24576, 256000, 256, True), 8_537_680_896),
    (dense("gemma2", 42, 3584, 16, 8, 14336, 256000, 256, True), 9_241_705_984),
    (dense("gemma2", 26, 2304, 8, 4, 9216, 256000, 256, True), 2_614_341_888),
    (known.gemma3(62, 5376, 32, 16, 21504), 27_009_346_304),
    (replace(dense("gpt2", 12, 768, 12, 12, 3072, 50257, 0, True, False), context_length=1024), 124_439_808),
    (dense("phi", 32, 2560, 32, 32, 10240, 51200, 0, False, False), 2_779_683_840),
    (dense("bloom", 24, 1024, 16, 16, 4096, 250880, 0, True, False), 559_214_592),
    (dense("stablelm", 32, 2560, 32, 32, 6912, 50304), 2_795_443_200),
    (dense("olmo2", 32, 4096, 32, 32, 11008, 100352), 7_298_617_344),
    (dense("cohere", 40, 8192, 64, 64, 22528, 256000, 0, True), 34_980_831_232),
    (dense("seed_oss", 64, 5120, 80, 8, 27648, 155136, 128), 36_151_104_512),
    (mixture("olmoe", 16, 2048, 16, 16, 128, 50304, (64, 8, 1024)), 6_919_161_856),
    (mixture("dbrx", 40, 6144, 48, 8, 128, 100352, (16, 4, 10752)), 131_596_523_520),
    (mixture("qwen3_moe", 94, 4096, 64, 4, 128, 151936, (128, 8, 1536)), 235_093_634_560),
    (mixture("llama4_text", 48, 5120, 40, 8, 128, 202048, (16, 1, 8192), 8192), 107_769_861_120),
    (known.gpt_oss(), 20_914_757_184),
    (known.gpt_oss(36, 128), 116_829_156_672),
    (known.deepseek_v2_lite(), 15_706_484_224),
    (known.deepseek_v3(), 671_026_419_200),
    (known.glm_4_5_air(), 110_468_824_832),
    (known.kimi_linear(), 49_122_681_728),
    (known.lfm2(), 1_170_340_608),
    (known.granite_4_tiny(), 6_939_037_248),
    (known.nemotron_nano(), 8_888_227_328),
    (known.jamba_mini(), 51_570_323_328),
    (known.qwen3_next(), 79_674_391_296),
    (known.qwen3_5_27b(), 26_895_998_464),
]


@pytest.mark.parametrize(("shape", "count"), PARAMETERS, ids=lambda value: getattr(value, "architecture", None))
def test_the_parameters_are_those_that_were_published(shape: Shape, count: int) -> None:
    assert weights_from_shape(shape, "BF16").parameters == count
    assert weights_from_shape(shape, "Q4_K_M").parameters == count


ORACLE: dict[str, dict[str, dict[str, int]]] = json.loads(FIXTURE.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", MODELS)
def test_each_tensor_has_the_type_that_llama_quantize_gives_it(name: str) -> None:
    _, shape, _ = MODELS[name]
    facts = model_facts(shape, ModelTensors.from_shape(shape))
    assert len(ORACLE[name]) >= len(BASES) - 2
    for file_type, expected in ORACLE[name].items():
        mix = Mix(file_type, facts, newest_rules=True)
        types = Counter(mix.type_of(tensor, layer) for _, layer, tensor in named(shape))
        if file_type != "BF16":  # the quantiser was given F16
            types["F16"] += types.pop("BF16", 0)
        assert {kind: count for kind, count in types.items() if count} == expected, file_type


# Model, file type, MiB in RAM (the embedding), MiB of the rest: from load logs of llama.cpp, and of its benchmark.
LOGS = [
    (known.LLAMA_2_7B, "Q4_0", 70.31, 3577.55),
    (known.LLAMA_30B, "Q4_0", 114.26, 17390.64),
    (known.LLAMA_3_8B, "Q4_K_M", 281.81, 4403.49),
    (known.QWEN3_32B, "Q5_K_M", 510.04, 21611.23),
]


@pytest.mark.parametrize(("shape", "target", "host", "rest"), LOGS, ids=lambda value: str(value)[:12])
def test_the_bytes_are_those_of_real_files(shape: Shape, target: str, host: float, rest: float) -> None:
    weights = weights_from_shape(shape, target)
    assert weights.input_bytes / MIB == pytest.approx(host, abs=0.01)
    assert (weights.total_bytes - weights.input_bytes) / MIB == pytest.approx(rest, rel=0.001)
    assert not weights.exact


# Tensors of each type in published files, by load logs: fused projections, which the newest quantiser judges otherwise.
PUBLISHED_TYPES = [
    (dense("phi3", 32, 3072, 32, 32, 8192, 32064), "Q4_K_M", {"F32": 65, "Q4_K": 81, "Q5_K": 32, "Q6_K": 17}),
    (
        dense("starcoder", 40, 6144, 48, 1, 24576, 49152, 128, False, False),
        "Q5_K_M",
        {"F32": 323, "Q5_K": 101, "Q6_K": 61},
    ),
    (known.qwen3_5_9b(), "Q4_K_M", {"F32": 177, "Q4_K": 204, "Q5_K": 24, "Q6_K": 22}),
]


@pytest.mark.parametrize(("shape", "target", "expected"), PUBLISHED_TYPES, ids=lambda value: str(value)[:12])
def test_published_files_have_these_types(shape: Shape, target: str, expected: dict[str, int]) -> None:
    mix = Mix(target, model_facts(shape, ModelTensors.from_shape(shape)))
    found = Counter(mix.type_of(tensor, layer) for _, layer, tensor in named(shape))
    quantised = {kind: count for kind, count in expected.items() if kind != "F32"}
    assert {kind: found[kind] for kind in quantised} == quantised


# GiB of published files: model cards, llama-bench tables, the index of a checkpoint.
FILES = [
    (known.gpt_oss(), "MXFP4_MOE", 11.27),
    (known.gpt_oss(36, 128), "MXFP4_MOE", 59.02),
    (known.QWEN3_30B_A3B, "Q4_K_M", 17.28),
    (known.deepseek_v3(), "Q4_K_M", 376.71),
    (known.gemma3(62, 5376, 32, 16, 21504), "Q4_K_M", 15.40),
    (known.gemma3(62, 5376, 32, 16, 21504), "IQ4_XS", 13.747),
    (known.LLAMA_3_8B, "Q8_0", 7.95),
    (known.LLAMA_3_8B, "F16", 14.96),
    (known.LLAMA_3_8B, "BF16", 14.96),
    # The sum in the index of DeepSeek-V3, with its layer of multi-token prediction.
    (known.deepseek_v3(drafts=1), "FP8_BLOCK", 688_586_727_753 / 2**30),
    # Qwen3-Coder-480B-A35B-Instruct-FP8, Qwen3-32B-AWQ, Llama-3.3-70B in AWQ and NVFP4, Qwen2.5-7B in GPTQ, Llama-3-8B
    # in NF4: what their repositories hold.
    (mixture("qwen3_moe", 62, 6144, 96, 8, 128, 151936, (160, 8, 2560)), "FP8_BLOCK", 482.2e9 / 2**30),
    (known.QWEN3_32B, "AWQ", 19.33e9 / 2**30),
    (known.deepseek_v3(drafts=0), "AWQ-G64", 364_589_799_936 / 2**30),
    (dense("llama", 80, 8192, 64, 8, 28672, 128256), "AWQ", 39.77e9 / 2**30),
    (dense("llama", 80, 8192, 64, 8, 28672, 128256), "NVFP4", 42.7e9 / 2**30),
    (dense("qwen2", 28, 3584, 28, 4, 18944, 152064), "GPTQ", 5.58e9 / 2**30),
    (dense("llama", 32, 4096, 32, 8, 14336, 128256), "BNB_4BIT", 5.70e9 / 2**30),
]


@pytest.mark.parametrize(("shape", "target", "gib"), FILES, ids=lambda value: str(value)[:12])
def test_the_sum_is_that_of_published_files(shape: Shape, target: str, gib: float) -> None:
    assert weights_from_shape(shape, target).total_bytes / 2**30 == pytest.approx(gib, rel=0.001)


def test_an_importance_matrix_changes_a_few_formats() -> None:
    # Qwen3-32B: what ik_llama.cpp loaded of a file with 8 tensors of Q4_1.
    assert weights_from_shape(known.QWEN3_32B, "Q4_0", imatrix=True).total_bytes / MIB == pytest.approx(
        17830.96, abs=0.05
    )
    for name in BASES:
        with_matrix, without = (
            weights_from_shape(known.LLAMA_2_7B, name, GGUF, imatrix=given) for given in (True, False)
        )
        assert (with_matrix == without) is (name not in ("IQ3_XXS", "IQ4_NL", "IQ4_XS", "Q4_0", "Q5_0"))


def test_the_groups_are_where_the_engines_put_them() -> None:
    tied, drafted = dense("qwen2", 24, 896, 14, 2, 4864, 151936, 64, True), known.glm_4_5_air()
    weights = weights_from_shape(tied, "Q4_K_M")
    assert weights.output_bytes == 0
    assert weights.token_embedding_bytes == weights.input_bytes == 896 * 151936 * 34 // 32
    weights = weights_from_shape(drafted, "FP8")
    assert len(weights.layers) == 46
    assert len(weights.draft_layers) == 1
    # Its own embedding and output matrix make it larger than a layer of the model.
    assert weights.draft_layers[0].split_bytes > weights.layers[1].split_bytes + 2 * 4096 * 151552
    assert weights.draft_layers[0].expert_bytes == weights.layers[1].expert_bytes
    assert weights.layers[0].expert_bytes == 0


def test_a_gguf_file_of_deepseek_v3_has_no_draft_layer() -> None:
    with_one, without = (weights_from_shape(known.deepseek_v3(count), "Q4_K_M") for count in (1, 0))
    assert with_one == replace(without, draft_layers=(LayerWeights(),))
    checkpoint = weights_from_shape(known.deepseek_v3(1), "FP8_BLOCK")
    assert checkpoint.draft_layers[0].total_bytes > 10 * 10**9


def test_the_second_embedding_of_gemma_stays_in_ram() -> None:
    attention = Attention(shapes.FULL, 8, 2, 256, 256)
    shape = Shape("gemma3n", 2048, 262400, 32768, (Layer(attention, None, FeedForward(16384)),) * 35, (), True)
    shape = replace(shape, per_layer_embedding_length=256)
    weights = weights_from_shape(shape, "Q8_0")
    assert (
        weights.input_bytes - weights.token_embedding_bytes == 256 * 35 * 262144 * 34 // 32 + 256 * 35 * 256 * 34 // 32
    )
    assert weights.parameters == pytest.approx(6_869_966_080, rel=0.0002)


# One matrix of 4096 x 4096 in each format, by hand: weights, scales, what else stands beside them.
SQUARE = 4096 * 4096
MATRICES = [
    ("BF16", 2 * SQUARE),
    ("FP32", 4 * SQUARE),
    ("FP8", SQUARE + 4096 * 2),
    ("FP8_TENSOR", SQUARE + 4),
    ("FP8_BLOCK", SQUARE + 32 * 32 * 4),
    ("W8A8", SQUARE + 4096 * 2),
    ("AWQ", SQUARE // 2 + 32 * 4096 * 2 + 32 * 4096 // 2),
    ("GPTQ", SQUARE // 2 + 32 * 4096 * 2 + 32 * 4096 // 2 + 4096 * 4),
    ("GPTQ_INT8", SQUARE + 32 * 4096 * 2 + 32 * 4096 + 4096 * 4),
    ("W4A16", SQUARE // 2 + 32 * 4096 * 2 + 16),
    ("NVFP4", SQUARE // 2 + SQUARE // 16 + 8),
    ("BNB_8BIT", SQUARE + 4096 * 4),
    ("BNB_4BIT", SQUARE // 2 + SQUARE // 64 + SQUARE // 64 // 256 * 4 + 64 + 1024 + 100),
]


@pytest.mark.parametrize(("target", "size"), MATRICES)
def test_a_matrix_of_a_checkpoint_takes_what_its_format_stores(target: str, size: int) -> None:
    shape = dense("llama", 1, 4096, 32, 32, 0, 1000)
    half = 4 if target == "FP32" else 2
    weights = weights_from_shape(shape, target)
    assert weights.layers[0].split_bytes == 4 * size
    assert weights.token_embedding_bytes == weights.output_bytes == half * 4096 * 1000


def test_mxfp4_of_a_checkpoint_is_for_experts_alone() -> None:
    weights = weights_from_shape(known.gpt_oss(), "MXFP4")
    biases = 32 * (3 * 2880) * 2
    assert weights.layers[0].expert_bytes == 32 * 3 * 2880 * 2880 * 17 // 32 + biases
    # 12.8 GiB: the three files of the checkpoint have 13.76 * 10^9 bytes.
    assert weights.total_bytes == pytest.approx(13.76e9, rel=0.001)
    assert (
        weights_from_shape(known.QWEN3_32B, "MXFP4").total_bytes
        == weights_from_shape(known.QWEN3_32B, "BF16").total_bytes
    )


TARGETS = [
    ("Q4_K_M", GGUF, "Q4_K_M"),
    ("q4_k", GGUF, "Q4_K_M"),
    ("F16", GGUF, "F16"),
    ("BF16", SAFETENSORS, "BF16"),
    ("fp16", SAFETENSORS, "FP16"),
    ("mxfp4-moe", GGUF, "MXFP4_MOE"),
    ("MXFP4", SAFETENSORS, "MXFP4"),
    ("nf4", SAFETENSORS, "BNB_4BIT"),
    ("awq", SAFETENSORS, "AWQ"),
    ("FP8-dynamic", SAFETENSORS, "FP8_DYNAMIC"),
    ("Q6_K_L", GGUF, "Q6_K"),
    ("awq-g64", SAFETENSORS, "AWQ"),
    ("GPTQ_GROUP_32", SAFETENSORS, "GPTQ"),
    ("W4A16-gs32", SAFETENSORS, "W4A16"),
]


@pytest.mark.parametrize(("text", "form", "name"), TARGETS)
def test_a_person_may_write_it_so(text: str, form: str, name: str) -> None:
    target = Target.from_text(text)
    assert (target.form, target.name, form_of(text)) == (form, name, form)


def test_gguf_may_be_meant_where_both_have_the_name() -> None:
    assert Target.from_text("BF16", GGUF) == Target(GGUF, "BF16")
    assert Target.from_text("MXFP4", GGUF) == Target(GGUF, "MXFP4_MOE")
    gguf, checkpoint = (weights_from_shape(known.QWEN3_32B, "BF16", form) for form in (GGUF, SAFETENSORS))
    assert gguf.total_bytes > checkpoint.total_bytes  # norms are F32 in GGUF


@pytest.mark.parametrize("text", ["UD-Q4_K_XL", "Q9_K", "", "AWQ2", "IQ4_KS", "FP8-G64", "_G32", "x" * 1000])
@pytest.mark.parametrize("form", [None, GGUF, SAFETENSORS])
def test_an_unknown_target_is_refused_with_the_known_ones(text: str, form: str | None) -> None:
    with pytest.raises(ModelError) as caught:
        weights_from_shape(known.LLAMA_3_8B, text, form)
    assert caught.value.code == "model.quantization_not_found"
    assert ("Q4_K_M" in str(caught.value)) is (form != SAFETENSORS)
    assert ("GPTQ_INT8" in str(caught.value)) is (form != GGUF)


def test_a_name_of_the_other_kind_is_refused() -> None:
    for text, form in (("AWQ", GGUF), ("Q4_K_M", SAFETENSORS)):
        with pytest.raises(ModelError):
            Target.from_text(text, form)


def test_every_known_target_has_a_size() -> None:
    for form in (GGUF, SAFETENSORS):
        for name in known_targets(form):
            assert 0 < weights_from_shape(known.MIXTRAL_8X7B, name, form).total_bytes < 4.1 * 46_702_792_704


def test_eight_bit_ends_cost_what_they_add() -> None:
    plain, large = (weights_from_shape(known.LLAMA_3_8B, name) for name in ("Q4_K_M", "Q4_K_L"))
    assert large.layers == plain.layers
    assert large.token_embedding_bytes == large.output_bytes == 4096 * 128256 * 34 // 32
    assert plain.token_embedding_bytes < plain.output_bytes < large.output_bytes


def test_every_synonym_leads_to_a_family_that_is_spelt_without_marks() -> None:
    for name in (*STYLES, *SYNONYMS, *SYNONYMS.values()):
        assert name.isalnum()
        assert name == name.lower()
    assert not set(SYNONYMS.values()) & set(SYNONYMS)


NUMBERS = st.integers(0, 300)
KINDS = st.sampled_from([shapes.FULL, shapes.SLIDING, shapes.LATENT, shapes.CHUNKED, "other"])
ATTENTIONS = st.builds(
    Attention, KINDS, NUMBERS, NUMBERS, NUMBERS, NUMBERS, NUMBERS, st.booleans(), st.booleans(), st.booleans(),
    kv_lora_rank=NUMBERS, q_lora_rank=NUMBERS, rope_dim=NUMBERS, index_heads=NUMBERS, index_head_dim=NUMBERS,
)  # fmt: skip
RECURRENTS = st.builds(
    Recurrent,
    st.sampled_from(["gated_delta_net", "kda", "mamba", "mamba2", "short_conv", "lightning", "rwkv", "new"]),
    *[NUMBERS] * 8,
)
NETWORKS = st.builds(FeedForward, NUMBERS, st.booleans(), NUMBERS, NUMBERS, NUMBERS, NUMBERS)
LAYERS = st.builds(Layer, st.none() | ATTENTIONS, st.none() | RECURRENTS, st.none() | NETWORKS)
SHAPES = st.builds(
    Shape,
    st.sampled_from([*STYLES, "mixtral", "gpt-oss", "Qwen3-Next", ""]) | st.text(max_size=5),
    NUMBERS, NUMBERS, NUMBERS,
    st.lists(LAYERS, max_size=4).map(tuple), st.lists(LAYERS, max_size=2).map(tuple),
    st.booleans(), per_layer_embedding_length=st.sampled_from([0, 0, 7, 256]),
)  # fmt: skip
BY_BITS = ("TQ1_0", "Q2_K", "Q3_K_M", "Q4_K_M", "Q5_K_M", "Q6_K", "Q8_0", "F16", "F32")


@settings(deadline=None)
@given(SHAPES, st.sampled_from(known_targets()))
def test_an_odd_shape_has_a_sum_that_is_whole(shape: Shape, target: str) -> None:
    weights = weights_from_shape(shape, target)
    assert (len(weights.layers), len(weights.draft_layers)) == (len(shape.layers), len(shape.draft_layers))
    parts = [part for layer in (*weights.layers, *weights.draft_layers) for part in vars(layer).values()]
    assert all(part >= 0 for part in parts)
    assert 0 <= weights.token_embedding_bytes <= weights.input_bytes <= weights.total_bytes
    # Nothing is smaller than a bit, or larger than 32, save for what stands beside the weights.
    assert weights.total_bytes >= weights.parameters // 8
    if Target.from_text(target).form == GGUF:
        assert weights.total_bytes <= 4 * weights.parameters


@settings(deadline=None)
@given(st.integers(1, 8), st.integers(1, 3), st.integers(1, 4), st.integers(1, 6), st.booleans())
def test_more_bits_never_make_a_smaller_file(width: int, groups: int, layers: int, heads: int, tied: bool) -> None:
    # Rows of whole blocks: where they are not, the types that replace each other need not be in order.
    shape = dense("llama", layers, 256 * width, groups * heads, heads, 512, 1000, 256, tied)
    sizes = [weights_from_shape(shape, target, GGUF).total_bytes for target in BY_BITS]
    assert sizes == sorted(sizes)
