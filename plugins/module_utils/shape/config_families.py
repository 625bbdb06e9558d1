"""The families of models by the ``model_type`` of their ``config.json``: how their layers follow each other.

Patterns are those of the configuration classes of Transformers 5.23 and of the models' own code on the hub; names of
architectures in GGUF are those of llama.cpp's ``conversion`` scripts (as in llama-cpp-python 0.3.36).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ansible_collections.llmhost.core.plugins.module_utils.shape.shape import CHUNKED, SLIDING

RECURRENT, BOTH, NETWORK = "recurrent", "both", "network"
"""Kinds of layers beside those of attention: a state, attention and a state, a feed-forward network alone."""


@dataclass(frozen=True)
class Family:
    """What the code of a family decides and its ``config.json`` may not say."""

    gguf: str = ""  # what llama.cpp calls it; "" if it does not load it
    period: int = 0  # one layer in so many has full attention, the last one of them; 0 for no pattern
    full_first: bool = False  # it is the first one of them
    others: str = SLIDING  # what the other layers of the period are
    latent: bool = False  # multi-head latent attention, cached as one row
    linear: str = ""  # kind of the recurrent part
    everywhere: str = ""  # what every layer is, if the config names no pattern
    gated_query: bool = False
    gated_network: bool = True
    indexed: bool = False  # sparse attention by an index


_GDN = Family(period=4, others=RECURRENT, linear="gated_delta_net", gated_query=True)
_PLAIN = Family(gated_network=False)


def _gguf(family: Family, name: str) -> Family:
    return Family(**{**family.__dict__, "gguf": name})


FAMILIES: dict[str, Family] = {
    "afmoe": Family("afmoe", 4),
    "apertus": Family("apertus", gated_network=False),
    "aquila": Family(""),
    "arcee": Family("arcee", gated_network=False),
    "arctic": Family("arctic"),
    "aria_text": Family(""),
    "axk1": Family("", latent=True),
    "baichuan": Family("baichuan"),
    "bailing_hybrid": Family("bailingmoe3", 8, others=RECURRENT, linear="lightning", latent=True),
    "bailing_moe": Family("bailingmoe"),
    "bailing_moe_v2": Family("bailingmoe2"),
    "bailing_moe_linear": Family("", 8, others=RECURRENT, linear="lightning"),
    "bamba": Family("granitehybrid", linear="mamba2", everywhere=RECURRENT),
    "bitnet": Family("bitnet"),
    "bloom": Family("bloom", gated_network=False),
    "chatglm": Family("chatglm"),
    "codeshell": Family("codeshell", gated_network=False),
    "cohere": Family("command-r"),
    "cohere2": Family("cohere2", 4),
    "cohere2_moe": Family("cohere2moe", 4),
    "cwm": Family("", 4, full_first=True),
    "dbrx": Family("dbrx"),
    "deci": Family("deci"),
    "nemotron-nas": Family("deci"),
    "deepseek": Family("deepseek"),
    "deepseek_v2": Family("deepseek2", latent=True),
    "deepseek_v3": Family("deepseek2", latent=True),
    "deepseek_v32": Family("deepseek32", latent=True, indexed=True),
    "deepseek_v4": Family("deepseek4", others=SLIDING, indexed=True),
    "deepseek_vl_v2": Family("deepseek2", latent=True),
    "dots1": Family("dots1"),
    "dots3_note": Family("dots3note", latent=True, indexed=True),
    "dots_ocr": Family("qwen2"),
    "ernie4_5": Family("ernie4_5"),
    "ernie4_5_moe": Family("ernie4_5-moe"),
    "ernie4_5_moe_vl": Family("ernie4_5-moe"),
    "ernie4_5_vl_moe": Family("ernie4_5-moe"),
    "exaone": Family("exaone"),
    "exaone4": Family("exaone4", 4),
    "exaone4_5": Family("exaone4", 4),
    "exaone_moe": Family("exaone-moe", 4),
    "falcon": Family("falcon", gated_network=False),
    "falcon_h1": Family("falcon-h1", linear="mamba2", everywhere=BOTH),
    "falcon_mamba": Family("mamba", linear="mamba", everywhere=RECURRENT),
    "flex_olmo": Family(""),
    "gemma": Family("gemma"),
    "gemma2": Family("gemma2", 2),
    "gemma3": Family("gemma3", 6),
    "gemma3n": Family("gemma3n", 5),
    "gemma4": Family("gemma4", 6),
    "gemma4_unified": Family("gemma4", 6),
    "glm": Family("chatglm"),
    "glm4": Family("glm4"),
    "glm4v": Family("glm4"),
    "glm_ocr": Family("glm4"),
    "glm4_moe": Family("glm4moe"),
    "glm4v_moe": Family("glm4moe"),
    "glm4_moe_lite": Family("deepseek2", latent=True),
    "glm_moe_dsa": Family("glm-dsa", latent=True, indexed=True),
    "glm5_next": Family("glm5-next", 4, others=RECURRENT, linear="kda", latent=True, indexed=True),
    "gpt2": Family("gpt2", gated_network=False),
    "gpt_bigcode": Family("starcoder", gated_network=False),
    "gpt_neox": Family("gptneox", gated_network=False),
    "gpt_oss": Family("gpt-oss", 2),
    "gptj": _PLAIN,
    "granite": Family("granite"),
    "granite_swa": Family("granite_swa", 4, full_first=True),
    "granitemoe": Family("granitemoe"),
    "granitemoe_swa": Family("granite_swa", 4, full_first=True),
    "granitemoehybrid": Family("granitehybrid", linear="mamba2", everywhere=RECURRENT),
    "granitemoeshared": Family("granitemoe"),
    "grok-1": Family("grok"),
    "git": Family("grok"),
    "helium": Family(""),
    "hunyuan": Family("hunyuan-moe"),
    "hunyuan_v1_dense": Family("hunyuan-dense"),
    "hunyuan_v1_moe": Family("hunyuan-moe"),
    "hunyuan_vl": Family("hunyuan_vl"),
    "hy_v3": Family("hy_v3"),
    "hy_v4": Family("hy_v4", latent=True, indexed=True),
    "internlm": Family("llama"),
    "internlm2": Family("internlm2"),
    "internlm3": Family("llama"),
    "jais": Family("jais"),
    "jais2": Family("jais2", gated_network=False),
    "jamba": Family("jamba", linear="mamba"),
    "kimi_k2": Family("deepseek2", latent=True),
    "kimi_linear": Family("kimi-linear", linear="kda", latent=True),
    "laguna": Family("laguna"),
    "lfm2": Family("lfm2", linear="short_conv"),
    "lfm2_moe": Family("lfm2moe", linear="short_conv"),
    "llama": Family("llama"),
    "llama4": Family("llama4", 4, others=CHUNKED),
    "longcat_flash": Family("", latent=True),
    "longcat_flash_ngram": Family("", latent=True),
    "mamba": Family("mamba", linear="mamba", everywhere=RECURRENT),
    "mamba2": Family("mamba2", linear="mamba2", everywhere=RECURRENT),
    "mellum": Family("mellum"),
    "mimo": Family(""),
    "mimo_v2_flash": Family("mimo2", 6),
    "mimo_v2": Family("mimo2", 6),
    "minicpm": Family("minicpm"),
    "minicpm3": Family("minicpm3"),
    "minicpmo": Family(""),
    "minicpmv": Family(""),
    "minimax": Family("minimax-01", 2, others=RECURRENT, linear="lightning"),
    "minimax_text_01": Family("minimax-01", 8, others=RECURRENT, linear="lightning"),
    "minimax_m1": Family("minimax-01", 8, others=RECURRENT, linear="lightning"),
    "minimax_m2": Family("minimax-m2"),
    "minimax_m3_vl": Family("minimax-m3", indexed=True),
    "ministral": Family("", others=SLIDING),
    "ministral3": Family("mistral3"),
    "mistral": Family("llama"),
    "mistral4": Family("mistral4", latent=True),
    "mixtral": Family("llama"),
    "mllama": Family(""),
    "mpt": Family("mpt", gated_network=False),
    "muse_glimmer": Family("muse-glimmer", 4),
    "nanochat": _PLAIN,
    "nemotron": Family("nemotron", gated_network=False),
    "nemotron_h": Family("nemotron_h", linear="mamba2", gated_network=False),
    "olmo": Family("olmo"),
    "olmo2": Family("olmo2"),
    "olmo3": Family("olmo2", 4),
    "olmo_hybrid": Family("", 4, others=RECURRENT, linear="gated_delta_net"),
    "olmoe": Family("olmoe"),
    "openelm": Family("openelm"),
    "opt": _PLAIN,
    "orion": Family("orion"),
    "pangu_embedded": Family("pangu-embedded"),
    "PanguEmbedded": Family("pangu-embedded"),
    "paddleocr_vl": Family("paddleocr"),
    "pangu_ultra_moe": Family("", latent=True),
    "persimmon": _PLAIN,
    "phi": Family("phi2", gated_network=False),
    "phi-msft": Family("phi2", gated_network=False),
    "phi3": Family("phi3"),
    "phi3_v": Family("phi3"),
    "phi4mm": Family("phi3"),
    "phi4_multimodal": Family("phi3"),
    "phimoe": Family("phimoe"),
    "plamo": Family("plamo"),
    "plamo2": Family("plamo2", linear="mamba"),
    "plamo3": Family("plamo3", 8),
    "plm": Family("plm"),
    "qwen": Family("qwen"),
    "qwen2": Family("qwen2"),
    "qwen2_audio": Family("qwen2"),
    "qwen2_moe": Family("qwen2moe"),
    "qwen2_vl": Family("qwen2vl"),
    "qwen2_5_vl": Family("qwen2vl"),
    "qwen2_5_omni": Family("qwen2vl"),
    "qwen3": Family("qwen3"),
    "qwen3_moe": Family("qwen3moe"),
    "qwen3_next": _gguf(_GDN, "qwen3next"),
    "qwen3_5": _gguf(_GDN, "qwen35"),
    "qwen3_5_moe": _gguf(_GDN, "qwen35moe"),
    "qwen4_exp": Family("qwen4exp", 4, others=RECURRENT, linear="gated_delta_net", gated_query=True, indexed=True),
    "qwen3_omni_moe": Family("qwen3vlmoe"),
    "qwen3_vl": Family("qwen3vl"),
    "qwen3_vl_moe": Family("qwen3vlmoe"),
    "RefinedWeb": Family("falcon", gated_network=False),
    "RefinedWebModel": Family("falcon", gated_network=False),
    "refact": Family("refact"),
    "rwkv6": Family("rwkv6", linear="rwkv", everywhere=RECURRENT, gated_network=False),
    "rwkv7": Family("rwkv7", linear="rwkv", everywhere=RECURRENT, gated_network=False),
    "rwkv6qwen2": Family("rwkv6qwen2", linear="rwkv", everywhere=RECURRENT),
    "seed_oss": Family("seed_oss"),
    "smallthinker": Family("smallthinker", 4, full_first=True),
    "smollm3": Family("smollm3"),
    "solar_open": Family("glm4moe"),
    "stablelm": Family("stablelm"),
    "stablelm_epoch": Family("stablelm"),
    "starcoder2": Family("starcoder2", gated_network=False),
    "step3p5": Family("step35"),
    "step3_text": Family(""),
    "step3p7": Family("step35"),
    "vaultgemma": Family("", 2),
    "xverse": Family("xverse"),
    "Yi": Family("llama"),
    "yi": Family("llama"),
    "youtu": Family("deepseek2", latent=True),
    "youtu_llm": Family("deepseek2", latent=True),
    "zamba2": Family("", linear="mamba2"),
}
"""By ``model_type``, without the ``_text`` that the nested part of a model with pictures may add."""


DRAFTS_IN_GGUF = frozenset({
    "bailingmoe2", "bailingmoe3", "cohere2moe", "deepseek32", "deepseek4", "dots3note", "exaone-moe", "exaone4", "glm4",
    "glm4moe", "glm-dsa", "glm5-next", "hy_v3", "mimo2", "nemotron_h", "qwen3next", "qwen35", "qwen35moe", "step35",
})  # fmt: skip
"""Architectures whose layers for drafts llama.cpp's ``conversion`` keeps; it drops those of the others."""


_CLASS = re.compile(r"(ForCausalLM|ForConditionalGeneration|LMHeadModel|Model)$")


def family_name(model_type: str, classes: Sequence[object] = ()) -> str:
    """Return the name of the family of a ``model_type``; of one that is not known, that of the model's class.

    Both engines choose the code of a model by its class (``architectures``), so a model may call itself anything.
    """
    name = model_type
    for suffix in ("_text_model", "_text"):
        if name.removesuffix(suffix) in FAMILIES:
            return name.removesuffix(suffix)
    if name in FAMILIES:
        return name
    for one in classes:
        found = _BY_CLASS.get(_plain(_CLASS.sub("", one))) if isinstance(one, str) else None
        if found:
            return found
    return name.removesuffix("_text_model").removesuffix("_text")


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


_BY_CLASS = {_plain(name): name for name in FAMILIES}
