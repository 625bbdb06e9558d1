"""RAM, swap, /dev/shm and disk that a model needs beside the GPUs, by engine and by the way its files are read.

* llama.cpp, ``src/llama-model-loader.cpp`` of the pinned build: a mapped file (``mmap``) is page cache, which the
  kernel drops when it needs to, so only what the host computes with has to stay. Without a map (``none``), and around
  the page cache (``dio``), tensors go to a GPU through four pinned buffers of 1 MiB or 64 MiB; tensors of the host are
  read where they stay. ``mlock`` keeps the mapped tensors of the host and adds nothing to them.
* A checkpoint in safetensors is mapped file by file as a private, writable mapping (``torch.UntypedStorage.from_file``
  with ``shared=False``). With ``vm.overcommit_memory`` 0 the kernel refuses one larger than all RAM and swap together
  (``mm/util.c``, ``__vm_enough_memory``), though hardly a page of it is ever written.
* /dev/shm: ``vllm_host.py``.
"""

from __future__ import annotations

from dataclasses import dataclass

from ansible_collections.llmhost.core.plugins.module_utils.size import GIB, MIB, round_up
from ansible_collections.llmhost.core.plugins.module_utils.sizing.fit import VLLM, Fit
from ansible_collections.llmhost.core.plugins.module_utils.sizing.room import Room
from ansible_collections.llmhost.core.plugins.module_utils.vllm.vllm_host import shared_memory_bytes
from ansible_collections.llmhost.core.plugins.module_utils.vllm.vllm_settings import VllmSettings

MMAP, NONE, DIRECT, SAFETENSORS = "mmap", "none", "dio", "safetensors"
"""Ways to load: the first three as ``--load-mode`` of llama.cpp names them."""

_STAGING_BYTES = {MMAP: 0, NONE: 4 * MIB, DIRECT: 4 * 64 * MIB, SAFETENSORS: 0}

BUILD_BYTES = 2 * GIB
"""Disk for a build of the runtime: sources, objects, archive, and the compiler's packages. Rounded up."""


@dataclass(frozen=True)
class HostMemory:
    """What the host needs. ``peak_bytes`` is the most RAM while the model is loaded, page cache that the kernel may
    drop not counted; ``largest_mapping_bytes`` is the largest file mapped privately, 0 where none is;
    ``overcommit_memory`` is the value of the sysctl that lets it be mapped, None where it may stay as it is;
    ``read_ahead`` says that the files are worth bringing into the page cache beside the server that reads them."""

    load_path: str
    need_bytes: int
    peak_bytes: int
    page_cache_bytes: int
    largest_mapping_bytes: int = 0
    overcommit_memory: int | None = None
    shm_bytes: int = 0
    read_ahead: bool = False


def load_path(fit: Fit, room: Room, files_bytes: int) -> str:
    """Return how the files are best read.

    RAM that computes: mapped. With the files brought in beside the server nothing is faster from a cold disk, and from
    the page cache, where a restart finds them, it is the fastest way by far, of weights that are reordered for the CPU
    too (``make bench-storage``). All on GPUs: not mapped, which is two to four times faster (llama.cpp, pull request
    14396), and around the page cache when it could not hold the files (pull request 18012).
    """
    if fit.engine == VLLM:
        return SAFETENSORS
    in_ram = not fit.gpus or fit.layers_in_ram or fit.cpu_expert_layers
    if in_ram:
        return MMAP
    return NONE if files_bytes + fit.ram_need_bytes <= room.ram_bytes else DIRECT


def host_memory(
    fit: Fit, room: Room, files_bytes: int, largest_file_bytes: int, overcommit: int = 0, swap_bytes: int = 0
) -> HostMemory:
    """Return what the host needs for that fit. ``swap_bytes`` is the swap that it has or gets."""
    path = load_path(fit, room, files_bytes)
    need = fit.ram_need_bytes
    peak = need + _STAGING_BYTES[path]
    cached = 0 if path == DIRECT else files_bytes
    if path != SAFETENSORS:
        # Under the heuristic (0) each buffer alone must fit, which the verdict has seen to.
        copied = peak - (fit.host.weights_bytes if path == MMAP else 0)
        strict = _overcommit(room, copied, overcommit, swap_bytes) if overcommit == 2 else None
        # Pages that have to go again before the server comes to them would be read twice.
        ahead = path != DIRECT and files_bytes <= room.ram_bytes
        return HostMemory(path, need, peak, cached, overcommit_memory=strict, read_ahead=ahead)
    settings = VllmSettings(0, tensor_parallel=fit.tensor_parallel, pipeline_parallel=fit.pipeline_parallel)
    return HostMemory(
        path,
        need,
        peak,
        cached,
        largest_mapping_bytes=largest_file_bytes,
        overcommit_memory=_overcommit(room, largest_file_bytes, overcommit, swap_bytes),
        shm_bytes=round_up(shared_memory_bytes(settings), 256 * MIB),
    )


def _overcommit(room: Room, wanted_bytes: int, overcommit: int, swap_bytes: int) -> int | None:
    """Return the mildest ``vm.overcommit_memory`` with which so much is granted, None where that of now does.

    Better than swap of that size for a mapping: it is only read, so none of that swap would ever be used.
    """
    ram = room.machine_ram_bytes
    # Strict accounting (2) counts half of the RAM, unless vm.overcommit_ratio says otherwise; 1 grants anything.
    granted = {0: ram + swap_bytes, 2: ram // 2 + swap_bytes}.get(overcommit, 1 << 62)
    if wanted_bytes <= granted:
        return None
    return 0 if wanted_bytes <= ram + swap_bytes else 1
