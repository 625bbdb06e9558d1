"""Hardware in a person's words: '2x RTX 3090, 64 GiB RAM, 1 TB NVMe' becomes the facts of a host."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.llmhost.core.plugins.module_utils.hardware.assumed_host import (
    AssumedDisk,
    Hardware,
    assume_host,
)
from ansible_collections.llmhost.core.plugins.module_utils.hardware.cpus import CPUS, find_cpu
from ansible_collections.llmhost.core.plugins.module_utils.hardware.gpus import (
    AmbiguousGpuError,
    find_gpu,
    matching_gpus,
    near_gpus,
    short_name,
)
from ansible_collections.llmhost.core.plugins.module_utils.hardware.machines import MACHINES, find_machine
from ansible_collections.llmhost.core.plugins.module_utils.size import GIB, SizeError, parse_size

EXAMPLE = "2x RTX 3090, 64 GiB RAM, 1 TB NVMe"

_MOST_CHARACTERS = 2000
_MOST_JSON = 8 << 20
_MOST_GPUS = 64
_MOST_DISKS = 64
_MOST_BYTES = {"RAM": 1 << 46, "disk": 1 << 50, "swap": 1 << 46}


class HardwareError(ValueError):
    """The text names no hardware that can be planned for; the message says what and how to write it."""


def parse_hardware(given: object) -> dict[str, Any]:
    """Return host facts in the form of ``host_info`` for a phrase, a machine of the catalogue or saved facts.

    A phrase is a list by commas or "+", in any order: GPUs ('2x RTX 3090', 'RTX 3090 x2 NVLink', 'CPU only'), RAM
    ('64 GiB RAM', or a bare '64 GB'; GB of RAM are GiB, as it is sold), disks for models ('1 TB NVMe', '2 TB SSD'), and
    optionally a CPU ('Ryzen 7950X', '2x EPYC 7763'), '24 cores' or '48 vCPU', '8 GB swap', memory speed ('DDR5-6000
    dual channel', '80 GB/s RAM'), 'NVLink', 'PCIe 3.0 x8', '500 GB system disk', 'VM' or 'container'. What is left out
    is filled in, and ``assumed`` of the answer says with what. Saved facts (a dict or its JSON, alone or below
    ``host``) are returned as they are. Raises HardwareError.
    """
    if isinstance(given, Mapping):
        return _saved(given)
    if not isinstance(given, str):
        raise HardwareError(f"Hardware is described in words, not by {type(given).__name__}. {_write()}")
    text = given.strip()
    if text.startswith(("{", "[")):
        return _saved(_json(text))
    if len(text) > _MOST_CHARACTERS:
        raise HardwareError(f"A description of hardware has at most {_MOST_CHARACTERS} characters. {_write()}")
    machine = find_machine(text)
    return assume_host(_Phrase(machine or text).read(), text if machine is None else f"{text}: {machine}")


def _json(text: str) -> Any:
    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is not a number")

    if len(text) > _MOST_JSON:
        raise HardwareError("Saved facts of a host are never larger than 8 MiB; this is something else.")
    try:
        return json.loads(text, parse_constant=refuse)
    except (ValueError, RecursionError) as reason:
        raise HardwareError(f"This begins as JSON but is none: {reason}. Save what host_info returned.") from None


def _saved(facts: Any) -> dict[str, Any]:
    inner = facts.get("host", facts) if isinstance(facts, Mapping) else facts
    if not isinstance(inner, Mapping) or not all(isinstance(inner.get(key), Mapping) for key in ("cpu", "memory")):
        raise HardwareError(
            "These are not the facts of a host: cpu and memory are missing. Save what host_info returned."
        )
    return dict(inner)


_Reader = Callable[["_Phrase", re.Match[str]], None]


class _Phrase:
    """Reads a phrase piece by piece: first what has a unit or a word of its own, then the name that is left."""

    def __init__(self, phrase: str) -> None:
        self.phrase = phrase
        self.said = Hardware()
        self.bare_sizes: list[str] = []
        self.no_gpu = False

    def read(self) -> Hardware:
        if ";" in self.phrase:
            raise HardwareError(
                "A semicolon stands between machines; here is one, whose parts have commas between them."
            )
        pieces = [piece for piece in re.split(r"[,\n]|(?:^|\s)\+|\+\s", self.phrase) if piece.strip()]
        if not pieces:
            raise HardwareError(f"There is no hardware in this description. {_write()}")
        for piece in pieces:
            self._read_piece(piece)
        self._read_bare_sizes()
        self._check()
        return self.said

    def _read_piece(self, piece: str) -> None:
        rest = re.sub(r"\bvram\b", " ", re.sub("[\u00d7\u2715]", "x", piece.lower()))
        for pattern, reader in _ITEMS:
            rest = self._take(pattern, reader, rest)
        # A number behind an item belongs to the name before it: "RTX 3090 NVLink x2".
        rest = re.sub(r"(?:\s*;)+\s*(\(?[x*]\s*\d+\)?)\s*(?=;|$)", r" \1 ", rest)
        for part in rest.split(";"):
            name = _without_filler(part)
            if name:
                self._read_name(name, piece.strip())

    def _take(self, pattern: re.Pattern[str], reader: _Reader, text: str) -> str:
        """Give each match to its reader, and return what is left, parted where the matches were."""
        for match in pattern.finditer(text):
            reader(self, match)
        return pattern.sub(" ; ", text)

    def _read_name(self, name: str, piece: str) -> None:
        if _BARE_SIZE.fullmatch(name):
            self.bare_sizes.append(name)
            return
        number, bare = _count(name)
        models = re.findall(r"\b[a-z]*\d{3,}", bare)
        try:
            # "RTX 3090 RTX 3090" are two without a comma, not one.
            spec = find_gpu(bare) if len(set(models)) == len(models) else None
        except AmbiguousGpuError as several:
            choices = ", ".join(several.choices)
            raise HardwareError(f"{piece!r} may mean several GPUs. Write one of: {choices}.") from None
        if spec:
            if not 1 <= number <= _MOST_GPUS or len(self.said.gpus) + number > _MOST_GPUS:
                raise HardwareError(f"{piece!r}: a host has from 1 to {_MOST_GPUS} GPUs.")
            self.said.gpus += [spec] * number
            others = [short_name(other) for other in matching_gpus(bare) if other != spec]
            if others and spec.name.lower() != f"nvidia {bare}".strip():
                self.said.assumed.append(f"{bare.upper()} is {short_name(spec)}, not {' or '.join(others)}.")
            return
        cpu = None if _GPU_BRAND.search(bare) or _OTHER_MAKER.search(bare) else find_cpu(bare)
        if cpu is None:
            decimal = "Write decimals with a point. " if re.search(r"\d,\d", self.phrase) else ""
            raise HardwareError(f"{piece!r} is not understood. {decimal}{_did_you_mean(bare)}")
        if self.said.cpu or not 1 <= number <= 8:
            raise HardwareError(f"{piece!r}: a host has one kind of CPU, on 1 to 8 sockets.")
        self.said.cpu, self.said.sockets = cpu, number

    def _read_bare_sizes(self) -> None:
        if len(self.bare_sizes) > 1 or (self.bare_sizes and self.said.ram_bytes is not None):
            size = self.bare_sizes[-1].upper().replace("IB", "iB")
            raise HardwareError(f"{size!r} may be RAM or a disk. Write '{size} RAM' or '{size} NVMe'.")
        for size in self.bare_sizes:
            self._ram(size)

    def _check(self) -> None:
        if self.no_gpu and self.said.gpus:
            raise HardwareError(f"The description says both {self.said.gpus[0].name} and CPU only; drop one of them.")
        empty = not (self.no_gpu or self.said.gpus or self.said.cpu or self.said.ram_bytes or self.said.cores)
        if empty and not self.said.cpus:
            raise HardwareError(f"The description names neither GPU, CPU nor RAM. {_write()}")
        unlinked = [spec for spec in self.said.gpus if not spec.nvlink_gbs]
        if self.said.nvlink and (unlinked or len(self.said.gpus) < 2):
            reason = f"{unlinked[0].name} has none" if unlinked else "it joins two GPUs or more"
            raise HardwareError(f"NVLink is not possible here: {reason}. Leave it out.")

    # The readers of items: each takes the match of its pattern.

    def _ram(self, size: str, count: int = 1) -> None:
        if self.said.ram_bytes is not None:
            raise HardwareError(f"RAM is given twice, the second time as {size!r}; write it once.")
        # RAM is sold in GiB, whatever the unit that is written; a size that is not whole is what a kernel reports.
        written = re.sub(r"(?<=[kmgtp])i?b?$", "ib", size.strip())
        self.said.ram_bytes = count * _size(written, "RAM")
        self.said.ram_is_exact = self.said.ram_bytes % GIB != 0

    def take_ram(self, match: re.Match[str]) -> None:
        self._ram(match["size"], _number(match["count"], 1, 64, match[0]))

    def take_disk(self, match: re.Match[str]) -> None:
        kind = match["kind"] or "disk"
        size = _size(match["size"], "disk")
        adverbs = match["adverb"] or ""
        if re.search(r"\b(?:system|root|boot)\b", adverbs):
            self.said.system_bytes = size
            return
        disk = AssumedDisk(
            size,
            "hdd" if kind == "hdd" else "ssd" if kind == "ssd" and "nvme" not in match[0] else "nvme",
            ephemeral="ephemeral" in adverbs,
            network="network" in adverbs,
        )
        self.said.disks += [disk] * _number(match["count"], 1, _MOST_DISKS, match[0])
        if len(self.said.disks) > _MOST_DISKS:
            raise HardwareError(f"A host has at most {_MOST_DISKS} disks.")

    def take_swap(self, match: re.Match[str]) -> None:
        self.said.swap_bytes = 0 if match["no"] else _size(match["size"], "swap")

    def take_bandwidth(self, match: re.Match[str]) -> None:
        self.said.bandwidth = _size(f"{match['value']} {match['unit']}", "RAM")
        if not 10**10 <= self.said.bandwidth <= 2 * 10**12:
            raise HardwareError(f"{match[0].strip()!r} is not the bandwidth of RAM: that is 10 to 1000 GB/s.")

    def take_ddr(self, match: re.Match[str]) -> None:
        self.said.mts = _number(match["mts"], 800, 20000, match[0])

    def take_channels(self, match: re.Match[str]) -> None:
        word = match["channels"]
        self.said.channels = _CHANNELS.get(word) or _number(word, 1, 24, match[0])

    def take_cores(self, match: re.Match[str]) -> None:
        cores = _number(match["cores"], 1, 1024, match[0])
        if match["unit"].startswith("core"):
            self.said.cores = cores
        else:
            self.said.cpus = cores

    def take_no_gpu(self, _match: re.Match[str]) -> None:
        self.no_gpu = True

    def take_nvlink(self, match: re.Match[str]) -> None:
        self.said.nvlink = not match["no"]

    def take_pcie(self, match: re.Match[str]) -> None:
        if match["gen"]:
            self.said.pcie_gen = int(match["gen"])
        if match["lanes"]:
            self.said.pcie_lanes = int(match["lanes"])

    def take_container(self, _match: re.Match[str]) -> None:
        self.said.container = True

    def take_vm(self, _match: re.Match[str]) -> None:
        self.said.virtual = True

    def take_nothing(self, _match: re.Match[str]) -> None:
        """Words that say what is assumed anyway."""


_SIZE = r"(?P<size>\d{1,9}(?:\.\d{1,3})?\s*(?:[kmgtp]i?b?)\b)"
_COUNT = r"(?:\b(?P<count>\d{1,3})\s*[x*]\s*)?"
_KIND = r"(?P<kind>nvme|ssd|hdd|disks?|drives?|storage)(?:\s+(?:ssds?|disks?|drives?|storage))?\b"
_ADVERB = r"(?P<adverb>(?:(?:ephemeral|local|network|system|root|boot|pcie|m\.2)\s+)*)"
_BARE_SIZE = re.compile(r"\d{1,9}(?:\.\d{1,3})?\s*[mgt]i?b?")
_CHANNELS = {"single": 1, "dual": 2, "triple": 3, "quad": 4, "six": 6, "hexa": 6, "eight": 8, "octa": 8, "twelve": 12}
_COUNTS = {"one": 1, "single": 1, "two": 2, "dual": 2, "three": 3, "triple": 3, "four": 4, "quad": 4, "eight": 8}
# Words around a name that tell nothing; "gpu" and "server" are also the ends of GPUs' names.
_FILLER = frozenset(("with", "of", "each", "a", "an", "the", "and", "in", "on", "cpu", "cpus", "processor", "total"))
_FILLER_BEFORE = _FILLER | {"gpu", "gpus", "server", "workstation"}
_GPU_BRAND = re.compile(r"\b[rg]tx|geforce|quadro|tesla|nvidia")
_OTHER_MAKER = re.compile(r"\b(?:radeon|rx|mi\d{2,3}x?|instinct|arc|gaudi|tpu|apple|m[1-5])\b")

_ITEMS: tuple[tuple[re.Pattern[str], _Reader], ...] = tuple(
    (re.compile(pattern), reader)
    for pattern, reader in (
        (r"\b(?:cpu[\s-]+only|(?:no|without(?: an?)?)\s+gpus?)\b", _Phrase.take_no_gpu),
        (
            r"(?P<value>\d{1,5}(?:\.\d{1,3})?)\s*(?P<unit>[gt]i?b)/s(?:ec)?(?:\s+(?:of\s+)?(?:ram|memory)(?:\s+bandwidth)?)?",
            _Phrase.take_bandwidth,
        ),
        (r"\bddr\d\s*[-@ ]\s*(?P<mts>\d{3,5})(?:\s*m(?:t/s|hz|ts))?(?:\s+(?:ram|memory))?\b", _Phrase.take_ddr),
        (r"\b(?P<channels>[a-z]+|\d{1,2})[\s-]*channels?(?:\s+(?:ram|memory))?\b", _Phrase.take_channels),
        (r"\b(?P<no>no)\s+swap\b|" + _SIZE + r"\s*(?:of\s+)?swap\b", _Phrase.take_swap),
        (_COUNT + _SIZE + r"\s*(?:of\s+)?" + _ADVERB + _KIND, _Phrase.take_disk),
        (_COUNT + _ADVERB + _KIND + r"\s*:?\s*" + _SIZE, _Phrase.take_disk),
        (_COUNT + _SIZE + r"\s*(?:of\s+)?(?:ecc\s+)?(?:ddr\d\s*)?(?:ram|memory|mem|dram|ddr\d)\b", _Phrase.take_ram),
        (r"\b(?:ram|memory|mem)\s*:?\s*" + _COUNT + _SIZE, _Phrase.take_ram),
        (
            r"\b(?P<cores>\d{1,5})[\s-]*(?:physical\s+)?(?P<unit>cores?|vcpus?|threads?|cpus?)\b(?!\s*only)",
            _Phrase.take_cores,
        ),
        (r"\b(?P<no>no\s+|without\s+)?(?:nvlink|nvswitch)(?:\s+bridge)?\b", _Phrase.take_nvlink),
        (
            r"\b(?:pcie?|pci\s+express)\s*(?:gen\s*)?(?P<gen>[1-6])(?:\.0)?\b(?:\s*x\s*(?P<lanes>1|2|4|8|16)\b)?",
            _Phrase.take_pcie,
        ),
        (r"\b(?:pcie?|pci\s+express)\s*(?P<gen>)x\s*(?P<lanes>1|2|4|8|16)\b", _Phrase.take_pcie),
        (r"\b(?:docker\s+)?(?:container|pod)\b", _Phrase.take_container),
        (r"\b(?:vm|virtual machine)\b", _Phrase.take_vm),
        (r"\b(?:bare metal|ubuntu(?:\s+22\.04)?)\b", _Phrase.take_nothing),
    )
)


def _without_filler(text: str) -> str:
    words = re.sub(r"[:=&]", " ", text).split()
    while words and words[0] in _FILLER_BEFORE:
        del words[0]
    while words and words[-1] in _FILLER:
        del words[-1]
    return " ".join(words)


def _count(name: str) -> tuple[int, str]:
    """Split '2x rtx 3090', 'rtx 3090 x2', '2 rtx 3090' and 'dual rtx 3090' into number and name."""
    for pattern in (
        r"(?P<n>\d{1,4})\s*[x*]\s+(?P<name>\S.*)",
        r"(?P<n>\d{1,4})[x*](?P<name>[a-z]\S.*)",
        r"(?P<name>.*\S)\s+\(?[x*]\s*(?P<n>\d{1,4})\)?",
        r"(?P<n>\d{1,2})[x*]?\s+(?P<name>(?=[a-z]|\d{4})\S.*)",
        r"(?P<n>\d{1,2})[x*](?P<name>\d{4}.*)",
    ):
        match = re.fullmatch(pattern, name)
        if match:
            return int(match["n"]), match["name"]
    word, _, rest = name.partition(" ")
    return (_COUNTS[word], rest) if word in _COUNTS and rest else (1, name)


def _size(typed: str, what: str) -> int:
    try:
        size = parse_size(typed)
    except SizeError as reason:
        raise HardwareError(f"{reason}.") from None
    if not 0 < size <= _MOST_BYTES[what]:
        raise HardwareError(f"{typed!r} of {what} is not a size that a host has; check the unit.")
    return size


def _number(typed: str | None, least: int, most: int, text: str) -> int:
    if typed is None:
        return least
    if not (typed.isascii() and typed.isdigit()) or not least <= int(typed) <= most:
        raise HardwareError(f"{text.strip()!r} is not understood: a number from {least} to {most} is expected there.")
    return int(typed)


def _write() -> str:
    return f"Write for example '{EXAMPLE}'."


def _did_you_mean(name: str) -> str:
    if _OTHER_MAKER.search(name):
        return "llmhost serves on NVIDIA GPUs and on CPUs; for another GPU write 'CPU only' and its host's RAM."
    cpus = {spec.name.lower(): spec.name for spec in CPUS}
    near = [
        *(near_gpus(name, 2) if len(name) > 1 else []),
        *(cpus[key] for key in difflib.get_close_matches(name, cpus, n=1, cutoff=0.75)),
        *difflib.get_close_matches(name, MACHINES, n=1, cutoff=0.75),
    ]
    hint = f"Did you mean {' or '.join(near)}? " if near else ""
    return f"{hint}{_write()}"
