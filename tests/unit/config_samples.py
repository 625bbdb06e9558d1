"""The fields that matter of published models' config.json, and what their layers keep."""

from __future__ import annotations

from typing import Any


def base(kind: str, sizes: tuple[int, int, int, int, int, int], **more: Any) -> dict[str, Any]:
    """Return a config: width, layers, heads, heads of keys, network, vocabulary."""
    names = ("hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "intermediate_size")
    return {"model_type": kind, **dict(zip((*names, "vocab_size"), sizes, strict=True)), **more}


_DEEPSEEK_V3 = {
    "moe_intermediate_size": 2048, "n_routed_experts": 256, "n_shared_experts": 1, "num_experts_per_tok": 8,
    "first_k_dense_replace": 3, "moe_layer_freq": 1, "kv_lora_rank": 512, "q_lora_rank": 1536, "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64, "v_head_dim": 128, "num_nextn_predict_layers": 1,
}  # fmt: skip
_QWEN_LINEAR = {
    "linear_conv_kernel_dim": 4, "linear_key_head_dim": 128, "linear_num_key_heads": 16, "linear_num_value_heads": 32,
    "linear_value_head_dim": 128,
}  # fmt: skip

Sample = tuple[str, dict[str, Any], dict[str, int], str]
"""Name, config, layers that keep something by what it is, network of the last layer."""

SAMPLES: list[Sample] = [
    ("Llama 2 7B", base("llama", (4096, 32, 32, 32, 11008, 32000)), {"full 4096+4096": 32}, "11008"),
    ("Llama 3 8B", base("llama", (4096, 32, 32, 8, 14336, 128256)), {"full 1024+1024": 32}, "14336"),
    (
        "Llama 4 Scout",
        {"model_type": "llama4", "text_config": base(
            "llama4_text", (5120, 48, 40, 8, 8192, 202048), head_dim=128, intermediate_size_mlp=16384,
            num_local_experts=16, num_experts_per_tok=1, interleave_moe_layer_step=1, attention_chunk_size=8192,
            no_rope_layers=[])},
        {"chunked:8192 1024+1024": 36, "full 1024+1024": 12},
        "0 1 of 16 x 8192 + 8192",
    ),
    (
        "Mistral 7B v0.1",
        base("mistral", (4096, 32, 32, 8, 14336, 32000), sliding_window=4096),
        {"sliding:4096 1024+1024": 32},
        "14336",
    ),
    (
        "Mistral Nemo",
        base("mistral", (5120, 40, 32, 8, 14336, 131072), head_dim=128, sliding_window=None),
        {"full 1024+1024": 40},
        "14336",
    ),
    (
        "Mixtral 8x7B",
        base("mixtral", (4096, 32, 32, 8, 14336, 32000), num_local_experts=8, num_experts_per_tok=2,
             sliding_window=None),
        {"full 1024+1024": 32},
        "0 2 of 8 x 14336",
    ),
    (
        "Mixtral 8x7B, params.json",
        {"dim": 4096, "n_layers": 32, "head_dim": 128, "hidden_dim": 14336, "n_heads": 32, "n_kv_heads": 8,
         "vocab_size": 32000, "moe": {"num_experts_per_tok": 2, "num_experts": 8}},
        {"full 1024+1024": 32},
        "0 2 of 8 x 14336",
    ),
    ("Gemma 7B", base("gemma", (3072, 28, 16, 16, 24576, 256000), head_dim=256), {"full 4096+4096": 28}, "24576"),
    (
        "Gemma 2 9B",
        base("gemma2", (3584, 42, 16, 8, 14336, 256000), head_dim=256, sliding_window=4096),
        {"sliding:4096 2048+2048": 21, "full 2048+2048": 21},
        "14336",
    ),
    (
        "Gemma 3 4B, which leaves out what is as usual",
        {"model_type": "gemma3", "text_config": {
            "hidden_size": 2560, "intermediate_size": 10240, "model_type": "gemma3_text", "num_hidden_layers": 34,
            "sliding_window": 1024}},
        {"sliding:1024 1024+1024": 29, "full 1024+1024": 5},
        "10240",
    ),
    (
        "Gemma 3 27B",
        {"model_type": "gemma3", "text_config": base(
            "gemma3_text", (5376, 62, 32, 16, 21504, 262208), head_dim=128, sliding_window=1024)},
        {"sliding:1024 2048+2048": 52, "full 2048+2048": 10},
        "21504",
    ),
    (
        "Gemma 3n E4B",
        {"model_type": "gemma3n", "text_config": base(
            "gemma3n_text", (2048, 35, 8, 2, 16384, 262400), head_dim=256, sliding_window=512,
            num_kv_shared_layers=15, hidden_size_per_layer_input=256)},
        {"sliding:512 512+512": 16, "full 512+512": 4, "nothing": 15},
        "16384",
    ),
    (
        "Gemma 4 31B",
        {"model_type": "gemma4", "text_config": base(
            "gemma4_text", (5376, 60, 32, 16, 21504, 262144), head_dim=256, global_head_dim=512,
            num_global_key_value_heads=4, attention_k_eq_v=True, sliding_window=1024, num_kv_shared_layers=0)},
        {"sliding:1024 4096+4096": 50, "full 2048+2048": 10},
        "21504",
    ),
    (
        "Qwen2.5 7B",
        base("qwen2", (3584, 28, 28, 4, 18944, 152064), use_sliding_window=False, sliding_window=131072,
             max_window_layers=28),
        {"full 512+512": 28},
        "18944",
    ),
    (
        "Qwen2.5-VL 7B",
        base("qwen2_5_vl", (3584, 28, 28, 4, 18944, 152064), use_sliding_window=False, sliding_window=32768,
             max_window_layers=28, vision_config={}),
        {"full 512+512": 28},
        "18944",
    ),
    ("Qwen3 32B", base("qwen3", (5120, 64, 64, 8, 25600, 151936), head_dim=128), {"full 1024+1024": 64}, "25600"),
    (
        "Qwen3 30B-A3B",
        base("qwen3_moe", (2048, 48, 32, 4, 6144, 151936), head_dim=128, num_experts=128, num_experts_per_tok=8,
             moe_intermediate_size=768, decoder_sparse_step=1, mlp_only_layers=[]),
        {"full 512+512": 48},
        "0 8 of 128 x 768",
    ),
    (
        "Qwen3-Next 80B",
        base("qwen3_next", (2048, 48, 16, 2, 5120, 151936), head_dim=256, num_experts=512, num_experts_per_tok=10,
             moe_intermediate_size=512, shared_expert_intermediate_size=512, full_attention_interval=4,
             decoder_sparse_step=1, mlp_only_layers=[], **_QWEN_LINEAR),
        {"gated_delta_net 24576+524288": 36, "full 512+512": 12},
        "0 10 of 512 x 512 + 512",
    ),
    (
        "Qwen3.5 27B",
        {"model_type": "qwen3_5", "text_config": base(
            "qwen3_5_text", (5120, 64, 24, 4, 17408, 248320), head_dim=256, full_attention_interval=4,
            mtp_num_hidden_layers=1, **{**_QWEN_LINEAR, "linear_num_value_heads": 48})},
        {"gated_delta_net 30720+786432": 48, "full 1024+1024": 16},
        "17408",
    ),
    ("Phi-2", base("phi", (2560, 32, 32, 32, 10240, 51200)), {"full 2560+2560": 32}, "10240 plain"),
    (
        "Phi-3 mini 4k",
        base("phi3", (3072, 32, 32, 32, 8192, 32064), sliding_window=2047),
        {"sliding:2047 3072+3072": 32},
        "8192",
    ),
    ("Phi-4", base("phi3", (5120, 40, 40, 10, 17920, 100352), sliding_window=None), {"full 1280+1280": 40}, "17920"),
    ("DeepSeek V3", base("deepseek_v3", (7168, 61, 128, 128, 18432, 129280), **_DEEPSEEK_V3), {"latent 576": 61},
     "0 8 of 256 x 2048 + 2048"),
    (
        "DeepSeek V2 Lite",
        base("deepseek_v2", (2048, 27, 16, 16, 10944, 102400), **{
            **_DEEPSEEK_V3, "q_lora_rank": None, "moe_intermediate_size": 1408, "n_routed_experts": 64,
            "n_shared_experts": 2, "num_experts_per_tok": 6, "first_k_dense_replace": 1}),
        {"latent 576": 27},
        "0 6 of 64 x 1408 + 2816",
    ),
    (
        "DeepSeek V3.2",
        base("deepseek_v32", (7168, 61, 128, 128, 18432, 129280), index_n_heads=64, index_head_dim=128,
             **_DEEPSEEK_V3),
        {"latent 576 index 128": 61},
        "0 8 of 256 x 2048 + 2048",
    ),
    (
        "DeepSeek V4 Flash, its first layers",
        base("deepseek_v4", (4096, 5, 64, 1, 0, 129280), head_dim=512, q_lora_rank=1024, moe_intermediate_size=2048,
             n_routed_experts=256, n_shared_experts=1, num_experts_per_tok=6, sliding_window=128, index_n_heads=64,
             index_head_dim=128, num_nextn_predict_layers=1, compress_ratios=[0, 0, 4, 128, 4, 0]),
        {"sliding:128 512+512": 2, "sliding:128 512+512 index 128 1/4": 2, "sliding:128 512+512 1/128": 1},
        "0 6 of 256 x 2048 + 2048",
    ),
    (
        "Kimi K2",
        base("kimi_k2", (7168, 61, 64, 64, 18432, 163840), **{
            **_DEEPSEEK_V3, "n_routed_experts": 384, "first_k_dense_replace": 1, "num_nextn_predict_layers": 0}),
        {"latent 576": 61},
        "0 8 of 384 x 2048 + 2048",
    ),
    (
        "Kimi Linear 48B",
        base("kimi_linear", (2304, 27, 32, 32, 9216, 163840), head_dim=72, moe_intermediate_size=1024,
             num_experts=256, num_experts_per_token=8, num_shared_experts=1, first_k_dense_replace=1,
             moe_layer_freq=1, kv_lora_rank=512, q_lora_rank=None, qk_nope_head_dim=128, qk_rope_head_dim=64,
             v_head_dim=128, linear_attn_config={
                 "full_attn_layers": [4, 8, 12, 16, 20, 24, 27], "kda_layers": [1, 2, 3], "head_dim": 128,
                 "num_heads": 32, "short_conv_kernel_size": 4}),
        {"kda 36864+524288": 20, "latent 576": 7},
        "0 8 of 256 x 1024 + 1024",
    ),
    ("GLM-4 9B", base("glm4", (4096, 40, 32, 2, 13696, 151552), head_dim=128), {"full 256+256": 40}, "13696"),
    (
        "GLM-4.5 Air",
        base("glm4_moe", (4096, 46, 96, 8, 10944, 151552), head_dim=128, moe_intermediate_size=1408,
             n_routed_experts=128, n_shared_experts=1, num_experts_per_tok=8, first_k_dense_replace=1,
             num_nextn_predict_layers=1),
        {"full 1024+1024": 46},
        "0 8 of 128 x 1408 + 1408",
    ),
    (
        "GPT-OSS 120B",
        base("gpt_oss", (2880, 36, 64, 8, 2880, 201088), head_dim=64, num_local_experts=128, num_experts_per_tok=4,
             sliding_window=128, layer_types=["sliding_attention", "full_attention"] * 18),
        {"sliding:128 512+512": 18, "full 512+512": 18},
        "0 4 of 128 x 2880",
    ),
    ("Command R", base("cohere", (8192, 40, 64, 64, 22528, 256000)), {"full 8192+8192": 40}, "22528"),
    (
        "Command R7B",
        base("cohere2", (4096, 32, 32, 8, 14336, 256000), sliding_window=4096, sliding_window_pattern=4),
        {"sliding:4096 1024+1024": 24, "full 1024+1024": 8},
        "14336",
    ),
    ("Granite 3.3 8B", base("granite", (4096, 40, 32, 8, 12800, 49159)), {"full 1024+1024": 40}, "12800"),
    (
        "Granite 4.0 H Small",
        base("granitemoehybrid", (4096, 40, 32, 8, 768, 100352), num_local_experts=72, num_experts_per_tok=10,
             shared_intermediate_size=1536, mamba_n_heads=128, mamba_d_head=64, mamba_n_groups=1, mamba_d_state=128,
             mamba_d_conv=4, mamba_expand=2, layer_types=[
                 "attention" if number in (5, 15, 25, 35) else "mamba" for number in range(40)]),
        {"mamba2 25344+1048576": 36, "full 1024+1024": 4},
        "0 10 of 72 x 768 + 1536",
    ),
    (
        "Jamba v0.1",
        base("jamba", (4096, 32, 32, 8, 14336, 65536), num_experts=16, num_experts_per_tok=2, attn_layer_period=8,
             attn_layer_offset=4, expert_layer_period=2, expert_layer_offset=1, mamba_d_state=16, mamba_d_conv=4,
             mamba_expand=2, mamba_dt_rank=256),
        {"mamba 24576+131072": 28, "full 1024+1024": 4},
        "0 2 of 16 x 14336",
    ),
    (
        "Llama Nemotron, three of its blocks",
        base("nemotron-nas", (8192, 3, 64, 8, 0, 128256), num_key_value_heads=None, intermediate_size=None,
             block_configs=[
                 {"attention": {"n_heads_in_group": 8, "no_op": False}, "ffn": {"ffn_mult": 5.25}},
                 {"attention": {"n_heads_in_group": None, "no_op": True}, "ffn": {"no_op": True}},
                 {"attention": {"replace_with_linear": True}, "ffn": {"ffn_mult": 2.625}}]),
        {"full 1024+1024": 1, "nothing": 2},
        "14336",
    ),
    (
        "Nemotron-H 8B",
        base("nemotron_h", (4096, 52, 32, 8, 21504, 131072), attention_head_dim=128, mamba_num_heads=128,
             mamba_head_dim=64, n_groups=8, ssm_state_size=128, conv_kernel=4, expand=2,
             hybrid_override_pattern="M-M-M-M*-M-M-M-M-M*-M-M-M-M-M*-M-M-M-M-M*-M-M-M-M-M-"),
        {"mamba2 30720+1048576": 24, "full 1024+1024": 4, "nothing": 24},
        "21504 plain",
    ),
    (
        "LFM2 1.2B",
        base("lfm2", (2048, 16, 32, 8, 12288, 65536), conv_L_cache=3, block_ff_dim=12288, block_multiple_of=256,
             block_ffn_dim_multiplier=1.0, block_auto_adjust_ff_dim=True, full_attn_idxs=[2, 5, 8, 10, 12, 14]),
        {"short_conv 4096+0": 10, "full 512+512": 6},
        "8192",
    ),
    (
        "Falcon 7B",
        base("falcon", (4544, 32, 71, 0, 0, 65024), num_key_value_heads=None, intermediate_size=None,
             multi_query=True, new_decoder_architecture=False),
        {"full 64+64": 32},
        "18176 plain",
    ),
    (
        "Falcon 40B",
        base("falcon", (8192, 60, 128, 8, 32768, 65024), num_kv_heads=8, new_decoder_architecture=True),
        {"full 512+512": 60},
        "32768 plain",
    ),
    (
        "Falcon-H1 34B",
        base("falcon_h1", (5120, 72, 20, 4, 21504, 261120), head_dim=128, mamba_d_ssm=4096, mamba_n_heads=32,
             mamba_d_head=128, mamba_n_groups=2, mamba_d_state=256, mamba_d_conv=4, mamba_expand=2),
        {"full 512+512 mamba2 15360+1048576": 72},
        "21504",
    ),
    (
        "Mamba 2.8B",
        {"model_type": "mamba", "hidden_size": 2560, "num_hidden_layers": 64, "intermediate_size": 5120,
         "state_size": 16, "conv_kernel": 4, "expand": 2, "vocab_size": 50280},
        {"mamba 15360+81920": 64},
        "none",
    ),
    (
        "Mamba 2 (Codestral)",
        {"model_type": "mamba2", "hidden_size": 4096, "num_hidden_layers": 64, "num_heads": 128, "head_dim": 64,
         "state_size": 128, "conv_kernel": 4, "expand": 2, "n_groups": 8, "vocab_size": 32768},
        {"mamba2 30720+1048576": 64},
        "none",
    ),
    ("OLMo 2 7B", base("olmo2", (4096, 32, 32, 32, 11008, 100352)), {"full 4096+4096": 32}, "11008"),
    (
        "OLMo 3 7B",
        base("olmo3", (4096, 32, 32, 32, 11008, 100278), sliding_window=4096),
        {"sliding:4096 4096+4096": 24, "full 4096+4096": 8},
        "11008",
    ),
    (
        "EXAONE 4 32B",
        base("exaone4", (5120, 64, 40, 8, 27392, 102400), head_dim=128, sliding_window=4096,
             sliding_window_pattern="LLLG"),
        {"sliding:4096 1024+1024": 48, "full 1024+1024": 16},
        "27392",
    ),
    ("SmolLM3", base("smollm3", (2048, 36, 16, 4, 11008, 128256)), {"full 512+512": 36}, "11008"),
    (
        "MiniMax M1",
        base("minimax_m1", (6144, 80, 64, 8, 9216, 200064), head_dim=128, num_local_experts=32,
             num_experts_per_tok=2, attn_type_list=[0, 0, 0, 0, 0, 0, 0, 1] * 10),
        {"lightning 0+1048576": 70, "full 1024+1024": 10},
        "0 2 of 32 x 9216",
    ),
    (
        "MiniMax M2",
        base("minimax_m2", (3072, 62, 48, 8, 1536, 200064), head_dim=128, num_local_experts=256,
             num_experts_per_tok=8),
        {"full 1024+1024": 62},
        "0 8 of 256 x 1536",
    ),
    (
        "ERNIE 4.5 21B-A3B",
        base("ernie4_5_moe", (2560, 28, 20, 4, 12288, 103424), moe_num_experts=64, moe_k=6,
             moe_num_shared_experts=2, moe_intermediate_size=1536, moe_layer_start_index=1, moe_layer_interval=1,
             moe_layer_end_index=-1),
        {"full 512+512": 28},
        "0 6 of 64 x 1536 + 3072",
    ),
    (
        "Seed-OSS 36B",
        base("seed_oss", (5120, 64, 80, 8, 27648, 155136), head_dim=128),
        {"full 1024+1024": 64},
        "27648",
    ),
    ("StarCoder2 15B", base("starcoder2", (6144, 40, 48, 4, 24576, 49152), sliding_window=None),
     {"full 512+512": 40}, "24576 plain"),
    (
        "StarCoder",
        {"model_type": "gpt_bigcode", "n_embd": 6144, "n_layer": 40, "n_head": 48, "n_inner": 24576,
         "multi_query": True, "n_positions": 8192, "vocab_size": 49152},
        {"full 128+128": 40},
        "24576 plain",
    ),
    (
        "GPT-2 XL",
        {"model_type": "gpt2", "n_embd": 1600, "n_layer": 48, "n_head": 25, "n_positions": 1024, "n_inner": None,
         "vocab_size": 50257},
        {"full 1600+1600": 48},
        "6400 plain",
    ),
    (
        "DBRX",
        {"model_type": "dbrx", "d_model": 6144, "n_heads": 48, "n_layers": 40, "max_seq_len": 32768,
         "vocab_size": 100352, "attn_config": {"kv_n_heads": 8},
         "ffn_config": {"ffn_hidden_size": 10752, "moe_num_experts": 16, "moe_top_k": 4}},
        {"full 1024+1024": 40},
        "0 4 of 16 x 10752",
    ),
    (
        "GLM-4 9B chat (the older format)",
        {"model_type": "chatglm", "hidden_size": 4096, "num_layers": 40, "num_attention_heads": 32,
         "ffn_hidden_size": 13696, "kv_channels": 128, "multi_query_attention": True, "multi_query_group_num": 2,
         "padded_vocab_size": 151552, "seq_length": 131072},
        {"full 256+256": 40},
        "13696",
    ),
    (
        "MiniCPM3 4B",
        base("minicpm3", (2560, 62, 40, 40, 6400, 73448), kv_lora_rank=256, q_lora_rank=768, qk_nope_head_dim=64,
             qk_rope_head_dim=32, v_head_dim=64),
        {"full 3840+2560": 62},
        "6400",
    ),
    (
        "MiMo V2 Flash, its first layers",
        base("mimo_v2_flash", (4096, 6, 64, 4, 16384, 152576), head_dim=192, v_head_dim=128, n_routed_experts=256,
             num_experts_per_tok=8, moe_intermediate_size=2048, hybrid_layer_pattern=[0, 1, 1, 1, 1, 0],
             moe_layer_freq=[0, 1, 1, 1, 1, 1], sliding_window=128, swa_num_key_value_heads=8,
             swa_num_attention_heads=64, swa_head_dim=192, swa_v_head_dim=128),
        {"full 768+512": 2, "sliding:128 1536+1024": 4},
        "0 8 of 256 x 2048",
    ),
]  # fmt: skip
