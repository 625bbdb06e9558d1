"""A GPU as a judge of links sees it: its slot, its NVLinks, and what keeps it from its work."""

from __future__ import annotations

from dataclasses import dataclass, field

from ansible_collections.llmhost.core.plugins.module_utils import record
from ansible_collections.llmhost.core.plugins.module_utils.hardware.gpu_table import GpuSpec
from ansible_collections.llmhost.core.plugins.module_utils.hardware.gpus import gpu_of_facts
from ansible_collections.llmhost.core.plugins.module_utils.hardware.pci_express import generation_of, link_gbs
from ansible_collections.llmhost.core.plugins.module_utils.record import Record

_AMD, _INTEL = "1022", "8086"
# Switches of AMD's chipsets: those of the 300 to 800 series have ids 43xx, that of X570 these.
_AMD_CHIPSET, _AMD_X570 = "43", ("57a3", "57a4", "57ad")
# The devices of bus 0 where Intel's desktop chipsets have their ports; those of the processor are 01 and 06.
_INTEL_CHIPSET = ("00:1b.", "00:1c.", "00:1d.")


@dataclass(frozen=True)
class Slot:
    """The link of a card: lanes and generations, 0 where they are not known.

    ``lanes`` are those in use. An idle card lowers its generation, so that is the lowest of what all ends allow.
    """

    lanes: int = 0
    own_lanes: int = 0
    port_lanes: int = 0
    generation: int = 0
    own_generation: int = 0
    behind_chipset: bool = False

    @classmethod
    def from_facts(cls, gpu: Record, seen: Record) -> Slot:
        """Read an entry of the facts' ``gpus``, and the same card as the driver sees it."""
        bus, driver = record.section(gpu, "pcie"), record.section(seen, "pcie")
        own = generation_of(bus.get("max_speed_gts")) or record.integer(driver, "gpu_max_generation")
        port = generation_of(bus.get("upstream_max_speed_gts")) or record.integer(driver, "host_max_generation")
        known = [one for one in (own, port, record.integer(driver, "max_generation")) if one]
        lanes = record.integer(bus, "current_width") or record.integer(driver, "width")
        return cls(
            lanes=lanes,
            own_lanes=max(record.integer(bus, "max_width") or record.integer(driver, "max_width"), lanes),
            port_lanes=record.integer(bus, "upstream_max_width"),
            generation=min(known, default=0),
            own_generation=own,
            behind_chipset=any(_is_chipset(bridge) for bridge in record.sections(gpu, "bridges")),
        )

    @property
    def gbs(self) -> float:
        """What the link carries each way, before what its packets take; 0 where it is not known."""
        return link_gbs(self.generation, self.lanes)

    @property
    def words(self) -> str:
        """Return such as ``PCIe 3.0 x4``."""
        return f"PCIe {self.generation}.0 x{self.lanes}" if self.generation else f"PCIe x{self.lanes}"


@dataclass(frozen=True)
class NvLink:
    """One NVLink of a card. ``gbs`` is what it carries each way; ``remote`` a PCI address, "switch" or nothing."""

    number: int
    active: bool
    gbs: float
    remote: str

    @classmethod
    def from_facts(cls, facts: Record) -> NvLink:
        """Read one entry of the driver's ``nvlinks``."""
        gbs = facts.get("gbs")
        return cls(
            number=record.integer(facts, "link"),
            active=record.flag(facts, "active"),
            gbs=float(gbs) if isinstance(gbs, (int, float)) and not isinstance(gbs, bool) and 0 < gbs < 1000 else 0.0,
            remote=record.text(facts, "remote"),
        )


@dataclass(frozen=True)
class Memory:
    """What the driver counts of a card's memory: errors that were not corrected, and rows put out of use."""

    uncorrected_errors: int = 0
    pending: bool = False
    failure: bool = False

    @classmethod
    def from_facts(cls, seen: Record) -> Memory:
        """Read a card as the driver sees it."""
        rows = record.section(seen, "remapped_rows")
        return cls(
            record.integer(seen, "uncorrected_errors"), record.flag(rows, "pending"), record.flag(rows, "failure")
        )


@dataclass(frozen=True)
class Card:
    """One GPU. ``number`` counts the host's GPUs by PCI address; ``seen``: the driver shows it too."""

    number: int
    pci_address: str
    name: str
    vram_bytes: int
    kernel_driver: str = ""
    seen: bool = False
    linked: bool = False  # said to be linked, of a host in words
    mig: bool = False
    bar1_bytes: int = 0
    slot: Slot = Slot()
    memory: Memory = Memory()
    nvlinks: tuple[NvLink, ...] = ()
    bridges: tuple[str, ...] = field(default=(), repr=False)

    @classmethod
    def from_facts(cls, number: int, gpu: Record, seen: Record) -> Card:
        """Read an entry of the facts' ``gpus``, and the same card as the driver sees it, if it does."""
        fallback = f"NVIDIA device {record.text(gpu, 'device_id', 'unknown')}"
        return cls(
            number=number,
            pci_address=record.text(gpu, "pci_address"),
            name=record.text(seen, "name") or record.text(gpu, "name") or fallback,
            vram_bytes=record.integer(gpu, "vram_bytes") or record.integer(seen, "vram_bytes"),
            kernel_driver=record.text(gpu, "driver"),
            seen=bool(seen),
            linked=record.flag(gpu, "nvlink"),
            mig=record.flag(seen, "mig"),
            bar1_bytes=record.integer(seen, "bar1_bytes"),
            slot=Slot.from_facts(gpu, seen),
            memory=Memory.from_facts(seen),
            nvlinks=tuple(NvLink.from_facts(link) for link in record.sections(seen, "nvlinks")),
            bridges=tuple(record.text(bridge, "address") for bridge in record.sections(gpu, "bridges")),
        )

    @property
    def spec(self) -> GpuSpec | None:
        """What such a card is sold with, where it is known."""
        return gpu_of_facts(self.name, self.vram_bytes)

    @property
    def fabric(self) -> str:
        """What NVLinks of such a card end in: a bridge, a switch, or nothing because it has none."""
        return self.spec.fabric if self.spec else ""

    @property
    def active_links(self) -> int:
        """How many of its NVLinks are up."""
        return sum(link.active for link in self.nvlinks)

    @property
    def link_gbs(self) -> float:
        """What one of its NVLinks carries each way; 0 where the driver does not say."""
        return max((link.gbs for link in self.nvlinks if link.active), default=0.0)

    @property
    def short(self) -> str:
        """Return such as ``GPU0``, as the plan's tables call it."""
        return f"GPU{self.number}"

    @property
    def words(self) -> str:
        """Return such as ``GPU0 (NVIDIA GeForce RTX 3090, 0000:01:00.0)``."""
        return f"{self.short} ({self.name}, {self.pci_address})"


def _is_chipset(bridge: Record) -> bool:
    vendor, device = record.text(bridge, "vendor"), record.text(bridge, "device")
    if vendor == _AMD:
        return device.startswith(_AMD_CHIPSET) or device in _AMD_X570
    return vendor == _INTEL and record.text(bridge, "address").startswith(tuple("0000:" + at for at in _INTEL_CHIPSET))
