"""From a model, an engine and a host to the best settings: one door to the searches of both engines."""

from __future__ import annotations

from ansible_collections.llmhost.core.plugins.module_utils.llama_cpp.llama_fit import fit_llama
from ansible_collections.llmhost.core.plugins.module_utils.sizing.fit import LLAMA_CPP, VLLM, Fit, Want
from ansible_collections.llmhost.core.plugins.module_utils.sizing.room import Room
from ansible_collections.llmhost.core.plugins.module_utils.sizing.sizes import GGUF, ModelSizes
from ansible_collections.llmhost.core.plugins.module_utils.vllm.vllm_fit import fit_vllm

# What one engine calls a type of cells, the other calls otherwise or does not have.
_CELLS = {
    LLAMA_CPP: {"fp8": "q8_0"},
    VLLM: {"q8_0": "fp8", "q4_0": "fp8"},
}


def choose_engine(asked: str, model_format: str, on_gpus: bool) -> str:
    """Return the engine: what the user named, else vLLM for a checkpoint on GPUs; on a CPU always llama.cpp."""
    if not on_gpus:
        return LLAMA_CPP
    if asked != "auto":
        return asked
    return LLAMA_CPP if model_format == GGUF else VLLM


def solve(sizes: ModelSizes, engine: str, room: Room, want: Want) -> Fit:
    """Return the best settings for the model on the host."""
    cells = want.cache_type
    if cells is not None:
        want = want._replace(cache_type=_CELLS[engine].get(cells, cells))
    if engine == VLLM and room.gpus:
        return fit_vllm(sizes.vllm, room, want)
    return fit_llama(sizes.llama, room, want)
