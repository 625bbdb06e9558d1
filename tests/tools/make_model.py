"""Generate small language models for tests: real formats, a working tokenizer, random weights, same seed same bytes.

The model answers a chat in legible nonsense of full length. That takes a liberty with random weights: channel 0 of the
residual stream is the same constant for every token (no layer writes to it), and the output layer reads it as a bias,
so that only invented words and a little punctuation are ever chosen, never a broken byte or the end of the turn.
"""

from __future__ import annotations

import argparse
import json
import math
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt
from gguf import GGMLQuantizationType as TensorType

from tests.tools.nonsense_tokenizer import CHAT_TEMPLATE, END_OF_TEXT, END_OF_TURN, SPECIAL_TOKENS, NonsenseTokenizer

Floats = npt.NDArray[np.float32]

FILE_TYPES = {
    "F32": gguf.LlamaFileType.ALL_F32,
    "F16": gguf.LlamaFileType.MOSTLY_F16,
    "BF16": gguf.LlamaFileType.MOSTLY_BF16,
    "Q8_0": gguf.LlamaFileType.MOSTLY_Q8_0,
    "Q5_0": gguf.LlamaFileType.MOSTLY_Q5_0,
    "Q4_0": gguf.LlamaFileType.MOSTLY_Q4_0,
}
CONSTANT_CHANNEL = 4.0  # what channel 0 of every embedding holds
SILENCE = -40.0  # how the output layer reads that channel for a token that must not be spoken
LOGIT_SPREAD = 3.0  # standard deviation of the logits of the words
LICENSE = "apache-2.0"


@dataclass(frozen=True)
class ModelSpec:
    """The shape of a dense llama-style model with grouped-query attention."""

    name: str = "Nonsense"
    layers: int = 10
    embedding: int = 512
    heads: int = 8
    kv_heads: int = 4
    head_dim: int = 64
    feed_forward: int = 1408
    context: int = 4096
    words: int = 4000
    tied: bool = False
    seed: int = 1

    def tokenizer(self) -> NonsenseTokenizer:
        """Return the tokenizer that the model speaks."""
        return NonsenseTokenizer.build(self.words, self.seed)

    def sized(self, quantization: str, size_bytes: int) -> ModelSpec:
        """Return the same model with as many layers as bring its file nearest to ``size_bytes``."""
        one, two = (replace(self, layers=layers).weights_bytes(quantization) for layers in (1, 2))
        return replace(self, layers=max(1, round((size_bytes - one) / (two - one)) + 1))

    def weights_bytes(self, quantization: str) -> int:
        """Return the bytes that the tensors take in a GGUF file."""
        block, size = gguf.GGML_QUANT_SIZES[TensorType[quantization]]
        matrices = sum(math.prod(shape) for _, shape in self.tensor_shapes() if len(shape) > 1)
        vectors = sum(math.prod(shape) for _, shape in self.tensor_shapes() if len(shape) == 1)
        return matrices // block * size + vectors * 4

    def tensor_shapes(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Yield the GGUF name and the shape of each tensor, in the order of the file."""
        vocab = len(self.tokenizer().tokens)
        yield "token_embd.weight", (vocab, self.embedding)
        for layer in range(self.layers):
            for name, shape in self._layer_shapes():
                yield f"blk.{layer}.{name}.weight", shape
        yield "output_norm.weight", (self.embedding,)
        if not self.tied:
            yield "output.weight", (vocab, self.embedding)

    def _layer_shapes(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        queries, keys = self.heads * self.head_dim, self.kv_heads * self.head_dim
        yield "attn_norm", (self.embedding,)
        yield "attn_q", (queries, self.embedding)
        yield "attn_k", (keys, self.embedding)
        yield "attn_v", (keys, self.embedding)
        yield "attn_output", (self.embedding, queries)
        yield "ffn_norm", (self.embedding,)
        yield "ffn_gate", (self.feed_forward, self.embedding)
        yield "ffn_up", (self.feed_forward, self.embedding)
        yield "ffn_down", (self.embedding, self.feed_forward)


PRESETS = {
    "tiny": ModelSpec("Nonsense-Tiny", 2, embedding=64, heads=4, kv_heads=2, head_dim=16, feed_forward=128, words=64),
    "demo": ModelSpec("Nonsense-Demo"),
    "bench": ModelSpec("Nonsense-Bench", 24, embedding=1024, heads=16, kv_heads=8, feed_forward=3584),
    # Matrices as large as those of a model of 8 billion parameters, for as many layers as a file shall have room for.
    "load": ModelSpec("Nonsense-Load", embedding=4096, heads=32, kv_heads=8, head_dim=128, feed_forward=14336),
}


class Weights:
    """The weights of a model, made one tensor at a time; each depends on the seed and its own name only."""

    def __init__(self, spec: ModelSpec) -> None:
        """Remember the spec and which tokens may be spoken."""
        self._spec = spec
        tokenizer = spec.tokenizer()
        self._silent = np.ones(len(tokenizer.tokens), dtype=bool)
        self._silent[tokenizer.speakable + tokenizer.punctuation] = False
        self._punctuation = tokenizer.punctuation
        # About six tenths of the highest logit that a word can expect: a sentence of a few words, then a stop.
        highest_logit = LOGIT_SPREAD * math.sqrt(2 * math.log(len(tokenizer.speakable)))
        self._punctuation_bias = 0.6 * highest_logit / CONSTANT_CHANNEL

    def tensor(self, name: str, shape: tuple[int, ...]) -> Floats:
        """Return the tensor as 32-bit floats."""
        if len(shape) == 1:
            return np.ones(shape, dtype=np.float32)
        kind = name.split(".")[-2]
        if kind == "token_embd":
            values = self._random(name, shape, 1.0)
            values[:, 0] = CONSTANT_CHANNEL
        elif kind == "output":
            values = self._random(name, shape, LOGIT_SPREAD / math.sqrt(shape[1]))
            values[:, 0] = 0
            values[self._punctuation, 0] = self._punctuation_bias
            values[self._silent] = 0
            values[self._silent, 0] = SILENCE
        elif kind in ("attn_output", "ffn_down"):
            # So small that the residual stream, and with it the constant channel, keeps its scale through all layers.
            values = self._random(name, shape, 1.0 / math.sqrt(shape[1] * self._spec.layers))
            values[0] = 0
        else:
            values = self._random(name, shape, 1.0 / math.sqrt(shape[1]))
        return values

    def _random(self, name: str, shape: tuple[int, ...], deviation: float) -> Floats:
        # Uniform values need no logarithm or cosine of the platform's libm: the same bits everywhere.
        rng = np.random.Generator(np.random.PCG64([self._spec.seed, zlib.crc32(name.encode())]))
        values = rng.random(shape, dtype=np.float32)
        values -= np.float32(0.5)
        values *= np.float32(deviation * math.sqrt(12))
        return values


def write_gguf(path: Path, spec: ModelSpec, quantization: str = "Q8_0", split: int = 1) -> list[Path]:
    """Write the model as GGUF, in ``split`` files if more than one; return the files, the first one first."""
    kind = TensorType[quantization]
    writer = _write_header(path, spec, quantization, split)
    weights = Weights(spec)
    for name, shape in spec.tensor_shapes():
        values = weights.tensor(name, shape)
        writer.write_tensor_data(gguf.quantize(values, kind if len(shape) > 1 else TensorType.F32))
    writer.close()
    return [path.with_name(name) for name in _file_names(path.stem, "gguf", split)]


def write_hollow_gguf(path: Path, spec: ModelSpec, quantization: str = "Q8_0") -> tuple[Path, int]:
    """Write the header of a model only; return the file, and the size that a file of zeros behind it would give it."""
    _write_header(path, spec, quantization, split=1).close()
    padding = sum(gguf.GGUF_DEFAULT_ALIGNMENT for _ in spec.tensor_shapes())
    return path, path.stat().st_size + spec.weights_bytes(quantization) + padding


def _write_header(path: Path, spec: ModelSpec, quantization: str, split: int) -> gguf.GGUFWriter:
    """Write everything before the weights; the tensors that are named are to follow in the same order."""
    shapes = list(spec.tensor_shapes())
    per_file = math.ceil(len(shapes) / split) if split > 1 else 0
    writer = gguf.GGUFWriter(path, "llama", split_max_tensors=per_file)
    _add_metadata(writer, spec, quantization)
    for name, shape in shapes:
        kind = TensorType[quantization] if len(shape) > 1 else TensorType.F32
        stored = gguf.quant_shape_to_byte_shape(shape, kind)
        writer.add_tensor_info(name, stored, np.dtype(np.uint8), math.prod(stored), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    return writer


def _file_names(stem: str, extension: str, split: int) -> list[str]:
    if split == 1:
        return [f"{stem}.{extension}"]
    return [f"{stem}-{number:05d}-of-{split:05d}.{extension}" for number in range(1, split + 1)]


def _add_metadata(writer: gguf.GGUFWriter, spec: ModelSpec, quantization: str) -> None:
    tokenizer = spec.tokenizer()
    writer.add_name(spec.name)
    writer.add_license(LICENSE)
    writer.add_file_type(FILE_TYPES[quantization])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_vocab_size(len(tokenizer.tokens))
    writer.add_context_length(spec.context)
    writer.add_embedding_length(spec.embedding)
    writer.add_block_count(spec.layers)
    writer.add_feed_forward_length(spec.feed_forward)
    writer.add_head_count(spec.heads)
    writer.add_head_count_kv(spec.kv_heads)
    writer.add_key_length(spec.head_dim)
    writer.add_value_length(spec.head_dim)
    writer.add_rope_dimension_count(spec.head_dim)
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    add_tokenizer(writer, tokenizer)


def add_tokenizer(writer: gguf.GGUFWriter, tokenizer: NonsenseTokenizer, vocab: int = 0) -> None:
    """Write the tokenizer into the header, filled up with tokens that nothing uses to ``vocab``."""
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    unused = [f"<unused{number}>" for number in range(vocab - len(tokenizer.tokens))]
    writer.add_token_list([*tokenizer.tokens, *unused])
    ordinary = len(tokenizer.tokens) - len(SPECIAL_TOKENS)
    kinds = [gguf.TokenType.NORMAL] * ordinary + [gguf.TokenType.CONTROL] * len(SPECIAL_TOKENS)
    writer.add_token_types([*kinds, *([gguf.TokenType.UNUSED] * len(unused))])
    writer.add_token_merges([" ".join(pair) for pair in tokenizer.merges])
    writer.add_bos_token_id(tokenizer.token_id(END_OF_TEXT))
    writer.add_eos_token_id(tokenizer.token_id(END_OF_TURN))
    writer.add_pad_token_id(tokenizer.token_id(END_OF_TEXT))
    writer.add_add_bos_token(False)
    writer.add_chat_template(CHAT_TEMPLATE)


HUGGING_FACE_NAMES = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def hugging_face_name(name: str) -> str:
    """Return the name that the checkpoint of a llama model gives to a GGUF tensor."""
    *layer, kind, weight = name.split(".")
    prefix = f"model.layers.{layer[1]}." if layer else ""
    return f"{prefix}{HUGGING_FACE_NAMES[kind]}.{weight}"


def write_safetensors(folder: Path, spec: ModelSpec, dtype: str = "F16", split: int = 1) -> list[Path]:
    """Write config.json, the tokenizer and the weights, in ``split`` shards with an index if more than one."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = spec.tokenizer()
    _write_json(folder / "config.json", config_json(spec, dtype))
    _write_json(folder / "tokenizer.json", tokenizer.as_tokenizer_json())
    _write_json(folder / "tokenizer_config.json", tokenizer.as_tokenizer_config())
    shapes = list(spec.tensor_shapes())
    per_file = math.ceil(len(shapes) / split)
    names = _file_names("model", "safetensors", split)
    weights = Weights(spec)
    index: dict[str, str] = {}
    total = 0
    for position, name in enumerate(names):
        shard = shapes[position * per_file : (position + 1) * per_file]
        index |= {hugging_face_name(tensor): name for tensor, _ in shard}
        total += _write_shard(folder / name, shard, weights, dtype)
    if split > 1:
        _write_json(folder / "model.safetensors.index.json", {"metadata": {"total_size": total}, "weight_map": index})
    return [folder / name for name in names]


def config_json(spec: ModelSpec, dtype: str) -> dict[str, Any]:
    """Return the content of the ``config.json`` of a checkpoint."""
    tokenizer = spec.tokenizer()
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "torch_dtype": {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}[dtype],
        "hidden_act": "silu",
        "hidden_size": spec.embedding,
        "intermediate_size": spec.feed_forward,
        "num_hidden_layers": spec.layers,
        "num_attention_heads": spec.heads,
        "num_key_value_heads": spec.kv_heads,
        "head_dim": spec.head_dim,
        "max_position_embeddings": spec.context,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "vocab_size": len(tokenizer.tokens),
        "tie_word_embeddings": spec.tied,
        "bos_token_id": tokenizer.token_id(END_OF_TEXT),
        "eos_token_id": tokenizer.token_id(END_OF_TURN),
    }


def _write_shard(path: Path, shapes: list[tuple[str, tuple[int, ...]]], weights: Weights, dtype: str) -> int:
    width = {"F32": 4, "F16": 2, "BF16": 2}[dtype]
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, shape in shapes:
        begin, end = end, end + math.prod(shape) * width
        header[hugging_face_name(name)] = {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}
    encoded = json.dumps(header, separators=(",", ":")).encode()
    encoded += b" " * (-len(encoded) % 8)
    with path.open("wb") as out:
        out.write(len(encoded).to_bytes(8, "little") + encoded)
        for name, shape in shapes:
            out.write(gguf.quantize(weights.tensor(name, shape), TensorType[dtype]).tobytes())
    return end


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def write_repo(root: Path, repo: str, spec: ModelSpec, quantizations: list[str], split: int = 1) -> list[Path]:
    """Write ``root/<org>/<repo>/`` as a hub holds it: README.md with the licence, one model per quantisation.

    The quantisation ``safetensors`` adds a checkpoint in half precision beside the GGUF files.
    """
    folder = root / repo
    folder.mkdir(parents=True, exist_ok=True)
    front_matter = f"---\nlicense: {LICENSE}\npipeline_tag: text-generation\n---\n"
    card = f"{front_matter}\n# {spec.name}\n\nRandom weights for tests: it speaks nonsense.\n"
    (folder / "README.md").write_text(card, encoding="utf-8")
    written: list[Path] = []
    for quantization in quantizations:
        if quantization == "safetensors":
            written += write_safetensors(folder, spec, split=split)
        else:
            written += write_gguf(folder / f"{spec.name}-{quantization}.gguf", spec, quantization, split)
    return written


def main(arguments: list[str] | None = None) -> None:
    """Read the command line, write the models, name the files."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("output", type=Path, help="a .gguf file; a folder for safetensors or --repo")
    parser.add_argument("--preset", choices=PRESETS, default="demo")
    parser.add_argument("--repo", help="write a repository org/name below output")
    parser.add_argument("--quant", action="append", choices=[*FILE_TYPES, "safetensors"], help="default Q8_0")
    parser.add_argument("--split", type=int, default=1, help="files per model")
    parser.add_argument("--size", type=int, help="bytes to come near to, by the number of layers")
    for field, default in asdict(ModelSpec()).items():
        if isinstance(default, bool):
            parser.add_argument(f"--{field}", action="store_const", const=True)
        else:
            parser.add_argument(f"--{field.replace('_', '-')}", type=type(default))
    options = parser.parse_args(arguments)
    chosen = {field: getattr(options, field) for field in asdict(ModelSpec())}
    spec = replace(PRESETS[options.preset], **{field: value for field, value in chosen.items() if value is not None})
    quantizations = options.quant or ["Q8_0"]
    if options.size:
        spec = spec.sized("F16" if quantizations[0] == "safetensors" else quantizations[0], options.size)
    if options.repo:
        files = write_repo(options.output, options.repo, spec, quantizations, options.split)
    elif quantizations == ["safetensors"]:
        files = write_safetensors(options.output, spec, split=options.split)
    else:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        files = write_gguf(options.output, spec, quantizations[0], options.split)
    for path in files:
        print(path)


if __name__ == "__main__":
    main()
