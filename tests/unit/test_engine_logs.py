"""The readers of the engines' logs: real excerpts of every era, and anything else without harm."""

from __future__ import annotations

import string
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.llmhost.core.plugins.module_utils.llama_cpp.llama_log import (
    Cache,
    device_name,
    parse_fit_params,
    parse_llama_log,
)
from ansible_collections.llmhost.core.plugins.module_utils.vllm.vllm_log import (
    FIGURES,
    Failure,
    Rank,
    VllmLog,
    allocation,
    parse_vllm_log,
)
from hypothesis import given, settings
from hypothesis import strategies as st

LOGS = Path(__file__).parents[1] / "fixtures" / "engine_logs"
MIB, GIB = 1 << 20, 1 << 30

# name: per device (weights, KV, recurrent, compute, output) in MiB, the host last.
LLAMA: dict[str, dict[str, tuple[float, ...]]] = {
    "llama-2023-10-total-only": {"VRAM": (10726.55, 10606)},
    "llama-2023-12-cuda": {"VRAM": (3577.55, 256, 0, 70.5), "host": (70.42, 0, 0, 73.69)},
    "llama-2023-12-metal": {"Metal": (3647.98, 256.03, 0, 70.52)},
    "llama-2024-05-four-gpus": {
        "CUDA0": (1130.62, 288, 0, 640.01),
        "CUDA1": (982.66, 256, 0, 640.01),
        "CUDA2": (982.66, 256, 0, 640.01),
        "CUDA3": (1307.55, 224, 0, 640.02),
        "host": (281.81, 0, 0, 72.02, 0.49),
    },
    "llama-2024-05-metal": {"Metal": (4403.5, 1024, 0, 560), "host": (281.81, 0, 0, 24.01, 0.49)},
    "llama-2025-01-rpc": {"RPC[192.168.90.190:50052]": (2700,), "host": (170.54,)},
    "llama-2025-02-cpu-repacked": {"host": (606.53 + 519.75, 88, 0, 280.01, 0.12)},
    "llama-2025-04-vulkan": {"Vulkan0": (0, 19200, 0, 1174), "host": (0, 0, 0, 18.01)},
    "llama-2025-04-vulkan-fails": {},
    "llama-2026-06-tensor-split": {"Meta()": (0, 0, 124.69)},
    "llama-2026-07-colours": {"CUDA0": (0, 182.75), "host": (0, 0, 0, 0, 0.49)},
    "llama-2026-11-hybrid": {"host": (0, 16, 3.28, 19.11, 0.12)},
    "llama-2026-11-rpc": {
        "RPC0[127.0.0.1:17151]": (33.59, 36, 0, 44.09),
        "RPC0[127.0.0.1:17152]": (27.5, 18, 0, 43.77),
        "host": (8.5, 0, 0, 21.03, 0.12),
    },
    "ik-2026-01-journal": {"CUDA0": (0, 0, 0, 292), "CUDA_Split": (0, 14632.83), "host": (0, 0, 0, 0, 0.5)},
    "ollama-2025-07": {"CUDA0": (11.5 * 1024,), "CUDA1": (11.9 * 1024,), "host": (680,)},
    "ollama-2025-08": {"CUDA0": (0, 936, 0, 98), "host": (0, 0, 0, 8)},
}
PARTS = ("weights_bytes", "kv_cache_bytes", "recurrent_bytes", "compute_bytes", "output_bytes")

VLLM: dict[str, VllmLog] = {
    "vllm-0.2-too-small": VllmLog(
        gpu_blocks=229, failure=Failure("context_over_cache", max_model_len=4096, estimated_max_len=3664)
    ),
    "vllm-0.15-too-small": VllmLog(
        failure=Failure("no_room_for_context", 262144, 24 * GIB, round(3.18 * GIB), estimated_max_len=34736)
    ),
    "vllm-0.6.4-form": VllmLog(utilization=0.9, gpu_blocks=27760, max_model_len=8192, max_concurrency=54.22),
    "vllm-0.6.5": VllmLog(utilization=0.9),
    "vllm-0.7": VllmLog(utilization=0.9, gpu_blocks=6001),
    "vllm-0.8-workers": VllmLog(utilization=0.99),
    "vllm-0.8-v1": VllmLog(kv_tokens=158656, max_model_len=32768, max_concurrency=4.84),
    "vllm-0.11-two-ranks": VllmLog(kv_tokens=75840, max_model_len=120000, max_concurrency=2.48),
    "vllm-0.19-debug": VllmLog(),
    "vllm-0.22-graphs": VllmLog(kv_tokens=396928, max_model_len=131072, max_concurrency=3.03),
    "vllm-0.27-workers": VllmLog(),
}
RANKS: dict[str, dict[str, dict[str, float]]] = {
    "vllm-0.6.4-form": {
        "": {"total": 79.1, "weights": 14.9595, "non_torch": 0.79, "activation": 16.18 - 14.9595, "kv_cache": 54.22}
    },
    "vllm-0.6.5": {
        "": {
            "total": 79.22,
            "requested": 71.29,
            "weights": 14.96,
            "non_torch": 1.79,
            "activation": 1.26,
            "kv_cache": 53.29,
        }
    },
    "vllm-0.7": {
        "": {
            "total": 79.22,
            "requested": 71.29,
            "weights": 19.86,
            "non_torch": 0.16,
            "activation": 36.63,
            "kv_cache": 14.65,
        }
    },
    "vllm-0.8-workers": {
        "521": {"weights": 21.21, "non_torch": 0.2, "activation": 0.37, "kv_cache": 1.57},
        "507": {
            "total": 23.58,
            "requested": 23.35,
            "weights": 21.21,
            "non_torch": 0.2,
            "activation": 0.37,
            "kv_cache": 1.57,
        },
    },
    "vllm-0.8-v1": {"": {"weights": 14.9889}},
    "vllm-0.11-two-ranks": {"26347": {"kv_cache": 2.3}},
    "vllm-0.19-debug": {"445": {"total": 79.19, "requested": 75.23}, "444": {"weights": 7.51}},
    "vllm-0.22-graphs": {"": {"cuda_graph": 0.11, "cuda_graph_estimate": 0.14}},
    "vllm-0.27-workers": {"448": {"cuda_graph_estimate": 0.36}, "447": {"cuda_graph_estimate": 0.36, "kv_cache": 6.87}},
}


def read(name: str) -> str:
    return (LOGS / f"{name}.log").read_text(encoding="utf-8")


def test_every_fixture_names_its_source_and_has_its_figures() -> None:
    assert {path.stem for path in LOGS.glob("*.log")} == {*LLAMA, *VLLM}
    assert all(path.read_text(encoding="utf-8").startswith("# ") for path in LOGS.glob("*.log"))


@pytest.mark.parametrize("name", LLAMA)
def test_llama_log_gives_the_bytes_of_each_device(name: str) -> None:
    log = parse_llama_log(read(name))
    devices = zip((*log.names, "host"), log.allocation.devices, strict=True)
    found = {known_as: tuple(getattr(device, part) for part in PARTS) for known_as, device in devices}
    wanted = {
        known_as: tuple(pytest.approx(size * MIB, abs=2) for size in (*sizes, 0, 0, 0, 0, 0)[:5])
        for known_as, sizes in {"host": (), **LLAMA[name]}.items()
    }
    assert found == wanted
    assert [device.name for device in log.allocation.gpus] == [f"GPU{number}" for number in range(len(log.names))]
    assert log.found is (name != "llama-2025-04-vulkan-fails")


def test_llama_log_tells_kinds_of_cache_apart() -> None:
    assert parse_llama_log(read("llama-2026-07-colours")).caches == (
        Cache("full", 64000, 0, 0),
        Cache("sliding", 4352, 43, round(182.75 * MIB)),
    )
    assert [cache.kind for cache in parse_llama_log(read("llama-2026-11-hybrid")).caches] == ["full", "recurrent"]


def test_llama_log_names_the_failure() -> None:
    assert (
        "failed to allocate Vulkan0 buffer of size 2166360064"
        in parse_llama_log(read("llama-2025-04-vulkan-fails")).failures[1]
    )


def test_of_several_starts_the_last_counts() -> None:
    first, last = read("llama-2024-05-four-gpus"), read("llama-2026-11-hybrid")
    assert parse_llama_log(first + last) == parse_llama_log(last)


def test_a_draft_model_adds_to_the_model() -> None:
    text = read("llama-2026-11-hybrid")
    context = text[text.index("0.00.025.645") :]
    both = parse_llama_log(text + context).allocation.host
    assert both.kv_cache_bytes == 32 * MIB
    assert both.compute_bytes == 2 * round(19.11 * MIB)


def test_a_compute_buffer_that_is_reserved_anew_replaces_the_first() -> None:
    text = read("llama-2026-11-hybrid") + "sched_reserve:        CPU compute buffer size =    40.00 MiB\n"
    assert parse_llama_log(text).allocation.host.compute_bytes == 40 * MIB
    grown = "~llama_context:        CPU compute buffer size of  41.5000 MiB, does not match expectation of  40.0000 MiB"
    assert parse_llama_log(f"{text}0.1 W {grown}\n").allocation.host.compute_bytes == round(41.5 * MIB)


def test_what_fit_tries_is_not_allocated() -> None:
    tried = "0.00.024.687 D load_tensors:          CPU model buffer size =  5000.00 MiB\n"
    assert parse_llama_log(tried + read("llama-2026-11-hybrid")).allocation.host.weights_bytes == 0


def test_a_projector_counts_where_it_lies() -> None:
    text = "clip_ctx: CLIP using CUDA0 backend\nload_hparams: model size:         812.50 MiB\n"
    text += "alloc_compute_meta:      CUDA0 compute buffer size =    66.00 MiB\n"
    gpu = parse_llama_log(text).allocation.gpus[0]
    assert (gpu.weights_bytes, gpu.compute_bytes) == (812.5 * MIB, 66 * MIB)


def test_tables_in_whole_mib_are_read_where_there_is_nothing_better() -> None:
    table = parse_fit_params("0.00.1 I llama_fit_params: printing\nCUDA0 33 36 44\nRPC1 27 18 58\nHost 8 0 21 \n")
    assert table.names == ("CUDA0", "RPC1")
    assert table.allocation.gpus[0].logged_bytes == 113 * MIB
    assert table.allocation.host.compute_bytes == 21 * MIB
    rows = [line for line in read("llama-2026-11-rpc").splitlines() if "breakdown" in line]
    at_exit = parse_llama_log("\n".join(rows))
    assert at_exit.allocation.doubts == ("whole MiB only",)
    assert [gpu.weights_bytes for gpu in at_exit.allocation.gpus] == [33 * MIB, 27 * MIB]


@pytest.mark.parametrize(
    ("buffer", "device"),
    [
        ("CPU", "host"),
        ("CPU_Mapped", "host"),
        ("CPU_REPACK", "host"),
        ("CUDA_Host", "host"),
        ("ROCm_Host", "host"),
        ("AMX", "host"),
        ("CUDA0", "CUDA0"),
        ("MTL0_Mapped", "MTL0"),
        ("Metal_Mapped", "Metal"),
        ("RPC[10.0.0.1:50052]", "RPC[10.0.0.1:50052]"),
    ],
)
def test_buffers_belong_to_devices(buffer: str, device: str) -> None:
    assert device_name(buffer) == device


@pytest.mark.parametrize("name", VLLM)
def test_vllm_log_gives_the_bytes_of_each_rank(name: str) -> None:
    log = parse_vllm_log(read(name))
    found = {rank.name: {part: getattr(rank, part) for part in FIGURES} for rank in log.ranks}
    wanted = {
        rank: dict.fromkeys(FIGURES, None)
        | {f"{part}_bytes": pytest.approx(size * GIB, abs=2) for part, size in parts.items()}
        for rank, parts in RANKS.get(name, {}).items()
    }
    assert found == wanted
    assert {**vars(log), "ranks": ()} == vars(VLLM[name])
    assert log.found


@pytest.mark.parametrize(
    ("line", "figures"),
    [
        (  # 0.9 to 0.27, vllm/utils/mem_utils.py at debug level
            "DEBUG [gpu_worker.py:381] Memory profiling takes 5.40 seconds. Total non KV cache memory: 17.12GiB; "
            "torch peak memory increase: 1.89GiB; non-torch forward increase memory: 0.25GiB; weights memory: "
            "14.99GiB.",
            {"activation": 1.89, "non_torch": 0.25, "weights": 14.99},
        ),
        (  # 0.33
            "DEBUG [gpu_worker.py:700] Memory profiling takes 5.40 seconds. Total non KV cache memory: 17.12GiB; torch "
            "peak memory increase: 1.89GiB; total consumed (from mem_get_info): 15.24GiB; weights memory: 14.99GiB.",
            {"activation": 1.89, "consumed": 15.24, "weights": 14.99},
        ),
        (  # 0.10.2 on, vllm/v1/worker/gpu_worker.py
            "INFO [worker.py:391] Free memory on device (78.6/79.19 GiB) on startup. Desired GPU memory utilization "
            "is (0.9, 71.27 GiB). Actual usage is 14.99 GiB for weight, 1.89 GiB for peak activation, 0.25 GiB for "
            "non-torch memory, and 0.91 GiB for CUDAGraph memory. Replace gpu_memory_utilization config with "
            "`--kv-cache-memory=56908316672` to fit into requested memory, or `--kv-cache-memory=64` to fully utilize "
            "gpu memory. Current kv cache memory in use is 57888888888 bytes.",
            {
                **{"total": 79.19, "requested": 71.27, "weights": 14.99, "activation": 1.89, "non_torch": 0.25},
                "kv_cache": 57888888888 / GIB,
            },
        ),
        (  # 0.33
            "INFO [worker.py:1044] Free memory on device (78.6/79.19 GiB) on startup. Desired GPU memory utilization "
            "is (0.92, 72.85 GiB). Actual usage is 15.24 GiB for consumed memory (weights + non-torch), 1.89 GiB for "
            "peak activation, and 0.91 GiB for CUDAGraph memory.",
            {"total": 79.19, "requested": 72.85, "consumed": 15.24, "activation": 1.89},
        ),
    ],
    ids=["profile", "profile since 0.33", "usage", "usage since 0.33"],
)
def test_vllm_sums_up_in_the_forms_of_its_sources(line: str, figures: dict[str, float]) -> None:
    [rank] = parse_vllm_log(line).ranks
    found = {part: getattr(rank, part) for part in FIGURES if getattr(rank, part) is not None}
    assert found == {f"{part}_bytes": pytest.approx(size * GIB, abs=2) for part, size in figures.items()}


def test_ranks_are_devices_with_the_peak_of_activation_as_compute() -> None:
    log = parse_vllm_log(read("vllm-0.8-workers"))
    first = allocation(log).gpus[0]
    assert (first.name, first.weights_bytes, first.compute_bytes) == ("GPU0", round(21.21 * GIB), round(0.37 * GIB))
    assert first.overhead_bytes == round(0.2 * GIB)
    assert [rank.name for rank in log.ranks] == ["507", "521"]
    assert allocation(VllmLog()).devices == (allocation(VllmLog()).host,)


def test_what_a_rank_uses_is_the_sum_of_what_is_known() -> None:
    assert Rank("0", weights_bytes=3, kv_cache_bytes=4, cuda_graph_bytes=None).used_bytes == 7


def test_vllm_names_other_failures() -> None:
    busy = "ValueError: Free memory on device (5.1/23.58 GiB) on startup is less than desired GPU memory utilization "
    log = parse_vllm_log(f"{busy}(0.9, 21.22 GiB).")
    assert (log.failure, log.utilization) == (Failure("gpu_in_use"), 0.9)
    assert log.ranks[0].requested_bytes == round(21.22 * GIB)
    out = parse_vllm_log("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 524.00 MiB.")
    assert out.failure == Failure("out_of_memory")


PIECES = st.sampled_from(
    [
        *(
            "load_tensors: ",
            "CUDA0 ",
            "CPU ",
            "model buffer size = ",
            "KV buffer size = ",
            "12.5 MiB",
            "1.2.3 MiB",
            "\n",
        ),
        *(
            "Available KV cache memory: ",
            "9" * 30,
            " GiB",
            "total_gpu_memory (",
            "\x1b[34m",
            "| - ",
            " = 1 + 2 + 3",
            "-",
        ),
        *("max seq len (4) ", 'msg="kv cache" device=', 'size="', "llama_server: initializing", "pid=", "(Worker "),
    ]
)
GARBAGE = st.lists(st.one_of(PIECES, st.text(max_size=20)), max_size=60).map("".join)


@settings(deadline=None)
@given(GARBAGE)
def test_garbage_never_raises(text: str) -> None:
    assert all(device.logged_bytes >= 0 for device in parse_llama_log(text).allocation.devices)
    assert isinstance(parse_vllm_log(text), VllmLog)
    assert isinstance(parse_fit_params(text).names, tuple)


@settings(deadline=None)
@given(st.sampled_from([*LLAMA, *VLLM]), st.integers(0, 2000), st.text(string.printable, max_size=30))
def test_a_log_that_is_cut_or_spoilt_never_raises(name: str, at: int, noise: str) -> None:
    text = read(name)
    found: list[Any] = [parse_llama_log(text[:at] + noise + text[at:]), parse_vllm_log(noise + text[at:])]
    assert len(found) == 2


@pytest.mark.parametrize(
    "line",
    ["a" * 1_000_000, "a: " * 300_000 + "buffer size = ", "KV " * 300_000, "GiB" + "(" * 1_000_000, "| " * 500_000],
    ids=["word", "colons", "words", "brackets", "columns"],
)
def test_a_line_of_a_megabyte_is_read_once(line: str) -> None:
    """It ends within the time of the test run; a pattern that tries every start would need hours."""
    assert not parse_llama_log(line).found
    assert not parse_vllm_log(line).found
