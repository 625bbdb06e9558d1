"""How a model is divided among GPUs for the ways between them: order, width of tensor parallel, settings of NCCL."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from ansible_collections.llmhost.core.plugins.module_utils.plan.links import Links, Proven
from ansible_collections.llmhost.core.plugins.module_utils.plan.links_path import NVLINK, SWITCH, Path
from ansible_collections.llmhost.core.plugins.module_utils.sizing.fit import LLAMA_CPP, VLLM, Fit

LEAST_TENSOR_GBS = 1.5
"""Ranks of tensor parallel exchange about 1.4 GB/s while they read prompts (club-3090, docs/PCIE_P2P.md); stages of a
pipeline need 0.007. Over a slower way than this, each GPU gets layers of its own."""

_CUSTOM_WORLDS = (2, 4, 6, 8)
"""``_SUPPORTED_WORLD_SIZES`` of vLLM's custom_all_reduce.py, which beyond two asks for NVLinks between all."""

# NCCL's levels, the nearest first, and which of them a level of nvidia-smi is for NCCL: it counts the host bridges of
# one NUMA node as one. LOC is left out: it would turn direct transfers off.
_LEVELS = ("NVL", "PIX", "PXB", "PHB", "SYS")
_NCCL_LEVEL = {"PIX": "PIX", "PXB": "PXB", "PHB": "PHB", "NODE": "PHB"}


class Use(NamedTuple):
    """What the engine makes of the cards: which, and over how many tensor parallel and a pipeline go."""

    engine: str
    gpus: tuple[int, ...]
    tensor: int = 1
    pipeline: int = 1

    @classmethod
    def from_fit(cls, fit: Fit) -> Use:
        """Read the settings that the model is served with."""
        return cls(fit.engine, fit.gpus, fit.tensor_parallel, fit.pipeline_parallel)

    @property
    def split(self) -> str:
        """Return the division in a word."""
        if len(self.gpus) < 2:
            return "none"
        if self.engine == LLAMA_CPP:
            return "layer"
        parts = {"tensor": self.tensor, "pipeline": self.pipeline}
        return "+".join(name for name, count in parts.items() if count > 1) or "none"


def tensor_limit(links: Links) -> int:
    """Return how many GPUs tensor parallel may span at most, all else in a pipeline; 0 where nothing limits it."""
    numbers = tuple(card.number for card in links.cards)
    for block in range(len(numbers), 1, -1):
        if len(numbers) % block == 0 and all(
            _is_fast(path) for group in _blocks(order_of(links, numbers, block), block) for path in links.among(group)
        ):
            return 0 if block == len(numbers) else block
    return 1 if len(numbers) > 1 else 0


def order_of(links: Links, numbers: tuple[int, ...], block: int) -> tuple[int, ...]:
    """Return the cards with those next to each other that share layers: each block as well joined as can be.

    vLLM's ranks of tensor parallel are consecutive. Blocks of one leave the order of the bus.
    """
    speed = {frozenset((path.a.number, path.b.number)): path.gbs for path in links.among(numbers)}
    left, ordered = sorted(numbers), list[int]()
    while left:
        group = ordered[len(ordered) // block * block :]
        best = max(left, key=lambda number: (sum(speed[frozenset((number, other))] for other in group), -number))
        ordered.append(best)
        left.remove(best)
    return tuple(ordered)


def environment(links: Links, use: Use, proven: Proven) -> dict[str, str]:
    """Return the variables that make NCCL and the engine take only the ways that may be taken."""
    used = links.among(use.gpus) if len(use.gpus) > 1 else links.paths
    found = _common(used, proven)
    numbers = tuple(card.number for card in links.cards)
    order = order_of(links, use.gpus, use.tensor)
    if use.engine == VLLM and order and order != numbers:
        found["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, order))
    direct = bool(used) and all(path.ends in proven.good and proven.allows(path) for path in used)
    if use.engine == LLAMA_CPP and direct:
        found["GGML_CUDA_P2P"] = "1"
    return found


def proof_environment(links: Links) -> dict[str, str]:
    """Return the variables that NCCL is proved with: those of a host on which all that is granted is right."""
    return _common(links.paths, Proven.of_grants(links.paths))


def custom_all_reduce(links: Links, use: Use, proven: Proven) -> bool:
    """Whether vLLM may sum over ranks by its own kernels, which write into each other's memory."""
    if use.engine != VLLM or use.tensor not in _CUSTOM_WORLDS:
        return False
    groups = _blocks(order_of(links, use.gpus, use.tensor), use.tensor)
    paths = [path for group in groups for path in links.among(group)]
    meshed = all(path.kind in (NVLINK, SWITCH) for path in paths)
    return bool(paths) and all(proven.allows(path) for path in paths) and (meshed or use.tensor == 2)


def _common(paths: tuple[Path, ...], proven: Proven) -> dict[str, str]:
    found = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    if paths:
        # The ranks are all on this host: their sockets need not listen on its networks.
        found["NCCL_SOCKET_IFNAME"] = "=lo"
        found.update(_nccl_peers(paths, proven))
    return found


def _nccl_peers(paths: tuple[Path, ...], proven: Proven) -> dict[str, str]:
    """Return how far NCCL may make direct transfers: to the last level up to which every pair may."""
    allowed: str | None = None
    for level in _LEVELS:
        at = [path for path in paths if _nccl_level(path) == level]
        if not all(proven.allows(path) for path in at):
            break
        allowed = level if at else allowed
    else:
        if all(_nccl_level(path) == _LEVELS[0] for path in paths):
            return {}  # NVLinks between all: NCCL knows best
    return {"NCCL_P2P_LEVEL": allowed} if allowed else {"NCCL_P2P_DISABLE": "1"}


def _nccl_level(path: Path) -> str:
    return _LEVELS[0] if path.nvlinks else _NCCL_LEVEL.get(path.level, _LEVELS[-1])


def _is_fast(path: Path) -> bool:
    """Whether tensor parallel may use that way; one that nobody measures is believed to be usual."""
    return not path.gbs or path.gbs >= LEAST_TENSOR_GBS


def _blocks(order: tuple[int, ...], size: int) -> Iterable[tuple[int, ...]]:
    return (order[first : first + size] for first in range(0, len(order), size))
