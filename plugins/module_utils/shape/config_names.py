"""The fields of a ``config.json`` that sound as if they cost memory, and do not, or are understood here."""

from __future__ import annotations

import re
from collections.abc import Iterable

SUSPECT = re.compile(
    r"(?:^|_)(?:kv|cache|windows?|states?|latent|ssm|mamba|linear|conv|recurrent|compress|compression|indexe?r?|memory"
    r"|chunk|hybrid|mla|swa|lora_rank)(?:_|$)"
)


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Read by the other files named config_*.
READ = _words("""
    attention_chunk_size chunk_size compress_ratios compress_rates conv_L_cache conv_kernel hybrid_layer_pattern
    hybrid_override_pattern index_head_dim index_kpool index_n_heads index_skip_topk_offset index_topk_freq
    index_topk_pattern indexer_head_dim indexer_n_heads indexer_types kv_channels kv_lora_rank linear_attention
    linear_attn_config
    linear_conv_kernel_dim linear_head_dim linear_key_head_dim linear_num_heads linear_num_key_heads
    linear_num_value_heads linear_value_head_dim mamba_d_conv mamba_d_head mamba_d_ssm mamba_d_state mamba_enabled
    mamba_expand mamba_head_dim mamba_n_groups mamba_n_heads mamba_ngroups mamba_num_heads mamba_step max_window_layers
    moe_layer_end_index moe_layer_start_index n_head_kv n_kv_heads n_mamba_heads num_kv_heads num_kv_shared_layers
    prefix_dense_sliding_window_pattern q_lora_rank short_conv_kernel_size sliding_window sliding_window_layout
    sliding_window_pattern sliding_window_size ssm_state_size state_size swa_head_dim swa_kv_lora_rank
    swa_num_attention_heads swa_num_key_value_heads swa_qk_nope_head_dim swa_v_head_dim swa_window_size
    use_sliding_window window_size attention_window_size use_mla
""")

# Widths of projections, scales, kernels to use, numbers of tokens: nothing that is kept.
HARMLESS = _words("""
    activation_situ_linear_beta add_bias_linear add_swa_attention_sink_bias apply_mla_qkv_lora_rescale
    audio_chunk_length audio_token_index aux_hidden_state_layer_ids boi_token_index cache_config
    cache_implementation chunk_size_feed_forward compress_rope_theta compression_ratio conv_bias conv_dim
    conv_dim_out conv_use_xavier_init dual_chunk_attention_config eoa_token_index eoi_token_index hybrid_layer_ids
    image_token_index index_block_size index_kpool_always_select_tail index_local_blocks index_topk
    index_topk_blocks indexer_budget indexer_compress_ratio indexer_kv_heads indexer_rope_interleave kv_cache_dtype
    kv_cache_scheme layernorm_linear_attention_alpha layernorm_linear_attention_beta linear_a_log_max
    linear_a_log_min linear_allow_neg_eigval linear_attn_alpha_factor linear_attn_beta_factor linear_dt_init_floor
    linear_dt_max linear_dt_min linear_lower_bound linear_mode linear_rope lora_rank_decay lora_rank_gate
    lora_rank_iclr lora_rank_tokenshift lora_rank_value_residual_mix mamba_chunk_size mamba_conv_bias mamba_dt_rank
    mamba_headdim mamba_hidden_act mamba_inner_layernorms mamba_norm_before_gate mamba_proj_bias mamba_rms_norm
    mamba_ssm_cache_dtype mamba_ssm_dtype mamba_use_mlp mla_scale_kv_lora mla_scale_q_lora mla_use_nope
    moe_latent_size mtp_hybrid_override_pattern o_lora_rank output_hidden_states ple_conv_kernel_size ssm_cfg
    ssm_in_multiplier ssm_multipliers ssm_out_multiplier swa_q_lora_rank swa_qk_rope_head_dim swa_rope_theta
    use_cache use_cache_kernel use_cache_quantization use_conv_bias use_linear_gqa use_linear_silu
    use_mamba_kernels use_swa video_token_index
""")


def unknown_keys(names: Iterable[str]) -> list[str]:
    """Return the fields that may stand for a cache nobody here knows."""
    return sorted(
        name for name in names if "." not in name and SUSPECT.search(name) and name not in READ and name not in HARMLESS
    )
