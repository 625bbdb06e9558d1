"""Hosts with several GPUs for the tests of their links: what host_info says of them once a driver is at work."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

Facts = dict[str, Any]

GIB = 2**30
GTS = {1: 2.5, 2: 5.0, 3: 8.0, 4: 16.0, 5: 32.0}
RTX_3090 = ("NVIDIA GeForce RTX 3090", 24 * GIB)
RTX_3060 = ("NVIDIA GeForce RTX 3060", 12 * GIB)
RTX_4090 = ("NVIDIA GeForce RTX 4090", 24 * GIB)
A100_PCIE = ("NVIDIA A100 80GB PCIe", 80 * GIB)
H100 = ("NVIDIA H100 80GB HBM3", 80 * GIB)
L4 = ("NVIDIA L4", 24 * GIB)
CPU_PORT = {"address": "0000:00:01.1", "vendor": "1022", "device": "1483"}
CHIPSET_PORT = {"address": "0000:03:04.0", "vendor": "1022", "device": "43ea"}


def address(number: int) -> str:
    """The PCI address of a card."""
    return f"0000:{number * 32 + 1:02x}:00.0"


def card(
    number: int, kind: tuple[str, int] = RTX_3090, lanes: int = 16, generation: int | None = None, **fields: Any
) -> Facts:
    """One entry of ``gpus``: a card in a slot as good as itself, PCIe 4.0 x16 for most, but for what is given."""
    own = 5 if kind == H100 else 4
    generation = own if generation is None else generation
    port_lanes, port_generation = fields.pop("port_lanes", lanes), fields.pop("port_generation", generation)
    return {
        "pci_address": address(number),
        "device_id": "0000",
        "name": kind[0],
        "vram_bytes": kind[1],
        "driver": "nvidia",
        "class": "030000",
        "numa_node": None,
        "pcie": {
            "current_width": lanes,
            "max_width": 16,
            "current_speed_gts": 2.5,
            "max_speed_gts": GTS[own],
            "upstream_max_width": port_lanes,
            "upstream_max_speed_gts": GTS[port_generation],
        },
        "bridges": [CPU_PORT],
        **fields,
    }


def nvlinks(up: int, down: Iterable[int] = (), gbs: float = 14.062, remote: str | None = None) -> list[Facts]:
    """The NVLinks of a card: so many that are up, and the numbers of those that are down."""
    down = list(down)
    numbers = [number for number in range(up + len(down)) if number not in down]
    links = [{"link": number, "active": True, "version": 3, "gbs": gbs, "remote": remote} for number in numbers]
    links += [{"link": number, "active": False, "version": None, "gbs": None, "remote": None} for number in down]
    return sorted(links, key=lambda link: int(str(link["link"])))


def seen(index: int, number: int, kind: tuple[str, int] = RTX_3090, **fields: Any) -> Facts:
    """One card as the driver sees it; ``index`` is the driver's number, ``number`` the place on the bus."""
    return {
        "index": index,
        "uuid": f"GPU-{number:08d}",
        "pci_address": address(number),
        "name": kind[0],
        "vram_bytes": kind[1],
        "compute_capability": "8.6",
        "pcie": {"generation": 1, "max_generation": 5 if kind == H100 else 4, "width": 16, "max_width": 16},
        "bar1_bytes": 32 * GIB,
        "uncorrected_errors": None,
        "remapped_rows": None,
        "mig": None,
        "nvlinks": [],
        **fields,
    }


def pair(a: int, b: int, level: str = "PHB", grant: str | None = "CNS") -> Facts:
    """One pair by the driver's numbers."""
    links = int(level[2:]) if level.startswith("NV") else 0
    return {"a": a, "b": b, "level": level, "nvlinks": links, "read": grant, "write": grant, "atomics": "NS"}


def host(gpus: list[Facts], shown: list[Facts], pairs: list[Facts], **fields: Any) -> Facts:
    """A physical machine with these cards, of which the driver shows some."""
    nvidia = {"gpus": shown, "pairs": pairs, "nvswitches": [], "acs": [], "iommu": False, "source": "nvidia-smi"}
    nvidia.update({key: fields.pop(key) for key in tuple(nvidia) if key in fields})
    return {
        "gpus": gpus,
        "nvidia": nvidia,
        "virtualization": {"machine": "none", "container": "none"},
        **fields,
    }


def alike(count: int, pairs: Mapping[tuple[int, int], tuple[str, str]], **fields: Any) -> Facts:
    """A host of equal cards; pairs that are not given are two sockets apart, without direct transfers."""
    kind, links = fields.pop("kind", RTX_3090), fields.pop("nvlinks", [])
    every = [(a, b) for a in range(count) for b in range(a + 1, count)]
    return host(
        [card(number, kind, **fields.pop("card", {})) for number in range(count)],
        [seen(number, number, kind, nvlinks=links) for number in range(count)],
        [pair(a, b, *pairs.get((a, b), ("SYS", "CNS"))) for a, b in every],
        **fields,
    )


def bridged(**fields: Any) -> Facts:
    """Two RTX 3090 with an NVLink bridge."""
    return alike(2, {(0, 1): ("NV4", "OK")}, nvlinks=nvlinks(4), **fields)


def crossed() -> Facts:
    """Four RTX 3090 with two bridges, which do not join neighbours on the bus: 0 with 2, 1 with 3."""
    joined = ("NV4", "OK")
    return alike(4, {(0, 2): joined, (1, 3): joined, (0, 1): ("PHB", "CNS")}, nvlinks=nvlinks(4))


def switched(count: int = 8) -> Facts:
    """H100 cards on a board with NVSwitch."""
    pairs = {(a, b): ("NV18", "OK") for a in range(count) for b in range(a + 1, count)}
    return alike(count, pairs, kind=H100, nvlinks=nvlinks(18, gbs=26.562, remote="switch"))
