"""CPUs by name: cores, instruction sets, and the memory that they are built for. Decides how fast offloaded layers run.

Sources: AMD's and Intel's product pages (cores, channels, fastest memory without overclocking); families and models as
/proc/cpuinfo writes them. What AWS, Google and Azure run (names that end in C, CL, R or V) is by their instance pages;
memory of such a name is that of the generation it belongs to.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass

AMD, INTEL, ARM = "AuthenticAMD", "GenuineIntel", "ARM"

_V3 = ("avx", "avx2", "bmi2", "f16c", "fma", "sse4_2")
_AVX512 = (*_V3, "avx512bw", "avx512cd", "avx512dq", "avx512f", "avx512vl")
_VNNI = (*_AVX512, "avx512_vnni")
_ZEN4 = (*_VNNI, "avx512_bf16", "avx512vbmi")
_AMX = (*_ZEN4, "amx_bf16", "amx_int8", "amx_tile", "avx512_fp16", "avx_vnni")


@dataclass(frozen=True)
class Generation:
    """What the CPUs of one generation have in common. ``mts`` is the memory's speed in MT/s; a channel is 8 bytes."""

    vendor: str
    family: int
    model: int
    channels: int
    mts: int
    features: tuple[str, ...] = _V3
    threads: int = 2  # of a core

    @property
    def bandwidth(self) -> int:
        """Bytes a second that all channels of one socket carry at most."""
        return self.channels * self.mts * 8_000_000


@dataclass(frozen=True)
class CpuSpec:
    """One CPU: a socket."""

    name: str
    cores: int
    generation: Generation


# What a phrase that names no CPU stands for, and the least that a CPU of the last ten years has.
COMMON = Generation(AMD, 25, 33, 2, 3200)

# What stands beside the GPU of a GH200 or GB200; the memory is that of the size with 480 GB.
GRACE = CpuSpec(
    "NVIDIA Grace", 72, Generation(ARM, 0, 0, 8, 6000, ("asimd", "asimddp", "bf16", "i8mm", "sve", "sve2"), threads=1)
)

_GENERATIONS: tuple[tuple[Generation, str, str], ...] = (
    (Generation(AMD, 23, 8, 2, 2933), "Ryzen 7", "2700X 8"),
    (Generation(AMD, 23, 113, 2, 3200), "Ryzen", "5 3600 6, 7 3700X 8, 7 3800X 8, 9 3900X 12, 9 3950X 16"),
    (
        Generation(AMD, 25, 33, 2, 3200),
        "Ryzen",
        "5 5600 6, 5 5600X 6, 7 5700X 8, 7 5800X 8, 7 5800X3D 8, 9 5900X 12, 9 5950X 16",
    ),
    (
        Generation(AMD, 25, 97, 2, 5200, _ZEN4),
        "Ryzen",
        "5 7600 6, 5 7600X 6, 7 7700 8, 7 7700X 8, 7 7800X3D 8, 9 7900 12, 9 7900X 12, 9 7950X 16, 9 7950X3D 16",
    ),
    (
        Generation(AMD, 26, 68, 2, 5600, (*_ZEN4, "avx_vnni")),
        "Ryzen",
        "5 9600X 6, 7 9700X 8, 7 9800X3D 8, 9 9900X 12, 9 9950X 16, 9 9950X3D 16",
    ),
    (Generation(AMD, 23, 49, 4, 3200), "Threadripper", "3960X 24, 3970X 32, 3990X 64"),
    (Generation(AMD, 25, 8, 8, 3200), "Threadripper PRO", "5955WX 16, 5965WX 24, 5975WX 32, 5995WX 64"),
    (Generation(AMD, 25, 24, 4, 5200, _ZEN4), "Threadripper", "7960X 24, 7970X 32, 7980X 64"),
    (
        Generation(AMD, 25, 24, 8, 5200, _ZEN4),
        "Threadripper PRO",
        "7955WX 16, 7965WX 24, 7975WX 32, 7985WX 64, 7995WX 96",
    ),
    (Generation(AMD, 23, 1, 8, 2666), "EPYC", "7251 8, 7301 16, 7351 16, 7551 32, 7601 32"),
    (
        Generation(AMD, 23, 49, 8, 3200),
        "EPYC",
        "7232P 8, 7252 8, 7262 8, 7302 16, 7352 24, 7402 24, 7452 32, 7502 32, 7532 32, 7542 32, 7552 48, "
        "7642 48, 7662 64, 7702 64, 7742 64, 7B12 64, 7H12 64, 7R32 48, 7V12 64",
    ),
    (
        Generation(AMD, 25, 1, 8, 3200),
        "EPYC",
        "72F3 8, 7313 16, 7343 16, 73F3 16, 7413 24, 7443 24, 7453 28, 7513 32, 7543 32, 75F3 32, 7643 48, "
        "7663 56, 7713 64, 7763 64, 7773X 64, 7B13 64, 7J13 64, 7R13 48, 7V13 64, 74F3 24",
    ),
    (
        Generation(AMD, 25, 17, 12, 4800, _ZEN4),
        "EPYC",
        "9124 16, 9174F 16, 9224 24, 9254 24, 9274F 24, 9334 32, 9354 32, 9374F 32, 9454 48, 9474F 48, 9534 "
        "64, 9554 64, 9634 84, 9654 96, 9684X 96, 9R14 96, 9V84 96, 9754 128",
    ),
    (
        Generation(AMD, 26, 2, 12, 6000, (*_ZEN4, "avx_vnni")),
        "EPYC",
        "9015 8, 9135 16, 9175F 16, 9255 24, 9275F 24, 9335 32, 9355 32, 9375F 32, 9455 48, 9475F 48, 9535 "
        "64, 9555 64, 9575F 64, 9655 96, 9755 128",
    ),
    (Generation(INTEL, 6, 63, 4, 2133), "Xeon", "E5-2680 v3 12, E5-2690 v3 12, E5-2699 v3 18"),
    (
        Generation(INTEL, 6, 79, 4, 2400),
        "Xeon",
        "E5-2620 v4 8, E5-2650 v4 12, E5-2680 v4 14, E5-2690 v4 14, E5-2697 v4 18, E5-2699 v4 22, E5-2686 v4 18",
    ),
    (
        Generation(INTEL, 6, 85, 6, 2933, _VNNI),
        "Xeon",
        "Silver 4210 10, Silver 4214 12, Silver 4216 16, Gold 6226R 16, Gold 6230 20, Gold 6248 20, Gold "
        "6248R 24, Gold 6258R 28, Platinum 8259CL 24, Platinum 8260 24, Platinum 8275CL 24, Platinum 8280 28, "
        "Platinum 8173M 28",
    ),
    (
        Generation(INTEL, 6, 106, 8, 3200, (*_VNNI, "avx512vbmi")),
        "Xeon",
        "Silver 4310 12, Silver 4314 16, Gold 5318Y 24, Gold 6326 16, Gold 6330 28, Gold 6338 32, Gold 6342 "
        "24, Gold 6348 28, Platinum 8352Y 32, Platinum 8358 32, Platinum 8362 32, Platinum 8370C 32, Platinum "
        "8375C 32, Platinum 8380 40",
    ),
    (
        Generation(INTEL, 6, 143, 8, 4800, _AMX),
        "Xeon",
        "Silver 4410Y 12, Gold 5418Y 24, Gold 6426Y 16, Gold 6430 32, Gold 6438Y 32, Gold 6442Y 24, Gold "
        "6448Y 32, Gold 6454S 32, Platinum 8452Y 36, Platinum 8460Y 40, Platinum 8462Y 32, Platinum 8468 48, "
        "Platinum 8470 52, Platinum 8480 56, Platinum 8480C 56, Platinum 8481C 56, Platinum 8488C 48, "
        "w7-3465X 28, w9-3495X 56",
    ),
    (
        Generation(INTEL, 6, 207, 8, 5600, _AMX),
        "Xeon",
        "Gold 6530 32, Gold 6548Y 32, Platinum 8558 48, Platinum 8568Y 48, Platinum 8570 56, Platinum 8581C "
        "60, Platinum 8592 64",
    ),
    (Generation(INTEL, 6, 173, 12, 6400, _AMX), "Xeon", "6960P 72, 6972P 96, 6980P 128"),
    (Generation(INTEL, 6, 158, 2, 2666), "Core", "i7-8700K 6, i7-9700K 8, i9-9900K 8"),
    (Generation(INTEL, 6, 165, 2, 2933), "Core", "i7-10700K 8, i9-10900K 10"),
    (
        Generation(INTEL, 6, 85, 4, 2933, _VNNI),
        "",
        "ore i9-10900X 10, ore i9-10920X 12, ore i9-10980XE 18, eon W-2295 18",
    ),
    (Generation(INTEL, 6, 167, 2, 3200, (*_VNNI, "avx512vbmi")), "Core", "i7-11700K 8, i9-11900K 8"),
    (
        Generation(INTEL, 6, 151, 2, 4800, (*_V3, "avx_vnni")),
        "Core",
        "i5-12400 6, i5-12600K 10, i7-12700 12, i7-12700K 12, i9-12900K 16",
    ),
    (
        Generation(INTEL, 6, 183, 2, 5600, (*_V3, "avx_vnni")),
        "Core",
        "i5-13400 10, i5-13500 14, i5-13600K 14, i7-13700 16, i7-13700K 16, i9-13900K 24, i5-14400 10, "
        "i5-14600K 14, i7-14700K 20, i9-14900K 24",
    ),
    (
        Generation(INTEL, 6, 198, 2, 6400, (*_V3, "avx_vnni"), threads=1),
        "Core Ultra",
        "5 245K 14, 7 265K 20, 9 285K 24",
    ),
)

# Each CPU is its number and its cores.
CPUS: tuple[CpuSpec, ...] = tuple(
    CpuSpec(f"{line} {row.rpartition(' ')[0]}", int(row.rpartition(" ")[2]), generation)
    for generation, line, rows in _GENERATIONS
    for row in rows.split(", ")
)


@functools.lru_cache(maxsize=1024)
def find_cpu(name: str) -> CpuSpec | None:
    """Return the CPU that a person or /proc/cpuinfo calls ``name``; None when it is not in the table.

    The number tells: "7950X", "Ryzen 7950X" and "AMD Ryzen 9 7950X 16-Core Processor" are one. Suffixes that change
    neither cores nor memory (the F of Intel, the P of AMD's single socket, the + of Xeon) may be there or not.
    """
    words = _words(name)
    return next((_index()[word] for word in words if word in _index()), None)


def _words(name: str) -> list[str]:
    """Return the words that may be a CPU's number; versions of Xeon E5 are part of it."""
    text = re.sub(r"(e5-\d{4}) (v\d)", r"\1\2", name.lower().replace("+", " "))
    words = re.findall(r"[a-z0-9]+(?:-[a-z0-9]+)*", text)
    tails = [word.rpartition("-")[2] for word in words if re.match(r"(?:i\d|w\d?|e\d)-", word)]
    bare = [re.sub(r"(?<=\d)(k?f|ks|p)$", lambda end: "k" if "k" in end[0] else "", word) for word in (*words, *tails)]
    return [word for word in (*words, *tails, *bare) if re.search(r"\d{3}|\d[a-z]\d\d|\d\d[a-z]\d", word)]


@functools.cache
def _index() -> dict[str, CpuSpec]:
    index: dict[str, CpuSpec] = {}
    for spec in CPUS:
        for word in _words(spec.name):
            index.setdefault(word, spec)
    return index
