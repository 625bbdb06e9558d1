"""What vLLM takes in RAM, beside the page cache of the files that it maps while it loads."""

from __future__ import annotations

from typing import Final

from ansible_collections.llmhost.core.plugins.module_utils.size import GIB, MIB
from ansible_collections.llmhost.core.plugins.module_utils.vllm.vllm_settings import VllmSettings

PROCESS_BYTES: Final = 3 * GIB
"""One worker: Python, PyTorch, the libraries of CUDA and compiled code. The safetensors are mapped, not read into it
(``safetensors_weights_iterator`` in vllm/model_executor/model_loader/weight_utils.py)."""

FRONT_BYTES: Final = 2 * GIB
"""The API server and the core of the engine, without workers."""

SWAP_BYTES: Final = 4 * GIB
"""Before V1, each worker pinned room for swapped requests (``swap_space`` in vllm/config.py, "# CPU blocks")."""

REQUEST_QUEUE_BYTES: Final = 160 * MIB
"""Shared memory from the engine to its workers: 10 chunks of 16 MiB (MessageQueue, ``buffer_handle`` in the log)."""

GROUP_QUEUE_BYTES: Final = 24 * MIB
"""Shared memory of a group of tensor parallel: 6 chunks of 4 MiB."""

ANSWER_QUEUE_BYTES: Final = 240 * MIB
"""Shared memory from each worker to the engine: 10 chunks of 24 MiB."""

NCCL_BYTES: Final = 33 * MIB
"""Shared memory of NCCL for each ordered pair of ranks that cannot reach each other's memory."""


def host_bytes(settings: VllmSettings) -> int:
    """Return what all processes hold while they serve. The weights are not among it: they are on the GPUs."""
    worker = PROCESS_BYTES + (0 if settings.constants["engine_v1"] else SWAP_BYTES)
    return FRONT_BYTES + settings.ranks * worker + shared_memory_bytes(settings)


def shared_memory_bytes(settings: VllmSettings) -> int:
    """Return what ``/dev/shm`` must hold: 0 for one GPU, whose worker is a part of the engine's process."""
    ranks = settings.ranks
    if ranks < 2:
        return 0
    groups = GROUP_QUEUE_BYTES * max(settings.pipeline_parallel, 1)
    return REQUEST_QUEUE_BYTES + groups + ranks * ANSWER_QUEUE_BYTES + ranks * (ranks - 1) * NCCL_BYTES
