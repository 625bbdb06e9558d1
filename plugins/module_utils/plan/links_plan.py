"""The plan's ``multi_gpu``: how GPUs work together, what their ways should carry, and what the proof has to try."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ansible_collections.llmhost.core.plugins.module_utils.plan.links import Ends, Links, Proven
from ansible_collections.llmhost.core.plugins.module_utils.plan.links_path import HOST
from ansible_collections.llmhost.core.plugins.module_utils.plan.links_split import (
    LEAST_TENSOR_GBS,
    Use,
    custom_all_reduce,
    environment,
    order_of,
    proof_environment,
    tensor_limit,
)
from ansible_collections.llmhost.core.plugins.module_utils.sizing.fit import LLAMA_CPP

BURN_IN_SECONDS = 60
# The oldest driver branches that run programs of a CUDA generation.
_CUDA_13, _CUDA_12 = 580, 525


def multi_gpu(links: Links, use: Use, proven: Proven, driver_branch: int) -> dict[str, Any] | None:
    """Return the section, or None on a host without GPUs. ``driver_branch`` is 0 where it is not known."""
    if not links.cards:
        return None
    order = order_of(links, use.gpus or tuple(card.number for card in links.cards), use.tensor)
    return {
        "order": [links.cards[number].pci_address for number in order],
        "split": use.split,
        "why": _why(links, use),
        "environment": environment(links, use, proven),
        "custom_all_reduce": custom_all_reduce(links, use, proven),
        "peers": _peers(links, proven),
        "expected": expected(links, proven.bad),
        "proof": {
            "gpus": [card.pci_address for card in links.cards],
            "environment": proof_environment(links),
            "burn_in_seconds": BURN_IN_SECONDS,
            "nccl": _nccl(driver_branch) if len(links.cards) > 1 else None,
        },
    }


def expected(links: Links, bad: frozenset[Ends]) -> list[dict[str, Any]]:
    """Return what each pair should reach; ``bad`` ones go through RAM, whatever the driver grants."""
    ways = [replace(path, granted=False) if path.ends in bad else path for path in links.paths]
    return [{"a": way.a.pci_address, "b": way.b.pci_address, "path": way.kind, "gbs": way.gbs} for way in ways]


def _peers(links: Links, proven: Proven) -> str:
    """Return in a word what is known of direct transfers."""
    if proven.bad or proven.refuted:
        return "failed"
    if proven.good:
        return "proved"
    if links.paths and not links.driver_tells:
        return "unknown"
    return "none" if all(path.kind == HOST for path in links.paths) else "granted"


def _why(links: Links, use: Use) -> str:
    if use.split == "none":
        return "One GPU computes." if len(links.cards) > 1 else "There is one GPU."
    if use.engine == LLAMA_CPP:
        return "llama.cpp gives each GPU layers of its own, by its memory: hardly anything is exchanged."
    limit = tensor_limit(links)
    if limit:
        return f"Over a way slower than {LEAST_TENSOR_GBS} GB/s ranks of tensor parallel would wait: layers go there."
    if use.pipeline > 1:
        return "The model's heads cannot be divided among all GPUs: the rest is a pipeline."
    return "Every GPU reads a part of each layer, all at once."


def _nccl(driver_branch: int) -> str | None:
    """Return the CUDA generation of the NCCL that the driver can run; an unknown driver will be a current one."""
    if not driver_branch or driver_branch >= _CUDA_13:
        return "cu13"
    return "cu12" if driver_branch >= _CUDA_12 else None
