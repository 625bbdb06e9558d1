"""The GPUs of a host and the ways between them, from the facts of ``host_info``."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations

from ansible_collections.llmhost.core.plugins.module_utils import record
from ansible_collections.llmhost.core.plugins.module_utils.plan.links_card import Card
from ansible_collections.llmhost.core.plugins.module_utils.plan.links_path import NVLINK, PCIE, SWITCH, Path
from ansible_collections.llmhost.core.plugins.module_utils.record import Record

Ends = frozenset[str]
"""The PCI addresses of a pair."""


@dataclass(frozen=True)
class Proven:
    """What a proof on this host said of direct transfers; nothing where none was ``made``.

    ``good`` and ``bad`` are the pairs between which they brought the right data, and those where they hung, failed or
    brought wrong data. ``refuted``: each pair was right, yet a sum over all GPUs was not.
    """

    made: bool = False
    good: frozenset[Ends] = frozenset()
    bad: frozenset[Ends] = frozenset()
    refuted: bool = False

    def allows(self, path: Path) -> bool:
        """Whether direct transfers on that way are to be used.

        NVLinks are until they fail; PCI Express only after a proof, because a driver's grant has been seen to hang
        and to bring wrong data.
        """
        if self.refuted or path.ends in self.bad:
            return False
        return path.kind in (NVLINK, SWITCH) or (path.kind == PCIE and path.ends in self.good)

    @classmethod
    def of_grants(cls, paths: Iterable[Path]) -> Proven:
        """Return what a proof says at best: all is right that the driver grants."""
        return cls(True, frozenset(path.ends for path in paths if path.granted))


UNPROVEN = Proven()


@dataclass(frozen=True)
class Links:
    """All cards by their PCI addresses, and each pair of them.

    ``driver_tells``: a driver is at work and shows GPUs. ``redirecting`` are bridges whose access control sends
    transfers between GPUs through the processor; None where nobody could look.
    """

    cards: tuple[Card, ...] = ()
    paths: tuple[Path, ...] = ()
    driver_tells: bool = False
    virtual: bool = False
    described: bool = False
    iommu: bool = False
    redirecting: tuple[str, ...] | None = None

    @classmethod
    def from_facts(cls, facts: Record) -> Links:
        """Read the result of ``host_info``, or the facts of a host in words."""
        nvidia = record.section(facts, "nvidia")
        seen = {record.text(gpu, "pci_address"): gpu for gpu in record.sections(nvidia, "gpus")}
        gpus = record.sections(facts, "gpus")
        cards = tuple(
            Card.from_facts(number, gpu, seen.get(record.text(gpu, "pci_address"), {}))
            for number, gpu in enumerate(gpus)
        )
        pairs = _pairs(nvidia)
        switches = bool(record.texts(nvidia, "nvswitches"))
        return cls(
            cards=cards,
            paths=tuple(
                Path.from_facts(a, b, pairs.get(frozenset((a.pci_address, b.pci_address)), {}), switches)
                for a, b in combinations(cards, 2)
            ),
            driver_tells=any(card.seen for card in cards),
            virtual=record.text(record.section(facts, "virtualization"), "machine", "none") != "none",
            described="hardware" in facts,
            iommu=record.flag(nvidia, "iommu"),
            redirecting=record.texts(nvidia, "acs") if isinstance(nvidia.get("acs"), (list, tuple)) else None,
        )

    def among(self, numbers: tuple[int, ...]) -> tuple[Path, ...]:
        """Return the ways between some of the cards."""
        return tuple(path for path in self.paths if path.a.number in numbers and path.b.number in numbers)


NO_LINKS = Links()


def _pairs(nvidia: Record) -> dict[Ends, Record]:
    """Return what the driver says of each pair, by PCI addresses: its own numbers need not be the bus's."""
    address = {
        record.integer(gpu, "index", -1): record.text(gpu, "pci_address") for gpu in record.sections(nvidia, "gpus")
    }
    found = {}
    for pair in record.sections(nvidia, "pairs"):
        ends = frozenset(address.get(record.integer(pair, key, -1), "") for key in ("a", "b"))
        if len(ends) == 2 and "" not in ends:
            found[ends] = pair
    return found
