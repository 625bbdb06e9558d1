"""The settings of vLLM that decide what it allocates, and the defaults that follow from version, GPU and use."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import Final

from ansible_collections.llmhost.core.plugins.module_utils.hardware.gpus import matching_gpus
from ansible_collections.llmhost.core.plugins.module_utils.size import GIB
from ansible_collections.llmhost.core.plugins.module_utils.vllm.vllm_constants import CURRENT, Version, book, version

SERVER: Final = "server"
OFFLINE: Final = "llm"
"""Usage contexts: ``vllm serve``, and the ``LLM`` class of a script."""

CHUNKED_OVER: Final = 32768
"""Before V1, a context of more tokens turned chunked prefill on."""

_LARGE_GPU = 70 * GIB
_LARGEST_GPU = 160 * GIB
_FP8 = ("fp8", "int8")


_KNOWN: Final = (
    # What a name contains: compute capability, multiprocessors (NVIDIA's data sheets). The longer name comes first.
    ("h200", (9, 0), 132),
    ("h800", (9, 0), 132),
    ("h100", (9, 0), 132),
    ("h20", (9, 0), 78),
    ("b300", (10, 3), 160),
    ("b200", (10, 0), 148),
    ("pro 6000", (12, 0), 188),
    ("5090", (12, 0), 170),
    ("a6000", (8, 6), 84),
    ("a100", (8, 0), 108),
    ("a10", (8, 6), 80),
    ("a40", (8, 6), 84),
    ("3090", (8, 6), 84),
    ("4090", (8, 9), 128),
    ("l40", (8, 9), 142),
    ("l4", (8, 9), 58),
    ("v100", (7, 0), 80),
    ("t4", (7, 5), 40),
)
_MOST_PROCESSORS: Final = 188


@dataclass(frozen=True)
class VllmGpu:
    """One of the equal GPUs. ``memory_bytes`` is the total that CUDA reports (``total_gpu_memory`` in the log, a little
    less than the sticker says), ``used_bytes`` what other processes hold. What is not known follows from the name, and
    counts as the worst case where the name says nothing.
    """

    memory_bytes: int
    used_bytes: int = 0
    name: str = ""
    compute_capability: tuple[int, int] = (0, 0)
    processors: int = 0  # streaming multiprocessors

    def completed(self) -> VllmGpu:
        """Return the GPU with what its name says."""
        name = self.name.lower()
        known = next((entry for entry in _KNOWN if entry[0] in name), ("", (0, 0), _MOST_PROCESSORS))
        capability = self.compute_capability if self.compute_capability > (0, 0) else known[1]
        if capability == (0, 0):
            capability = _capability_in_table(self.name)
        return replace(self, compute_capability=capability, processors=self.processors or known[2])


@cache
def _capability_in_table(name: str) -> tuple[int, int]:
    """Return the compute capability of the GPUs that a name fits, the oldest of several, or (0, 0)."""
    return min((spec.capability for spec in matching_gpus(name.split(",")[0])), default=(0, 0))


@dataclass(frozen=True)
class VllmSettings:
    """``max_model_len`` is vLLM's own word for the context of one request; None takes the default of the version.

    ``kv_cache_dtype`` is ``auto`` for the model's own, or ``fp8…``. ``dtype_bytes`` are those of an element of
    activations. ``recurrent_bytes`` are those of an element of a recurrent state, 0 for the model's default.
    ``text_only``: the tower is not loaded (``--language-model-only``). ``flashinfer_sampler``: it is installed and
    used, as it was by default to 0.11.0. ``quantization`` names what vLLM makes of 16-bit weights at load (``fp8``,
    ``bitsandbytes``), or ``mxfp4``.
    """

    max_model_len: int
    max_num_seqs: int | None = None
    max_num_batched_tokens: int | None = None
    tensor_parallel: int = 1
    pipeline_parallel: int = 1
    data_parallel: int = 1
    expert_parallel: bool = False
    gpu_memory_utilization: float | None = None
    kv_cache_dtype: str = "auto"
    block_size: int | None = None
    enforce_eager: bool = False
    dtype_bytes: int = 2
    recurrent_bytes: int = 0
    prefix_caching: bool | None = None
    hybrid_cache: bool = True
    draft_tokens: int = 0
    version: str = CURRENT
    usage: str = SERVER
    flashinfer_sampler: bool = False
    text_only: bool = False
    quantization: str = ""

    @property
    def release(self) -> Version:
        """The version as numbers."""
        return version(self.version)

    @property
    def constants(self) -> dict[str, int]:
        """What holds in this version."""
        return book(self.version)

    @property
    def cell_bytes(self) -> int:
        """Bytes of one element of a key or value in the cache."""
        return 1 if self.kv_cache_dtype.startswith(_FP8) else max(self.dtype_bytes, 1)

    @property
    def ranks(self) -> int:
        """GPUs of one replica."""
        return max(self.tensor_parallel, 1) * max(self.pipeline_parallel, 1)

    @property
    def expert_replicas(self) -> int:
        """Replicas that share out the experts among them."""
        return max(self.data_parallel, 1) if self.expert_parallel else 1

    @property
    def utilization(self) -> float:
        """The share of a GPU that the engine takes."""
        if self.gpu_memory_utilization is None:
            return self.constants["utilization_percent"] / 100
        return min(max(self.gpu_memory_utilization, 0.0), 1.0)


def as_started(settings: VllmSettings, gpu: VllmGpu) -> VllmSettings:
    """Return the settings with the engine that really runs: GPUs before Ampere got the engine before V1 until 0.11
    (``_is_v1_supported_oracle`` in vllm/engine/arg_utils.py of 0.8 to 0.10)."""
    old_gpu = (0, 0) < gpu.compute_capability < (8, 0)
    if old_gpu and (0, 8, 0) <= settings.release < (0, 11, 0):
        return replace(settings, version=_LAST_BEFORE_V1)
    return settings


_LAST_BEFORE_V1: Final = "0.7.3"


@dataclass(frozen=True)
class Batch:
    """What one step may hold, and the tokens of all steps that may be under way at once."""

    tokens: int
    sequences: int
    in_flight: int


def batch(settings: VllmSettings, gpu: VllmGpu) -> Batch:
    """Return ``max_num_batched_tokens`` and ``max_num_seqs`` as vLLM sets them.

    Source: vllm/engine/arg_utils.py, ``_set_default_args`` and ``get_batch_defaults`` of 0.6.4 to 0.33.0; before V1
    (0.8), vllm/config.py, ``SchedulerConfig``.
    """
    sequences = settings.max_num_seqs or _default_sequences(settings, gpu)
    tokens = settings.max_num_batched_tokens or _default_tokens(settings, gpu, sequences)
    if settings.max_num_seqs is None and settings.constants["sequences_bound_by_tokens"]:
        sequences = min(sequences, tokens)
    steps = settings.constants["steps_in_flight"]
    if steps > 1:
        steps += max(settings.pipeline_parallel, 1) - 1
    return Batch(max(1, tokens), max(1, sequences), max(1, tokens) * steps)


def _is_large(settings: VllmSettings, gpu: VllmGpu) -> bool:
    """Large GPUs take larger batches; the A100 is left out by name since 0.9."""
    left_out = "a100" in gpu.name.lower() and not settings.constants["a100_is_large"]
    return gpu.memory_bytes >= _LARGE_GPU and not left_out


def _default_sequences(settings: VllmSettings, gpu: VllmGpu) -> int:
    constants = settings.constants
    if constants["sequences_by_gpu"] and not _is_large(settings, gpu):
        return 256
    return constants["sequences"]


def _default_tokens(settings: VllmSettings, gpu: VllmGpu, sequences: int) -> int:
    constants = settings.constants
    if not constants["engine_v1"]:
        # Chunked prefill was on by default for contexts over 32k only.
        length = max(settings.max_model_len, 1)
        return constants["chunk_tokens"] if length > CHUNKED_OVER else max(length, 2048)
    offline = settings.usage == OFFLINE
    if constants["tokens_by_largest_gpu"] and gpu.memory_bytes >= _LARGEST_GPU:
        tokens = 16384
    elif _is_large(settings, gpu):
        tokens = 16384 if offline else 8192
    else:
        tokens = 8192 if offline else 2048
    if constants["tokens_bound_by_length"]:
        tokens = min(tokens, sequences * max(settings.max_model_len, 1))
    return tokens
