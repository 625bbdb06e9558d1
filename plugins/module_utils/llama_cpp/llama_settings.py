"""The settings of llama.cpp that decide what it allocates."""

from __future__ import annotations

from dataclasses import dataclass

from ansible_collections.llmhost.core.plugins.module_utils.llama_cpp.engine_constants import PINNED, value

CUDA, RPC = "cuda", "rpc"
"""Backends: a GPU of this host; one that neither overlaps micro-batches nor takes over operations on weights in RAM."""
LAYER, ROW, TENSOR, NONE = "layer", "row", "tensor", "none"
"""Split modes: whole layers, rows of every matrix, heads and rows of everything, all on the first GPU."""


@dataclass(frozen=True)
class LlamaSettings:
    """``context`` is that of one sequence; the runtime is given ``--ctx-size`` context * parallel.

    ``gpu_layers`` counts the layers and the output as one more, None is all of them; ``cpu_expert_layers`` keeps the
    experts of the first layers in RAM; ``tensor_split`` gives each GPU's share, empty for equal ones. ``outputs`` is
    the rows of logits reserved, 0 for what the server of that build asks for. ``draft`` runs the model's own draft
    layers (``--spec-type draft-mtp``), ``draft_tokens`` at a time.
    """

    context: int
    parallel: int = 1
    cell_type_k: str = "f16"
    cell_type_v: str = "f16"
    batch: int = 2048
    micro_batch: int = 512
    flash_attention: bool = True
    kv_unified: bool = False
    swa_full: bool = False
    gpu_layers: int | None = None
    cpu_expert_layers: int = 0
    split_mode: str = LAYER
    tensor_split: tuple[int, ...] = ()
    load_path: str = "mmap"
    draft: bool = False
    draft_tokens: int = 3
    build: str = PINNED
    outputs: int = 0
    backend: str = CUDA

    @property
    def total_context(self) -> int:
        """``--ctx-size``: of all sequences together."""
        return max(self.context, 1) * max(self.parallel, 1)

    @property
    def tokens(self) -> int:
        """Tokens computed at once."""
        return max(1, min(self.micro_batch, self.batch, self.total_context))

    @property
    def logit_rows(self) -> int:
        """Rows of logits that the compute graph is reserved for."""
        if self.outputs:
            return min(self.outputs, self.tokens)
        if not value(self.build, "logits_by_sequence"):
            return self.tokens
        return min(self.parallel * (1 + self.draft_tokens if self.draft else 1), self.tokens)
