"""The way between two GPUs: what it is, whether the driver grants it, and what a large transfer should reach."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ansible_collections.llmhost.core.plugins.module_utils import record
from ansible_collections.llmhost.core.plugins.module_utils.plan.links_card import Card
from ansible_collections.llmhost.core.plugins.module_utils.record import Record

NVLINK, SWITCH, PCIE, HOST = "nvlink", "switch", "pcie", "host"
"""Ways: NVLinks from card to card, NVLinks through a switch, PCI Express from card to card, and through RAM."""

SYSTEM = "SYS"
"""The level of a pair whose way crosses from one processor's socket to another's."""

REFUSALS = {
    "CNS": "the chipset does not support it",
    "GNS": "the GPU does not support it",
    "TNS": "the topology does not support it",
    "NS": "it is not supported",
    "DR": "a registry key of the driver disables it",
    "U": "the driver does not know",
}
"""Why a driver refuses direct transfers, by the words of ``nvidia-smi topo -p2p``."""

# Shares of the nominal rate that a large copy reaches. NVLink: 52.2 of 56.2 GB/s were measured between two RTX A6000;
# from the fourth generation on nvidia-smi names the rate before what the packets take. PCI Express: about 25 of
# 31.5 GB/s (4.0 x16). Through RAM: 19 to 21 GB/s where direct copies make 50, both ways together (A40).
_NVLINK_SHARE, _NEW_NVLINK_SHARE, _NEW_NVLINK_GBS = 0.9, 0.8, 26.0
_PCIE_SHARE, _HOST_SHARE = 0.8, 0.4
# NCCL's topo.h reckons with 10 GB/s between two sockets of Skylake, 16 and more of later ones.
_SOCKETS_GBS = 10.0


@dataclass(frozen=True)
class Path:
    """The way between two cards, the lower number first. ``level`` is that of ``nvidia-smi topo -m``, "" if unknown.

    ``granted`` is None while no driver says whether both may read and write each other's memory.
    """

    a: Card
    b: Card
    level: str = ""
    nvlinks: int = 0
    granted: bool | None = None
    refusal: str = ""
    through_switch: bool = False

    @classmethod
    def from_facts(cls, a: Card, b: Card, pair: Record, switches: bool) -> Path:
        """Read a pair of the driver's facts; without one, what was said of a host in words."""
        if not pair:
            said = a.linked and b.linked
            return cls(a, b, nvlinks=int(said), through_switch=said and a.fabric == SWITCH)
        level = record.text(pair, "level")
        counted = re.fullmatch(r"NV(\d{1,2})", level)
        states = [state for key in ("read", "write") if (state := record.text(pair, key))]
        refused = [state for state in states if state != "OK"]
        return cls(
            a,
            b,
            level=level,
            nvlinks=record.integer(pair, "nvlinks") or (int(counted[1]) if counted else 0),
            granted=not refused if states else None,
            refusal=refused[0] if refused else "",
            through_switch=switches or any(link.active and link.remote == SWITCH for link in a.nvlinks),
        )

    @property
    def ends(self) -> frozenset[str]:
        """The PCI addresses of both cards."""
        return frozenset((self.a.pci_address, self.b.pci_address))

    @property
    def kind(self) -> str:
        """What carries a transfer, as far as the driver tells. Unknown grants count as refused on PCI Express."""
        if self.granted is not False and self.nvlinks:
            return SWITCH if self.through_switch else NVLINK
        return PCIE if self.granted else HOST

    @property
    def gbs(self) -> float:
        """What a large transfer one way should reach, in 10^9 bytes a second; 0 where that is not known."""
        if self.kind in (NVLINK, SWITCH):
            link = min(self.a.link_gbs, self.b.link_gbs)
            share = _NVLINK_SHARE if link < _NEW_NVLINK_GBS else _NEW_NVLINK_SHARE
            return round((self.nvlinks * link or self._sold_gbs()) * share, 1)
        slots = _PCIE_SHARE * min(self.a.slot.gbs, self.b.slot.gbs)
        reached = slots if self.kind == PCIE else slots * _HOST_SHARE
        return round(min(reached, _SOCKETS_GBS) if self.level == SYSTEM else reached, 1)

    @property
    def words(self) -> str:
        """Return such as ``GPU0 and GPU1``."""
        return f"{self.a.short} and {self.b.short}"

    def _sold_gbs(self) -> float:
        """All links of the lesser card each way, where no driver says how many are up."""
        return min(card.spec.nvlink_gbs / 2 if card.spec else 0.0 for card in (self.a, self.b))
