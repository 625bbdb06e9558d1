"""What a person should know of the ways between GPUs: what was expected, what is there, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ansible_collections.llmhost.core.plugins.module_utils import record
from ansible_collections.llmhost.core.plugins.module_utils.finding import Finding, info, warning
from ansible_collections.llmhost.core.plugins.module_utils.hardware.gpu_table import BRIDGE
from ansible_collections.llmhost.core.plugins.module_utils.plan.links import UNPROVEN, Links, Proven
from ansible_collections.llmhost.core.plugins.module_utils.plan.links_card_findings import check_cards
from ansible_collections.llmhost.core.plugins.module_utils.plan.links_path import (
    NVLINK,
    PCIE,
    REFUSALS,
    SWITCH,
    SYSTEM,
    Path,
)
from ansible_collections.llmhost.core.plugins.module_utils.record import Record
from ansible_collections.llmhost.core.plugins.module_utils.size import format_gib
from ansible_collections.llmhost.core.plugins.module_utils.sizing.fit import VLLM

_USUAL = "Nothing is wrong: few GeForce and L-series cards have them. What GPUs exchange goes through RAM."
_IN_A_GUEST = (
    "In a virtual machine the hypervisor has to allow them (QEMU: x-nv-gpudirect-clique), where the cards have them at"
    " all. Until then what GPUs exchange goes through RAM, which works."
)


def check_links(
    links: Links, wanted: Record, engine: str, proven: Proven = UNPROVEN, settled: bool = False
) -> list[Finding]:
    """Return all findings. ``wanted`` is the tier's ``gpu_link``; ``settled``: this plan leaves the driver as it is."""
    return [
        *check_cards(links, settled),
        *_check_mixed(links, engine),
        *_check_wanted(links, wanted),
        *_check_bridge(links, wanted),
        *_check_refused(links),
        *_check_sockets(links),
        *_check_peers(links, proven),
    ]


def _check_mixed(links: Links, engine: str) -> Iterator[Finding]:
    kinds = sorted({(card.name, card.vram_bytes) for card in links.cards})
    if len(kinds) < 2:
        return
    counts = {kind: sum((card.name, card.vram_bytes) == kind for card in links.cards) for kind in kinds}
    has = ", ".join(f"{count} {name} ({format_gib(vram)})" for (name, vram), count in counts.items())
    if engine == VLLM:
        message = f"The GPUs differ: {has}. vLLM gives each as much as the smallest takes, at the pace of the slowest."
        yield warning("gpus.mixed", message, "Serve a GGUF with llama.cpp, which divides by memory, or use equal GPUs.")
    else:
        message = f"The GPUs differ: {has}. Layers are divided by memory; those on the slowest take the longest."
        yield info("gpus.mixed", message, "Nothing is wrong.")


def _check_wanted(links: Links, wanted: Record) -> Iterator[Finding]:
    """The tier's NVLink, as soon as somebody can tell: a driver, or the words that describe the host."""
    if not record.flag(wanted, "nvlink") or not (links.driver_tells or links.described) or _linked(links):
        return
    if links.paths:
        message = f"The tier asks for NVLink between the GPUs; {_pairs(links.paths)} have none that is up."
        remedy = "Fit the bridge, or seat it again. Without it tensor parallel works, with slower prompts."
        yield warning("requirements.nvlink", message, remedy)


def _check_bridge(links: Links, wanted: Record) -> Iterator[Finding]:
    """Two equal cards that a bridge could join, of which every link is down: mostly there is no bridge."""
    if _linked(links) or record.flag(wanted, "nvlink") or links.virtual:
        return
    able = [
        path
        for path in links.paths
        if path.a.fabric == path.b.fabric == BRIDGE
        and path.a.name == path.b.name
        and path.a.nvlinks
        and not path.a.active_links
    ]
    if able:
        message = f"An NVLink bridge could join {able[0].words}; all their links are down."
        yield info("gpus.no_bridge", message, "If there is a bridge, seat it again; without one nothing is wrong.")


def _check_refused(links: Links) -> Iterator[Finding]:
    """Direct transfers that the driver refuses: odd where NVLinks are up, usual on GeForce cards."""
    refused = [path for path in links.paths if path.granted is False]
    joined = [path for path in refused if path.nvlinks]
    if joined:
        message = f"NVLinks join {_pairs(joined)}, yet the driver refuses direct transfers: {_why(joined)}."
        remedy = (
            "Take options for nvidia out of /etc/modprobe.d (NVreg_RegistryDwords), and turn MIG off. Some branches"
            " have lost it for GeForce cards: try another llmhost_driver_branch. Until then GPUs talk through RAM."
        )
        yield warning("gpus.nvlink_refused", message, remedy)
    others = [path for path in refused if not path.nvlinks]
    if others:
        message = f"The driver grants no direct transfers between {_pairs(others)}: {_why(others)}."
        remedy = _IN_A_GUEST if links.virtual else _USUAL
        yield info("gpus.no_peer_transfers", message, remedy)


def _check_sockets(links: Links) -> Iterator[Finding]:
    far = [path for path in links.paths if path.level == SYSTEM and not path.nvlinks]
    if far and not links.virtual:
        message = f"{_pairs(far)} hang on different processors: what they exchange crosses from socket to socket."
        yield info("gpus.sockets", message, "Put GPUs that share a model into slots of one processor.")


def _check_peers(links: Links, proven: Proven) -> Iterator[Finding]:
    """Direct transfers over PCI Express: granted is not proved, and some settings are known to break them."""
    granted = [path for path in links.paths if path.kind == PCIE]
    if not granted or proven.made:
        return
    message = f"The driver grants direct transfers over PCI Express between {_pairs(granted)}. A grant is no proof."
    yield info("gpus.peers_unproven", message, "They stay off until multi_gpu has moved data that way and compared it.")
    yield from _check_bar(granted)
    if links.virtual:
        return  # access control is the hypervisor's there, and has to be on
    above = {bridge for path in granted for card in (path.a, path.b) for bridge in card.bridges}
    redirecting = [bridge for bridge in links.redirecting or () if bridge in above or not above]
    if redirecting:
        message = (
            f"Access control (ACS) of the bridges {', '.join(redirecting)} sends transfers between GPUs through the"
            " processor: they are slow, and have been seen to hang."
        )
        remedy = (
            "Turn ACS off in the firmware, unless virtual machines are given devices of this host. Until the next"
            f" restart: setpci -s {redirecting[0]} ECAP_ACS+0x6.w=0000, for each."
        )
        yield warning("gpus.acs", message, remedy)
    if links.iommu:
        message = (
            "The IOMMU translates what the GPUs send: CUDA's direct transfers through it, outside of virtual machines,"
            " can hang or be wrong."
        )
        remedy = (
            "Put iommu=pt on the kernel's command line; or turn the IOMMU off in the firmware (VT-d, AMD-Vi), unless"
            " virtual machines are given devices of this host."
        )
        yield warning("gpus.iommu", message, remedy)


def _check_bar(granted: Sequence[Path]) -> Iterator[Finding]:
    cards = {card.number: card for path in granted for card in (path.a, path.b)}
    small = [card for card in cards.values() if 0 < card.bar1_bytes < card.vram_bytes * 9 // 10]
    if small:
        size = format_gib(min(card.bar1_bytes for card in small))
        message = f"{', '.join(card.short for card in small)} show {size} of their memory on the bus at a time (BAR1)."
        remedy = "Turn on Resizable BAR and decoding above 4G in the firmware; direct transfers may need it."
        yield info("gpus.small_bar", message, remedy)


def _linked(links: Links) -> bool:
    return any(path.kind in (NVLINK, SWITCH) or path.nvlinks for path in links.paths)


def _pairs(paths: Sequence[Path]) -> str:
    """Return the pairs in words; of many, how many."""
    if len(paths) <= 3:
        return "; ".join(path.words for path in paths)
    cards = {card.number for path in paths for card in (path.a, path.b)}
    return f"{len(paths)} pairs of {len(cards)} GPUs"


def _why(paths: Sequence[Path]) -> str:
    codes = sorted({path.refusal for path in paths if path.refusal})
    return ", ".join(f"{code} ({REFUSALS.get(code, 'unknown')})" for code in codes)
