"""What a person should know about the model and about how it fits."""

from __future__ import annotations

from collections.abc import Iterator

from ansible_collections.llmhost.core.plugins.module_utils.finding import Finding, error, info, warning
from ansible_collections.llmhost.core.plugins.module_utils.llama_cpp.llama_fit import DEFAULT_CELLS
from ansible_collections.llmhost.core.plugins.module_utils.plan.host_facts import HostFacts
from ansible_collections.llmhost.core.plugins.module_utils.plan.intent import Intent
from ansible_collections.llmhost.core.plugins.module_utils.plan.sized_model import SizedModel
from ansible_collections.llmhost.core.plugins.module_utils.plan.swap_plan import SwapPlan
from ansible_collections.llmhost.core.plugins.module_utils.size import GIB, format_gib, round_up
from ansible_collections.llmhost.core.plugins.module_utils.sizing.advice import Way
from ansible_collections.llmhost.core.plugins.module_utils.sizing.fit import (
    DOES_NOT_FIT,
    FITS,
    LLAMA_CPP,
    OFFLOAD,
    VLLM,
    Fit,
)


def check_model(sized: SizedModel, intent: Intent, engine: str, accelerator: str) -> list[Finding]:
    """Return what is wrong or uncertain about the model itself."""
    model = sized.facts
    findings = []
    if model.format != "gguf" and engine == LLAMA_CPP:
        message = f"The model is {model.format}; llama.cpp, the runtime of this release on a CPU, serves GGUF only."
        findings.append(error("model.format", message, "Choose a repository with GGUF files, often named …-GGUF."))
    if not sized.complete:
        message = "The model's header lacks layers, weights, head size or context length; its memory cannot be planned."
        findings.append(error("model.incomplete", message, "Choose another conversion of the model."))
    doubts = sized.sizes.shape.doubts
    if doubts:
        message = (
            f"{sized.sizes.shape.architecture}: {'; '.join(doubts)}. Its memory is an upper bound, not an exact figure."
        )
        findings.append(warning("model.upper_bound", message, "It may fit with a longer context than planned."))
    if not model.chat_template and not model.planned_only:
        message = "The model has no chat template: the server falls back on a general one."
        findings.append(
            warning("model.no_chat_template", message, "Choose an instruct or chat variant to hold a chat.")
        )
    most = sized.sizes.shape.context_length
    if intent.context is not None and most and intent.context > most:
        message = f"llmhost_context is {intent.context}; the model was made for {most}, which is used."
        findings.append(warning("context.reduced", message, "Lower llmhost_context, or choose a long-context variant."))
    return [*findings, *_check_cells(intent, engine, accelerator)]


def _check_cells(intent: Intent, engine: str, accelerator: str) -> Iterator[Finding]:
    cells = intent.kv_cache_type
    if cells == "fp8" and engine == LLAMA_CPP:
        message = "llmhost_kv_cache_type is fp8, which is vLLM's; llama.cpp has f16, q8_0 and q4_0. q8_0 is planned."
        yield warning("kv_cache.type", message, "Set llmhost_kv_cache_type to q8_0, or leave it at auto.")
    if cells in ("q8_0", "q4_0") and engine == VLLM:
        message = f"llmhost_kv_cache_type is {cells}, which is llama.cpp's; vLLM has f16 and fp8. fp8 is planned."
        yield warning("kv_cache.type", message, "Set llmhost_kv_cache_type to fp8, or leave it at auto.")
    if intent.engine == VLLM and accelerator == "cpu":
        message = "llmhost_engine is vllm, which is planned for GPUs only; llama.cpp serves from the CPU."
        yield warning("engine.no_gpu", message, "Leave llmhost_engine at auto.")


def check_fit(
    host: HostFacts, sized: SizedModel, intent: Intent, fit: Fit, swap: SwapPlan, ways: tuple[Way, ...]
) -> list[Finding]:
    """Return whether it fits, with the figures, and what was decided to make it fit."""
    if fit.verdict == DOES_NOT_FIT:
        return [_does_not_fit(host, sized, intent, fit, swap, ways)]
    findings = list(_decisions(host, intent, fit))
    if fit.verdict == OFFLOAD:
        findings.append(_offload(host, sized, intent, fit, ways))
    if sized.chosen and len(sized.sizes.variants) > 1:
        message = f"{sized.facts.quantization} is planned, of {len(sized.sizes.variants)} quantisations there are."
        findings.append(info("model.variant", message, "Pin another one with org/repo:LABEL."))
    return findings


def _decisions(host: HostFacts, intent: Intent, fit: Fit) -> Iterator[Finding]:
    if fit.verdict == FITS and 0 < len(fit.gpus) < len(host.gpus):
        idle = [f"GPU{number}" for number in range(len(host.gpus)) if number not in fit.gpus]
        used = ", ".join(f"GPU{number}" for number in fit.gpus)
        message = f"{', '.join(idle)} stay free: the model fits on {used}, and layers on more GPUs are no faster."
        yield info("placement.gpus_free", message, "A longer llmhost_context would use them.")
    if intent.kv_cache_type is None and fit.engine == LLAMA_CPP and fit.cache_type != DEFAULT_CELLS:
        message = (
            f"The KV cache has {fit.cache_type} cells, so that a context of {fit.context} fits; f16 cells would need "
            "about twice the memory."
        )
        yield info("kv_cache.quantised", message, "Set llmhost_kv_cache_type: f16 for a shorter context instead.")


def _name(sized: SizedModel, intent: Intent) -> str:
    return intent.model or sized.facts.request


def _offload(host: HostFacts, sized: SizedModel, intent: Intent, fit: Fit, ways: tuple[Way, ...]) -> Finding:
    room = f"{len(host.gpus)} GPU(s) with {format_gib(sum(fit.usable_bytes))} usable"
    if fit.engine == VLLM:
        moved = f"{format_gib(fit.cpu_offload_bytes)} of weights for each GPU go"
    elif fit.layers_in_ram:
        moved = f"{fit.layers_in_ram} of {fit.places - 1} layers go"
    else:
        moved = f"the experts of {fit.cpu_expert_layers} of {fit.places - 1} layers go"
    message = (
        f"{_name(sized, intent)} with weights of {format_gib(sized.sizes.weights_bytes)} and a context of "
        f"{fit.context} does not fit in {room} without offload: {moved} to RAM, which is slower."
    )
    return warning("memory.offload", message, _best(ways) or "Choose a smaller quantisation or a shorter context.")


def _best(ways: tuple[Way, ...]) -> str:
    """Return what costs least, with its figures."""
    if not ways:
        return ""
    fit = ways[0].fit
    need = ", ".join(
        f"{format_gib(gpu.total_bytes)} of {format_gib(usable)} on {gpu.name}"
        for gpu, usable in zip(fit.allocation.gpus, fit.usable_bytes, strict=True)
    )
    on_gpus = need or f"{format_gib(fit.ram_need_bytes)} of {format_gib(fit.ram_usable_bytes)} of RAM"
    return f"What costs least to make it fit: {ways[0].text}, with a context of {fit.context} and {on_gpus}."


def _does_not_fit(
    host: HostFacts, sized: SizedModel, intent: Intent, fit: Fit, swap: SwapPlan, ways: tuple[Way, ...]
) -> Finding:
    name = _name(sized, intent)
    if fit.gpus:
        need, room = fit.allocation.vram_bytes, sum(fit.usable_bytes)
        message = (
            f"{name} needs {format_gib(need)} of VRAM with a context of {fit.context} "
            f"({format_gib(sized.sizes.weights_bytes)} are weights); this host has {len(host.gpus)} GPU(s) with "
            f"{format_gib(room)} usable, and {format_gib(fit.ram_usable_bytes)} of RAM, too little for the rest."
        )
    else:
        need, room = fit.ram_need_bytes, fit.ram_usable_bytes
        swapped = f"swap is not possible ({swap.skip_reason})" if swap.skip_reason else ""
        message = (
            f"{name} needs {format_gib(need)} of RAM with a context of {fit.context}; this host has "
            f"{format_gib(room)} usable, and {swapped or f'swap may add {_allowed(intent)}'}."
        )
    largest = max(0, room - (need - fit.weights_bytes))
    remedy = f"Choose a quantisation with weights of at most {format_gib(largest)}, a larger host"
    if fit.context > 2048:
        remedy += ", a lower llmhost_context"
    if not swap.skip_reason and not fit.gpus:
        variable = "llmhost_swap_max" if intent.swap_bytes is None else "llmhost_swap"
        remedy += f", or {variable} of {format_gib(round_up(fit.ram_missing_bytes, GIB))} or more, which is slow"
    return error("memory.does_not_fit", message, f"{remedy}. {_best(ways)}".rstrip())


def _allowed(intent: Intent) -> str:
    most = intent.swap_max_bytes if intent.swap_bytes is None else min(intent.swap_bytes, intent.swap_max_bytes)
    return format_gib(most)
