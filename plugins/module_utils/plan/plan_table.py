"""The plan as an aligned table for people: GiB, words, and every finding with its remedy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ansible_collections.llmhost.core.plugins.module_utils import record
from ansible_collections.llmhost.core.plugins.module_utils.finding import LEVELS
from ansible_collections.llmhost.core.plugins.module_utils.plan.cuda_table import cuda_rows
from ansible_collections.llmhost.core.plugins.module_utils.plan.disk_table import disk_lines
from ansible_collections.llmhost.core.plugins.module_utils.plan.driver_table import driver_rows
from ansible_collections.llmhost.core.plugins.module_utils.plan.hanging import WIDTH, hang
from ansible_collections.llmhost.core.plugins.module_utils.plan.links_table import link_rows
from ansible_collections.llmhost.core.plugins.module_utils.record import Record
from ansible_collections.llmhost.core.plugins.module_utils.size import format_gib

_VERDICTS = {
    "fits": "fits",
    "fits_with_offload": "fits with layers in RAM",
    "does_not_fit": "does not fit",
    "unknown": "not computed: the model was not looked at",
}

_ENGINES = {"llama_cpp": "llama.cpp", "vllm": "vLLM"}
_LOADING = {
    "mmap": "files are mapped",
    "none": "files are read, not mapped",
    "dio": "files are read around the page cache",
    "safetensors": "files are mapped one by one",
}
# Title of a column, and what is summed up in it.
_COLUMNS = (
    ("weights", ("weights_bytes",)),
    ("kv cache", ("kv_cache_bytes",)),
    ("state", ("recurrent_bytes",)),
    ("compute", ("compute_bytes", "output_bytes")),
    ("other", ("overhead_bytes",)),
    ("needed", ("need_bytes",)),
    ("usable", ("usable_bytes",)),
)
_CELL = 11

Row = tuple[str, str]


def plan_table(plan: Record, host: Record | None = None, what_if: bool = False) -> str:
    """Return the plan as text; with the host's facts, a section says what the host is.

    ``what_if``: the host need not exist, so what the roles would do there is left out.
    """
    above: list[tuple[str, list[Row]]] = [
        ("plan", list(_overview(plan))),
        ("host", list(_host(host or {}))),
    ]
    below: list[tuple[str, list[Row]]] = [
        ("gpus", [*driver_rows(record.section(plan, "driver")), *cuda_rows(record.section(plan, "cuda"))]),
        ("model", list(_model(record.section(plan, "model")))),
        ("serving", list(_serving(plan))),
        ("memory", list(_memory(plan))),
        ("links", list(link_rows(record.section(plan, "multi_gpu")))),
        ("instead", list(_alternatives(plan))),
        ("storage", list(_storage(record.section(plan, "storage")))),
        ("swap", list(_swap(plan))),
        ("runtime", list(_runtime(record.section(plan, "runtime")))),
        ("steps", [] if what_if else list(_steps(record.section(plan, "steps")))),
    ]
    rows = [row for _, section in (*above, *below) for row in section]
    width = max((len(label) for label, _ in rows), default=0)
    lines = [*_lines(above, width), *disk_lines(plan, "disks"), *_lines(below, width), *_findings(plan)]
    return "\n".join(lines)


def summary(plan: Record, what_if: bool = False) -> str:
    """Return one sentence: what keeps the plan from being carried out, or that nothing does."""
    if what_if:
        return "This is a what-if: no host was looked at, and nothing is changed."
    count = sum(record.text(finding, "level") == "error" for finding in record.sections(plan, "findings"))
    if count == 1:
        return "1 error: nothing on this host is changed until it is gone."
    if count:
        return f"{count} errors: nothing on this host is changed until they are gone."
    return "No errors: this plan can be carried out."


def _lines(sections: list[tuple[str, list[Row]]], width: int) -> Iterator[str]:
    for title, section in sections:
        for first, row in _with_first(section):
            yield _line(title if first else "", row, width)


def _with_first(rows: list[Row]) -> Iterator[tuple[bool, Row]]:
    return ((number == 0, row) for number, row in enumerate(rows))


def _line(title: str, row: Row, width: int) -> str:
    head = f"{title:<8}  {row[0]:<{width}}  "
    if len(head) + len(row[1]) <= WIDTH:
        return (head + row[1]).rstrip()
    return "\n".join(hang(head, row[1])).rstrip()


def _overview(plan: Record) -> Iterator[Row]:
    yield "tier", record.text(plan, "tier")
    verdict = record.text(plan, "verdict")
    yield "verdict", _VERDICTS.get(verdict, verdict)
    yield "accelerator", record.text(plan, "accelerator")


def _host(host: Record) -> Iterator[Row]:
    if not host:
        return
    memory, cpu = record.section(host, "memory"), record.section(host, "cpu")
    kernel = record.section(host, "kernel")
    release = f"kernel {record.text(kernel, 'release', 'unknown')} {record.text(kernel, 'architecture')}"
    yield "system", f"{record.text(record.section(host, 'distribution'), 'name', 'unknown')}, {release}"
    container = record.text(record.section(host, "virtualization"), "container", "none")
    if container != "none":
        yield "container", container
    yield "cpu", f"{record.text(cpu, 'name', 'unknown')}, {record.integer(cpu, 'physical_cores', 1)} cores"
    ram = format_gib(record.integer(memory, "total_bytes"))
    limit = record.optional_integer(memory, "cgroup_limit_bytes")
    yield "ram", ram if limit is None else f"{ram}, limited to {format_gib(limit)}"
    gpus = [_gpu(gpu) for gpu in record.sections(host, "gpus")]
    yield "gpus", ", ".join(gpus) if gpus else "none"


def _gpu(gpu: Record) -> str:
    vram = record.optional_integer(gpu, "vram_bytes")
    return f"{record.text(gpu, 'name', 'NVIDIA GPU')} ({format_gib(vram) if vram else 'VRAM unknown'})"


def _model(model: Record) -> Iterator[Row]:
    if not model:
        return
    yield "name", record.text(record.section(model, "request"), "model")
    yield "revision", record.text(model, "commit")
    kind = " ".join(record.text(model, key) for key in ("format", "quantization"))
    parameters = f"{record.integer(model, 'parameters') / 1e9:.2f} billion parameters"
    yield "format", f"{kind}, {record.text(model, 'architecture')}, {parameters}"
    files = len(record.sections(model, "files"))
    yield "files", f"{files} file{'s' if files != 1 else ''}, {format_gib(record.integer(model, 'total_bytes'))}"
    yield "license", record.text(model, "license", "not stated")


def _memory(plan: Record) -> Iterator[Row]:
    memory = record.section(plan, "memory")
    if not memory:
        return
    columns = [column for column in _COLUMNS if column[0] != "state" or record.integer(memory, "recurrent_bytes")]
    yield "device", "".join(f"{title:>{_CELL}}" for title, _ in columns)
    for device in record.sections(memory, "devices"):
        cells = (format_gib(_sum(device, keys)) for _, keys in columns)
        yield _device(record.text(device, "name")), "".join(f"{cell:>{_CELL}}" for cell in cells)


def _sum(device: Record, keys: tuple[str, ...]) -> int:
    """Return the sum of a column; what the kernel may drop is not shown as weights, since it is not needed."""
    droppable = record.integer(device, "droppable_bytes") if "weights_bytes" in keys else 0
    return sum(record.integer(device, key) for key in keys) - droppable


def _device(name: str) -> str:
    return "RAM" if name == "host" else name


def _serving(plan: Record) -> Iterator[Row]:
    """How it is served: the settings that decide about memory and speed, and how far they could go."""
    placement = record.section(plan, "placement")
    if not placement:
        return
    context, parallel = record.integer(plan, "context"), record.integer(plan, "parallel", 1)
    largest = record.section(plan, "largest")
    yield "engine", _ENGINES.get(record.text(plan, "engine"), record.text(plan, "engine"))
    yield "layers", _layers(placement)
    at_once = f"{_requests(parallel)} at once"
    most = f"; at most {record.integer(largest, 'context')} tokens, or {_requests(record.integer(largest, 'parallel'))}"
    fits = record.integer(largest, "context")
    yield "context", f"{context} tokens for each of {at_once}{most if fits else ''}"
    yield "kv cache", f"{record.text(placement, 'kv_cache_type')} cells"
    if record.text(plan, "verdict") != "does_not_fit":
        yield "speed", _speed(record.section(plan, "speed"))
    loading = record.section(plan, "host_memory")
    peak, usable = record.integer(loading, "peak_bytes"), record.integer(loading, "usable_bytes")
    yield (
        "loading",
        f"{_LOADING.get(record.text(loading, 'load_path'), '')}; RAM {format_gib(peak)} of {format_gib(usable)}",
    )
    if record.integer(loading, "shm_bytes"):
        yield "/dev/shm", f"{format_gib(record.integer(loading, 'shm_bytes'))} for the ranks to talk to each other"


def _requests(count: int) -> str:
    return f"{count} request{'s' if count != 1 else ''}"


def _layers(placement: Record) -> str:
    gpus = [f"GPU{number}" for number in placement.get("gpus", []) if isinstance(number, int)]
    layers = record.integer(placement, "layers")
    if not gpus:
        return f"all {layers} in RAM"
    on_gpus = record.optional_integer(placement, "gpu_layers")
    experts = record.integer(placement, "cpu_expert_layers")
    split = [str(places) for places in placement.get("split", [])]
    ranks = record.integer(placement, "tensor_parallel", 1), record.integer(placement, "pipeline_parallel", 1)
    parts = [
        f"all {layers} on {', '.join(gpus)}" if on_gpus is None else f"{on_gpus} of {layers + 1} on {', '.join(gpus)}"
    ]
    if split:
        parts.append(f"{' + '.join(split)} with the output")
    if ranks != (1, 1):
        parts.append(f"tensor parallel {ranks[0]}, pipeline parallel {ranks[1]}")
    if experts:
        parts.append(f"experts of {min(experts, layers)} layers in RAM")
    if record.integer(placement, "cpu_offload_bytes"):
        parts.append(f"{format_gib(record.integer(placement, 'cpu_offload_bytes'))} of each GPU's weights in RAM")
    return "; ".join(parts)


def _speed(speed: Record) -> str:
    if not speed:
        return "not known: the bandwidth of a memory is not, or a CPU holds the model in its cache"
    return f"{tokens_per_second(speed)} expected; {record.text(speed, 'text')}"


def tokens_per_second(speed: Record) -> str:
    """Return the range of a speed in words."""
    low, high = (_figure(speed.get(key)) for key in ("low", "high"))
    return f"{low} to {high} tokens/s" if low != high else f"{low} tokens/s"


def _figure(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return "?"
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}"


def _alternatives(plan: Record) -> Iterator[Row]:
    for number, way in enumerate(record.sections(plan, "alternatives"), 1):
        speed = record.section(way, "speed")
        devices = ", ".join(
            f"{_device(record.text(device, 'name'))} {format_gib(record.integer(device, 'need_bytes'))} of "
            f"{format_gib(record.integer(device, 'usable_bytes'))}"
            for device in record.sections(way, "devices")
        )
        fast = f", {tokens_per_second(speed)}" if speed else ""
        verdict = _VERDICTS.get(record.text(way, "verdict"), "")
        text = f"{record.text(way, 'text')}: {verdict}, context {record.integer(way, 'context')}{fast}; {devices}"
        yield str(number), text


def _storage(storage: Record) -> Iterator[Row]:
    if not storage:
        return
    yield "path", record.text(storage, "path")
    if record.text(storage, "kind") == "disk":
        for disk in record.sections(storage, "devices"):
            yield "disk", record.text(disk, "device")
        if record.section(storage, "raid"):
            yield "together", "a RAID 0 of these disks"
        yield "filesystem", f"{record.text(storage, 'filesystem')}, made if the disk is blank"
    yield "needed", format_gib(record.integer(storage, "need_bytes"))


def _swap(plan: Record) -> Iterator[Row]:
    swap = record.section(plan, "swap")
    if not swap:
        return
    size = record.integer(swap, "size_bytes")
    yield "size", f"{format_gib(size)} in {record.text(swap, 'path')}" if size else "none"
    if (overcommit := record.optional_integer(swap, "overcommit_memory")) is not None:
        yield "kernel", f"vm.overcommit_memory {overcommit}, to load files larger than RAM and swap"


def _runtime(runtime: Record) -> Iterator[Row]:
    if not runtime:
        return
    version = record.text(runtime, "version")
    cmake = record.section(runtime, "cmake")
    if cmake:
        yield "build", f"llama-cpp-python {version}, {record.text(runtime, 'archive')}"
        features = [key[5:] for key, value in sorted(cmake.items()) if value == "ON" and key.startswith("GGML_")]
        yield "built for", ", ".join(features) or "any x86_64"
    else:
        yield "version", version
    yield "api", f"http://{_host_in_url(record.text(runtime, 'host'))}:{record.integer(runtime, 'port')}/v1"
    yield "served as", record.text(runtime, "served_name")
    yield "threads", str(record.integer(runtime, "threads", 1))


def _host_in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _steps(steps: Mapping[str, Any]) -> Iterator[Row]:
    for name in steps:
        step = record.section(steps, name)
        reason = record.text(step, "reason")
        yield name, record.text(step, "action") + (f": {reason}" if reason else "")


def _findings(plan: Record) -> Iterator[str]:
    found = record.sections(plan, "findings")
    for level in LEVELS:
        for finding in (entry for entry in found if record.text(entry, "level") == level):
            said = f"[{record.text(finding, 'code')}] {record.text(finding, 'message')}"
            yield from hang(f"{level.upper():<8}  ", said)
            if record.text(finding, "remedy"):
                yield from hang(" " * 10 + "→ ", record.text(finding, "remedy"))
