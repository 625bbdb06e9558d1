"""What is decided before the model is looked at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ansible_collections.llmhost.core.plugins.module_utils.finding import Finding
from ansible_collections.llmhost.core.plugins.module_utils.plan.intent import Intent
from ansible_collections.llmhost.core.plugins.module_utils.plan.plan_schema import STEPS
from ansible_collections.llmhost.core.plugins.module_utils.plan.together import ON_CPU, Together


@dataclass(frozen=True)
class Ground:
    """The intent, what computes, and the driver (the plan's ``driver``). ``declared``: the GPUs are not there yet.

    ``skipped`` says of each step that is not taken why, as far as the host alone decides. ``together`` is how the GPUs
    are joined, and what a proof said of that. ``what_if``: nothing is served from these GPUs, so what this release
    cannot install yet is no error.
    """

    intent: Intent
    accelerator: str
    findings: tuple[Finding, ...]
    declared: bool = False
    driver: dict[str, Any] | None = None
    skipped: tuple[tuple[str, str], ...] = ()
    together: Together = ON_CPU
    what_if: bool = False

    def steps(self, **more: str) -> dict[str, dict[str, str]]:
        """Return the plan's ``steps``; ``more`` says of further ones why they are skipped, nothing where they are not.

        Steps with nothing to set still run, to take back what an earlier plan had set.
        """
        reasons = {**dict(self.skipped), **more}
        return {
            step: {"action": "skip" if reasons.get(step) else "apply", "reason": reasons.get(step, "")}
            for step in STEPS
        }
