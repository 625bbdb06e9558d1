"""The generated models of many architectures: valid files, the same bytes again, and holes of the right size."""

from __future__ import annotations

import math
from pathlib import Path

import gguf
import numpy as np
import pytest

from tests.tools.architectures import SMALL, Model, Sizes, write, write_sparse
from tests.tools.architectures.transformers import qwen3

TINY = Sizes(layers=2, embedding=64, heads=2, kv_heads=1, head_dim=32, feed_forward=96, vocab=512)


@pytest.mark.parametrize("name", SMALL)
def test_header_is_read_by_the_gguf_library(tmp_path: Path, name: str) -> None:
    model = SMALL[name]()
    path = write_sparse(tmp_path / "m.gguf", model, "Q4_K")
    reader = gguf.GGUFReader(path)
    assert reader.fields["general.architecture"].contents() == name
    assert len(reader.fields["tokenizer.ggml.tokens"].data) == model.vocab
    found = {tensor.name: tuple(int(dim) for dim in tensor.shape) for tensor in reader.tensors}
    assert found == {tensor.name: tensor.dims for tensor in model.tensors}
    last = max(reader.tensors, key=lambda tensor: int(tensor.data_offset))
    assert 0 <= path.stat().st_size - int(last.data_offset + last.n_bytes) < gguf.GGUF_DEFAULT_ALIGNMENT


def test_a_hole_takes_no_room_on_the_disk(tmp_path: Path) -> None:
    big = Sizes(layers=36, embedding=4096, heads=32, kv_heads=8, head_dim=128, feed_forward=12288, vocab=151936)
    status = write_sparse(tmp_path / "m.gguf", qwen3(big), "Q4_K").stat()
    assert status.st_size > 4 << 30
    assert status.st_blocks * 512 < 16 << 20


@pytest.mark.parametrize("quantization", ["F16", "Q8_0"])
def test_same_seed_gives_the_same_bytes(tmp_path: Path, quantization: str) -> None:
    first, again = (write(tmp_path / name, qwen3(TINY), quantization).read_bytes() for name in ("a.gguf", "b.gguf"))
    assert first == again
    assert len(first) == write_sparse(tmp_path / "c.gguf", qwen3(TINY), quantization).stat().st_size


def test_layers_keep_the_constant_channel_of_the_residual_stream(tmp_path: Path) -> None:
    reader = gguf.GGUFReader(write(tmp_path / "m.gguf", qwen3(TINY), "F32"))
    written = {tensor.name: tensor.data for tensor in reader.tensors}
    for name in ("blk.1.attn_output.weight", "blk.1.ffn_down.weight"):
        assert not np.any(written[name][0])
        assert np.any(written[name][1])


def test_file_types_follow_the_tensor_and_the_length_of_its_rows() -> None:
    model: Model = SMALL["gpt-oss"]()
    kinds = {tensor.name: model.kind(tensor, "Q8_0").name for tensor in model.tensors}
    assert kinds["blk.0.ffn_up_exps.weight"] == "MXFP4"
    assert kinds["blk.0.ffn_gate_inp.weight"] == kinds["blk.0.attn_norm.weight"] == "F32"
    assert kinds["blk.0.attn_q.weight"] == "Q8_0"
    assert model.kind(model.tensors[-1], "Q4_0").name == "Q8_0"
    odd = [tensor for tensor in model.tensors if math.prod(tensor.dims) and tensor.dims[0] % 256]
    assert all(model.kind(tensor, "Q4_K").name in ("F16", "F32", "MXFP4") for tensor in odd)
