"""Shapes read from the headers of GGUF files, for architectures of every kind."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.llmhost.core.plugins.module_utils.byte_source import LocalFile
from ansible_collections.llmhost.core.plugins.module_utils.gguf import GgufHeader
from ansible_collections.llmhost.core.plugins.module_utils.sizing.gguf_shape import shape_from_gguf
from ansible_collections.llmhost.core.plugins.module_utils.sizing.shape import Shape

from tests.tools.architectures import SMALL, write_sparse
from tests.unit.shape_text import kept

# What a layer keeps: of each token, and of each sequence.
PATTERNS = {
    "llama": ["full 256+256"] * 6,
    "qwen3": ["full 256+256"] * 6,
    "gemma2": ["sliding:1024 512+512", "full 512+512"] * 3,
    "gemma3": [*["sliding:512 512+512"] * 5, "full 512+512", "sliding:512 512+512"],
    "gemma4": [*["sliding:512 256+256"] * 4, "full 512+512", *["nothing"] * 5],
    "gpt-oss": ["sliding:128 128+128", "full 128+128"] * 3,
    "qwen3moe": ["full 512+512"] * 6,
    "deepseek2": ["latent 576"] * 6,
    "phi3": ["full 512+512"] * 6,
    "cohere2": [*["sliding:2048 128+128"] * 3, "full 128+128", *["sliding:2048 128+128"] * 2],
    "deci": ["full 256+256", "nothing", "nothing", "full 256+256"] * 2 + ["full 256+256"],
    "qwen35": [*["gated_delta_net 6144+65536"] * 3, "full 256+256"] * 2,
    "qwen3next": [*["gated_delta_net 6144+65536"] * 3, "full 256+256"] * 2,
    "granitehybrid": [*["mamba2 3840+131072"] * 3, "full 256+256"] * 2,
    "jamba": ["mamba 3072+16384", "mamba 3072+16384", "full 256+256", "mamba 3072+16384"] * 2,
    "mamba2": ["mamba2 3840+131072"] * 8,
    "lfm2": [*["short_conv 1024+0"] * 2, "full 256+256"] * 2 + ["short_conv 1024+0"] * 2,
    "lfm2moe": [*["short_conv 1024+0"] * 2, "full 256+256"] * 2 + ["short_conv 1024+0"] * 2,
    "nemotron_h": ["mamba2 6144+131072", "nothing", "mamba2 6144+131072", "full 256+256"] * 2 + ["mamba2 6144+131072"],
    "falcon-h1": ["full 256+256 mamba2 3072+98304"] * 6,
}


def header_of(path: Path) -> GgufHeader:
    return GgufHeader.from_source(LocalFile(str(path)))


@pytest.mark.parametrize("name", SMALL)
def test_what_each_layer_keeps(tmp_path: Path, name: str) -> None:
    write_sparse(tmp_path / "model.gguf", SMALL[name](), "Q8_0")
    header = header_of(tmp_path / "model.gguf")
    shape = shape_from_gguf(header.metadata, header.tensors)
    assert kept(shape) == PATTERNS[name]
    assert shape.doubts == ()
    assert kept(shape_from_gguf(header.metadata)) == PATTERNS[name], "the tensors only tell widths"
    assert Shape.from_facts(shape.as_dict()) == shape
