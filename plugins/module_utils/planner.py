"""The plan: host + model + intent → every decision, as a pure function without I/O.

``PLAN`` is a plain dict; ``plan_schema.py`` documents every field and checks a plan against that. A plan holds no
figure that changes by itself (free bytes, load), so a second run on the finished host gives the same plan.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from ansible_collections.llmhost.core.plugins.module_utils import (
    placement,
    record,
    requirements,
    runtime_plan,
    storage_plan,
    swap_plan,
)
from ansible_collections.llmhost.core.plugins.module_utils.egress import without_credentials
from ansible_collections.llmhost.core.plugins.module_utils.finding import Finding, error, info, warning
from ansible_collections.llmhost.core.plugins.module_utils.host_facts import HostFacts
from ansible_collections.llmhost.core.plugins.module_utils.intent import Intent, read_intent
from ansible_collections.llmhost.core.plugins.module_utils.model_facts import ModelFacts
from ansible_collections.llmhost.core.plugins.module_utils.placement import Placement
from ansible_collections.llmhost.core.plugins.module_utils.size import GIB, format_gib, round_up
from ansible_collections.llmhost.core.plugins.module_utils.storage_plan import StoragePlan
from ansible_collections.llmhost.core.plugins.module_utils.swap_plan import SwapPlan

SCHEMA = 1
MODELS_USER = "llmhost-models"
STEPS = ("egress", "model_storage", "swap", "model_cache", "inference")


def plan(
    host: Mapping[str, Any],
    model: Mapping[str, Any] | None,
    variables: Mapping[str, Any],
    missing_files: Sequence[str] = (),
) -> dict[str, Any]:
    """Return the plan. Without a model it holds what the host alone decides, with the verdict ``unknown``.

    ``missing_files`` are the certificates that the variables name and that the controller does not have.
    """
    facts = HostFacts.from_facts(host)
    intent, findings = read_intent(variables)
    findings += _check_files(missing_files)
    accelerator = choose_accelerator(facts, intent)
    findings += requirements.check_platform(facts)
    findings += requirements.check_requirements(facts, intent, on_cpu=intent.accelerator == "cpu")
    findings += _check_accelerator(facts, intent, accelerator, findings)
    findings += runtime_plan.check_listening(facts, intent)
    findings += _inherited(host)
    if model is None:
        return _without_model(intent, accelerator, findings)
    return _with_model(facts, model, intent, accelerator, findings)


def choose_accelerator(host: HostFacts, intent: Intent) -> str:
    """Return what computes: what the user named, else a GPU if there is one."""
    if intent.accelerator != "auto":
        return intent.accelerator if host.gpus else "cpu"
    return "nvidia" if host.gpus else "cpu"


def errors(made: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the findings of a plan that keep it from being carried out."""
    return [finding for finding in made.get("findings", []) if finding.get("level") == "error"]


def _with_model(
    host: HostFacts, model_facts: Mapping[str, Any], intent: Intent, accelerator: str, findings: list[Finding]
) -> dict[str, Any]:
    model = ModelFacts.from_facts(model_facts)
    # The place decides whether it can hold swap, and swap how large the place must be: first look without swap.
    rough = storage_plan.plan_storage(host, intent, storage_plan.need_bytes(model.total_bytes, 0))
    swap_file = f"{rough.path}/swapfile"
    placed = placement.place(
        host, model, intent, accelerator, swap_plan.budget(host, intent, rough.filesystem, swap_file)
    )
    swap = swap_plan.plan_swap(host, intent, placed.ram_missing_bytes, rough.filesystem, swap_file)
    need = storage_plan.need_bytes(model.total_bytes, swap.size_bytes)
    storage = storage_plan.plan_storage(host, intent, need)
    findings = [
        *findings,
        *_check_model(model, intent),
        *_check_fit(host, model, intent, placed, swap),
        *swap.findings,
        *storage.findings,
        *_inherited(model_facts),
    ]
    model_path = f"{storage.path}/models/{_snapshot(model)}"
    return {
        **_frame(intent, accelerator, placed.verdict, findings),
        "steps": _steps(intent, swap.skip_reason),
        "model": {key: value for key, value in model_facts.items() if key != "findings"},
        "memory": _memory(placed),
        "context": placed.context,
        "parallel": intent.parallel,
        "storage": storage.as_dict(need),
        "swap": {
            "size_bytes": swap.size_bytes,
            "path": f"{storage.path}/swapfile",
            "swappiness": swap_plan.SWAPPINESS,
        },
        "cache": _cache(storage, intent, model_path),
        "runtime": runtime_plan.runtime_dict(host, model, intent, placed, model_path),
        "acceptance": {"tokens_per_second": _promised_speed(intent, accelerator), "chat": model.chat_template},
        "egress": _egress(intent),
    }


def _without_model(intent: Intent, accelerator: str, findings: list[Finding]) -> dict[str, Any]:
    sections = ("model", "memory", "context", "storage", "swap", "cache", "runtime", "acceptance")
    return {
        **_frame(intent, accelerator, placement.UNKNOWN, findings),
        "steps": _steps(intent, ""),
        "parallel": intent.parallel,
        "egress": _egress(intent),
        **dict.fromkeys(sections),
    }


def _frame(intent: Intent, accelerator: str, verdict: str, findings: list[Finding]) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "tier": intent.tier,
        "verdict": verdict,
        "accelerator": accelerator,
        "findings": [finding.as_dict() for finding in dict.fromkeys(findings)],
    }


def _check_files(missing: Sequence[str]) -> list[Finding]:
    if not missing:
        return []
    message = f"llmhost_ca_certificates: the machine that runs Ansible has no file {', '.join(missing)}."
    return [error("certificates.missing", message, "Name PEM files of that machine by their absolute path.")]


def _check_accelerator(host: HostFacts, intent: Intent, accelerator: str, before: list[Finding]) -> list[Finding]:
    if accelerator == "nvidia":
        message = (
            f"This release cannot use the {len(host.gpus)} NVIDIA GPU(s) of this host: it has no CUDA runtime yet."
        )
        remedy = "Set llmhost_accelerator: cpu to serve from the CPU, or wait for the release that installs CUDA."
        return [error("accelerator.no_cuda_runtime", message, remedy)]
    if intent.accelerator == "nvidia" and not any(finding.code == "accelerator.no_gpu" for finding in before):
        remedy = "Add a GPU, or set llmhost_accelerator: cpu."
        return [error("accelerator.no_gpu", "llmhost_accelerator is nvidia; this host has no NVIDIA GPU.", remedy)]
    return []


def _check_model(model: ModelFacts, intent: Intent) -> list[Finding]:
    findings = []
    if model.format != "gguf":
        message = f"The model is {model.format}; the runtime of this release, llama.cpp, serves GGUF only."
        findings.append(error("model.format", message, "Choose a repository with GGUF files, often named …-GGUF."))
    if not (model.layers and model.weights_bytes and model.head_dim_k and model.context_length):
        message = "The model's header lacks layers, weights, head size or context length; its memory cannot be planned."
        findings.append(error("model.incomplete", message, "Choose another conversion of the model."))
    if model.unsupported:
        names = ", ".join(model.unsupported)
        message = (
            f"{model.architecture} has {names}, which this release does not size exactly: memory is an upper bound."
        )
        findings.append(warning("model.upper_bound", message, "The model may fit with a longer context than planned."))
    elif model.sliding_window:
        message = f"Only the last {model.sliding_window} tokens count on some layers: memory is an upper bound."
        findings.append(info("model.upper_bound", message))
    if not model.chat_template:
        message = "The model has no chat template: the server falls back on a general one."
        findings.append(
            warning("model.no_chat_template", message, "Choose an instruct or chat variant to hold a chat.")
        )
    if intent.context is not None and model.context_length and intent.context > model.context_length:
        message = f"llmhost_context is {intent.context}; the model was made for {model.context_length}, which is used."
        findings.append(warning("context.reduced", message, "Lower llmhost_context, or choose a long-context variant."))
    return findings


def _check_fit(host: HostFacts, model: ModelFacts, intent: Intent, placed: Placement, swap: SwapPlan) -> list[Finding]:
    if placed.verdict == placement.FITS:
        return []
    where = "VRAM" if placed.vram_need_bytes else "RAM"
    need = placed.vram_need_bytes or placed.ram_need_bytes
    room = sum(device.usable_bytes for device in placed.devices if (device.name != "RAM") == (where == "VRAM"))
    has = f"{len(host.gpus)} GPU(s) with {format_gib(room)}" if where == "VRAM" else f"{format_gib(room)} usable"
    what = f"{intent.model or model.request} needs {format_gib(need)} of {where} with a context of {placed.context}"
    if placed.verdict == placement.OFFLOAD:
        message = f"{what} at most; {model.layers + 1 - placed.gpu_layers} of {model.layers} layers go to RAM: slower."
        return [warning("memory.offload", message, "Choose a smaller quantisation or a shorter context to avoid it.")]
    swapped = f"swap is not possible ({swap.skip_reason})" if swap.skip_reason else f"swap may add {_allowed(intent)}"
    beyond = placed.need.total_bytes - placed.need.weights_bytes
    largest = max(0, room - beyond)
    remedy = f"Choose a quantisation with weights of at most {format_gib(largest)}, a larger host"
    if placed.context > 2048:
        remedy += ", a lower llmhost_context"
    if not swap.skip_reason:
        variable = "llmhost_swap_max" if intent.swap_bytes is None else "llmhost_swap"
        remedy += f", or {variable} of {format_gib(round_up(placed.ram_missing_bytes, GIB))} or more, which is slow"
    return [error("memory.does_not_fit", f"{what}; this host has {has}, and {swapped}.", remedy + ".")]


def _allowed(intent: Intent) -> str:
    most = intent.swap_max_bytes if intent.swap_bytes is None else min(intent.swap_bytes, intent.swap_max_bytes)
    return format_gib(most)


def _steps(intent: Intent, no_swap: str) -> dict[str, dict[str, str]]:
    """Return what each role does. Steps with nothing to set still run, to take back what an earlier plan had set."""
    done = {step: {"action": "apply", "reason": ""} for step in STEPS}
    if no_swap:
        done["swap"] = {"action": "skip", "reason": no_swap}
    return done


def _memory(placed: Placement) -> dict[str, Any]:
    return {
        "weights_bytes": placed.need.weights_bytes,
        "kv_cache_bytes": placed.need.kv_cache_bytes,
        "compute_bytes": placed.need.compute_bytes,
        "runtime_bytes": placed.need.runtime_bytes,
        "total_bytes": placed.need.total_bytes,
        "ram_need_bytes": placed.ram_need_bytes,
        "vram_need_bytes": placed.vram_need_bytes,
        "devices": [
            {"name": device.name, "need_bytes": device.need_bytes, "usable_bytes": device.usable_bytes}
            for device in placed.devices
        ],
    }


def _cache(storage: StoragePlan, intent: Intent, model_path: str) -> dict[str, Any]:
    return {
        "path": f"{storage.path}/models",
        "model_path": model_path,
        "user": MODELS_USER,
        "endpoint": intent.endpoint,
        "stall_seconds": intent.stall_seconds,
    }


def _snapshot(model: ModelFacts) -> str:
    """Return the first file's path below the cache, in the layout of the Hugging Face cache."""
    owner = model.repo.replace("/", "--") if model.source == "hub" else f"local--{PurePosixPath(model.first_file).stem}"
    return f"models--{owner}/snapshots/{model.commit}/{model.first_file}"


def _promised_speed(intent: Intent, accelerator: str) -> int | None:
    """Return the tokens per second to assert: those that the tier promises, which are a GPU's."""
    return record.optional_integer(intent.requirements, "tokens_per_second") if accelerator == "nvidia" else None


def _egress(intent: Intent) -> dict[str, Any]:
    proxy = {name: _shown(value) for name, value in intent.proxy.items()}
    return {"proxy": proxy, "ca_certificates": [PurePosixPath(path).name for path in intent.ca_certificates]}


def _shown(value: Any) -> Any:
    """Return a proxy's address without its password: the plan is printed and kept."""
    if not isinstance(value, str):
        return value
    shown = without_credentials(value)
    return shown if "@" not in shown or "***@" in shown else "(not an address)"


def _inherited(facts: Mapping[str, Any]) -> list[Finding]:
    """Return what host_info or model_info found by itself."""
    findings = []
    for entry in record.sections(facts, "findings"):
        level = record.text(entry, "level")
        make = {"error": error, "warning": warning}.get(level, info)
        findings.append(
            make(record.text(entry, "code", "unknown"), record.text(entry, "message"), record.text(entry, "remedy"))
        )
    return findings
