"""How fast a disk can be reached: its PCI Express link, or what it is attached by."""

from __future__ import annotations

from dataclasses import dataclass

from ansible_collections.llmhost.core.plugins.module_utils import record
from ansible_collections.llmhost.core.plugins.module_utils.record import Record

# GT/s of a lane: generation, and 10^6 bytes a second that it carries.
_GENERATIONS = {2.5: ("1.0", 250), 5.0: ("2.0", 500), 8.0: ("3.0", 985), 16.0: ("4.0", 1969), 32.0: ("5.0", 3938)}
_NEWEST = ("6.0", 7563)
# What is believed of a disk whose link nobody tells: an NVMe disk is seldom on less than four lanes of PCIe 3.0.
_USUAL = {"nvme": 3940, "virtio": 2000, "sas": 1200, "sata": 550, "ata": 550, "usb": 400}
_NAMES = {"nvme": "NVMe", "virtio": "virtio", "sas": "SAS", "sata": "SATA", "ata": "SATA", "usb": "USB"}


@dataclass(frozen=True)
class Link:
    """A PCI Express link: lanes and GT/s that both ends allow, and those that the disk itself could use.

    An idle disk may lower its speed, never its width: the speed is the lower one of both maxima, the width the current.
    """

    lanes: int
    speed_gts: float
    own_lanes: int
    own_speed_gts: float

    @classmethod
    def from_facts(cls, pcie: Record) -> Link | None:
        """Read the facts' ``pcie``; None where it does not tell the width and the speed."""
        own_lanes, own_speed = record.integer(pcie, "max_width"), _speed(pcie, "max_speed_gts")
        lanes = record.integer(pcie, "current_width") or own_lanes
        speed = own_speed or _speed(pcie, "current_speed_gts")
        slot = _speed(pcie, "upstream_max_speed_gts")
        if not lanes or not speed:
            return None
        return cls(
            lanes=lanes,
            speed_gts=min(speed, slot or speed),
            own_lanes=max(own_lanes, lanes),
            own_speed_gts=speed,
        )

    @property
    def is_narrowed(self) -> bool:
        """Whether the disk could do more than its place lets it."""
        return self.lanes < self.own_lanes or self.speed_gts < self.own_speed_gts

    @property
    def megabytes(self) -> int:
        """Return the 10^6 bytes a second that it carries."""
        return self.lanes * _generation(self.speed_gts)[1]

    @property
    def words(self) -> str:
        """Return such as ``PCIe 4.0 x4``, or ``PCIe 3.0 x2 of 4.0 x4``."""
        here = f"PCIe {_generation(self.speed_gts)[0]} x{self.lanes}"
        own = f"{_generation(self.own_speed_gts)[0]} x{self.own_lanes}"
        return f"{here} of {own}" if self.is_narrowed else here


def megabytes_of(link: Link | None, transport: str) -> int:
    """Return the 10^6 bytes a second that a disk can be read with at most, by its link or what it is attached by."""
    return link.megabytes if link else _USUAL.get(transport, 0)


def words_of(link: Link | None, transport: str) -> str:
    """Return the link in words; "" where nothing is known of it."""
    return link.words if link else _NAMES.get(transport, "")


def _generation(speed_gts: float) -> tuple[str, int]:
    return next((known for speed, known in _GENERATIONS.items() if speed_gts <= speed), _NEWEST)


def _speed(pcie: Record, key: str) -> float:
    value = pcie.get(key)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1000:
        return 0.0
    return float(value)
