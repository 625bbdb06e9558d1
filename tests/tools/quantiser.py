"""Ask llama.cpp's own quantiser which types it would give to the tensors of models that everybody knows.

``PYTHONPATH=collections python -m tests.tools.quantiser PATH/TO/llama-quantize`` writes the answers to
``tests/fixtures/quantiser.json``, which the unit tests compare with. The models are headers of GGUF files without their
weights: ``--dry-run`` reads no more.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from ansible_collections.llmhost.core.plugins.module_utils.shape.shape import Shape
from ansible_collections.llmhost.core.plugins.module_utils.weights.gguf_mix import BASES, unquantised_type
from ansible_collections.llmhost.core.plugins.module_utils.weights.model_tensors import ModelTensors
from ansible_collections.llmhost.core.plugins.module_utils.weights.tensor import ModelTensor

from tests.unit import known_shapes as known

FIXTURE = Path(__file__).parents[1] / "fixtures" / "quantiser.json"
FILE_TYPES = tuple(name for name in BASES if name != "NVFP4")  # which the conversion makes, not the quantiser

_MLA = {
    "attention.kv_lora_rank": 512, "attention.key_length": 576, "attention.value_length": 512,
    "attention.key_length_mla": 192, "attention.value_length_mla": 128, "rope.dimension_count": 64,
    "expert_shared_count": 1, "expert_weights_scale": 1.0, "expert_gating_func": 2,
}  # fmt: skip
_WINDOW = {"attention.sliding_window": 1024}

# Name -> GGUF's name of the architecture, the shape, and the metadata that the shape does not hold.
MODELS: dict[str, tuple[str, Shape, dict[str, Any]]] = {
    "llama-2-7b": ("llama", known.LLAMA_2_7B, {}),
    "llama-2-70b": ("llama", known.LLAMA_2_70B, {}),
    "llama-3-8b": ("llama", known.LLAMA_3_8B, {}),
    "mixtral-8x7b": ("llama", known.MIXTRAL_8X7B, {}),
    "qwen2-0.5b": ("qwen2", known.dense("qwen2", 24, 896, 14, 2, 4864, 151936, 64, True), {}),
    "qwen2-72b": ("qwen2", known.dense("qwen2", 80, 8192, 64, 8, 29568, 152064), {}),
    "qwen3-32b": ("qwen3", known.QWEN3_32B, {}),
    "qwen3-30b-a3b": ("qwen3moe", known.QWEN3_30B_A3B, {}),
    "phi-3-mini": ("phi3", known.dense("phi3", 32, 3072, 32, 32, 8192, 32064), _WINDOW),
    "falcon-7b": ("falcon", known.dense("falcon", 32, 4544, 71, 1, 18176, 65024, 64, False, False), {}),
    "gemma-3-1b": ("gemma3", known.gemma3(26, 1152, 4, 1, 6912, 256), _WINDOW),
    "gemma-3-27b": ("gemma3", known.gemma3(62, 5376, 32, 16, 21504), _WINDOW),
    "gpt-oss-20b": ("gpt-oss", known.gpt_oss(), _WINDOW),
    "deepseek-v2-lite": ("deepseek2", known.deepseek_v2_lite(), {**_MLA, "leading_dense_block_count": 1}),
    "deepseek-v3": (
        "deepseek2", known.deepseek_v3(), {**_MLA, "leading_dense_block_count": 3, "attention.q_lora_rank": 1536},
    ),
    "glm-4.5-air": (
        "glm4moe", known.glm_4_5_air(),
        {"nextn_predict_layers": 1, "leading_dense_block_count": 1, "expert_shared_count": 1},
    ),
    "kimi-linear": (
        "kimi-linear", known.kimi_linear(),
        {**_MLA, "kda.head_dim": 128, "ssm.conv_kernel": 4, "leading_dense_block_count": 1},
    ),
    "lfm2-1.2b": ("lfm2", known.lfm2(), {"shortconv.l_cache": 3}),
    "qwen3-next": (
        "qwen3next", known.qwen3_next(),
        {
            "ssm.conv_kernel": 4, "ssm.inner_size": 4096, "ssm.state_size": 128, "ssm.time_step_rank": 32,
            "ssm.group_count": 16, "full_attention_interval": 4, "expert_shared_feed_forward_length": 512,
        },
    ),
    "granite-4-tiny": (
        "granitehybrid", known.granite_4_tiny(),
        {
            "ssm.conv_kernel": 4, "ssm.inner_size": 3072, "ssm.state_size": 128, "ssm.time_step_rank": 48,
            "ssm.group_count": 1, "expert_shared_feed_forward_length": 1024,
        },
    ),
}  # fmt: skip


def main(quantiser: str) -> None:
    """Write what the quantiser says of every model and file type."""
    found: dict[str, dict[str, dict[str, int]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, (architecture, shape, more) in MODELS.items():
            path = Path(folder) / f"{name}.gguf"
            write_header(path, architecture, shape, more)
            found[name] = {kind: types for kind in FILE_TYPES if (types := ask(quantiser, path, kind))}
            path.unlink()
    FIXTURE.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def ask(quantiser: str, path: Path, file_type: str) -> dict[str, int]:
    """Return how many tensors would be of each type; {} if the quantiser refuses."""
    command = [quantiser, "--dry-run", str(path), file_type]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    line = re.compile(r"\] +(\S+) +- \[[^]]*\], type = +(\S+), .*?size = +[\d.]+ MiB(?: -> +[\d.]+ MiB \((\S+)\))?")
    types = [(new or old).upper() for _, old, new in line.findall(done.stdout + done.stderr)]
    return dict(sorted(Counter(types).items())) if done.returncode == 0 else {}


def named(shape: Shape) -> Iterator[tuple[str, int, ModelTensor]]:
    """Yield every tensor with its whole name and its layer, in the order in which the quantiser looks at them."""
    tensors = ModelTensors.from_shape(shape)
    for tensor in sorted(tensors.outer(), key=lambda tensor: tensor.name):
        yield tensor.name, 0, tensor
    for number, layer in enumerate((*shape.layers, *shape.draft_layers)):
        for tensor in tensors.layer(layer, number >= len(shape.layers)):
            yield f"blk.{number}.{tensor.name}", number, tensor


def write_header(path: Path, architecture: str, shape: Shape, more: Mapping[str, Any]) -> None:
    """Write a GGUF file in 16 bits that ends where its weights would begin, but says that it is whole."""
    writer = gguf.GGUFWriter(path, architecture)
    for key, value in {**_metadata(shape), **more}.items():
        add = writer.add_float32 if isinstance(value, float) else writer.add_uint32
        if isinstance(value, list):
            writer.add_array(f"{architecture}.{key}", value)
        else:
            add(f"{architecture}.{key}", value)
    for name, _, tensor in named(shape):
        kind = np.float32 if unquantised_type(tensor, "F16") == "F32" else np.float16
        sides = (tensor.depth, tensor.rows, tensor.row)[-tensor.dimensions :]
        writer.add_tensor_info(name, sides, np.dtype(kind), tensor.elements * np.dtype(kind).itemsize)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
    with path.open("ab") as file:
        file.truncate(file.tell() + sum(4 * tensor.elements + 64 for _, _, tensor in named(shape)))


def _metadata(shape: Shape) -> dict[str, Any]:
    networks = [layer.feed_forward for layer in shape.layers if layer.feed_forward]
    mixture = next((network for network in networks if network.experts), None)
    attention = next(layer.attention for layer in shape.layers if layer.attention)
    heads_kv = [layer.attention.kv_heads if layer.attention else 0 for layer in (*shape.layers, *shape.draft_layers)]
    return {
        "block_count": len(heads_kv),
        "context_length": 4096,
        "embedding_length": shape.embedding_length,
        "vocab_size": shape.vocab_size,
        "attention.layer_norm_rms_epsilon": 1e-5,
        "attention.layer_norm_epsilon": 1e-5,
        "attention.head_count": attention.heads,
        "attention.head_count_kv": heads_kv if "qwen" not in shape.architecture else attention.kv_heads,
        "attention.key_length": attention.head_dim_k,
        "attention.value_length": attention.head_dim_v,
        "rope.dimension_count": attention.head_dim_k,
        "feed_forward_length": max(network.length or network.expert_length for network in networks),
        "expert_count": mixture.experts if mixture else 0,
        "expert_used_count": mixture.experts_used if mixture else 0,
        "expert_feed_forward_length": mixture.expert_length if mixture else 0,
    }


if __name__ == "__main__":
    main(sys.argv[1])
