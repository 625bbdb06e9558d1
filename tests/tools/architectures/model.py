"""A model of any architecture: its header and its tensors, written with random weights or with nothing behind them."""

from __future__ import annotations

import math
import os
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from gguf import GGMLQuantizationType as TensorType

from tests.tools.architectures.tensors import Tensor
from tests.tools.make_model import (
    CONSTANT_CHANNEL,
    FILE_TYPES,
    LOGIT_SPREAD,
    SILENCE,
    Floats,
    add_tokenizer,
)
from tests.tools.nonsense_tokenizer import NonsenseTokenizer

MOST_WORDS = 30_000
RESIDUAL_WRITERS = ("attn_output", "ffn_down", "ssm_out", "out_proj", "proj", "laurel_r")


@dataclass(frozen=True)
class Model:
    """One model. ``metadata`` are the keys below the architecture's name; ``vocab`` is filled up with unused tokens."""

    architecture: str
    metadata: dict[str, Any]
    tensors: list[Tensor] = field(repr=False)
    vocab: int = 8192
    seed: int = 1

    @property
    def tokenizer(self) -> NonsenseTokenizer:
        """Return the tokenizer, without the unused tokens."""
        return NonsenseTokenizer.build(min(MOST_WORDS, self.vocab - 400), self.seed)

    def kind(self, tensor: Tensor, quantization: str) -> TensorType:
        """Return the type in which a file of this quantisation holds the tensor."""
        if tensor.kind:
            return TensorType[tensor.kind]
        block, _ = gguf.GGML_QUANT_SIZES[TensorType[quantization]]
        if len(tensor.dims) == 1:
            return TensorType.F32
        if tensor.name == "output.weight" and quantization == "Q4_0":
            return TensorType.Q8_0  # llama-quantize keeps the output finer, too
        return TensorType[quantization] if tensor.dims[0] % block == 0 else TensorType.F16


def write(path: Path, model: Model, quantization: str = "F16") -> Path:
    """Write the model with random weights, the same for the same seed."""
    writer = _write_header(path, model, quantization)
    for tensor in model.tensors:
        writer.write_tensor_data(gguf.quantize(_values(model, tensor), model.kind(tensor, quantization)))
    writer.close()
    return path


def write_sparse(path: Path, model: Model, quantization: str = "F16") -> Path:
    """Write the header and a hole of the size of the weights: llama-fit-params sees the whole model, the disk nothing.

    ``quantization`` may be any type that ggml knows, such as Q4_K.
    """
    _write_header(path, model, quantization).close()
    alignment = gguf.GGUF_DEFAULT_ALIGNMENT
    size = -(-path.stat().st_size // alignment) * alignment
    for tensor in model.tensors:
        block, width = gguf.GGML_QUANT_SIZES[model.kind(tensor, quantization)]
        size += -(-(math.prod(tensor.dims) // block * width) // alignment) * alignment
    os.truncate(path, size)
    return path


def _write_header(path: Path, model: Model, quantization: str) -> gguf.GGUFWriter:
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = gguf.GGUFWriter(path, model.architecture)
    writer.add_name("Nonsense")  # llama.cpp reads some architectures out of the name
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_file_type(FILE_TYPES.get(quantization, gguf.LlamaFileType.MOSTLY_Q4_K_M))
    for key, value in {"vocab_size": model.vocab, **model.metadata}.items():
        _add(writer, f"{model.architecture}.{key}", value)
    add_tokenizer(writer, model.tokenizer, model.vocab)
    for tensor in model.tensors:
        kind = model.kind(tensor, quantization)
        stored = gguf.quant_shape_to_byte_shape(tensor.dims[::-1], kind)
        writer.add_tensor_info(tensor.name, stored, np.dtype(np.uint8), math.prod(stored), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    return writer


def _add(writer: gguf.GGUFWriter, key: str, value: Any) -> None:
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    elif isinstance(value, str):
        writer.add_string(key, value)
    else:
        writer.add_array(key, value)


def _values(model: Model, tensor: Tensor) -> Floats:
    """Return the values of one tensor; those that keep the residual stream and the words in order, see make_model."""
    shape = tensor.dims[::-1]
    parts = tensor.name.split(".")
    kind, suffix = (parts[-2], parts[-1]) if parts[-1] in ("weight", "bias") else (parts[-1], "")
    if suffix == "bias":
        return np.zeros(shape, dtype=np.float32)
    if kind == "ssm_a":
        return np.full(shape, -1.0, dtype=np.float32)
    if len(shape) == 1 or kind in ("ssm_d", "ssm_norm"):
        return np.ones(shape, dtype=np.float32)
    if kind == "token_embd":
        values = _random(model, tensor, 1.0)
        values[:, 0] = CONSTANT_CHANNEL
        return values
    if kind == "output":
        return _output(model, tensor)
    if kind.startswith(RESIDUAL_WRITERS):
        values = _random(model, tensor, 1.0 / math.sqrt(shape[-1] * int(model.metadata["block_count"])))
        values[..., 0, :] = 0
        return values
    return _random(model, tensor, 1.0 / math.sqrt(shape[-1]))


def _output(model: Model, tensor: Tensor) -> Floats:
    tokenizer = model.tokenizer
    values = _random(model, tensor, LOGIT_SPREAD / math.sqrt(tensor.dims[0]))
    values[:, 0] = 0
    silent = np.ones(model.vocab, dtype=bool)
    silent[tokenizer.speakable] = False
    values[silent] = 0
    values[silent, 0] = SILENCE
    return values


def _random(model: Model, tensor: Tensor, deviation: float) -> Floats:
    rng = np.random.Generator(np.random.PCG64([model.seed, zlib.crc32(tensor.name.encode())]))
    values = rng.random(tensor.dims[::-1], dtype=np.float32)
    values -= np.float32(0.5)
    values *= np.float32(deviation * math.sqrt(12))
    return values
