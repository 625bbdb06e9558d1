"""What the engine on a host allocated: from its own log of this start, else from llama.cpp's calculator."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ansible_collections.llmhost.core.plugins.module_utils.llama_cpp import llama_log
from ansible_collections.llmhost.core.plugins.module_utils.sizing.allocation import Allocation
from ansible_collections.llmhost.core.plugins.module_utils.vllm import vllm_log

from tests.acceptance.target import Target

JOURNAL, CALCULATOR = "the journal", "llama-fit-params"

# What the calculator knows of the server's arguments: those that decide about memory.
WITH_VALUE = frozenset(
    {
        *("--model", "--ctx-size", "--parallel", "--batch-size", "--ubatch-size", "--threads", "--threads-batch"),
        *("--cache-type-k", "--cache-type-v", "--flash-attn", "--load-mode", "--n-gpu-layers", "--split-mode"),
        *("--tensor-split", "--device", "--main-gpu", "--n-cpu-moe", "--override-tensor"),
    }
)
SWITCHES = frozenset({"--swa-full", "--cpu-moe", "--no-kv-offload"})


@dataclass(frozen=True)
class Seen:
    """What was allocated, and where that stands."""

    allocation: Allocation
    source: str

    def comparable(self, planned: Allocation) -> tuple[Allocation, Allocation]:
        """Return the plan and what was seen, without what this source cannot tell.

        The calculator reserves logits for a whole batch, the server for one token a request.
        """
        if self.source == JOURNAL:
            return planned, self.allocation
        return _without_compute(planned), _without_compute(self.allocation)


def _without_compute(allocation: Allocation) -> Allocation:
    gpus = tuple(replace(gpu, compute_bytes=0, output_bytes=0) for gpu in allocation.gpus)
    return Allocation(gpus, replace(allocation.host, compute_bytes=0, output_bytes=0))


def seen_allocation(target: Target) -> Seen | None:
    """Return what the running service allocated; None when nothing on the host says so."""
    invocation = target.unit_property("InvocationID")
    journal = target.shell(f"journalctl --no-pager --output=cat _SYSTEMD_INVOCATION_ID={invocation}")
    if target.plan.get("engine") == "vllm":
        log = vllm_log.parse_vllm_log(journal)
        return Seen(vllm_log.allocation(log), JOURNAL) if log.ranks else None
    served = llama_log.parse_llama_log(journal)
    if served.found:
        return Seen(served.allocation, JOURNAL)
    calculated = _calculated(target)
    return Seen(calculated.allocation, CALCULATOR) if calculated.found else None


def _calculated(target: Target) -> llama_log.LlamaLog:
    """Ask the calculator that lies beside the server; it reads the model's header and allocates nothing."""
    server = target.as_service("readlink", "--canonicalize", f"/proc/{target.main_pid}/exe").strip()
    program = server.replace("llama-server", "llama-fit-params")
    runtime = target.slice("inference")
    # GPUs have the numbers of the plan only in the environment of the service.
    environment = [f"{name}={value}" for name, value in runtime["environment"].items()]
    command = ["env", *environment, program, *memory_arguments(runtime["arguments"])]
    words = " ".join(["%s"] * len(command))
    answer = target.host.run(f"{words} --fit-print on 2>/dev/null", *command)
    return llama_log.parse_fit_params(str(answer.stdout))


def memory_arguments(arguments: list[str]) -> list[str]:
    """Return those of the server's arguments that the calculator understands."""
    words = [str(word) for word in arguments]
    kept: list[str] = []
    for position, word in enumerate(words):
        if word in SWITCHES:
            kept.append(word)
        elif word in WITH_VALUE:
            kept += words[position : position + 2]
    return kept


def service_memory(target: Target) -> int:
    """Return the bytes of RAM and swap that the process of the service holds."""
    rows = target.output("cat", f"/proc/{target.main_pid}/smaps_rollup").splitlines()[1:]
    kilobytes = {row.split(":")[0]: int(row.split()[1]) for row in rows}
    return (kilobytes["Rss"] + kilobytes["Swap"]) * 1024
