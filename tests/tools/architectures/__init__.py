"""Generated models of many architectures, small enough to run and large enough that a MiB shows.

``write(path, SMALL["qwen3"](), "Q8_0")`` makes a model that answers. ``write_sparse`` makes one of any size that takes
no disk, for ``llama-fit-params``: ``write_sparse(path, qwen3(Sizes(layers=36, embedding=4096, …)), "Q4_K")``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from tests.tools.architectures import hybrids, transformers
from tests.tools.architectures.model import Model, write, write_sparse
from tests.tools.architectures.tensors import StateSpace
from tests.tools.architectures.transformers import Experts, Latent, Sizes

__all__ = ["SMALL", "Experts", "Latent", "Model", "Sizes", "StateSpace", "write", "write_sparse"]

_MAMBA = StateSpace(inner=1024, state=128, heads=16)
_DELTA_NET = StateSpace(inner=1024, state=64, heads=16, groups=8)
_QWEN = Sizes(layers=8, kv_heads=2, head_dim=128)

SMALL: dict[str, Callable[[], Model]] = {
    "llama": partial(transformers.llama, Sizes()),
    "qwen3": partial(transformers.qwen3, Sizes()),
    "gemma2": partial(transformers.gemma2, Sizes(tied=True, head_dim=128)),
    "gemma3": partial(transformers.gemma3, Sizes(tied=True, head_dim=128, layers=7)),
    "gemma4": partial(transformers.gemma4, Sizes(tied=True, head_dim=128, layers=10)),
    "gpt-oss": partial(transformers.gpt_oss, Sizes(kv_heads=2), Experts(8, 4, length=512)),
    "qwen3moe": partial(transformers.qwen3moe, Sizes(head_dim=128), Experts()),
    "deepseek2": partial(transformers.deepseek2, Sizes(), Latent(), Experts(shared=1)),
    "phi3": partial(transformers.phi3, Sizes(kv_heads=8)),
    "cohere2": partial(transformers.cohere2, Sizes(tied=True, kv_heads=2)),
    "deci": partial(transformers.deci, Sizes(layers=9)),
    "qwen35": partial(hybrids.qwen35, _QWEN, _DELTA_NET),
    "qwen3next": partial(hybrids.qwen3next, _QWEN, _DELTA_NET, Experts(shared=1)),
    "granitehybrid": partial(hybrids.granite_hybrid, Sizes(layers=8), _MAMBA),
    "jamba": partial(hybrids.jamba, Sizes(layers=8), StateSpace(1024, 16, 32), Experts(8, 2)),
    "mamba2": partial(hybrids.mamba2, Sizes(layers=8, heads=0, tied=True), _MAMBA),
    "lfm2": partial(hybrids.lfm2, Sizes(layers=8, tied=True)),
    "lfm2moe": partial(hybrids.lfm2moe, Sizes(layers=8, tied=True), Experts()),
    "nemotron_h": partial(hybrids.nemotron_h, Sizes(layers=9), StateSpace(1024, 128, 16, groups=4)),
    "falcon-h1": partial(hybrids.falcon_h1, Sizes(), StateSpace(768, 128, 12)),
}
"""One of each architecture, by llama.cpp's name of it."""
