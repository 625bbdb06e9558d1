"""Which CUDA toolkit builds the runtime of a host and which libraries run it: the newest that driver and GPUs allow.

Wheels of vLLM bring their own libraries, so only llama.cpp, which is compiled, needs this.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ansible_collections.llmhost.core.plugins.module_utils import record
from ansible_collections.llmhost.core.plugins.module_utils.finding import Finding, error, info
from ansible_collections.llmhost.core.plugins.module_utils.hardware.gpus import gpu_of_facts
from ansible_collections.llmhost.core.plugins.module_utils.plan.host_facts import HostFacts
from ansible_collections.llmhost.core.plugins.module_utils.sizing.fit import LLAMA_CPP, VLLM
from ansible_collections.llmhost.core.plugins.module_utils.sizing.host_memory import BUILD_BYTES

PREFIX = "/opt/llmhost/cuda"
CUDA_BUILD_BYTES = 4 << 30
"""Disk for a build with CUDA: the compiler and the libraries, sources, objects and archive. Rounded up."""
WHEELS_DRIVER = 580
"""The driver from which on the wheels of vLLM run: they hold CUDA 13."""

Capability = tuple[int, int]
WHEELS, NVIDIA = "wheels", "nvidia"


@dataclass(frozen=True)
class Toolkit:
    """A CUDA toolkit. ``driver``: the branch from which on drivers run it (NVIDIA's CUDA compatibility guide, minor
    version compatibility). ``capabilities``: those that ``nvcc --list-gpu-code`` names. The packages are those of the
    Python package index, or of NVIDIA's own repository for apt."""

    version: str
    source: str
    driver: int
    capabilities: frozenset[Capability]
    libraries: tuple[str, ...]
    compiler: tuple[str, ...]


def _capabilities(text: str) -> frozenset[Capability]:
    return frozenset((int(word[:-1]), int(word[-1])) for word in text.split())


# The newest first. Wheels of CUDA 12 hold no nvcc, so that its compiler comes from NVIDIA's repository alone.
TOOLKITS = (
    Toolkit(
        version="13.0",
        source=WHEELS,
        driver=580,
        capabilities=_capabilities("75 80 86 87 88 89 90 100 103 110 120 121"),
        libraries=("nvidia-cublas==13.1.1.3", "nvidia-cuda-nvrtc==13.0.88", "nvidia-cuda-runtime==13.0.96"),
        compiler=(
            "nvidia-cuda-cccl==13.0.85",
            "nvidia-cuda-crt==13.0.88",
            "nvidia-cuda-nvcc==13.0.88",
            "nvidia-cuda-runtime==13.0.96",
            "nvidia-nvvm==13.0.88",
        ),
    ),
    Toolkit(
        version="12.9",
        source=NVIDIA,
        driver=525,
        capabilities=_capabilities("50 52 53 60 61 62 70 72 75 80 86 87 89 90 100 101 103 120 121"),
        libraries=("cuda-cudart-12-9", "libcublas-12-9"),
        compiler=(
            "cuda-cccl-12-9",
            "cuda-cudart-dev-12-9",
            "cuda-driver-dev-12-9",
            "cuda-nvcc-12-9",
            "libcublas-dev-12-9",
        ),
    ),
)


@dataclass(frozen=True)
class CudaPlan:
    """The toolkit of a host, and for which GPUs it compiles; without a toolkit, ``why_none`` says why."""

    toolkit: Toolkit | None
    capabilities: tuple[Capability, ...] = ()
    findings: tuple[Finding, ...] = ()
    why_none: str = ""

    @property
    def prefix(self) -> str:
        """Where the libraries lie, whatever their source: the runtime's programs name this directory."""
        return f"{PREFIX}/{self.toolkit.version}" if self.toolkit else ""

    @property
    def kind(self) -> str:
        """The part of an archive's name that tells it from the one for CPUs."""
        return f"cuda{self.toolkit.version}-sm{'_'.join(map(_digits, self.capabilities))}" if self.toolkit else "cpu"

    @property
    def build_bytes(self) -> int:
        """Disk for a build of the runtime."""
        return CUDA_BUILD_BYTES if self.toolkit else BUILD_BYTES

    @property
    def identity(self) -> tuple[str, ...]:
        """What, beside the CMake options, decides the content of the archive."""
        return (*self.toolkit.libraries, *self.toolkit.compiler) if self.toolkit else ()

    def cmake_options(self) -> dict[str, str]:
        """Return the options of the build, beside those for the CPU."""
        if self.toolkit is None:
            return {}
        return {
            "CMAKE_BUILD_WITH_INSTALL_RPATH": "ON",
            # Machine code for these GPUs and nothing else: no intermediate code that a driver would have to compile.
            "CMAKE_CUDA_ARCHITECTURES": ";".join(f"{_digits(one)}-real" for one in self.capabilities),
            "CMAKE_INSTALL_RPATH": f"{self.prefix}/lib",
            "GGML_CUDA": "ON",
            "GGML_CUDA_GRAPHS": "ON",
            "GGML_CUDA_NCCL": "OFF",
        }

    def as_dict(self) -> dict[str, Any] | None:
        """Return the plan's ``cuda``."""
        if self.toolkit is None:
            return None
        return {
            "toolkit": self.toolkit.version,
            "source": self.toolkit.source,
            "prefix": self.prefix,
            "capabilities": [_digits(one) for one in self.capabilities],
            "packages": {"libraries": list(self.toolkit.libraries), "compiler": list(self.toolkit.compiler)},
        }


NO_CUDA = CudaPlan(None, why_none="the model runs on the CPU")
_NONE_FITS = "no toolkit goes with these GPUs and this driver"


def plan_cuda(
    facts: Mapping[str, Any], host: HostFacts, driver: Mapping[str, Any] | None, engine: str = LLAMA_CPP
) -> CudaPlan:
    """Return the toolkit for the GPUs of a host. ``driver`` is the plan's: what runs once its step is done."""
    branch = driver_branch(driver) or _loaded_branch(facts)
    if engine == VLLM:
        return CudaPlan(
            None, (), _check_wheels(branch), "the wheels of vLLM bring the libraries, and nothing is compiled"
        )
    capabilities, unknown = gpu_capabilities(facts, host)
    if unknown:
        message = f"The compute capability of {', '.join(unknown)} is not known, so nothing can be compiled for it."
        remedy = "Install NVIDIA's driver first, which tells it; or set llmhost_accelerator: cpu."
        return CudaPlan(None, (), (error("cuda.unknown_gpu", message, remedy),), "what to compile for is not known")
    if not capabilities:
        return NO_CUDA
    chosen = choose(capabilities, branch)
    return replace(chosen, findings=(*chosen.findings, *_check_repository(facts, chosen.toolkit)))


def choose(capabilities: Sequence[Capability], branch: int | None) -> CudaPlan:
    """Return the newest toolkit that compiles for all these GPUs and that a driver of this branch runs.

    Where the branch is not known, the driver is one that llmhost installs, and those run every toolkit.
    """
    wanted = tuple(sorted(set(capabilities)))
    able = [toolkit for toolkit in TOOLKITS if toolkit.capabilities.issuperset(wanted)]
    names = ", ".join(f"{major}.{minor}" for major, minor in wanted)
    if not able:
        message = f"No CUDA toolkit of this release compiles for compute capability {names}."
        remedy = "Take out the oldest or the newest of the GPUs, or set llmhost_accelerator: cpu."
        return CudaPlan(None, wanted, (error("cuda.no_toolkit", message, remedy),), _NONE_FITS)
    runnable = [toolkit for toolkit in able if branch is None or branch >= toolkit.driver]
    if not runnable:
        message = f"Driver {branch} is too old for CUDA {able[-1].version}, which needs {able[-1].driver} or newer."
        remedy = "Let llmhost install the driver, or install a newer one."
        return CudaPlan(None, wanted, (error("cuda.driver_too_old", message, remedy),), _NONE_FITS)
    chosen = runnable[0]
    return CudaPlan(chosen, wanted, _why_older(chosen, able, names, branch))


def gpu_capabilities(facts: Mapping[str, Any], host: HostFacts) -> tuple[tuple[Capability, ...], tuple[str, ...]]:
    """Return the compute capabilities of a host's GPUs, and the names of those where it is not known.

    The driver knows; without one, the table of GPUs does.
    """
    seen = record.sections(record.section(facts, "nvidia"), "gpus")
    told = [_capability(record.text(gpu, "compute_capability")) for gpu in seen]
    if len(told) >= len(host.gpus) > 0 and None not in told:
        return tuple(sorted({one for one in told if one is not None})), ()
    specs = [(gpu.name, gpu_of_facts(gpu.name, gpu.vram_bytes)) for gpu in host.gpus]
    unknown = tuple(dict.fromkeys(name for name, spec in specs if spec is None))
    return tuple(sorted({spec.capability for _name, spec in specs if spec is not None})), unknown


def driver_branch(driver: Mapping[str, Any] | None) -> int | None:
    """Return the branch of the plan's driver, such as 580, from its version or its name; None where it says none."""
    of_plan = driver or {}
    return _branch(record.text(of_plan, "version")) or _branch(record.text(of_plan, "branch"))


def _check_wheels(branch: int | None) -> tuple[Finding, ...]:
    if branch is None or branch >= WHEELS_DRIVER:
        return ()
    message = f"Driver {branch} is too old for vLLM, whose wheels hold CUDA 13: that needs {WHEELS_DRIVER} or newer."
    remedy = "Let llmhost install the driver (llmhost_driver_source: auto), or name a GGUF, which llama.cpp serves."
    return (error("cuda.driver_too_old", message, remedy),)


def _check_repository(facts: Mapping[str, Any], toolkit: Toolkit | None) -> tuple[Finding, ...]:
    """Return an error where apt's lists tell that it cannot get the toolkit; without lists only apt can tell."""
    packages = record.section(record.section(facts, "nvidia"), "packages")
    if toolkit is None or toolkit.source != NVIDIA or not record.flag(packages, "lists"):
        return ()
    if toolkit.version in record.texts(packages, "toolkits"):
        return ()
    message = f"CUDA {toolkit.version} has a compiler in NVIDIA's own repository alone, which apt does not know here."
    remedy = (
        "Install NVIDIA's package cuda-keyring for Ubuntu 22.04, which adds the repository, then run apt-get update; "
        "or set llmhost_accelerator: cpu."
    )
    return (error("cuda.no_repository", message, remedy),)


def _why_older(chosen: Toolkit, able: Sequence[Toolkit], names: str, branch: int | None) -> tuple[Finding, ...]:
    if chosen is TOOLKITS[0]:
        return ()
    if chosen is able[0]:
        message = f"CUDA {chosen.version} is used: newer ones no longer compile for all of compute capability {names}."
        return (info("cuda.older_toolkit", message, "Nothing to do."),)
    message = (
        f"CUDA {chosen.version} is used: CUDA {able[0].version} needs driver {able[0].driver}, this one is {branch}."
    )
    return (info("cuda.older_toolkit", message, "Let llmhost install the driver to use the newer one."),)


def _loaded_branch(facts: Mapping[str, Any]) -> int | None:
    loaded = record.section(record.section(facts, "nvidia"), "driver")
    return _branch(record.text(loaded, "loaded_version"))


def _branch(version: str) -> int | None:
    found = re.match(r"(\d{3,4})(?=\D|$)", version)
    return int(found[1]) if found else None


def _capability(text: str) -> Capability | None:
    found = re.fullmatch(r"(\d{1,2})\.(\d)", text.strip())
    return (int(found[1]), int(found[2])) if found else None


def _digits(capability: Iterable[int]) -> str:
    return "".join(map(str, capability))
