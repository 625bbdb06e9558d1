"""What a proof says about the host: findings for a person, and what the plan may rely on. It is pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from ansible_collections.llmhost.core.plugins.module_utils.finding import Finding, error, info, warning
from ansible_collections.llmhost.core.plugins.module_utils.proof.pair_verdict import Pair
from ansible_collections.llmhost.core.plugins.module_utils.proof.request import NO_PEER, REQUEST
from ansible_collections.llmhost.core.plugins.module_utils.proof.work import NOT_TRIED, OK, WRONG
from ansible_collections.llmhost.core.plugins.module_utils.proof.xid import Xid
from ansible_collections.llmhost.core.plugins.module_utils.record import Record, flag, integer, section, sections, text

# Rows that were replaced and errors that stayed in one program leave a GPU in use, though not for ever.
_WORN = frozenset({63, 92, 94})
# What each test is about, what it means when data was wrong, and what to do.
_STEPS = {
    "checker": ("comparison", "compares data wrongly", "Take overclocking back; if it stays so, replace the card."),
    "memory": ("memory", "has bad memory", "Let it cool, take overclocking back, prove again; then replace the card."),
    "host_link": (
        "way to the host",
        "changes data on its way",
        "Seat card and riser anew; try a slower PCIe generation.",
    ),
    "product": (
        "arithmetic under load",
        "computes wrongly",
        "Look at power cables and cooling; take overclocking back.",
    ),
}


@dataclass(frozen=True)
class Verdict:
    """The judgement of one result. ``expected`` has the speed of each link one way, by PCI addresses, in GB/s."""

    result: Record
    expected: tuple[Record, ...] = ()

    @classmethod
    def from_result(cls, result: Record | None, expected: Sequence[Record] = ()) -> Verdict:
        """Judge a result; one that is empty says nothing."""
        return cls(result if isinstance(result, Mapping) else {}, tuple(expected))

    def is_of(self, nvidia: Record | None) -> bool:
        """Tell whether the result is of these GPUs with this driver, as ``host_info`` shows them."""
        facts = nvidia if isinstance(nvidia, Mapping) else {}
        uuids = {text(gpu, "pci_address"): text(gpu, "uuid") for gpu in sections(facts, "gpus")}
        same_driver = text(section(facts, "driver"), "loaded_version") == text(self.result, "driver_version")
        return bool(self.result) and same_driver and uuids == dict(section(self.result, "uuids"))

    # -- what the plan takes from it ------------------------------------------------------------------------------

    @property
    def healthy(self) -> bool:
        """Tell whether nothing speaks against these GPUs. Transfers that only go through the host are healthy."""
        return bool(self.result) and not any(finding.level == "error" for finding in self.findings)

    @property
    def peer_transfers(self) -> bool | None:
        """Tell whether data went right between all GPUs directly; None where it was not granted, or not tried."""
        proved = [pair.direct for pair in self.pairs]
        if any(outcome is False for outcome in proved):
            return False
        return True if proved and all(proved) else None

    @property
    def bad_pairs(self) -> list[tuple[str, str]]:
        """Return the pairs that are granted direct transfers and can't make them."""
        return [(pair.a, pair.b) for pair in self.pairs if pair.direct is False]

    @property
    def reduces(self) -> bool | None:
        """Tell whether an all-reduce gave the right sum, be it without peer access; None where none was tried."""
        tried = [outcome for outcome in self._reduced.values() if outcome not in ("", NOT_TRIED)]
        return OK in tried if tried else None

    @property
    def peers(self) -> str:
        """Return ``failed`` or ``proved`` for direct transfers, as the plan does; nothing where none was tried."""
        if self.peer_transfers is False or self._reduced["with_peer"] not in ("", OK, NOT_TRIED):
            return "failed"
        return "proved" if any(pair.direct for pair in self.pairs) else ""

    @property
    def _reduced(self) -> dict[str, str]:
        tried = section(self.result, "all_reduce")
        return {way: text(section(tried, way), "outcome") for way in ("with_peer", "without_peer")}

    @cached_property
    def pairs(self) -> list[Pair]:
        """Return what is known of each pair."""
        return [Pair.from_result(pair, self.expected) for pair in sections(self.result, "pairs")]

    # -- what a person is told ------------------------------------------------------------------------------------

    @cached_property
    def findings(self) -> list[Finding]:
        """Return everything that is not as it should be."""
        return [*self._of_cuda(), *self._of_gpus(), *self._of_xids(), *self._of_pairs(), *self._of_all_reduce()]

    def _of_cuda(self) -> Iterator[Finding]:
        devices = section(self.result, "devices")
        if self.result and text(devices, "outcome") != OK:
            reason = text(devices, "message", "CUDA said nothing")
            yield error("proof.cuda", f"CUDA does not start on this host: {reason}.", text(devices, "remedy"))
        if flag(self.result, "stuck"):
            remedy = "Reboot the host; if it happens again, prove it with NCCL_P2P_DISABLE=1 and IOMMU off."
            yield error("proof.stuck", "A test hangs in the kernel, and nothing can use the GPUs any more.", remedy)

    def _of_gpus(self) -> Iterator[Finding]:
        for gpu in sections(self.result, "gpus"):
            name = f"The GPU at {text(gpu, 'pci_address')}"
            setup = section(gpu, "setup")
            if text(setup, "message"):
                yield error("proof.gpu", f"{name} cannot be used: {text(setup, 'message')}.", text(setup, "remedy"))
            for step in _STEPS:
                yield from _of_step(name, step, section(gpu, step))
            memory = section(gpu, "memory")
            if text(memory, "outcome") == OK and not integer(memory, "tested_bytes"):
                remedy = "Stop what uses it (nvidia-smi shows what) and prove again."
                yield info("proof.memory_in_use", f"{name} had no free memory that could be tested.", remedy)
            throttled = section(gpu, "sensors").get("throttled")
            if isinstance(throttled, (list, tuple)) and throttled:
                why = ", ".join(map(str, throttled))
                remedy = "Look at fans, airflow and power cables, or set a lower power limit."
                yield warning("proof.throttled", f"{name} slows down under load: {why}.", remedy)

    def _of_xids(self) -> Iterator[Finding]:
        for entry in sections(self.result, "xids"):
            xid = Xid(text(entry, "pci_address"), integer(entry, "number"), text(entry, "text"))
            told = f"The GPU at {xid.pci_address} reported Xid {xid.number} during the proof: {xid.meaning}."
            if not xid.of_hardware:
                yield info("proof.xid", told)
            elif xid.number in _WORN:
                yield warning("proof.xid", told, "Watch it: nvidia-smi -q -d ROW_REMAPPER,ECC.")
            else:
                yield error(
                    "proof.xid", told, "Seat card and cables anew and prove again; if it stays, replace the card."
                )

    def _of_pairs(self) -> Iterator[Finding]:
        for pair in self.pairs:
            yield from pair.findings()
        told = "; ".join(pair.trouble for pair in self.pairs if pair.trouble)
        if told:
            remedy = "llmhost does without them. To use them, turn ACS and the IOMMU off, or update the driver."
            yield warning("proof.peer", f"Direct transfers, which the driver grants, are not right {told}.", remedy)

    def _of_all_reduce(self) -> Iterator[Finding]:
        ways = {"with_peer": "with peer access", "without_peer": f"with {NO_PEER}=1"}
        for way, words in ways.items():
            reduced = section(section(self.result, "all_reduce"), way)
            if text(reduced, "outcome", OK) != OK:
                told = f"An all-reduce over all GPUs {words} {_said(reduced)}."
                yield warning("proof.all_reduce", told, f"NCCL_DEBUG=INFO in {REQUEST} shows what NCCL does.")

    def last_word(self) -> dict[str, str]:
        """Return message and remedy of the worst, as a job that failed leaves them; empty for a healthy host."""
        worst = next((finding for finding in self.findings if finding.level == "error"), None)
        return {"message": worst.message, "remedy": worst.remedy} if worst else {}


def _of_step(name: str, step: str, data: Record) -> Iterator[Finding]:
    outcome = text(data, "outcome", OK)
    thing, trouble, remedy = _STEPS[step]
    if outcome == WRONG:
        count = integer(data, "wrong_words")
        told = f"{name} {trouble}{f': {count} words are wrong' if count else ''}."
        yield error(f"proof.{step}", told, remedy)
    elif outcome not in (OK, NOT_TRIED):
        yield error(f"proof.{step}", f"{name}: the test of its {thing} {_said(data)}.", text(data, "remedy") or remedy)


def _said(data: Record) -> str:
    """Say how a test ended that did not end well."""
    outcome, message = text(data, "outcome"), text(data, "message")
    words = {WRONG: "gives wrong data", "hang": "hangs", "error": "fails"}.get(outcome, "was not tried")
    return f"{words} ({message})" if message else words
