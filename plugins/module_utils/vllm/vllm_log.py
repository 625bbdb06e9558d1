"""Read what vLLM allocated from its start-up log, of releases 0.6 to 0.33.

Forms by vLLM's sources: vllm/worker/worker.py and vllm/executor (0.6 to 0.10), vllm/v1/worker/gpu_worker.py,
gpu_model_runner.py, vllm/v1/core/kv_cache_utils.py and vllm/utils/mem_utils.py (0.8 on). Where a log says GB it means
GiB. What a release does not log stays None.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields, replace
from typing import Any

from ansible_collections.llmhost.core.plugins.module_utils.sizing.allocation import HOST, Allocation, DeviceBytes
from ansible_collections.llmhost.core.plugins.module_utils.sizing.log_text import lines, size_bytes

_NUMBER = r"(-?\d{1,9}(?:\.\d{1,6})?)"
_GIB = _NUMBER + r" ?Gi?B"

# Figures of one rank in bytes, and the lines that give them; a later line replaces an earlier one.
_RANK = {
    "total_bytes": (
        rf"total_gpu_memory(?: \(|=|\s+){_GIB}",
        rf"/{_NUMBER} GiB\) on startup",
        rf"worker init memory snapshot: .{{0,120}}total_memory={_GIB}",
    ),
    "requested_bytes": (
        rf"gpu_memory_utilization \([\d.]+\) = {_GIB}",
        rf"the current vLLM instance can use\s+{_GIB}",
        rf"worker requested memory: {_GIB}",
        rf"[dD]esired GPU memory utilization (?:is )?\([\d.]+, {_GIB}\)",
    ),
    "weights_bytes": (
        rf"(?:Model loading|Loading model weights) took {_GIB}",
        rf"model weights take\s+{_GIB}",
        rf"; weights memory: {_GIB}",
        rf"Actual usage is {_GIB} for weight",
    ),
    "non_torch_bytes": (
        rf"(?<!, )non_torch_memory(?: takes |=|\s+){_GIB}",
        rf"non-torch forward increase memory: {_GIB}",
        rf"for peak activation, {_GIB} for non-torch memory",
    ),
    "consumed_bytes": (
        rf"total consumed \(from mem_get_info\): {_GIB}",
        rf"Actual usage is {_GIB} for consumed memory",
    ),
    "activation_bytes": (
        rf"PyTorch activation peak memory(?: takes |\s+){_GIB}",
        rf"torch peak memory increase: {_GIB}",
        rf"(?:for weight|\(weights \+ non-torch\)), {_GIB} for peak activation",
    ),
    "cuda_graph_estimate_bytes": (
        rf"Estimated CUDA graph memory: {_GIB} total",
        rf"GiB \(actual\), {_GIB} \(estimated\)",
    ),
    "cuda_graph_bytes": (
        rf"Graph capturing finished in \d+ secs, took {_GIB}",
        rf"CUDA graph pool memory: {_GIB} \(actual\)",
    ),
    "kv_cache_bytes": (
        rf"reserved for KV Cache is {_GIB}",
        rf"kv_cache_size={_GIB}",
        rf"available_kv_cache_memory\s+{_GIB}",
        rf"Available KV cache memory: {_GIB}",
    ),
}
_RANK_PATTERNS = [(name, re.compile(pattern)) for name, patterns in _RANK.items() for pattern in patterns]
_PEAK = re.compile(rf"peak_torch_memory={_GIB}")  # 0.6.0 to 0.6.4: the weights among it
_IN_USE = re.compile(r"Current kv cache memory in use is (?:int\()?(\d{1,15})")
_UTILIZATION = re.compile(
    r"gpu_memory_utilization(?: \(|=|\s+)(\d(?:\.\d{1,6})?)|memory utilization (?:is )?\((\d\.\d{1,6}),"
)
_TOKENS = re.compile(r"GPU KV cache size: ([\d,]{1,19}) tokens")
_BLOCKS = re.compile(r"# (?:GPU|CUDA) blocks: (\d{1,12})")
_CONCURRENCY = re.compile(r"Maximum concurrency for ([\d,]{1,19}) tokens per request: (\d{1,9}(?:\.\d{1,6})?)x")
_WORKER = re.compile(r"\((?:Vllm)?\w{0,40} ?(?:rank=\d{1,6} )?pid=(\d{1,9})(?:, ip=[\d.]+)?\)")
_WORKER_RANK = re.compile(r"\[rank(\d{1,6})\]:")
_CONTROLLERS = re.compile(r"\((?:APIServer|ApiServer)\w* pid=")

_FAILURES: dict[str, tuple[re.Pattern[str], tuple[str, ...]]] = {
    "no_room_for_context": (
        re.compile(
            rf"max seq len \((\d{{1,12}})\), \(?{_GIB} KV cache is needed, which is larger than the available KV cache "
            rf"memory \({_GIB}\)"
        ),
        ("max_model_len", "needed_bytes", "available_bytes"),
    ),
    "context_over_cache": (
        re.compile(
            r"max seq len \((\d{1,12})\) is larger than the maximum number of tokens .{0,40}KV cache \((\d{1,12})\)"
        ),
        ("max_model_len", "estimated_max_len"),
    ),
    "no_room_for_cache": (re.compile(r"No available memory for the cache blocks"), ()),
    "gpu_in_use": (re.compile(r"Free memory on device .{0,80}is less than "), ()),
    "out_of_memory": (re.compile(r"(?:CUDA|HIP) out of memory|OutOfMemoryError"), ()),
}
_ESTIMATED = re.compile(r"estimated maximum model length is (\d{1,12})")
_WORDS: tuple[str, ...] = (
    *("GiB", "GB", "GPU blocks", "CUDA blocks", "tokens", "max seq len", "cache blocks", "out of memory"),
    *("OutOfMemory", "kv cache memory in use", "gpu_memory_utilization"),
)


@dataclass(frozen=True)
class Rank:
    """One worker, by the number of its process or rank as the log has it; nameless where there is but one process."""

    name: str = ""
    total_bytes: int | None = None
    requested_bytes: int | None = None
    weights_bytes: int | None = None
    non_torch_bytes: int | None = None
    consumed_bytes: int | None = None
    activation_bytes: int | None = None
    cuda_graph_estimate_bytes: int | None = None
    cuda_graph_bytes: int | None = None
    kv_cache_bytes: int | None = None

    @property
    def used_bytes(self) -> int:
        """All that the engine holds; graphs are taken beside what was requested."""
        parts = (self.weights_bytes, self.non_torch_bytes, self.activation_bytes, self.kv_cache_bytes)
        return sum(part or 0 for part in (*parts, self.cuda_graph_bytes))


@dataclass(frozen=True)
class Failure:
    """Why it did not start, with the figures that the message gives."""

    kind: str  # a key of the table above
    max_model_len: int | None = None
    needed_bytes: int | None = None
    available_bytes: int | None = None
    estimated_max_len: int | None = None


@dataclass(frozen=True)
class VllmLog:
    """What one start allocated: the ranks in the order of their processes, and what the engine makes of them."""

    ranks: tuple[Rank, ...] = ()
    utilization: float | None = None
    kv_tokens: int | None = None
    gpu_blocks: int | None = None
    max_model_len: int | None = None
    max_concurrency: float | None = None
    failure: Failure | None = None

    @property
    def found(self) -> bool:
        """Whether the log says anything at all about memory."""
        return bool(self.ranks or self.kv_tokens or self.gpu_blocks or self.failure)


@dataclass
class _Reading:
    ranks: dict[str, dict[str, int]] = field(default_factory=dict)
    log: VllmLog = VllmLog()


def parse_vllm_log(text: str) -> VllmLog:
    """Read a log. Never raises: what is not understood is left out."""
    reading = _Reading()
    for line in lines(text, _WORDS):
        _read_rank(reading, line)
        _read_engine(reading, line)
    # Workers are started in the order of their ranks, whichever speaks first.
    names = sorted(reading.ranks, key=lambda name: int(name or 0))
    named = [Rank(name, **reading.ranks[name]) for name in names]
    return replace(reading.log, ranks=tuple(named))


def _read_rank(reading: _Reading, line: str) -> None:
    if _CONTROLLERS.search(line):
        return
    worker = _WORKER.search(line) or _WORKER_RANK.search(line)
    name = worker[1] if worker else ""
    for part, pattern in _RANK_PATTERNS:
        if found := pattern.search(line):
            reading.ranks.setdefault(name, {})[part] = size_bytes(found[1], "G")
    rank = reading.ranks.get(name, {})
    if found := _PEAK.search(line):
        reading.ranks.setdefault(name, {})["activation_bytes"] = max(
            0, size_bytes(found[1], "G") - rank.get("weights_bytes", 0)
        )
    if found := _IN_USE.search(line):
        reading.ranks.setdefault(name, {})["kv_cache_bytes"] = int(found[1])


def _read_engine(reading: _Reading, line: str) -> None:
    changes: dict[str, Any] = {}
    if found := _UTILIZATION.search(line):
        changes["utilization"] = float(found[1] or found[2])
    if found := _TOKENS.search(line):
        changes["kv_tokens"] = _integer(found[1])
    if found := _BLOCKS.search(line):
        changes["gpu_blocks"] = int(found[1])
    if found := _CONCURRENCY.search(line):
        changes |= {"max_model_len": _integer(found[1]), "max_concurrency": float(found[2])}
    if failure := _failure(line, reading.log.failure):
        changes["failure"] = failure
    if changes:
        reading.log = replace(reading.log, **changes)


def _failure(line: str, before: Failure | None) -> Failure | None:
    """Return what the line says of a failure; the first message with figures is the cause, others follow from it."""
    if before and before.max_model_len:
        return before
    for kind, (pattern, names) in _FAILURES.items():
        if found := pattern.search(line):
            values = {
                name: size_bytes(value, "G") if name.endswith("_bytes") else int(value)
                for name, value in zip(names, found.groups(), strict=True)
            }
            if estimate := _ESTIMATED.search(line):
                values["estimated_max_len"] = int(estimate[1])
            return Failure(kind, **values)
    return before


def _integer(text: str) -> int:
    return int(text.replace(",", "") or 0)


FIGURES = tuple(entry.name for entry in fields(Rank) if entry.name != "name")
"""The figures of a rank."""


def allocation(log: VllmLog) -> Allocation:
    """Return the ranks as devices: the activation peak as compute; what no device of a plan counts as overhead."""
    gpus = tuple(
        DeviceBytes(
            f"GPU{number}",
            weights_bytes=rank.weights_bytes or 0,
            kv_cache_bytes=rank.kv_cache_bytes or 0,
            compute_bytes=rank.activation_bytes or 0,
            overhead_bytes=(rank.non_torch_bytes or 0) + (rank.cuda_graph_bytes or 0),
        )
        for number, rank in enumerate(log.ranks)
    )
    return Allocation(gpus, DeviceBytes(HOST))
