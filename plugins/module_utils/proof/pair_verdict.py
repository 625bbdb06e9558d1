"""What a proof says about two GPUs: which ways between them are right, and whether they are fast enough."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ansible_collections.llmhost.core.plugins.module_utils.finding import Finding, error, warning
from ansible_collections.llmhost.core.plugins.module_utils.proof.pair_check import COPY, DIRECT, STAGED
from ansible_collections.llmhost.core.plugins.module_utils.proof.work import NOT_GRANTED, NOT_TRIED, OK, WRONG
from ansible_collections.llmhost.core.plugins.module_utils.record import Record, section, sections, text

# Of what the link should give to one large copy; less than this is another link than the one expected.
_FAST_ENOUGH = 0.7
_WORDS = {WRONG: "gives wrong data", "hang": "hangs", "error": "fails"}


@dataclass(frozen=True)
class Pair:
    """Two GPUs by their PCI addresses."""

    a: str
    b: str
    transfers: tuple[Record, ...]
    setup: Record
    expected_gbs: float | None = None

    @classmethod
    def from_result(cls, data: Record, expected: Sequence[Record] = ()) -> Pair:
        """Read one entry of a result."""
        a, b = text(data, "a"), text(data, "b")
        speeds = (entry.get("gbs") for entry in expected if {text(entry, "a"), text(entry, "b")} == {a, b})
        speed = next((speed for speed in speeds if isinstance(speed, (int, float))), None)
        return cls(a, b, tuple(sections(data, "transfers")), section(data, "setup"), speed)

    @property
    def direct(self) -> bool | None:
        """Tell whether every direct way gave right data, there and back; None where one was not granted or tried."""
        direct = [transfer for transfer in self.transfers if text(transfer, "way") in DIRECT]
        if {text(transfer, "outcome") for transfer in direct} - {OK, NOT_GRANTED, NOT_TRIED}:
            return False
        right = {(text(one, "way"), text(one, "from"), text(one, "to")) for one in direct if text(one, "outcome") == OK}
        both = ((self.a, self.b), (self.b, self.a))
        return True if right == {(way, *ends) for way in DIRECT for ends in both} else None

    @property
    def gbs(self) -> float | None:
        """Return the speed of the slower direction, on the way that engines take."""
        way = COPY if self.direct else STAGED
        speeds = [
            float(transfer["gbs"])
            for transfer in self.transfers
            if text(transfer, "way") == way and isinstance(transfer.get("gbs"), (int, float))
        ]
        return min(speeds) if speeds else None

    @property
    def fast_enough(self) -> bool | None:
        """Compare with what the link should give; None where one of both is not known."""
        if self.gbs is None or self.expected_gbs is None:
            return None
        return self.gbs >= _FAST_ENOUGH * self.expected_gbs

    def findings(self) -> Iterator[Finding]:
        """Yield what is not as it should be."""
        if text(self.setup, "message"):
            told = f"Nothing can be sent between the GPUs {self.a} and {self.b}: {text(self.setup, 'message')}."
            yield error("proof.transfer", told, text(self.setup, "remedy"))
        staged = self._wrong((STAGED,))
        if staged:
            remedy = "Prove each card alone; seat the cards and risers anew."
            told = f"Data that goes through the host between the GPUs {self.a} and {self.b} does not arrive: {staged}."
            yield error("proof.transfer", told, remedy)
        if self.fast_enough is False:
            told = f"Data goes between the GPUs {self.a} and {self.b} at {self.gbs:g} GB/s, where the link should give "
            told += f"{self.expected_gbs:g}."
            remedy = "Look at the bridge and the slots; ACS or an IOMMU may send it all the way to the processor."
            yield warning("proof.slow_link", told, remedy)

    @property
    def trouble(self) -> str:
        """Say which direct ways are not right; nothing where all are."""
        wrong = self._wrong(DIRECT)
        return f"between {self.a} and {self.b} ({wrong})" if wrong else ""

    def _wrong(self, ways: Sequence[str]) -> str:
        """Name what is not right of these ways, each thing once: both directions mostly go wrong alike."""
        said = []
        for transfer in self.transfers:
            outcome, way, message = (text(transfer, key) for key in ("outcome", "way", "message"))
            if way in ways and outcome in _WORDS:
                said.append(f"{way} {_WORDS[outcome]}{f': {message}' if message else ''}")
        return ", ".join(dict.fromkeys(said))
