"""The architectures and the keys of GGUF that are understood here. What is not among them may cost memory unseen."""

from __future__ import annotations

import re
from collections.abc import Iterable


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# LLM_ARCH_NAMES of llama.cpp's src/llama-arch.cpp (as in llama-cpp-python 0.3.36).
ARCHITECTURES = _words("""
    afmoe apertus arcee arctic arwkv7 baichuan bailingmoe bailingmoe2 bailingmoe3 bert bitnet bloom chameleon chatglm
    codeshell cogvlm cohere2 cohere2moe command-r dbrx deci deepseek deepseek2 deepseek2-ocr deepseek32 deepseek4 dflash
    dots1 dots3note dream eagle3 ernie4_5 ernie4_5-moe eurobert exaone exaone-moe exaone4 falcon falcon-h1 gemma
    gemma-embedding gemma2 gemma3 gemma3n gemma4 gemma4-assistant glm-dsa glm4 glm4moe glm5-next gpt-oss gpt2 gptj
    gptneox granite granite_swa granitehybrid granitemoe graniteswitch grok grovemoe hrm_text hunyuan-dense hunyuan-moe
    hunyuan_vl hy_v3 hy_v4 internlm2 jais jais2 jamba jina-bert-v2 jina-bert-v3 kimi-k3 kimi-linear laguna lfm2 lfm2moe
    llada llada-moe llama llama-embed llama4 maincoder mamba mamba2 maple mellum mimo2 minicpm minicpm3 minimax-01
    minimax-m2 minimax-m3 mistral3 mistral4 modern-bert mpt muse-glimmer nanbeige nemotron nemotron_h nemotron_h_moe
    neo-bert nomic-bert nomic-bert-moe olmo olmo2 olmoe openelm orion paddleocr pangu-embedded phi2 phi3 phimoe plamo
    plamo2 plamo3 plm pockettts qwen qwen2 qwen2moe qwen2vl qwen3 qwen35 qwen35moe qwen3moe qwen3next qwen3tts qwen3vl
    qwen3vlmoe qwen4exp refact rnd1 rwkv6 rwkv6qwen2 rwkv7 seed_oss smallthinker smollm3 spark2_5 stablelm starcoder
    starcoder2 step35 t5 t5encoder talkie wavtokenizer-dec xverse
""")

# llama.cpp makes no cache for these (create_memory in src/llama-model.cpp): each run sees the whole text.
WITHOUT_CACHE = _words("""
    bert dream eurobert gemma-embedding jina-bert-v2 jina-bert-v3 llada llada-moe modern-bert neo-bert nomic-bert
    nomic-bert-moe rnd1 wavtokenizer-dec
""")

# They read the cache of the model that they draft for.
WITHOUT_OWN_CACHE = frozenset({"gemma4-assistant"})

# No filter keeps the layers of multi-token prediction out of the main cache (create_memory).
DRAFT_IN_CACHE = frozenset({"bailingmoe3", "deepseek4", "hy_v4", "minimax-m3"})

# Keys that llama.cpp reads and whose name matches SUSPECT.
KNOWN = _words("""
    attention.compress_ratios attention.compress_rope_freq_base attention.decay_lora_rank attention.gate_lora_rank
    attention.head_count attention.head_count_kv attention.iclr_lora_rank attention.indexer.block_size
    attention.indexer.head_count attention.indexer.key_length attention.indexer.kpool
    attention.indexer.kpool_select_tail attention.indexer.local_blocks attention.indexer.top_k attention.indexer.types
    attention.key_length attention.key_length_mla attention.key_length_mla_swa attention.key_length_swa
    attention.kv_lora_rank attention.kv_lora_rank_swa attention.output_lora_rank attention.q_lora_rank
    attention.recurrent_layers attention.shared_kv_layers attention.sliding_window attention.sliding_window_pattern
    attention.value_length attention.value_length_mla attention.value_length_mla_swa attention.value_length_swa
    attention.value_residual_mix_lora_rank full_attention_interval ssm.conv_kernel ssm.dt_b_c_rms ssm.group_count
    ssm.inner_size ssm.state_size ssm.time_step_rank kda.head_dim kda.safe_gate kda.gate_lower_bound wkv.head_size
    shortconv.l_cache expert_latent_length moe_latent_size token_shift_count num_loops hrm.layers_per_stack
    hrm.h_cycles hrm.l_cycles hrm.prefix_lm conv_kernel_size conv_group_size ple.conv_kernel adapters.lora_rank
    activation.situ_linear_beta
""")
SUSPECT = re.compile(
    r"cache|window|chunk|ssm|conv|recur|kv|lora_rank|latent|indexer|compress|_length_(?!per_layer)|state|linear_|interval"
    r"|loop|cycle|mla|swa|memory|token_shift|key_length|value_length|head_dim|head_size",
)
HARMLESS = _words("""
    expert_chunk_feed_forward_length expert_feed_forward_length expert_shared_feed_forward_length feed_forward_length
    rope.freq_base_swa rope.dimension_count_swa rope.scaling.original_context_length rope.scale_linear
    attention.temperature_length embedding_length_out embedding_length_per_layer_input skip_loop_final_norm
    convnext.embedding_length convnext.block_count posnet.embedding_length context_length embedding_length
    features_length rope.freq_base_per_layer attention.layer_indices
""")


def unknown_keys(names: Iterable[str]) -> list[str]:
    """Return the keys, without the architecture before them, that may stand for a cache nobody here knows."""
    return sorted(name for name in names if SUSPECT.search(name) and name not in KNOWN and name not in HARMLESS)
