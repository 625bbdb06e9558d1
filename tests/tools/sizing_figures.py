"""What the engine is planned to take in a measured case, beside what it took."""

from __future__ import annotations

from dataclasses import dataclass

from tests.tools.sizing_cases import Case

WEIGHTS, KV, RECURRENT, COMPUTE, OUTPUT, TOTAL = "weights", "KV cache", "recurrent", "compute", "output", "total VRAM"
HOST_WEIGHTS, HOST_COMPUTE = "weights in RAM", "compute in RAM"
ACTIVATION, NON_TORCH, POOL, GRAPHS = "activation", "non-torch", "KV pool", "CUDA graphs"
CONTEXT, CONCURRENCY, VERDICT, TOKENS = "largest context", "concurrency", "verdict", "tokens in pool"
MIB_PER_GIB = 1024


@dataclass(frozen=True)
class Figure:
    """One part of one case: MiB, but for a context (tokens), a concurrency (requests) and a verdict (1: fits)."""

    case: Case
    part: str
    device: str
    predicted: float
    measured: float

    @property
    def difference(self) -> float:
        """Predicted less measured."""
        return self.predicted - self.measured

    @property
    def percent(self) -> float:
        """The difference in percent of what was measured."""
        if not self.measured:
            return 0.0 if not self.predicted else 100.0
        return 100 * self.difference / self.measured

    @property
    def exception(self) -> str:
        """Why this figure is not held against the rules, or nothing."""
        return self.case.exception(self.part)

    @property
    def in_target(self) -> bool:
        """Say whether the figure meets what was asked for."""
        rounding = 0.011 * (MIB_PER_GIB if self.case.engine == "vLLM" else 1)
        if self.part in (KV, RECURRENT):
            return abs(self.difference) <= max(1, rounding)
        if self.part in (WEIGHTS, HOST_WEIGHTS):
            limit = 1.0 if self.case.engine == "vLLM" else 0.5
            return abs(self.percent) <= limit or abs(self.difference) <= rounding
        if self.part == TOTAL:
            return self.difference >= -rounding and self.percent <= 6
        if self.part in (CONTEXT, POOL, CONCURRENCY):
            return self.difference <= rounding and self.percent >= -3
        if self.part == TOKENS:  # the pool of the log is rounded to 0.01 GiB
            block = max(32, self.case.number("block_size"))
            share = 0.6 / float(self.case.reported.get("kv_gib", 1))
            return abs(self.percent) <= share or abs(self.difference) <= block
        if self.part == VERDICT:
            return self.difference == 0
        return self.difference >= -rounding
