"""Which GPU a name means, and how much of its memory an engine may use."""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Iterable

from ansible_collections.llmhost.core.plugins.module_utils.hardware.gpu_table import GPUS, GpuSpec

# What people leave out and what tells nothing apart: the maker, the brand, the kind of memory.
_NOISE = frozenset(
    ("nvidia", "geforce", "gtx", "rtx", "tesla", "graphics", "gpu", "gpus", "card", "cards", "tensor", "core")
).union(("generation", "edition", "blackwell"))
_MEMORY_KIND = re.compile(r"hbm\d?e?|gddr\d?x?")
# Words that make another card of the same number: without them a person never means it.
_VARIANTS = frozenset(("ti", "super", "laptop", "sff", "nvl", "d", "max"))
_SPELLINGS = {"mobile": "laptop", "notebook": "laptop"}
_SIZE = re.compile(r"(\d+)\s*(?:gib|gb|g)\b")
# 3090ti, 4070super, 4090d, 3090s: a suffix typed without a space, or a plural.
_SUFFIX = re.compile(r"\b(\d{4})(ti|super|d|s)\b")
_SXM = re.compile(r"\bsxm\d?\b")
# Two sizes this near are the same memory, counted with and without what error correction and firmware take.
_SAME_SIZE = 0.08


_SIZES = frozenset(gib for spec in GPUS for gib in (spec.vram_gib, *spec.sold_as)).union(range(100))


class AmbiguousGpuError(ValueError):
    """A name that means several GPUs with different memory; ``choices`` are phrases that mean one each."""

    def __init__(self, name: str, choices: Iterable[str]) -> None:
        self.choices = tuple(choices)
        super().__init__(f"{name!r} may be {' or '.join(self.choices)}")


def find_gpu(name: str) -> GpuSpec | None:
    """Return the GPU that a person, nvidia-smi or a cloud calls ``name``, or None when there is no such GPU.

    Case, maker, brand and punctuation do not matter: "RTX 3090", "3090", "A100 80GB", "a100-sxm4-80gb", "H100 SXM".
    Where the name fits several that differ in form alone ("H100": PCIe or SXM), the answer is the slowest of them.
    Raises AmbiguousGpuError when they differ in memory ("A100": 40 or 80 GB).
    """
    exact = _by_name().get(_plain(name))
    if exact:
        return exact
    found = matching_gpus(name)
    if len({spec.vram_gib for spec in found}) > 1:
        raise AmbiguousGpuError(name.strip(), (short_name(spec) for spec in found))
    return min(found, key=lambda spec: (spec.bandwidth_gbs, spec.nvlink_gbs), default=None)


def matching_gpus(name: str) -> list[GpuSpec]:
    """Return every GPU that ``name`` fits, in the order of the table."""
    wanted = _words(name)
    if not any(_tells(word) for word in wanted):
        return []
    return [spec for spec, words, needed in _index() if wanted <= words and needed <= wanted]


def near_gpus(name: str, count: int = 3) -> list[str]:
    """Return names of GPUs that are spelled like ``name``, for an error message."""
    names = {short_name(spec).lower(): short_name(spec) for spec in GPUS}
    near = difflib.get_close_matches(_plain(name), names, n=count, cutoff=0.6)
    # Without the brand: "3091" is as near to "RTX 3090" as "RTX 3091" is.
    bare = {key.removeprefix("rtx ").removeprefix("gtx "): found for key, found in names.items()}
    near = near or difflib.get_close_matches(_plain(name), bare, n=count, cutoff=0.6)
    return [names.get(key) or bare[key] for key in near]


@functools.lru_cache(maxsize=1024)
def gpu_of_facts(name: str, vram_bytes: int) -> GpuSpec | None:
    """Return the GPU of a host's facts, by its name and then by its memory; None when it is not known.

    A name may hold " or ", where one PCI id stands for two cards: then the slower one of those with this memory.
    """
    found = [spec for part in name.split(" or ") for spec in _candidates(part, vram_bytes)]
    same = [spec for spec in found if not vram_bytes or _same_size(spec, vram_bytes)]
    return min(same or found, key=lambda spec: spec.bandwidth_gbs, default=None)


def usable_vram(name: str, vram_bytes: int) -> int:
    """Return what CUDA reports as the memory of a GPU with this name, which is sold with ``vram_bytes``.

    For a GPU that is not in the table, or that has other memory than the table says (a part of one, a rebuilt card),
    the rule of ``GpuSpec.usable_of`` stands in. 0 bytes, that is an unknown size, stay 0.
    """
    spec = gpu_of_facts(name, vram_bytes)
    if spec is None or not _same_size(spec, vram_bytes):
        return min(vram_bytes, _UNKNOWN.usable_of(vram_bytes >> 20) << 20)
    return min(vram_bytes, spec.usable_bytes)


def short_name(spec: GpuSpec) -> str:
    """Return a name without the maker that ``find_gpu`` takes for this GPU and for no other memory."""
    name = re.sub(r"^NVIDIA (?:GeForce |Tesla )?| HBM\d\w?", "", spec.name)
    name = re.sub(r"-SXM\d?-", " SXM ", name) + (" SXM" if "sxm" in spec.also else "")
    sizes = {match.vram_gib for match in matching_gpus(name)}
    return name if len(sizes) == 1 else f"{name} {spec.vram_gib}GB"


_UNKNOWN = GpuSpec("unknown", 0, None, 0, 0, (0, 0), 3, inline_ecc=True)


def _same_size(spec: GpuSpec, vram_bytes: int) -> bool:
    return abs(spec.vram_bytes - vram_bytes) <= _SAME_SIZE * spec.vram_bytes


def _candidates(name: str, vram_bytes: int) -> list[GpuSpec]:
    """Return the GPU with exactly this name, else all that fit it; cards of several sizes share one name."""
    exact = _by_name().get(_plain(name if "NVIDIA" in name else f"NVIDIA {name}"))
    if exact and (not vram_bytes or _same_size(exact, vram_bytes)):
        return [exact]
    sized = matching_gpus(f"{name} {round(vram_bytes / 2**30)}GB") if vram_bytes else []
    return sized or ([exact] if exact else matching_gpus(name))


def _plain(name: str) -> str:
    return " ".join(name.lower().split())


@functools.cache
def _by_name() -> dict[str, GpuSpec]:
    return {_plain(spec.name): spec for spec in GPUS}


def _words(name: str) -> frozenset[str]:
    text = re.sub(r"\b([rg]tx)(?=\d)", r"\1 ", name.lower())
    text = _SIZE.sub(r"\1gb ", _SUFFIX.sub(_split_suffix, text))
    text = _SXM.sub("sxm", text).replace("pci-e", "pcie").replace("titan rtx", "titanrtx")
    words = (_SPELLINGS.get(word, word) for word in re.findall(r"[a-z0-9]+", text))
    return frozenset(word for word in words if word not in _NOISE and not _MEMORY_KIND.fullmatch(word))


def _tells(word: str) -> bool:
    """Whether a word names a GPU, and is not only a size or a form."""
    if word.isdigit():
        return int(word) not in _SIZES
    return word in ("titan", "titanrtx", "spark") or (bool(re.search(r"\d", word)) and not _SIZE.fullmatch(word))


def _split_suffix(match: re.Match[str]) -> str:
    return match[1] if match[2] == "s" else f"{match[1]} {match[2]}"


def _own_words(spec: GpuSpec) -> frozenset[str]:
    return _words(re.sub(r"[()]", " ", spec.name)) | set(spec.also)


@functools.cache
def _index() -> tuple[tuple[GpuSpec, frozenset[str], frozenset[str]], ...]:
    """Each GPU with the words that may mean it, and those without which it is not meant."""
    rows = []
    for spec in GPUS:
        own = _own_words(spec)
        sizes = {f"{gib}{unit}" for gib in (spec.vram_gib, *spec.sold_as) for unit in ("gb", "")}
        rows.append((spec, own | sizes, (own & _VARIANTS) | frozenset(spec.always_named)))
    return tuple(rows)
