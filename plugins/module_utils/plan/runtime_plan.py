"""The runtime: which build of it, and with which arguments it serves."""

from __future__ import annotations

import functools
import hashlib
import ipaddress
import json
from collections.abc import Mapping
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Any

from ansible_collections.llmhost.core.plugins.module_utils.finding import Finding, error, warning
from ansible_collections.llmhost.core.plugins.module_utils.llama_cpp.llama_model import MICRO_BATCH
from ansible_collections.llmhost.core.plugins.module_utils.model.model_facts import ModelFacts
from ansible_collections.llmhost.core.plugins.module_utils.plan.cpu_build import cmake_options
from ansible_collections.llmhost.core.plugins.module_utils.plan.cuda_plan import NO_CUDA, CudaPlan
from ansible_collections.llmhost.core.plugins.module_utils.plan.host_facts import HostFacts, Listener
from ansible_collections.llmhost.core.plugins.module_utils.plan.intent import Intent
from ansible_collections.llmhost.core.plugins.module_utils.plan.sized_model import SizedModel
from ansible_collections.llmhost.core.plugins.module_utils.plan.swap_plan import service_swap
from ansible_collections.llmhost.core.plugins.module_utils.shape.shape import CHUNKED, SLIDING, Shape
from ansible_collections.llmhost.core.plugins.module_utils.size import GIB, MIB, round_down
from ansible_collections.llmhost.core.plugins.module_utils.sizing.fit import DOES_NOT_FIT, LLAMA_CPP, VLLM, Fit
from ansible_collections.llmhost.core.plugins.module_utils.sizing.host_memory import HostMemory
from ansible_collections.llmhost.core.plugins.module_utils.vllm.vllm_constants import CURRENT as VLLM_VERSION

PROVIDER = LLAMA_CPP
VERSION = "0.3.36"
SDIST_SHA256 = "832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e"
"""The source distribution of llama-cpp-python that carries the sources of llama.cpp."""

UNIT = "llmhost-inference.service"
USER = "llmhost-inference"

# The server keeps prompts in RAM, 8 GiB unless told; it gets half of what is left, and no more than that.
_PROMPT_CACHE_MOST, _PROMPT_CACHE_STEP = 8192 * MIB, 256 * MIB
_CHECKPOINTS = 32


def archive_name(host: HostFacts, cmake: dict[str, str], cuda: CudaPlan = NO_CUDA) -> str:
    """Return the name of the built archive: same name, same content."""
    return _archive_name(host.codename, host.machine, tuple(cmake.items()), cuda.kind, cuda.identity)


@functools.lru_cache(maxsize=256)
def _archive_name(
    codename: str, machine: str, cmake: tuple[tuple[str, str], ...], kind: str, cuda: tuple[str, ...]
) -> str:
    key: dict[str, Any] = {
        "version": VERSION,
        "sha256": SDIST_SHA256,
        "codename": codename,
        "architecture": machine,
        "cmake": dict(cmake),
    }
    if cuda:
        key["cuda"] = cuda
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    return f"{PROVIDER}-{VERSION}-{codename}-{machine}-{kind}-{digest[:12]}"


def served_name(model: ModelFacts) -> str:
    """Return the name under which clients ask for the model; the server would read a comma as a list."""
    name = model.request if model.source == "hub" else PurePosixPath(model.first_file or model.path).stem
    return name.replace(",", "_") or "model"


def threads(host: HostFacts) -> int:
    """Return one thread for each physical core that the runtime may use; more only share the same memory bus."""
    return max(1, min(host.cpu.physical_cores, host.cpu.usable_cpus))


def arguments(
    host: HostFacts,
    sized: SizedModel,
    intent: Intent,
    fit: Fit,
    loading: HostMemory,
    model_path: str,
    custom_all_reduce: bool = True,
) -> list[str]:
    """Return everything after the server's name, but for the key file that the unit adds."""
    if fit.engine == VLLM:
        return _vllm_arguments(sized, intent, fit, model_path, custom_all_reduce)
    count = str(threads(host))
    options = {
        "--model": model_path,
        "--alias": served_name(sized.facts),
        "--host": intent.listen_host,
        "--port": str(intent.listen_port),
        # The server divides the context among its slots.
        "--ctx-size": str(fit.context * fit.parallel),
        "--parallel": str(fit.parallel),
        "--threads": count,
        "--threads-batch": count,
        "--ubatch-size": str(MICRO_BATCH),
        "--cache-type-k": fit.cache_type,
        "--cache-type-v": fit.cache_type,
        # An architecture that the plan does not know may not have it; then the server finds out by itself.
        "--flash-attn": "auto" if sized.sizes.shape.doubts else "on",
        "--load-mode": loading.load_path,
        **_kept_in_ram(sized, fit),
        # The buffers that it allocates stand in its log at this level, for the acceptance; prompts do not.
        "--log-verbosity": "4",
        # The plan has done the fitting: a server that shrinks its settings in silence would make it untrue.
        "--fit": "off",
        **_gpu_options(fit),
    }
    switches = ["--no-kv-unified", "--jinja", "--metrics", "--no-slots", "--no-ui", "--offline"]
    return [part for option in options.items() for part in option] + switches


def _gpu_options(fit: Fit) -> dict[str, str]:
    if not fit.gpus:
        return {}
    options = {
        "--n-gpu-layers": "all" if fit.gpu_layers is None else str(fit.gpu_layers),
        "--split-mode": "layer",
        # All of them by name: a server that finds no GPU then ends, and does not serve from the CPU without a word.
        "--device": ",".join(f"CUDA{number}" for number in fit.gpus),
    }
    if len(fit.gpus) > 1:
        options["--tensor-split"] = ",".join(str(places) for places in fit.split)
    if fit.cpu_expert_layers:
        options["--n-cpu-moe"] = str(fit.cpu_expert_layers)
    return options


def _vllm_arguments(sized: SizedModel, intent: Intent, fit: Fit, model_path: str, custom_all_reduce: bool) -> list[str]:
    """Return the arguments of ``vllm serve``; the model is the directory of its files."""
    options = {
        "--model": str(PurePosixPath(model_path).parent),
        "--served-model-name": served_name(sized.facts),
        "--host": intent.listen_host,
        "--port": str(intent.listen_port),
        "--max-model-len": str(fit.context),
        "--gpu-memory-utilization": f"{fit.memory_utilization:.2f}",
        "--tensor-parallel-size": str(fit.tensor_parallel),
        "--pipeline-parallel-size": str(fit.pipeline_parallel),
    }
    if fit.sequences:
        options["--max-num-seqs"] = str(fit.sequences)
    if fit.cache_type == "fp8":
        options["--kv-cache-dtype"] = "fp8"
    if fit.cpu_offload_bytes:
        options["--cpu-offload-gb"] = str(fit.cpu_offload_bytes // GIB)
    # Its own sums over ranks write into the memory of other GPUs, and trust the driver's word that they may.
    switches = ["--disable-custom-all-reduce"] if fit.tensor_parallel > 1 and not custom_all_reduce else []
    return [part for option in options.items() for part in option] + switches


def memory_max(fit: Fit) -> int | None:
    """Return the bound of the service's RAM: a server that leaks is stopped before the host is."""
    return None if fit.verdict == DOES_NOT_FIT else fit.ram_usable_bytes


def build_options(host: HostFacts, level: str, cuda: CudaPlan = NO_CUDA) -> dict[str, str]:
    """Return the CMake options of llama.cpp for the CPU and the GPUs of a host."""
    return dict(sorted({**cmake_options(host, level), **cuda.cmake_options()}.items()))


def environment(fit: Fit, wanted: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of the service; ``wanted`` is what the links between the GPUs ask for."""
    # The plan counts GPUs by their addresses; CUDA, unless told, puts the fastest first.
    return {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", **wanted} if fit.gpus else {}


def runtime_dict(
    host: HostFacts,
    sized: SizedModel,
    intent: Intent,
    fit: Fit,
    loading: HostMemory,
    model_path: str,
    cuda: CudaPlan = NO_CUDA,
    links_environment: Mapping[str, str] = MappingProxyType({}),
    custom_all_reduce: bool = True,
) -> dict[str, Any]:
    """Return the plan's ``runtime``; ``custom_all_reduce``: whether vLLM may sum over GPUs by its own kernels."""
    on_vllm = fit.engine == VLLM
    cmake = {} if on_vllm else build_options(host, intent.cpu_level, cuda)
    return {
        "provider": fit.engine,
        "version": VLLM_VERSION if on_vllm else VERSION,
        "cmake": cmake,
        "archive": "" if on_vllm else archive_name(host, cmake, cuda),
        "user": USER,
        "host": intent.listen_host,
        "port": intent.listen_port,
        "served_name": served_name(sized.facts),
        "threads": threads(host),
        "arguments": arguments(host, sized, intent, fit, loading, model_path, custom_all_reduce),
        "environment": environment(fit, links_environment),
        "memory_max_bytes": memory_max(fit),
        "memory_swap_max_bytes": service_swap(fit, intent),
    }


def check_listening(host: HostFacts, intent: Intent) -> list[Finding]:
    """Return an error when another program has the port, and a warning when other machines can reach it."""
    findings = []
    for listener in host.listeners:
        if (
            listener.port == intent.listen_port
            and not _is_own(listener)
            and _overlap(listener.address, intent.listen_host)
        ):
            user = f"a program of {listener.user}" if listener.user else "another program"
            who = listener.unit or listener.process or user
            message = f"Port {intent.listen_port} on {listener.address or 'this host'} is in use by {who}."
            remedy = f"Set llmhost_listen_port to a free port, or stop {who}."
            findings.append(error("port.in_use", message, remedy))
            break
    address = _address(intent.listen_host)
    if address is None:
        message = f"llmhost_listen_host: {intent.listen_host!r} is not an IP address."
        findings.append(error("variable.invalid", message, "Write 127.0.0.1, or the address to listen on."))
    elif not address.is_loopback:
        message = f"The API listens on {intent.listen_host}: other machines reach it, by key but without TLS."
        findings.append(
            warning("listen.exposed", message, "Put a TLS proxy before it, or keep 127.0.0.1 and use ssh -L.")
        )
    return findings


def _kept_in_ram(sized: SizedModel, fit: Fit) -> dict[str, str]:
    """Return how much the server keeps of what it has computed, in half of the RAM that is left.

    Prompts, and for models whose state cannot be cut back (recurrent layers, sliding windows) checkpoints of it, by
    default 32 for each request, of which nothing else keeps count (``tools/server/server-context.cpp``).
    """
    spare = max(0, fit.ram_usable_bytes - fit.ram_need_bytes) // 2
    state = _checkpoint_bytes(sized.sizes.shape, fit)
    if not state:
        return {"--cache-ram": str(_prompt_cache(spare) // MIB)}
    checkpoints = min(_CHECKPOINTS, spare // 2 // (state * fit.parallel))
    rest = spare - checkpoints * state * fit.parallel
    return {"--cache-ram": str(_prompt_cache(rest) // MIB), "--ctx-checkpoints": str(checkpoints)}


def _checkpoint_bytes(shape: Shape, fit: Fit) -> int:
    """Return about what one checkpoint of one request takes: its recurrent state and the cells of its windows."""
    windows = [
        layer.attention
        for layer in shape.layers
        if layer.attention is not None and layer.attention.kind in (SLIDING, CHUNKED) and layer.attention.stores_cache
    ]
    cells = sum(min(one.window, fit.context) * one.kv_heads * (one.head_dim_k + one.head_dim_v) * 2 for one in windows)
    return cells + sum(device.recurrent_bytes for device in fit.allocation.devices) // max(1, fit.parallel)


def _prompt_cache(spare: int) -> int:
    return round_down(min(_PROMPT_CACHE_MOST, spare), _PROMPT_CACHE_STEP)


def _is_own(listener: Listener) -> bool:
    # In a container the unit cannot be seen; the user who opened the socket can.
    return listener.unit == UNIT if listener.unit else listener.user == USER


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _overlap(theirs: str, ours: str) -> bool:
    """Whether two sockets on these addresses would be in each other's way."""
    first, second = _address(theirs.strip("[]").partition("%")[0]), _address(ours)
    if first is None or second is None:
        return True
    if first.is_unspecified or second.is_unspecified:
        # The IPv6 wildcard takes the IPv4 port, too; an IPv4 wildcard leaves IPv6 alone.
        return first.version == second.version or (first if first.is_unspecified else second).version == 6
    return first == second
