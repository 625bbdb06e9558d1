"""What a ``config.json`` may leave out, because the model's class says so.

The defaults of the configuration classes of Transformers 5.23 (``models/*/configuration_*.py``). A nested
``text_config`` leaves out whatever is as in its class; a plain one leaves out less.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

COLUMNS = (
    "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim",
    "vocab_size", "max_position_embeddings", "tie_word_embeddings", "sliding_window",
)  # fmt: skip

# One class a record: its model_type, a value for each column (- where the class has none), and what else it sets.
_TABLE = """
    dbrx - - - - - - - - no -
    gpt_neox - - - - - - - - no -
    gptj - - - - - - - - no -
    persimmon - - - - - - - - no -
    afmoe 2048 6144 32 16 null 128 200192 16384 no 1024 moe_intermediate_size=1408 num_experts=64
        num_experts_per_tok=6
    apertus 4096 14336 32 32 null - 131072 65536 no -
    arcee 2560 18432 32 32 null null 32000 4096 no -
    bailing_hybrid 2560 6144 42 32 32 128 157184 262144 no - moe_intermediate_size=768 n_shared_experts=1
        kv_lora_rank=512 qk_rope_head_dim=64 v_head_dim=128 qk_nope_head_dim=128 num_experts_per_tok=8
        first_k_dense_replace=2 num_local_experts=512
    bamba 4096 14336 32 32 8 - 128000 262144 no - mamba_n_heads=128 mamba_n_groups=1 mamba_d_state=256 mamba_d_conv=4
        mamba_expand=2
    cohere 8192 22528 40 64 null - 256000 8192 yes -
    cohere2 8192 22528 40 64 null - 256000 8192 yes 4096
    cohere2_moe 8192 22528 40 64 null 128 256000 8192 yes 4096 num_experts_per_tok=2 num_experts=8
        sliding_window_pattern=4
    cwm 6144 21504 64 48 8 128 128256 131072 no 8192
    deepseek_v2 4096 11008 32 32 null null 102400 2048 no - first_k_dense_replace=0 kv_lora_rank=512 q_lora_rank=1536
        n_routed_experts=64 n_shared_experts=2 qk_nope_head_dim=128 qk_rope_head_dim=64 v_head_dim=128
        moe_intermediate_size=1407
    deepseek_v3 7168 18432 61 128 128 - 129280 4096 no - moe_intermediate_size=2048 n_shared_experts=1
        n_routed_experts=256 kv_lora_rank=512 q_lora_rank=1536 qk_rope_head_dim=64 v_head_dim=128 qk_nope_head_dim=128
        num_experts_per_tok=8 first_k_dense_replace=3
    deepseek_v32 7168 18432 61 128 128 64 129280 163840 no - moe_intermediate_size=2048 n_shared_experts=1
        n_routed_experts=256 kv_lora_rank=512 q_lora_rank=1536 qk_rope_head_dim=64 v_head_dim=128 qk_nope_head_dim=128
        num_experts_per_tok=8 index_head_dim=128 index_n_heads=64 first_k_dense_replace=3
    deepseek_v4 4096 - 43 64 1 512 129280 1048576 no 128 moe_intermediate_size=2048 q_lora_rank=1024
        num_experts_per_tok=6 n_routed_experts=256 n_shared_experts=1 index_n_heads=64 index_head_dim=128
        num_nextn_predict_layers=1
    dots1 4608 10944 62 32 32 - 152064 2048 no 4096 moe_intermediate_size=1408 first_k_dense_replace=0
        max_window_layers=62
    dots3_note_text 5120 13824 46 128 128 256 152064 524288 no null moe_intermediate_size=1536 n_shared_experts=1
        n_routed_experts=256 kv_lora_rank=512 q_lora_rank=1024 qk_rope_head_dim=64 v_head_dim=128 qk_nope_head_dim=128
        num_experts_per_tok=8 index_head_dim=128 index_n_heads=64
    ernie4_5 1024 3072 18 16 2 128 103424 131072 yes -
    ernie4_5_moe 2560 12288 28 20 4 - 103424 131072 yes - moe_intermediate_size=1536
    ernie4_5_vl_moe_text 2560 12288 28 20 4 - 103424 131072 yes -
    exaone4 4096 16384 32 32 32 - 102400 2048 no 4096 sliding_window_pattern=4
    exaone_moe 4096 16384 32 32 32 - 102400 2048 no 4096 sliding_window_pattern=4 first_k_dense_replace=1
        moe_intermediate_size=1024 num_experts=64 num_experts_per_tok=8
    falcon 4544 - 32 71 - - 65024 2048 yes -
    falcon_h1 4096 14336 32 32 8 - 128000 8192 no - mamba_d_ssm=1024 mamba_n_heads=128 mamba_n_groups=1
        mamba_d_state=256 mamba_d_conv=4 mamba_expand=2
    falcon_mamba 768 - 32 - - - 50280 - yes - state_size=16 expand=2 conv_kernel=4
    flex_olmo 4096 11008 32 32 null - 100352 4096 no - num_experts_per_tok=5 num_experts=7
    gemma 3072 24576 28 16 16 256 256000 8192 yes -
    gemma2 2304 9216 26 8 4 256 256000 8192 yes 4096
    gemma3_text 2304 9216 26 8 4 256 262208 131072 yes 4096
    gemma3n_text 2048 16384 35 8 2 256 262400 32768 yes 512 num_kv_shared_layers=15
    gemma4_text 2304 9216 30 8 4 256 262144 131072 yes 512 num_kv_shared_layers=0
    gemma4_unified_text 2304 9216 30 8 4 256 262144 262144 yes 1024 num_kv_shared_layers=0
    glm 4096 13696 40 32 2 128 151552 131072 no -
    glm4 4096 13696 40 32 2 128 151552 131072 no -
    glm4_moe 4096 10944 46 96 8 - 151552 131072 no - moe_intermediate_size=1408 num_experts_per_tok=8
        n_shared_experts=1 n_routed_experts=128 first_k_dense_replace=1
    glm4_moe_lite 2048 10240 47 20 20 - 154880 202752 no - moe_intermediate_size=1536 n_shared_experts=1
        n_routed_experts=64 kv_lora_rank=512 q_lora_rank=768 qk_rope_head_dim=64 v_head_dim=256 qk_nope_head_dim=192
        num_experts_per_tok=4
    glm4v_text 4096 13696 40 32 2 - 151552 32768 - -
    glm4v_moe_text 4096 10944 46 96 8 - 151424 65536 no - moe_intermediate_size=1408 num_experts_per_tok=8
        n_shared_experts=1 n_routed_experts=128 first_k_dense_replace=1
    glm5_next_text 4096 12288 45 64 64 0 154880 1048576 no - moe_intermediate_size=2048 n_shared_experts=1
        n_routed_experts=288 kv_lora_rank=512 q_lora_rank=1536 qk_rope_head_dim=0 v_head_dim=256 qk_nope_head_dim=256
        num_experts_per_tok=8 index_head_dim=128 index_n_heads=32 linear_conv_kernel_dim=4
    glm_moe_dsa 6144 12288 78 64 64 64 154880 202752 no - moe_intermediate_size=2048 n_shared_experts=1
        n_routed_experts=256 kv_lora_rank=512 q_lora_rank=2048 qk_rope_head_dim=64 v_head_dim=256 qk_nope_head_dim=192
        num_experts_per_tok=8 index_head_dim=128 index_n_heads=32 first_k_dense_replace=3
    gpt_bigcode - - - - - - 50257 - yes - n_positions=1024 n_embd=768 n_layer=12 n_head=12
    gpt_oss 2880 2880 36 64 8 64 201088 131072 no 128 num_local_experts=128 num_experts_per_tok=4
    granite 4096 11008 32 32 null - 32000 2048 no -
    granite_swa 2560 8192 24 20 4 - 100352 8192 yes 128
    granitemoe 4096 11008 32 32 null - 32000 2048 no - num_local_experts=8 num_experts_per_tok=2
    granitemoe_swa 4096 11008 32 32 null - 32000 2048 no 128 num_local_experts=8 num_experts_per_tok=2
    granitemoehybrid 4096 11008 32 32 null - 32000 2048 no - num_local_experts=8 num_experts_per_tok=2
        mamba_n_heads=128 mamba_n_groups=1 mamba_d_state=256 mamba_d_conv=4 mamba_expand=2
    granitemoeshared 4096 11008 32 32 null - 32000 2048 no - num_local_experts=8 num_experts_per_tok=2
    helium 2560 7040 24 20 20 128 48000 4096 no -
    hunyuan_v1_dense 4096 11008 32 32 null null 290943 2048 no -
    hunyuan_v1_moe 4096 11008 32 32 null null 290943 2048 no - num_experts=1
    hy_v3 4096 13312 80 64 8 128 120832 131072 no - num_experts=192 num_experts_per_tok=8 moe_intermediate_size=1536
    hy_v4 2816 6912 34 32 32 256 120832 262144 no - moe_intermediate_size=768 n_routed_experts=256 n_shared_experts=1
        num_experts_per_tok=8 q_lora_rank=1536 kv_lora_rank=512 qk_nope_head_dim=192 qk_rope_head_dim=64
        v_head_dim=256 index_head_dim=128 index_n_heads=16
    internlm3 4096 10240 48 32 2 128 128512 32768 no -
    jais2 3328 26624 32 26 null null 150272 8192 no -
    jamba 4096 14336 32 32 8 - 65536 262144 no - num_experts_per_tok=2 num_experts=16 expert_layer_period=2
        expert_layer_offset=1 attn_layer_period=8 attn_layer_offset=4 mamba_d_state=16 mamba_d_conv=4 mamba_expand=2
    kimi_linear 2304 9216 27 32 32 - 163840 1048576 no - moe_intermediate_size=1024 n_shared_experts=1
        kv_lora_rank=512 qk_rope_head_dim=64 v_head_dim=128 qk_nope_head_dim=128 num_experts_per_tok=8
        num_local_experts=256 linear_conv_kernel_dim=4
    laguna 2048 8192 40 48 8 128 100352 131072 no 512 moe_intermediate_size=512 shared_expert_intermediate_size=512
        num_experts_per_tok=8 num_experts=256
    lfm2 2560 12288 32 32 8 - 65536 128000 yes - conv_L_cache=3
    lfm2_moe 2048 7168 32 32 8 - 65536 128000 yes - moe_intermediate_size=1792 conv_L_cache=3 num_experts_per_tok=4
        num_experts=32
    lfm3 2048 7680 24 16 4 128 128000 128000 yes 256 conv_L_cache=7
    llama 4096 11008 32 32 null null 32000 2048 no -
    llama4_text 5120 8192 48 40 8 128 202048 - no - num_experts_per_tok=1 num_local_experts=16
        attention_chunk_size=8192
    longcat_flash 6144 - 56 64 null 64 131072 131072 no - ffn_hidden_size=12288 q_lora_rank=1536 kv_lora_rank=512
        qk_nope_head_dim=128 qk_rope_head_dim=64 v_head_dim=128 n_routed_experts=512
    mamba 768 - 32 - - - 50280 - yes - state_size=16 expand=2 conv_kernel=4
    mamba2 4096 - 64 - - 64 32768 - no - num_heads=128 state_size=128 expand=2 conv_kernel=4 n_groups=8
    mellum 2304 7168 28 32 4 128 98304 131072 no 1024 moe_intermediate_size=896 num_experts_per_tok=8 num_experts=64
    mimo_v2_flash 4096 16384 48 64 4 192 152576 131072 no 129 moe_intermediate_size=2048 num_experts_per_tok=8
        n_routed_experts=256 v_head_dim=128
    minicpm3 2560 6400 62 40 40 null 73448 32768 yes - kv_lora_rank=256 q_lora_rank=768 qk_nope_head_dim=64
        qk_rope_head_dim=32
    minimax 4096 14336 32 32 8 null 32000 - no null num_experts_per_tok=2 num_local_experts=8
    minimax_m2 3072 1536 62 48 8 128 200064 196608 no - num_experts_per_tok=8 num_local_experts=256
    minimax_m3_vl_text 6144 3072 60 64 4 128 200064 524288 no - num_experts_per_tok=4 num_local_experts=128
        index_n_heads=4 index_head_dim=128
    ministral 4096 14336 32 32 8 null 32000 - no 4096
    ministral3 4096 14336 34 32 8 128 131072 262144 no null
    mistral 4096 14336 32 32 8 null 32000 - no 4096
    mistral4 4096 12288 36 32 32 - 131072 1048576 no - moe_intermediate_size=2048 n_shared_experts=1
        n_routed_experts=128 kv_lora_rank=256 q_lora_rank=1024 qk_rope_head_dim=64 v_head_dim=128 qk_nope_head_dim=64
        num_experts_per_tok=4 first_k_dense_replace=0
    mixtral 4096 14336 32 32 8 null 32000 - no null num_experts_per_tok=2 num_local_experts=8
    mllama_text_model 4096 14336 40 32 8 - 128256 131072 no -
    muse_glimmer_text 6656 19968 52 32 2 128 202048 131072 no 2048
    nanochat 768 8192 12 6 null - 50304 2048 no -
    nemotron 6144 24576 32 48 null null 256000 4096 no -
    nemotron_h 4096 21504 - 32 8 128 131072 4096 no null ssm_state_size=128 mamba_num_heads=128 mamba_head_dim=64
        n_groups=8 conv_kernel=4 expand=2 n_routed_experts=8 n_shared_experts=1 moe_intermediate_size=7688
        num_experts_per_tok=2 num_nextn_predict_layers=0
    olmo 4096 11008 32 32 null - 50304 2048 no -
    olmo2 4096 11008 32 32 null - 50304 2048 no -
    olmo3 4096 11008 32 32 null - 50304 2048 no 4096
    olmo_hybrid 3840 11008 32 30 null - 100352 65536 no - linear_conv_kernel_dim=4
    olmoe 2048 2048 16 16 null - 50304 4096 no - num_experts_per_tok=8 num_experts=64
    phi 2048 8192 24 32 null - 51200 2048 no -
    phi3 3072 8192 32 32 null - 32064 4096 no null
    phimoe 4096 6400 32 32 8 - 32064 - no null num_experts_per_tok=2 num_local_experts=16
    qwen2 4096 22016 32 32 32 - 151936 32768 no 4096 use_sliding_window=no max_window_layers=28
    qwen2_moe 2048 5632 24 16 16 - 151936 32768 no 4096 use_sliding_window=no max_window_layers=28
        decoder_sparse_step=1 moe_intermediate_size=1408 shared_expert_intermediate_size=5632 num_experts_per_tok=4
        num_experts=60
    qwen2_vl_text 8192 29568 80 64 8 - 152064 32768 - 4096 use_sliding_window=no max_window_layers=80
    qwen2_5_vl_text 8192 29568 80 64 8 - 152064 32768 - 4096 use_sliding_window=no max_window_layers=80
    qwen2_5_omni_text 3584 18944 28 28 4 - 152064 32768 yes 32768 use_sliding_window=no max_window_layers=28
    qwen3 4096 22016 32 32 32 128 151936 32768 no 4096 use_sliding_window=no max_window_layers=28
    qwen3_5_text 4096 12288 32 16 4 256 248320 32768 no - linear_conv_kernel_dim=4 linear_key_head_dim=128
        linear_value_head_dim=128 linear_num_key_heads=16 linear_num_value_heads=32
    qwen3_5_moe_text 2048 - 40 16 2 256 248320 32768 no - linear_conv_kernel_dim=4 linear_key_head_dim=128
        linear_value_head_dim=128 linear_num_key_heads=16 linear_num_value_heads=32 moe_intermediate_size=512
        shared_expert_intermediate_size=512 num_experts_per_tok=8 num_experts=256
    qwen3_moe 2048 6144 24 32 4 - 151936 32768 no 4096 use_sliding_window=no decoder_sparse_step=1
        moe_intermediate_size=768 num_experts_per_tok=8 num_experts=128
    qwen3_next 2048 5632 48 16 2 256 151936 32768 no - linear_conv_kernel_dim=4 linear_key_head_dim=128
        linear_value_head_dim=128 linear_num_key_heads=16 linear_num_value_heads=32 decoder_sparse_step=1
        moe_intermediate_size=512 shared_expert_intermediate_size=512 num_experts_per_tok=10 num_experts=512
    qwen3_vl_text 4096 22016 32 32 32 128 151936 128000 - -
    qwen3_vl_moe_text 2048 5632 24 16 16 null 151936 128000 yes - decoder_sparse_step=1 moe_intermediate_size=1408
        num_experts_per_tok=4 num_experts=60
    qwen3_omni_moe_text 2048 18944 28 28 4 - 3584 32768 - null decoder_sparse_step=1 moe_intermediate_size=768
        num_experts_per_tok=8 num_experts=128
    qwen4_exp_text 2048 - 40 16 2 256 248320 32768 no - linear_conv_kernel_dim=4 linear_key_head_dim=128
        linear_value_head_dim=128 linear_num_key_heads=16 linear_num_value_heads=32 moe_intermediate_size=512
        shared_expert_intermediate_size=512 num_experts_per_tok=10 num_experts=512
    recurrent_gemma 2560 - 26 10 null - 256000 - yes -
    seed_oss 4096 27648 64 80 8 128 155136 524288 no -
    smollm3 2048 11008 36 16 4 - 128256 32768 yes null use_sliding_window=no
    solar_open 4096 - 48 64 8 128 196608 131072 no - moe_intermediate_size=1280 num_experts_per_tok=8
        n_shared_experts=1 n_routed_experts=128
    stablelm 2560 6912 32 32 32 - 50304 4096 no -
    starcoder2 3072 12288 30 24 2 - 49152 4096 yes null
    vaultgemma 2304 9216 26 8 4 256 256000 8192 yes 4096
    youtu 2048 6144 32 16 16 - 128256 131072 yes - kv_lora_rank=512 q_lora_rank=1536 qk_rope_head_dim=64
        v_head_dim=128 qk_nope_head_dim=128
    zamba2 2560 null 54 32 null - 32000 4096 yes - mamba_d_state=64 mamba_d_conv=4 mamba_expand=2
    axk1 7168 18432 61 64 64 - 163840 32768 no - moe_intermediate_size=2048 n_shared_experts=1 n_routed_experts=192
        kv_lora_rank=512 q_lora_rank=1536 qk_rope_head_dim=64 v_head_dim=128 qk_nope_head_dim=128
        num_experts_per_tok=8
    inkling_text 6144 24576 66 64 8 128 201024 131072 - - moe_intermediate_size=3072 n_routed_experts=256
        num_experts_per_tok=6 n_shared_experts=2
"""


def _records() -> Iterator[tuple[str, dict[str, Any]]]:
    name, values = "", list[str]()
    pairs: dict[str, Any] = {}
    for word in _TABLE.split():
        if "=" in word:
            key, _, value = word.partition("=")
            pairs[key] = _value(value)
            continue
        if len(values) == len(COLUMNS) or not name:
            if name:
                yield name, pairs
            name, values, pairs = word, [], {}
            continue
        values.append(word)
        if word != "-":
            pairs[COLUMNS[len(values) - 1]] = _value(word)
    yield name, pairs


def _value(word: str) -> Any:
    return {"null": None, "yes": True, "no": False}[word] if not word.isdigit() else int(word)


DEFAULTS: dict[str, dict[str, Any]] = dict(_records())
"""By ``model_type``."""
