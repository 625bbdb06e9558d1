"""What vLLM takes in RAM."""

from __future__ import annotations

from ansible_collections.llmhost.core.plugins.module_utils.size import GIB, MIB
from ansible_collections.llmhost.core.plugins.module_utils.sizing.vllm_settings import VllmSettings
from ansible_collections.llmhost.core.plugins.module_utils.sizing.weights import Weights

PROCESS_BYTES = 3 * GIB
"""Resident size of one worker: Python, PyTorch, the libraries of CUDA, compiled code."""

FRONT_BYTES = 2 * GIB
"""Resident size of the API server and the engine's core, without workers."""

BROADCAST_BYTES = 240 * MIB
"""Shared memory of the ring buffer to the workers: 10 chunks of 24 MiB
(``VLLM_MQ_MAX_CHUNK_BYTES_MB`` in vllm/envs.py, MessageQueue in vllm/distributed/device_communicators)."""

NCCL_BYTES = 33 * MIB
"""Shared memory of NCCL for each pair of ranks on one machine without peer access."""


def host_bytes(weights: Weights, settings: VllmSettings) -> int:
    """Return what all processes hold while they serve; the pages of the files are the system's cache and come on top
    only while the model is loaded."""
    return FRONT_BYTES + settings.ranks * PROCESS_BYTES + shared_memory_bytes(settings)


def shared_memory_bytes(settings: VllmSettings) -> int:
    """Return what ``/dev/shm`` must hold: 0 for one GPU."""
    ranks = settings.ranks
    return 0 if ranks < 2 else BROADCAST_BYTES + ranks * (ranks - 1) * NCCL_BYTES
