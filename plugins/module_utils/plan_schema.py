"""What a plan holds: every field, its type and its meaning, and a check of a plan against that.

The fields of ``model`` are those of ``model_info``. Without a model (verdict ``unknown``) the sections that it decides
are None.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

_NONE = type(None)


@dataclass(frozen=True)
class Field:
    """One value of the plan. ``choices`` limits it; ``items`` describes the entries of a list."""

    types: tuple[type, ...]
    meaning: str
    choices: tuple[Any, ...] = ()
    items: Mapping[str, Field] | None = None


Section = Mapping[str, "Field | Section"]

_STEP: Section = {
    "action": Field((str,), "Whether the role of that name works on this host.", ("apply", "skip")),
    "reason": Field((str,), "Why it is skipped, in words."),
}

PLAN: Section = {
    "schema": Field((int,), "Version of this description.", (1,)),
    "tier": Field((str,), "The tier asked for."),
    "verdict": Field(
        (str,),
        "Whether the model runs here: wholly, with layers in RAM, or not. Unknown when no model was looked at.",
        ("fits", "fits_with_offload", "does_not_fit", "unknown"),
    ),
    "accelerator": Field((str,), "What computes.", ("cpu", "nvidia")),
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
    "steps": dict.fromkeys(("egress", "model_storage", "swap", "model_cache", "inference"), _STEP),
    "model": Field((dict, _NONE), "The result of model_info, without its findings."),
    "memory": {
        "weights_bytes": Field((int,), "The model's tensors as held in memory."),
        "kv_cache_bytes": Field((int,), "The cache of keys and values, for all parallel requests."),
        "compute_bytes": Field((int,), "Buffers of the computation and of the logits."),
        "runtime_bytes": Field((int,), "The process itself and its vocabulary; with GPUs, their contexts."),
        "total_bytes": Field((int,), "The sum of these four."),
        "ram_need_bytes": Field((int,), "The part that is in RAM."),
        "vram_need_bytes": Field((int,), "The part that is on GPUs."),
        "devices": Field(
            (list,),
            "Each place with memory.",
            items={
                "name": Field((str,), "RAM, or the GPU's number and name."),
                "need_bytes": Field((int,), "What the plan puts there."),
                "usable_bytes": Field((int,), "What a process can have there."),
            },
        ),
    },
    "context": Field((int, _NONE), "Tokens that one request may hold."),
    "parallel": Field((int,), "Requests served at once."),
    "storage": {
        "kind": Field((str,), "A claimed disk, or a directory of a filesystem that is there.", ("disk", "directory")),
        "path": Field((str,), "Where models and swap lie."),
        "device": Field((str, _NONE), "The disk's most stable name."),
        "identity": Field((dict, _NONE), "Serial, model, WWN and size: what tells the disk from every other."),
        "filesystem": Field((str, _NONE), "The filesystem made on the disk.", ("ext4", "xfs", None)),
        "label": Field((str,), "The filesystem's label."),
        "mount_options": Field((str,), "The options in fstab."),
        "overwrite_unrecognised": Field((bool,), "Whether data without a signature may go: the user named the disk."),
        "need_bytes": Field((int,), "Model files, swap and margin."),
    },
    "swap": {
        "size_bytes": Field((int,), "The size of the swap file; 0 for none."),
        "path": Field((str,), "The swap file."),
        "swappiness": Field((int,), "The kernel's vm.swappiness."),
    },
    "cache": {
        "path": Field((str,), "The cache directory, in the layout of the Hugging Face cache."),
        "model_path": Field((str,), "The file that the runtime is given."),
        "user": Field((str,), "The system user that owns the files and downloads them."),
        "endpoint": Field((str,), "The hub."),
        "stall_seconds": Field((int,), "Without a byte for this long, the download reconnects."),
    },
    "runtime": {
        "provider": Field((str,), "The inference engine.", ("llama_cpp",)),
        "version": Field((str,), "The release of its sources."),
        "cmake": Field((dict,), "Options of the build."),
        "archive": Field((str,), "Name of the built archive: same name, same content."),
        "user": Field((str,), "The system user that serves."),
        "host": Field((str,), "Address of the API."),
        "port": Field((int,), "Port of the API."),
        "served_name": Field((str,), "The model's name in the API."),
        "threads": Field((int,), "Threads that compute: physical cores."),
        "arguments": Field((list,), "Everything after the server's name, but for the key file."),
        "memory_max_bytes": Field((int, _NONE), "Bound of the service's RAM."),
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

_NEED_A_MODEL = ("memory", "storage", "swap", "cache", "runtime", "acceptance")


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
    elif rule.items is not None and isinstance(value, list):
        for number, entry in enumerate(value):
            yield from _check(entry, rule.items, f"{path}[{number}]")
