"""What is wrong with single GPUs: a card that the driver misses, its slot, its NVLinks, its memory, MIG."""

from __future__ import annotations

from collections.abc import Iterator

from ansible_collections.llmhost.core.plugins.module_utils.finding import Finding, error, info, warning
from ansible_collections.llmhost.core.plugins.module_utils.hardware.gpu_table import SWITCH
from ansible_collections.llmhost.core.plugins.module_utils.plan.links import Links
from ansible_collections.llmhost.core.plugins.module_utils.plan.links_card import Card

_NARROW = 4
"""So few lanes are a warning; eight cost little."""
_OLD_GENERATION = 2
_BRIDGES = 3
"""Cards of data centres, with twelve links and more, take as many bridges."""
_MANY_LINKS = 12


def check_cards(links: Links, settled: bool) -> Iterator[Finding]:
    """Yield what is to be said of each card. ``settled``: the driver stays as it is, so that what it misses is gone."""
    yield from _check_seen(links, settled)
    for card in links.cards:
        yield from _check_mig(card)
        yield from _check_memory(card)
        if not links.virtual and not links.described:
            yield from _check_slot(card, len(links.cards) > 1)
            yield from _check_nvlinks(card, len(links.cards) > 1)


def _check_seen(links: Links, settled: bool) -> Iterator[Finding]:
    """A card on the bus that the driver does not show. Before the driver is settled, that may still change."""
    if not links.driver_tells:
        return
    missing = [card for card in links.cards if not card.seen]
    taken = [card for card in missing if card.kernel_driver not in ("", "nvidia", "nouveau")]
    for card in taken:
        message = f"{card.words} is bound to {card.kernel_driver}, as for a virtual machine: the driver cannot have it."
        remedy = "Take it from that driver (vfio-pci.ids= on the kernel's command line, /etc/modprobe.d), or out."
        yield error("gpus.taken", message, remedy)
    lost = [card for card in missing if card not in taken]
    if lost:
        shown = len(links.cards) - len(missing)
        message = f"The PCI bus has {len(links.cards)} NVIDIA GPU(s), the driver shows {shown}: {_words(lost)} missing."
        remedy = (
            "Look for NVRM and Xid in the kernel log (journalctl -k). Switch the machine off and on again; then look at"
            " the card's power cables and riser, and try it in another slot. A card older or newer than the driver's"
            " branch needs another llmhost_driver_branch."
        )
        yield (error if settled else warning)("gpus.missing", message, remedy)


def _check_mig(card: Card) -> Iterator[Finding]:
    if card.mig:
        message = f"{card.words} is in MIG mode: programs see a part of it, and no other GPU."
        remedy = f"Turn it off with nvidia-smi -i {card.pci_address} -mig 0, then restart the machine."
        yield error("gpus.mig", message, remedy)


def _check_memory(card: Card) -> Iterator[Finding]:
    memory = card.memory
    if memory.failure:
        message = f"{card.words} has no spare rows left for memory that fails."
        yield warning("gpus.memory_failing", message, "Have the card replaced: its answers can be wrong.")
    elif memory.pending:
        message = f"{card.words} has put failing rows of its memory out of use, which takes effect at its next start."
        yield warning("gpus.memory_pending", message, "Restart the machine.")
    if memory.uncorrected_errors and not memory.failure:
        errors = f"{memory.uncorrected_errors} uncorrected memory error(s)"
        message = f"{card.words} has counted {errors} since its counters were cleared."
        remedy = "If the count grows, have the card replaced; nvidia-smi -q -d ECC,ROW_REMAPPER tells more."
        yield warning("gpus.memory_errors", message, remedy)


def _check_slot(card: Card, several: bool) -> Iterator[Finding]:
    slot = card.slot
    if 0 < slot.lanes < slot.own_lanes:
        yield from _check_lanes(card, several)
    # A slot that is narrow by its kind has been named; another one may still be slow.
    elif 0 < slot.generation < slot.own_generation and (several or slot.generation <= _OLD_GENERATION):
        message = f"{card.words} runs at {slot.words}, and could at {slot.own_generation}.0."
        remedy = "Raise the slot's speed in the firmware, or use a slot or riser of the newer generation."
        yield info("gpus.slow_slot", message, remedy)


def _check_lanes(card: Card, several: bool) -> Iterator[Finding]:
    slot = card.slot
    if slot.lanes < slot.port_lanes:
        could = min(slot.port_lanes, slot.own_lanes)
        message = f"{card.words} runs at {slot.words}, in a slot that gives it {could} lanes."
        remedy = "Seat the card again, clean its contacts, and try it without a riser or in another slot."
        yield warning("gpus.lanes_lost", message, remedy)
        return
    what = f"runs at {slot.words}, and could use {slot.own_lanes} lanes"
    if slot.behind_chipset:
        message = f"{card.words} {what}: its slot is one of the chipset, which disks and network share with it."
        remedy = "Move it to a slot of the processor: mostly that next to it, or the second long one."
        yield warning("gpus.chipset_slot", message, remedy)
    elif slot.lanes <= _NARROW or several:
        message = f"{card.words} {what}: loading{' and transfers between GPUs take' if several else ' takes'} longer."
        remedy = "Give it a wider slot, or set how the slots share their lanes (bifurcation) in the firmware."
        yield (warning if slot.lanes <= _NARROW else info)("gpus.narrow_slot", message, remedy)


def _check_nvlinks(card: Card, several: bool) -> Iterator[Finding]:
    """Links that are down. All of them on a card for bridges only means that there is no bridge: no finding here."""
    down = [str(link.number) for link in card.nvlinks if not link.active]
    if not down or not several or (not card.active_links and card.fabric != SWITCH):
        return
    total = len(card.nvlinks)
    has = f"{card.words} has {card.active_links} of {total} NVLinks up"
    if card.fabric == SWITCH:
        remedy = "Look at journalctl -u nvidia-fabricmanager and at Xid in the kernel log; then restart the machine."
        yield warning("gpus.nvlink_inactive", f"{has}; link {', '.join(down)} is down.", remedy)
    elif total >= _MANY_LINKS and card.active_links % (total // _BRIDGES) == 0:
        bridges = card.active_links // (total // _BRIDGES)
        message = f"{has}: {bridges} of the {_BRIDGES} bridges that such a card takes."
        yield info("gpus.nvlink_bridges", message, "Each further bridge adds as much; seat again one that is there.")
    else:
        remedy = (
            "Switch the machine off, take the bridge out, clean its contacts and seat it evenly on both cards. If the"
            " same link stays down, try another bridge."
        )
        yield warning("gpus.nvlink_inactive", f"{has}; link {', '.join(down)} is down.", remedy)


def _words(cards: list[Card]) -> str:
    return ", ".join(card.words for card in cards) + (" is" if len(cards) == 1 else " are")
