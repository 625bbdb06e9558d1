"""RAM beside the GPUs: how files are read, what loading takes, and when the kernel must be told."""

from __future__ import annotations

import pytest
from ansible_collections.llmhost.core.plugins.module_utils.sizing.fit import Want
from ansible_collections.llmhost.core.plugins.module_utils.sizing.host_memory import HostMemory, host_memory
from ansible_collections.llmhost.core.plugins.module_utils.sizing.room import Room
from ansible_collections.llmhost.core.plugins.module_utils.sizing.sizes import ModelSizes
from ansible_collections.llmhost.core.plugins.module_utils.sizing.solve import solve

from tests.unit.models import GIB, room, sizes

MIB = 1 << 20


def loading(model: ModelSizes, host: Room, engine: str = "llama_cpp", accelerator: str = "nvidia") -> HostMemory:
    fit = solve(model, engine, host, Want(accelerator=accelerator))
    return host_memory(fit, host, model.files_bytes, model.largest_file_bytes)


@pytest.mark.parametrize(
    ("gpus", "ram_gib", "accelerator", "path", "staging"),
    [
        ((), 64, "cpu", "mmap", 0),
        (("RTX 3090",), 64, "nvidia", "none", 4 * MIB),
        (("RTX 3090",), 16, "nvidia", "dio", 256 * MIB),
        (("RTX 3060",), 64, "nvidia", "mmap", 0),
    ],
)
def test_the_way_to_load_follows_from_where_the_model_goes(
    gpus: tuple[str, ...], ram_gib: int, accelerator: str, path: str, staging: int
) -> None:
    need = loading(sizes("Qwen3 32B", "Q4_K_M"), room(*gpus, ram_gib=ram_gib), accelerator=accelerator)

    assert need.load_path == path
    assert need.peak_bytes - need.need_bytes == staging
    assert (need.page_cache_bytes == 0) is (path == "dio")
    assert need.read_ahead is (path != "dio")
    assert (need.shm_bytes, need.largest_mapping_bytes, need.overcommit_memory) == (0, 0, None)


def test_ranks_of_vllm_share_memory() -> None:
    checkpoint = sizes("Llama 3.1 8B", "BF16", "safetensors")

    assert loading(checkpoint, room("RTX 3090"), "vllm").shm_bytes == 0
    two = loading(checkpoint, room("RTX 3090", "RTX 3090"), "vllm").shm_bytes
    assert 256 * MIB <= two <= GIB
    assert two % (256 * MIB) == 0


@pytest.mark.parametrize(
    ("file_gib", "ram_gib", "overcommit", "swap_gib", "needed"),
    [
        (32, 64, 0, 0, None),
        (32, 16, 0, 0, 1),
        (32, 16, 0, 17, None),
        (32, 16, 1, 0, None),
        (24, 32, 2, 0, 0),
        (40, 32, 2, 0, 1),
        (40, 32, 2, 25, None),
        (14, 32, 2, 0, None),
    ],
)
def test_a_file_larger_than_ram_and_swap_needs_overcommit(
    file_gib: int, ram_gib: int, overcommit: int, swap_gib: int, needed: int | None
) -> None:
    host = room("RTX 3090", "RTX 3090", ram_gib=ram_gib)
    checkpoint = sizes("Llama 3.1 8B", "BF16", "safetensors")
    fit = solve(checkpoint, "vllm", host, Want())
    need = host_memory(fit, host, 33 * GIB, file_gib * GIB, overcommit, swap_gib * GIB)

    assert need.largest_mapping_bytes == file_gib * GIB
    assert need.overcommit_memory == needed
