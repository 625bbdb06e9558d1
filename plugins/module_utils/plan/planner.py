"""The plan: host + model + intent → every decision, as a pure function without I/O.

``PLAN`` is a plain dict; ``plan_schema.py`` documents every field and checks a plan against that. A plan holds no
figure that changes by itself (free bytes, load), so a second run on the finished host gives the same plan.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

from ansible_collections.llmhost.core.plugins.module_utils import record
from ansible_collections.llmhost.core.plugins.module_utils.finding import Finding, error, info, warning
from ansible_collections.llmhost.core.plugins.module_utils.hardware.ram_speed import ram_speed
from ansible_collections.llmhost.core.plugins.module_utils.model.model_facts import ModelFacts
from ansible_collections.llmhost.core.plugins.module_utils.plan import (
    disk_list,
    fit_findings,
    fit_sections,
    requirements,
    runtime_plan,
    storage_plan,
    swap_plan,
)
from ansible_collections.llmhost.core.plugins.module_utils.plan.cpu_build import check_cpu_level
from ansible_collections.llmhost.core.plugins.module_utils.plan.cuda_plan import NO_CUDA, CudaPlan, plan_cuda
from ansible_collections.llmhost.core.plugins.module_utils.plan.declared_gpus import check_declared, with_declared
from ansible_collections.llmhost.core.plugins.module_utils.plan.driver_plan import plan_driver
from ansible_collections.llmhost.core.plugins.module_utils.plan.ground import Ground
from ansible_collections.llmhost.core.plugins.module_utils.plan.host_facts import HostFacts
from ansible_collections.llmhost.core.plugins.module_utils.plan.host_room import (
    Catalogue,
    choose_accelerator,
    host_facts,
    room_of_host,
    usable_ram,
)
from ansible_collections.llmhost.core.plugins.module_utils.plan.intent import Intent, read_intent
from ansible_collections.llmhost.core.plugins.module_utils.plan.sized_model import sized_model
from ansible_collections.llmhost.core.plugins.module_utils.plan.storage_plan import StoragePlan
from ansible_collections.llmhost.core.plugins.module_utils.plan.together import ON_CPU, Together
from ansible_collections.llmhost.core.plugins.module_utils.service.egress import without_credentials
from ansible_collections.llmhost.core.plugins.module_utils.sizing import advice
from ansible_collections.llmhost.core.plugins.module_utils.sizing.advice import Problem
from ansible_collections.llmhost.core.plugins.module_utils.sizing.fit import LLAMA_CPP, UNKNOWN, VLLM, Want
from ansible_collections.llmhost.core.plugins.module_utils.sizing.host_memory import host_memory
from ansible_collections.llmhost.core.plugins.module_utils.sizing.sizes import GGUF
from ansible_collections.llmhost.core.plugins.module_utils.sizing.solve import choose_engine, solve
from ansible_collections.llmhost.core.plugins.module_utils.storage.swap_place import swap_path

SCHEMA = 4
MODELS_USER = "llmhost-models"


def plan(
    host: Mapping[str, Any],
    model: Mapping[str, Any] | None,
    variables: Mapping[str, Any],
    missing_files: Sequence[str] = (),
    what_if: bool = False,
    boot_id: str = "",
) -> dict[str, Any]:
    """Return the plan. Without a model it holds what the host alone decides, with the verdict ``unknown``.

    ``missing_files`` are the certificates that the variables name and that the controller does not have. ``what_if``:
    the host need not exist, so what this release cannot install yet is no error. ``boot_id`` is that of the machine
    that runs Ansible, which is not rebooted unasked.
    """
    intent, findings = read_intent(variables)
    shown = host
    host, declared = with_declared(shown, intent.gpus)
    facts = host_facts(host)
    findings += _check_files(missing_files)
    findings += check_declared(shown, intent.gpus, declared)
    accelerator = choose_accelerator(facts, intent)
    findings += requirements.check_platform(facts)
    findings += requirements.check_requirements(facts, intent, on_cpu=intent.accelerator == "cpu")
    what_if = what_if or "hardware" in host
    findings += _check_accelerator(intent, accelerator, findings)
    findings += _check_assumed(host)
    findings += runtime_plan.check_listening(facts, intent)
    findings += check_cpu_level(facts, intent.cpu_level)
    findings += _inherited(host)
    driver = plan_driver(host, facts, intent, accelerator, declared, boot_id)
    skipped = {"nvidia_driver": driver.why_skipped, **_skipped(accelerator, declared)}
    together = ON_CPU if accelerator == "cpu" else Together.from_facts(host, driver.section, declared)
    ground = Ground(
        intent,
        accelerator,
        (*findings, *driver.findings),
        declared,
        driver.section,
        tuple(skipped.items()),
        together,
        what_if or declared,
    )
    if model is None:
        return _without_model(facts, host, ground)
    if record.flag(model, "planned_only") and not what_if:
        message = f"{intent.model} is a configuration without weights: it can be planned, not served."
        more = error("model.no_weights", message, "Name a repository that has the model's weights.")
        ground = replace(ground, findings=(*ground.findings, more))
    return _with_model(facts, host, model, ground)


def errors(made: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the findings of a plan that keep it from being carried out."""
    return [finding for finding in made.get("findings", []) if finding.get("level") == "error"]


def _with_model(
    host: HostFacts,
    host_mapping: Mapping[str, Any],
    model_facts: Mapping[str, Any],
    ground: Ground,
) -> dict[str, Any]:
    intent, accelerator = ground.intent, ground.accelerator
    sized = sized_model(model_facts)
    model = sized.facts
    engine = choose_engine(intent.engine, model.format, accelerator == "nvidia")
    cuda = _cuda(host, host_mapping, engine, ground)
    # The place decides whether it can hold swap, and swap how large the place must be: first look without swap.
    rough = storage_plan.plan_storage(host, intent, storage_plan.need_bytes(model.total_bytes, 0))
    swap_file = swap_path(rough.path, rough.filesystem)
    budget = swap_plan.budget(host, intent, rough.filesystem, swap_file)
    room = room_of_host(host, budget, ram_speed(host_mapping).bandwidth, ground.together.tensor_ranks)
    want = Want(intent.context, intent.parallel, intent.kv_cache_type, accelerator)
    fit = solve(sized.sizes, engine, room, want)
    better = advice.ways(Problem(sized.sizes, engine, room, want, fit, usable_ram, Catalogue()))
    swap = swap_plan.plan_swap(host, intent, fit.ram_missing_bytes, rough.filesystem, swap_file)
    loading = host_memory(
        fit,
        room,
        sized.sizes.files_bytes,
        sized.sizes.largest_file_bytes,
        host.overcommit,
        swap_plan.all_swap(host, swap_file) + swap.size_bytes,
    )
    swap = swap_plan.with_overcommit(swap, host, loading)
    need = storage_plan.need_bytes(model.total_bytes, swap.size_bytes)
    storage = storage_plan.plan_storage(host, intent, need)
    findings = [
        *ground.findings,
        *_check_engine(host, engine, ground),
        *cuda.findings,
        *ground.together.findings(intent.requirements, engine),
        *fit_findings.check_model(sized, intent, engine, accelerator),
        *fit_findings.check_fit(host, sized, intent, fit, swap, better),
        *swap.findings,
        *storage.findings,
        *(storage_plan.check_build(host, cuda.build_bytes) if engine == LLAMA_CPP else ()),
        *_inherited(model_facts),
    ]
    model_path = f"{storage.path}/models/{_snapshot(model)}"
    joint = ground.together.section(fit)
    runtime = runtime_plan.runtime_dict(
        host,
        sized,
        intent,
        fit,
        loading,
        model_path,
        cuda,
        links_environment=joint["environment"] if joint else {},
        custom_all_reduce=joint is not None and joint["custom_all_reduce"],
    )
    return {
        **_frame(ground, fit.verdict, findings),
        "engine": engine,
        "steps": ground.steps(swap=swap.why_skipped(host), cuda=cuda.why_none, multi_gpu=ground.together.absent),
        "cuda": cuda.as_dict(),
        "multi_gpu": joint,
        "model": {key: value for key, value in model_facts.items() if key != "findings"},
        **fit_sections.sections(host, sized, room, fit, loading, better, cuda.build_bytes),
        "disks": disk_list.disk_list(host, intent, storage, need),
        "storage": storage.as_dict(need),
        "swap": swap.as_dict(swap_path(storage.path, storage.filesystem), storage.ephemeral),
        "cache": _cache(storage, intent, model_path),
        "runtime": runtime,
        "acceptance": {"tokens_per_second": _promised_speed(intent, accelerator), "chat": model.chat_template},
        "egress": _egress(intent),
    }


def _without_model(host: HostFacts, host_mapping: Mapping[str, Any], ground: Ground) -> dict[str, Any]:
    intent = ground.intent
    sections = ("model", *fit_sections.NAMES, "storage", "swap", "cache", "runtime", "acceptance")
    engine = choose_engine(intent.engine, GGUF, ground.accelerator == "nvidia")
    cuda = _cuda(host, host_mapping, engine, ground)
    findings = [
        *ground.findings,
        *_check_engine(host, engine, ground),
        *cuda.findings,
        *ground.together.findings(intent.requirements, engine),
    ]
    return {
        **_frame(ground, UNKNOWN, findings),
        **dict.fromkeys(sections),
        "engine": engine,
        "steps": ground.steps(cuda=cuda.why_none, multi_gpu=ground.together.absent),
        "cuda": cuda.as_dict(),
        "parallel": intent.parallel or 1,
        "alternatives": [],
        "doubts": [],
        "disks": disk_list.disk_list(host, intent),
        "egress": _egress(intent),
    }


def _frame(ground: Ground, verdict: str, findings: Sequence[Finding]) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "tier": ground.intent.tier,
        "verdict": verdict,
        "accelerator": ground.accelerator,
        "gpus_declared": ground.declared,
        "findings": [finding.as_dict() for finding in dict.fromkeys(findings)],
        "driver": ground.driver,
        "multi_gpu": None,
    }


def _check_files(missing: Sequence[str]) -> list[Finding]:
    if not missing:
        return []
    message = f"llmhost_ca_certificates: the machine that runs Ansible has no file {', '.join(missing)}."
    return [error("certificates.missing", message, "Name PEM files of that machine by their absolute path.")]


def _cuda(host: HostFacts, facts: Mapping[str, Any], engine: str, ground: Ground) -> CudaPlan:
    return plan_cuda(facts, host, ground.driver, engine) if ground.accelerator == "nvidia" else NO_CUDA


def _check_engine(host: HostFacts, engine: str, ground: Ground) -> list[Finding]:
    """Return what is to be said where an engine is planned that this release does not install."""
    if engine != VLLM:
        return []
    message = f"This release cannot serve from the {len(host.gpus)} NVIDIA GPU(s) by vLLM: it does not install it yet."
    remedy = "Name a GGUF of the model, which llama.cpp serves, or wait for the release that installs vLLM."
    return [(info if ground.what_if else error)("accelerator.no_cuda_runtime", message, remedy)]


def _check_accelerator(intent: Intent, accelerator: str, before: list[Finding]) -> list[Finding]:
    if accelerator == "nvidia":
        return []
    if intent.accelerator == "nvidia" and not any(finding.code == "accelerator.no_gpu" for finding in before):
        remedy = "Add a GPU, or set llmhost_accelerator: cpu."
        return [error("accelerator.no_gpu", "llmhost_accelerator is nvidia; this host has no NVIDIA GPU.", remedy)]
    return []


def _check_assumed(host: Mapping[str, Any]) -> list[Finding]:
    """Return what was assumed of a host that is only described."""
    assumed = record.texts(host, "assumed")
    return [info("what_if.assumed", " ".join(assumed), "Say more in llmhost_plan_hardware.")] if assumed else []


def _skipped(accelerator: str, declared: bool) -> dict[str, str]:
    """Return why steps for GPUs are left out, and what needs them where they are only declared."""
    if accelerator != "nvidia":
        return {"cuda": "the model runs on the CPU", "multi_gpu": "the model runs on the CPU"}
    absent = "its GPUs are declared and not in this machine" if declared else ""
    return {"multi_gpu": absent, "inference": absent}


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
