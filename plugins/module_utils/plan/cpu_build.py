"""How llama.cpp is built for a CPU: the options of its build, by the features of that CPU or of a common level."""

from __future__ import annotations

from ansible_collections.llmhost.core.plugins.module_utils.finding import Finding, error
from ansible_collections.llmhost.core.plugins.module_utils.plan.host_facts import HostFacts

AUTO = "auto"
_V3 = frozenset({"avx", "avx2", "bmi2", "f16c", "fma"})
LEVELS: dict[str, frozenset[str]] = {
    "x86-64-v2": frozenset(),
    "x86-64-v3": _V3,
    "x86-64-v4": _V3 | {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"},
}
"""The microarchitecture levels of the x86-64 psABI (chapter 3.1): those of their features that the build asks for."""

_CMAKE_BASE = {
    "BUILD_SHARED_LIBS": "OFF",
    "CMAKE_BUILD_TYPE": "Release",
    "GGML_CCACHE": "OFF",
    "GGML_NATIVE": "OFF",
    "GGML_OPENMP": "OFF",
    "LLAMA_BUILD_APP": "OFF",
    "LLAMA_BUILD_COMMIT": "llmhost",
    "LLAMA_BUILD_EXAMPLES": "OFF",
    "LLAMA_BUILD_NUMBER": "1",
    "LLAMA_BUILD_TESTS": "OFF",
    "LLAMA_BUILD_UI": "OFF",
    "LLAMA_OPENSSL": "OFF",
    "LLAMA_USE_PREBUILT_UI": "OFF",
}
_CMAKE_FEATURES = {
    "GGML_AVX": {"avx"},
    "GGML_AVX2": {"avx2"},
    "GGML_AVX_VNNI": {"avx_vnni"},
    "GGML_BMI2": {"bmi2"},
    "GGML_F16C": {"f16c"},
    "GGML_FMA": {"fma"},
    "GGML_AVX512": {"avx512f"},
    "GGML_AVX512_BF16": {"avx512f", "avx512_bf16"},
    "GGML_AVX512_VBMI": {"avx512f", "avx512vbmi"},
    "GGML_AVX512_VNNI": {"avx512f", "avx512_vnni"},
    "GGML_AMX_BF16": {"amx_tile", "amx_bf16"},
    "GGML_AMX_INT8": {"amx_tile", "amx_int8"},
    "GGML_AMX_TILE": {"amx_tile"},
}


def cmake_options(host: HostFacts, level: str = AUTO) -> dict[str, str]:
    """Return the options of the build, for all that this CPU can, or no more than a level that others reach too.

    Each feature is named, so that another machine builds the same program. A level means nothing off x86-64.
    """
    can = host.cpu.features if level == AUTO or host.machine != "x86_64" else LEVELS[level]
    features = {name: "ON" if needs <= can else "OFF" for name, needs in _CMAKE_FEATURES.items()}
    return dict(sorted({**_CMAKE_BASE, **features}.items()))


def check_cpu_level(host: HostFacts, level: str) -> list[Finding]:
    """Return an error when this CPU does not reach the level that was asked for: the server would not start."""
    if level == AUTO or host.machine != "x86_64":
        return []
    lacking = sorted(LEVELS[level] - host.cpu.features)
    if not lacking:
        return []
    message = f"llmhost_cpu_level: {level} asks for {', '.join(lacking)}, which {host.cpu.name} lacks."
    remedy = "Set it to auto, or to the level that the oldest of the CPUs reaches."
    return [error("cpu.level_not_reached", message, remedy)]
