"""What a plan holds: every field, its type and its meaning, and a check of a plan against that.

The fields of ``model`` are those of ``model_info``. Without a model (verdict ``unknown``) the sections that it decides
are None.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ansible_collections.llmhost.core.plugins.module_utils.plan.cuda_schema import CUDA
from ansible_collections.llmhost.core.plugins.module_utils.plan.driver_schema import DRIVER
from ansible_collections.llmhost.core.plugins.module_utils.plan.links_schema import MULTI_GPU
from ansible_collections.llmhost.core.plugins.module_utils.plan.schema_field import Field, Section

_NONE = type(None)

STEPS = (
    "egress",
    "nvidia_driver",
    "cuda",
    "model_storage",
    "swap",
    "model_cache",
    "multi_gpu",
    "inference",
)
"""The roles that make the plan true, in the order of the data that they need."""

_STEP: Section = {
    "action": Field((str,), "Whether the role of that name works on this host.", ("apply", "skip")),
    "reason": Field((str,), "Why it is skipped, in words."),
}

_PARTS: Section = {
    "weights_bytes": Field((int,), "The model's tensors."),
    "kv_cache_bytes": Field((int,), "The cache of keys and values, for all parallel requests."),
    "recurrent_bytes": Field((int,), "The states of recurrent layers, for all parallel requests."),
    "compute_bytes": Field((int,), "Buffers of the computation."),
    "output_bytes": Field((int,), "Logits handed back."),
    "overhead_bytes": Field((int,), "What the engine's log does not count: the process, the context of a GPU."),
    "droppable_bytes": Field((int,), "Of the weights: pages of a mapped file that nothing reads again once copied."),
}

_SPEED: Section = {
    "low": Field((float,), "Tokens per second of one request with a short context, at least."),
    "high": Field((float,), "At most."),
    "ceiling": Field((float,), "What the bandwidth alone would allow."),
    "bytes_per_token": Field((int,), "What all devices together read for a token."),
    "devices": Field(
        (list,),
        "What was assumed of each device; they work one after the other.",
        items={
            "name": Field((str,), "The device, host, or link for what a GPU reads over PCI Express."),
            "bytes_per_token": Field((int,), "What it reads for a token."),
            "bandwidth_gbs": Field((float,), "Its bandwidth in 10^9 bytes a second."),
            "fraction_low": Field((float,), "The fraction of it that is reached at least."),
            "fraction_high": Field((float,), "The fraction that is reached at most."),
        },
    ),
    "text": Field((str,), "The same in words."),
}

_WAYS = ("quantisation", "context", "kv_cache", "gpus", "machine", "ram", "swap")

PLAN: Section = {
    "schema": Field((int,), "Version of this description.", (4,)),
    "tier": Field((str,), "The tier asked for."),
    "verdict": Field(
        (str,),
        "Whether the model runs here: wholly, with layers in RAM, or not. Unknown when no model was looked at.",
        ("fits", "fits_with_offload", "does_not_fit", "unknown"),
    ),
    "accelerator": Field((str,), "What computes.", ("cpu", "nvidia")),
    "gpus_declared": Field((bool,), "Whether the GPUs are named by llmhost_gpus and not in the machine."),
    "engine": Field((str,), "What serves.", ("llama_cpp", "vllm")),
    "findings": Field(
        (list,),
        "What a person should know. A plan with an error changes nothing on the host.",
        items={
            "level": Field((str,), "How bad it is.", ("error", "warning", "info")),
            "code": Field((str,), "Stable dotted name, for programs."),
            "message": Field((str,), "The thing and the reason."),
            "remedy": Field((str,), "The way out."),
        },
    ),
    "steps": dict.fromkeys(STEPS, _STEP),
    "model": Field((dict, _NONE), "The result of model_info, without its findings."),
    "memory": {
        **_PARTS,
        "total_bytes": Field((int,), "The sum of these, without the droppable, on all devices."),
        "ram_need_bytes": Field((int,), "The part that is in RAM."),
        "vram_need_bytes": Field((int,), "The part that is on GPUs."),
        "devices": Field(
            (list,),
            "Each place with memory: the GPUs in use, and RAM as the last.",
            items={
                "name": Field((str,), "host, or GPU and its number."),
                "kind": Field((str,), "RAM, or the GPU's name."),
                **_PARTS,
                "need_bytes": Field((int,), "All that the plan puts there."),
                "usable_bytes": Field((int,), "What a process can have there."),
            },
        ),
    },
    "placement": {
        "gpus": Field((list,), "Numbers of the GPUs in use."),
        "layers": Field((int,), "Layers of the model."),
        "gpu_layers": Field((int, _NONE), "Layers on GPUs, the output as one more; None for all of them."),
        "cpu_expert_layers": Field((int,), "Layers, from the first on, whose experts are in RAM."),
        "split": Field((list,), "llama.cpp on several GPUs: how many layers each has, the output as one more."),
        "tensor_parallel": Field((int,), "vLLM: GPUs that share each layer."),
        "pipeline_parallel": Field((int,), "vLLM: groups of GPUs that have some layers each."),
        "cpu_offload_bytes": Field((int,), "vLLM: weights of each GPU that are in RAM."),
        "kv_cache_type": Field((str,), "Type of the cells of the KV cache."),
    },
    "context": Field((int, _NONE), "Tokens that one request may hold."),
    "parallel": Field((int,), "Requests served at once."),
    "largest": {
        "context": Field((int,), "The longest context that fits as well as the planned one; 0 where none does."),
        "parallel": Field((int,), "The most requests at once that fit as well with the planned context."),
    },
    "speed": Field(
        (dict, _NONE),
        "Expected tokens per second; None where it does not fit or a bandwidth is not known.",
        fields=_SPEED,
    ),
    "host_memory": {
        "load_path": Field((str,), "How the files are read.", ("mmap", "none", "dio", "safetensors")),
        "need_bytes": Field((int,), "RAM while serving."),
        "peak_bytes": Field((int,), "The most RAM while loading, page cache that may be dropped not counted."),
        "usable_bytes": Field((int,), "RAM that the runtime can have, of the machine or its control group."),
        "page_cache_bytes": Field((int,), "What the kernel keeps of the files while it has room."),
        "largest_mapping_bytes": Field((int,), "The largest file mapped as a whole; 0 where none is."),
        "overcommit_memory": Field((int, _NONE), "The vm.overcommit_memory that is needed; None: as it is."),
        "shm_bytes": Field((int,), "What /dev/shm must hold."),
        "read_ahead": Field((bool,), "Whether the files are brought into the page cache beside the server."),
        "build_bytes": Field((int,), "Disk for a build of the runtime."),
    },
    "alternatives": Field(
        (list,),
        "If it does not fit, or not wholly: up to three ways that would, that which costs least first.",
        items={
            "kind": Field((str,), "What changes.", _WAYS),
            "text": Field((str,), "The change in words."),
            "verdict": Field((str,), "As for the plan.", ("fits", "fits_with_offload")),
            "quantization": Field((str,), "The quantisation then."),
            "machine": Field((str,), "The machine of the catalogue, if that is the change."),
            "context": Field((int,), "The context then."),
            "parallel": Field((int,), "The requests at once then."),
            "kv_cache_type": Field((str,), "The cells of the KV cache then."),
            "weights_bytes": Field((int,), "The weights then."),
            "devices": Field(
                (list,),
                "Each place with memory then.",
                items={
                    "name": Field((str,), "host, or GPU and its number."),
                    "need_bytes": Field((int,), "All that would be there."),
                    "usable_bytes": Field((int,), "What a process can have there."),
                },
            ),
            "speed": Field((dict, _NONE), "Expected tokens per second then.", fields=_SPEED),
        },
    ),
    "driver": DRIVER,
    "cuda": CUDA,
    "multi_gpu": MULTI_GPU,
    "doubts": Field((list,), "What is not known of this model: then the figures are upper bounds."),
    "disks": Field(
        (list,),
        "Each whole disk of the host.",
        items={
            "path": Field((str,), "Its name of today."),
            "device": Field((str,), "Its most stable name."),
            "model": Field((str,), "Its model."),
            "serial": Field((str,), "Its serial number."),
            "size_bytes": Field((int,), "Its size."),
            "state": Field((str,), "What is on it.", ("blank", "unrecognised", "in_use", "ours")),
            "use": Field((str,), "By what it is in use, in words."),
            "persistence": Field((str,), "Whether it keeps its data when stopped.", ("persistent", "ephemeral")),
            "reach": Field((str,), "Whether it is in this machine.", ("local", "network")),
            "link": Field((str,), "Its PCI Express link, in words."),
            "choice": Field(
                (str,), "Whether it is claimed, stays claimed, or is left alone.", ("claim", "keep", "none")
            ),
            "reason": Field((str,), "Why, in words."),
        },
    ),
    "storage": {
        "kind": Field((str,), "A claimed disk, or a directory of a filesystem that is there.", ("disk", "directory")),
        "path": Field((str,), "Where models and swap lie."),
        "devices": Field(
            (list,),
            "The disks to claim: one, or the members of a RAID 0; none for a directory.",
            items={
                "device": Field((str,), "The disk's most stable name."),
                "identity": Field((dict,), "Serial, model, WWN and size: what tells the disk from every other."),
            },
        ),
        "raid": Field(
            (dict, _NONE),
            "How several disks become one; None for a single one.",
            fields={
                "level": Field((int,), "The RAID level.", (0,)),
                "name": Field((str,), "The array's name."),
                "chunk_bytes": Field((int,), "What is written to one disk before the next."),
            },
        ),
        "filesystem": Field((str, _NONE), "The filesystem made on the disk.", ("ext4", "xfs", None)),
        "label": Field((str,), "The filesystem's label."),
        "mount_options": Field((str,), "The options in fstab."),
        "ephemeral": Field((bool,), "Whether the disks come back empty after a stop, and are made again at boot."),
        "overwrite_unrecognised": Field((bool,), "Whether data without a signature may go: the user named the disk."),
        "tuning": Field(
            (dict, _NONE),
            "Settings of the disks' queues; None: as they are.",
            fields={
                "scheduler": Field((str,), "The I/O scheduler."),
                "read_ahead_bytes": Field((int,), "How far the kernel reads ahead."),
                "trim": Field((bool,), "Whether unused blocks are handed back to the disk."),
            },
        ),
        "need_bytes": Field((int,), "Model files, swap and margin."),
    },
    "swap": {
        "size_bytes": Field((int,), "The size of the swap file; 0 for none."),
        "path": Field((str,), "The swap file."),
        "swappiness": Field((int,), "The kernel's vm.swappiness."),
        "priority": Field((int,), "The kernel uses swap with a higher priority first."),
        "overcommit_memory": Field((int, _NONE), "The vm.overcommit_memory to set; None: as it is.", (0, 1, None)),
        "ephemeral": Field((bool,), "Whether its disk comes back empty after a stop, so that a unit makes it again."),
    },
    "cache": {
        "path": Field((str,), "The cache directory, in the layout of the Hugging Face cache."),
        "model_path": Field((str,), "The file that the runtime is given."),
        "user": Field((str,), "The system user that owns the files and downloads them."),
        "endpoint": Field((str,), "The hub."),
        "stall_seconds": Field((int,), "Without a byte for this long, the download reconnects."),
    },
    "runtime": {
        "provider": Field((str,), "The inference engine.", ("llama_cpp", "vllm")),
        "version": Field((str,), "The release of its sources."),
        "cmake": Field((dict,), "Options of the build; none for vLLM."),
        "archive": Field((str,), "Name of the built archive: same name, same content. Empty for vLLM."),
        "user": Field((str,), "The system user that serves."),
        "host": Field((str,), "Address of the API."),
        "port": Field((int,), "Port of the API."),
        "served_name": Field((str,), "The model's name in the API."),
        "threads": Field((int,), "Threads that compute: physical cores."),
        "arguments": Field((list,), "Everything after the server's name, but for the key file."),
        "environment": Field((dict,), "Environment of the server, beside what systemd gives it."),
        "memory_max_bytes": Field((int, _NONE), "Bound of the service's RAM."),
        "memory_swap_max_bytes": Field((int, _NONE), "How much of it may be swapped out; None for any amount."),
    },
    "acceptance": {
        "tokens_per_second": Field((int, _NONE), "The speed that the tier promises; None on a CPU."),
        "chat": Field((bool,), "Whether the model has a chat template."),
    },
    "egress": {
        "proxy": Field((dict,), "The proxy, without user and password."),
        "ca_certificates": Field((list,), "File names of the certificates to trust."),
    },
}

_NEED_A_MODEL = ("memory", "placement", "largest", "host_memory", "storage", "swap", "cache", "runtime", "acceptance")


def problems(made: Mapping[str, Any]) -> list[str]:
    """Return where a plan differs from its description; an empty list for a good one."""
    return list(_check(made, PLAN, "plan"))


def _check(value: Any, schema: Section, path: str) -> Iterator[str]:
    if not isinstance(value, Mapping):
        if not (value is None and path.rpartition(".")[2] in _NEED_A_MODEL):
            yield f"{path} is {type(value).__name__}, not a dict"
        return
    for key in value.keys() - schema.keys():
        yield f"{path}.{key} is not described"
    for key, rule in schema.items():
        if key not in value:
            yield f"{path}.{key} is missing"
        elif isinstance(rule, Field):
            yield from _check_field(value[key], rule, f"{path}.{key}")
        else:
            yield from _check(value[key], rule, f"{path}.{key}")


def _check_field(value: Any, rule: Field, path: str) -> Iterator[str]:
    if not isinstance(value, rule.types) or (isinstance(value, bool) and bool not in rule.types):
        yield f"{path} is {type(value).__name__}"
    elif rule.choices and value not in rule.choices:
        yield f"{path} is {value!r}, which is none of {rule.choices}"
    elif isinstance(value, int) and path.endswith("_bytes") and value < 0:
        yield f"{path} is negative"
    elif rule.fields is not None and isinstance(value, Mapping):
        yield from _check(value, rule.fields, path)
    elif rule.items is not None and isinstance(value, list):
        for number, entry in enumerate(value):
            yield from _check(entry, rule.items, f"{path}[{number}]")
