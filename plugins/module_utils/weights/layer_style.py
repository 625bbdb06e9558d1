"""What the architectures add to the matrices that every transformer has: biases, norms, names.

A style does not change what a layer computes with, only which small tensors stand beside its matrices and which
matrices a GGUF file stores as one. Sources: ``load_arch_tensors`` of llama.cpp's ``src/models/*.cpp`` (as in
llama-cpp-python 0.3.36) and the ``modeling_*.py`` of transformers. An architecture that is not listed counts as a plain
one: its small tensors are then a few millionths off.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

BEFORE, AFTER, AROUND, ONCE, NEVER = "before", "after", "around", "once", "never"
"""Where the norms of a layer stand: before each part, after it, both, one for both parts, or without weights."""


@dataclass(frozen=True)
class LayerStyle:
    """The small tensors of an architecture."""

    norms: str = BEFORE
    norm_bias: bool = False
    qk_norm: str = ""  # of one head ("head"), of all heads together ("all"), of each head on its own ("each")
    qkv_bias: bool = False
    output_bias: bool = False  # of the attention's output projection
    ffn_bias: bool = False
    expert_bias: bool = False  # of router and experts
    score_bias: bool = False  # one number an expert, which balances the router
    shared_gate: bool = False  # the shared expert has a gate of its own
    sinks: bool = False
    fused_qkv: bool = False  # GGUF holds the three projections as one
    fused_gate_up: bool = False
    head_bias: bool = False  # of the output matrix
    embedding_norm: bool = False
    learned_positions: bool = False
    draft_embeddings: bool = False  # layers of multi-token prediction have their own embedding and output matrix


PLAIN = LayerStyle()
_GPT2 = LayerStyle(
    norm_bias=True, qkv_bias=True, output_bias=True, ffn_bias=True, fused_qkv=True, learned_positions=True
)
_QWEN_MOE_HYBRID = LayerStyle(qk_norm="head", shared_gate=True)

STYLES: dict[str, LayerStyle] = {
    "apertus": LayerStyle(qk_norm="head"),
    "bailingmoe2": LayerStyle(qk_norm="head", score_bias=True, fused_qkv=True, draft_embeddings=False),
    "bloom": LayerStyle(
        norm_bias=True, qkv_bias=True, output_bias=True, ffn_bias=True, fused_qkv=True, embedding_norm=True
    ),
    "chatglm": LayerStyle(qkv_bias=True, fused_qkv=True, fused_gate_up=True),
    "codeshell": LayerStyle(norm_bias=True, qkv_bias=True, output_bias=True, ffn_bias=True, fused_qkv=True),
    "cohere2": LayerStyle(norms=ONCE),
    "cohere2moe": LayerStyle(norms=ONCE),
    "commandr": LayerStyle(norms=ONCE, qk_norm="each"),
    "dbrx": LayerStyle(fused_qkv=True),
    "deepseek2": LayerStyle(score_bias=True, draft_embeddings=True),
    "deepseek32": LayerStyle(score_bias=True, draft_embeddings=True),
    "deepseekv2": PLAIN,
    "dots1": LayerStyle(qk_norm="head", score_bias=True),
    "ernie45moe": LayerStyle(score_bias=True),
    "exaone4": LayerStyle(norms=AFTER, qk_norm="head"),
    "exaonemoe": LayerStyle(qk_norm="head", score_bias=True),
    "falcon": LayerStyle(norms=ONCE, norm_bias=True, fused_qkv=True),
    "gemma2": LayerStyle(norms=AROUND),
    "gemma3": LayerStyle(norms=AROUND, qk_norm="head"),
    "gemma3n": LayerStyle(norms=AROUND, qk_norm="head"),
    "gemma4": LayerStyle(norms=AROUND, qk_norm="head"),
    "glm4": LayerStyle(norms=AROUND, fused_gate_up=True),
    "glm4moe": LayerStyle(qkv_bias=True, score_bias=True, draft_embeddings=True),
    "glmdsa": LayerStyle(score_bias=True, draft_embeddings=True),
    "gpt2": _GPT2,
    "gptneox": LayerStyle(norm_bias=True, qkv_bias=True, output_bias=True, ffn_bias=True, fused_qkv=True),
    "gptoss": LayerStyle(qkv_bias=True, output_bias=True, expert_bias=True, sinks=True),
    "grok": LayerStyle(norms=AROUND),
    "hunyuandense": LayerStyle(qk_norm="head"),
    "hunyuanmoe": LayerStyle(qk_norm="head"),
    "jais": LayerStyle(norm_bias=True, qkv_bias=True, output_bias=True, ffn_bias=True, fused_qkv=True),
    "kimilinear": LayerStyle(score_bias=True),
    "lfm2": LayerStyle(qk_norm="head"),
    "lfm2moe": LayerStyle(qk_norm="head", score_bias=True),
    "mimo2": LayerStyle(score_bias=True),
    "minimaxm2": LayerStyle(qk_norm="all", score_bias=True),
    "mpt": LayerStyle(fused_qkv=True),
    "nemotron": LayerStyle(norm_bias=True),
    "nemotronhmoe": LayerStyle(score_bias=True),
    "olmo": LayerStyle(norms=NEVER),
    "olmo2": LayerStyle(norms=AFTER, qk_norm="all"),
    "olmoe": LayerStyle(qk_norm="all"),
    "orion": LayerStyle(norm_bias=True),
    "pangu": LayerStyle(qkv_bias=True, output_bias=True),
    "phi2": LayerStyle(
        norms=ONCE, norm_bias=True, qkv_bias=True, output_bias=True, ffn_bias=True, fused_qkv=True, head_bias=True
    ),
    "phi3": LayerStyle(fused_qkv=True, fused_gate_up=True),
    "phimoe": LayerStyle(norm_bias=True, qkv_bias=True, output_bias=True, head_bias=True),
    "qwen": LayerStyle(qkv_bias=True, fused_qkv=True),
    "qwen2": LayerStyle(qkv_bias=True),
    "qwen2moe": LayerStyle(qkv_bias=True, shared_gate=True),
    "qwen3": LayerStyle(qk_norm="head"),
    "qwen3moe": LayerStyle(qk_norm="head"),
    "qwen3next": _QWEN_MOE_HYBRID,
    "qwen35": LayerStyle(qk_norm="head"),
    "qwen35moe": _QWEN_MOE_HYBRID,
    "seedoss": LayerStyle(qkv_bias=True),
    "smallthinker": PLAIN,
    "stablelm": LayerStyle(norm_bias=True),
    "starcoder": _GPT2,
    "starcoder2": LayerStyle(norm_bias=True, qkv_bias=True, output_bias=True, ffn_bias=True),
}

# model_type of transformers, without its marks -> the name that llama.cpp has for it.
SYNONYMS = {
    "bailingmoelinear": "bailingmoe2", "bailingmoev2": "bailingmoe2", "cohere": "commandr", "deepseekv2": "deepseek2",
    "deepseekv3": "deepseek2", "deepseekv32": "deepseek32", "ernie45moevl": "ernie45moe", "falconmamba": "mamba",
    "gemma3text": "gemma3", "gemma3ntext": "gemma3n", "gemma4text": "gemma4", "glm": "chatglm", "glm4moelite":
    "deepseek2", "glm4vmoe": "glm4moe", "glm4vmoetext": "glm4moe", "glmmoedsa": "glmdsa", "gptbigcode": "starcoder",
    "granitemoe": "granite", "granitemoehybrid": "granitehybrid", "granitemoeshared": "granite", "hunyuan":
    "hunyuanmoe", "hunyuanv1dense": "hunyuandense", "hunyuanv1moe": "hunyuanmoe", "kimik2": "deepseek2", "kimik25":
    "deepseek2", "llama4text": "llama4", "mimov2flash": "mimo2", "minimaxm21": "minimaxm2", "ministral": "llama",
    "mistral": "llama", "mixtral": "llama", "olmo3": "olmo2", "openaimoe": "gptoss", "phi": "phi2", "phi3small":
    "phi3", "phi4mm": "phi3", "qwen25vl": "qwen2", "qwen25vltext": "qwen2", "qwen2vl": "qwen2", "qwen2vltext": "qwen2",
    "qwen3vl": "qwen3", "qwen3vltext": "qwen3", "qwen3vlmoe": "qwen3moe", "qwen3vlmoetext": "qwen3moe", "qwen35text":
    "qwen35", "qwen35moetext": "qwen35moe", "qwen36": "qwen35", "qwen36moe": "qwen35moe", "yi": "llama",
}  # fmt: skip


def family(architecture: str) -> str:
    """Return one name for the spellings of GGUF (``gpt-oss``) and of transformers (``gpt_oss``)."""
    plain = plain_name(architecture)
    return SYNONYMS.get(plain, plain)


def style_of(architecture: str) -> LayerStyle:
    """Return the style of an architecture, a plain one where it is not known."""
    return STYLES.get(plain_name(architecture)) or STYLES.get(family(architecture), PLAIN)


def plain_name(architecture: str) -> str:
    """Return the name without its marks: the two spellings of an architecture differ in little else."""
    return re.sub(r"[^a-z0-9]", "", architecture.lower())
