"""Read what llama.cpp allocated from its log, of every build since 2023, and of programs that carry it (ollama, ik).

Forms by the sources of llama.cpp as shipped in llama-cpp-python 0.2.19 (November 2023), 0.2.65, 0.2.77, 0.2.90, 0.3.4,
0.3.8, 0.3.9, 0.3.14, 0.3.16 and 0.3.36: src/llama-model.cpp (model buffers), llama-kv-cache*.cpp and
llama-memory-recurrent.cpp (caches), llama-context.cpp (output and compute buffers), tools/mtmd/clip.cpp (projectors),
common/fit.cpp (the table at exit and ``llama-fit-params``); ollama's by its fs/ggml and llm/server.go of 2025.
A figure is as exact as the log: two decimals of a MiB, whole MiB in tables, one decimal in ollama's own lines.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field

from ansible_collections.llmhost.core.plugins.module_utils.sizing.allocation import HOST, Allocation, DeviceBytes
from ansible_collections.llmhost.core.plugins.module_utils.sizing.log_text import WINDOW, lines, size_bytes, sizes

WEIGHTS, KV_CACHE, RECURRENT = "weights_bytes", "kv_cache_bytes", "recurrent_bytes"
COMPUTE, OUTPUT = "compute_bytes", "output_bytes"
FULL, SLIDING, RECURRENT_CACHE = "full", "sliding", "recurrent"

# The process begins, or loads its model anew: what came before is gone.
_START = re.compile(
    r"llama_server: initializing|load_model: loading model '|\bbuild: \d+ \(|main: build = |starting \S*runner|"
    r"llama_fit_params: printing"
)
# A context begins; one that fails leaves nothing.
_CONTEXT = re.compile(r"constructing llama_context|\w: n_ctx +=")
_NO_CONTEXT = re.compile(r"failed to (?:initialize the context|create context)")
_FAILURE = re.compile(r"cudaMalloc failed|failed to allocate|unable to allocate|out of memory|ErrorOutOfDeviceMemory")
_DEBUG = re.compile(r"^\S* ?\d+\.\d\d\.\d{3}\.\d{3} D ")  # what --fit tries out, and allocates nothing for
_DEVICE = re.compile(r": using device (\S+) \(([^)]{0,80})\)")
_BUFFER = re.compile(
    r"([\w~]+): +(\S+) +(model |KV |RS |compute |output |input |LoRA |DSV4 \w+ state )? ?buffer size *= *"
    r"(-?[\d.]{1,16}) ([KMG]i?B)"
)
_REGROWN = re.compile(r"(\S+) +compute buffer size of +([\d.]{1,16}) MiB, does not match")
_REOUTPUT = re.compile(r"reallocating output buffer from size [\d.]{1,16} MiB to ([\d.]{1,16}) MiB")
_CREATES = re.compile(r"creating +(non-SWA|SWA) KV cache")
_CACHE = re.compile(r": size = +([\d.]{1,16}) MiB \( *(\d{1,12}) cells, *(\d{1,6}) layers")
_CLIP = re.compile(r"CLIP using (\S+) backend|: model size: +([\d.]{1,16}) MiB")
# 2023: one figure for all GPUs.
_OLD = {
    re.compile(r"llm_load_tensors: (?:mem required|system memory used) *= *([\d.]{1,16}) M"): (HOST, WEIGHTS),
    re.compile(r"llm_load_tensors: VRAM used *[:=] *([\d.]{1,16}) M"): ("VRAM", WEIGHTS),
    re.compile(r"VRAM kv self *= *([\d.]{1,16}) M"): ("VRAM", KV_CACHE),
    re.compile(r"VRAM scratch buffer *[:=] *([\d.]{1,16}) M"): ("VRAM", COMPUTE),
    re.compile(r"compute buffer total size *= *([\d.]{1,16}) M"): (HOST, COMPUTE),
}
# 2023 on a Mac: the buffers that the GPU sees are those of the host.
_METAL = re.compile(r"allocated '(data|kv|alloc) *' buffer, size = *([\d.]{1,16}) MiB")
_METAL_PARTS = {"data": WEIGHTS, "kv": KV_CACHE, "alloc": COMPUTE}
_OLD_CACHE = re.compile(r"(?:kv|KV) self size *= *([\d.]{1,16}) M")
_OLD_TOTAL = re.compile(r"total VRAM used: *[\d.]{1,16} Mi?B \(model: *([\d.]{1,16}) Mi?B, context: *([\d.]{1,16}) MB?")
# ollama says for itself what it gave to each device.
_OLLAMA = re.compile(
    r'msg="(model weights|kv cache|compute graph)" (?:device|buffer|backend)=(\S+) .{0,80}?size="([^"]+)'
)
_OLLAMA_PARTS = {"model weights": WEIGHTS, "kv cache": KV_CACHE, "compute graph": COMPUTE}
# Tables: what llama-fit-params prints, and what a program prints when it ends.
_FIT = re.compile(r"^([A-Za-z]\S*) (\d{1,9}) (\d{1,9}) (\d{1,9})$")
_BREAKDOWN = re.compile(
    r"\| +- (\S+)[^|]{0,120}\| *\d+ += +(?:-?\d+ \+ \( *-?\d+ = +)?(-?\d{1,9}) \+ +(-?\d{1,9}) \+ +(-?\d{1,9})"
)
_WORDS: tuple[str, ...] = (
    *("buffer", "KV", "kv", "cells,", "n_ctx", "device", "loading model", "build", "memory", "context", "model size"),
    *("CLIP using", "runner", "mem required", "VRAM", "compute graph", "model weights", "initializing", "| "),
    *("llama_fit_params", "cudaMalloc", "OutOfDeviceMemory"),
)


@dataclass(frozen=True)
class Cache:
    """One cache as the log counts it, over all devices."""

    kind: str  # full, sliding or recurrent
    cells: int
    layers: int
    size_bytes: int


@dataclass(frozen=True)
class LlamaLog:
    """What one load allocated. ``names`` are the GPUs as the log calls them, in the order of the allocation's."""

    allocation: Allocation
    names: tuple[str, ...] = ()
    caches: tuple[Cache, ...] = ()
    failures: tuple[str, ...] = ()

    @property
    def found(self) -> bool:
        """Whether the log says anything at all about memory."""
        return any(device.logged_bytes for device in self.allocation.devices)


@dataclass
class _Context:
    """The buffers of one context; a compute buffer that is reserved anew replaces the one before it."""

    summed: dict[tuple[str, str], int] = field(default_factory=lambda: defaultdict(int))
    latest: dict[tuple[str, str, str], int] = field(default_factory=dict)
    caches: list[Cache] = field(default_factory=list)


@dataclass
class _Load:
    """What has been read since the last start."""

    declared: list[str] = field(default_factory=list)
    model: dict[tuple[str, str], int] = field(default_factory=lambda: defaultdict(int))
    contexts: list[_Context] = field(default_factory=lambda: [_Context()])
    table: dict[tuple[str, str], int] = field(default_factory=dict)
    said: dict[tuple[str, str], int] = field(default_factory=dict)
    metal: dict[tuple[str, str], int] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    sliding: bool = False
    old_cache: int = 0
    clip: str = HOST


def parse_llama_log(text: str) -> LlamaLog:
    """Read a log; of several loads after one another, the last. Never raises: what is not understood is left out."""
    load = _Load()
    for line in lines(text.replace("\r", "\n"), _WORDS):
        if _START.search(line):
            load = _Load()
        if not _DEBUG.match(line):
            _read(load, line)
    return _result(load)


def _read(load: _Load, line: str) -> None:
    if _FAILURE.search(line):
        load.failures.append(line.strip())
    if _NO_CONTEXT.search(line):
        load.contexts[-1], load.old_cache = _Context(), 0
    elif _CONTEXT.search(line) and (load.contexts[-1].summed or load.contexts[-1].latest):
        load.contexts.append(_Context())
    for buffer in _BUFFER.finditer(line):
        _buffer(load, *buffer.groups())
    if found := _CREATES.search(line):
        load.sliding = found[1] == "SWA"
    if found := _CACHE.search(line):
        kind = RECURRENT_CACHE if "recurrent" in line else SLIDING if load.sliding else FULL
        load.contexts[-1].caches.append(Cache(kind, int(found[2]), int(found[3]), _mib(found[1])))
    if found := _DEVICE.search(line):
        load.declared.append(found[2] if found[1].startswith("RPC") else device_name(found[1]))
    _read_rest(load, line)


def _buffer(load: _Load, function: str, buffer: str, what: str | None, number: str, unit: str) -> None:
    try:
        size = size_bytes(number, unit)
    except ValueError:  # more than one full stop
        return
    device, kind = device_name(buffer), (what or "model ").split()[0]
    context = load.contexts[-1]
    if kind in ("model", "LoRA"):
        load.model[device, WEIGHTS] += size
    elif kind in ("compute", "input", "output"):
        context.latest[device, OUTPUT if kind == "output" else COMPUTE, function + kind] = size
    else:
        context.summed[device, KV_CACHE if kind == "KV" else RECURRENT] += size


def _read_rest(load: _Load, line: str) -> None:
    """Read the rarer forms."""
    context = load.contexts[-1]
    for pattern, (device, part) in _OLD.items():
        if found := pattern.search(line):
            load.model[device, part] = _mib(found[1])
    if found := _OLD_TOTAL.search(line):
        load.model.setdefault(("VRAM", WEIGHTS), _mib(found[1]))
        kept = load.model.get(("VRAM", COMPUTE), 0)
        load.model.setdefault(("VRAM", KV_CACHE), max(0, _mib(found[2]) - kept))
    if found := _METAL.search(line):
        load.metal["Metal", _METAL_PARTS[found[1]]] = _mib(found[2])
    if found := _OLD_CACHE.search(line):
        load.old_cache = max(load.old_cache, _mib(found[1]))
    if found := _OLLAMA.search(line):
        key = device_name(found[2]), _OLLAMA_PARTS[found[1]]
        load.said[key] = sum(sizes(found[3])[:1])
    if found := _REGROWN.search(line):
        known = [key for key in context.latest if key[:2] == (device_name(found[1]), COMPUTE)]
        context.latest.update({key: _mib(found[2]) for key in known[-1:]})
    if found := _REOUTPUT.search(line):
        grown = [key for key in context.latest if key[1] == OUTPUT]
        context.latest.update({key: _mib(found[1]) for key in grown})
    if found := _CLIP.search(line):
        if found[1]:
            load.clip = device_name(found[1])
        else:
            load.model[load.clip, WEIGHTS] += _mib(found[2])
    if found := _BREAKDOWN.search(line):
        _table_row(load, found)


def parse_fit_params(text: str) -> LlamaLog:
    """Read the table of ``llama-fit-params --fit-print on``: device, model, context and compute in whole MiB.

    It reserves room for the logits of a whole batch, where llama-server does so for one token a sequence: its compute
    buffer may be larger than the server's.
    """
    load = _Load()
    for line in text.split("\n"):
        if len(line) < WINDOW and (found := _FIT.match(line.strip())):
            _table_row(load, found)
    return _result(load)


def _table_row(load: _Load, found: re.Match[str]) -> None:
    for part, number in zip((WEIGHTS, KV_CACHE, COMPUTE), found.groups()[1:], strict=True):
        load.table[device_name(found[1]), part] = max(0, int(number)) << 20


def device_name(buffer: str) -> str:
    """Return the device behind the name of a buffer: ``CPU_Mapped``, ``CUDA_Host`` → host, ``MTL0_Mapped`` → MTL0."""
    name = buffer
    if name.upper().startswith("CPU") or name.endswith("_Host") or name in ("Host", "AMX", "BLAS", "Accelerate"):
        return HOST
    for suffix in ("_Mapped", "_Private"):
        name = name.removesuffix(suffix)
    return name


def _mib(number: str) -> int:
    try:
        return size_bytes(number, "M")
    except ValueError:  # more than one full stop
        return 0


def _result(load: _Load) -> LlamaLog:
    parts: dict[tuple[str, str], int] = defaultdict(int)
    for (device, part), size in load.model.items():
        parts[device, part] += size
    for context in load.contexts:
        for (device, part), size in context.summed.items():
            parts[device, part] += size
        for (device, part, _), size in context.latest.items():
            parts[device, part] += size
    if load.old_cache and not any(context.summed for context in load.contexts):
        parts[HOST, KV_CACHE] = max(0, load.old_cache - parts["VRAM", KV_CACHE])
    parts = defaultdict(int, load.metal or parts)
    doubts = []
    if not any(part != COMPUTE and size for (_, part), size in parts.items()):
        parts = defaultdict(int, load.said or load.table or parts)
        doubts += ["one decimal only"] if load.said else ["whole MiB only"] if load.table else []
    names = _ordered(load.declared, [device for (device, _), size in parts.items() if size])
    doubts += [f"{name} is spread over several GPUs" for name in names if "Split" in name or name.startswith("Meta(")]
    gpus = tuple(_device(f"GPU{number}", name, parts) for number, name in enumerate(names))
    caches = tuple(cache for context in load.contexts for cache in context.caches)
    allocation = Allocation(gpus, _device(HOST, HOST, parts), tuple(doubts))
    return LlamaLog(allocation, tuple(names), caches, tuple(load.failures))


def _device(name: str, known_as: str, parts: dict[tuple[str, str], int]) -> DeviceBytes:
    return DeviceBytes(name, **{part: size for (device, part), size in parts.items() if device == known_as})


def _ordered(declared: list[str], seen: list[str]) -> list[str]:
    """Return the GPUs once each: as the program lists them (a remote one by its address), then others by number."""

    def place(name: str) -> tuple[int, str, int]:
        listed = [at for at, known in enumerate(declared) if known == name or f"[{known}]" in name]
        number = re.search(r"\d{1,6}", name)
        prefix = name[: number.start()] if number and not name.startswith("RPC") else name
        return (listed[0] if listed else len(declared), prefix, int(number[0]) if number else 0)

    local = [name for name in declared if ":" not in name]
    return sorted((name for name in {*local, *seen} if name != HOST), key=place)
