"""What the proof on a host says of the links between its GPUs, where it is one of these GPUs with this driver."""

from __future__ import annotations

from dataclasses import replace

from ansible_collections.llmhost.core.plugins.module_utils import record
from ansible_collections.llmhost.core.plugins.module_utils.finding import Finding, Level
from ansible_collections.llmhost.core.plugins.module_utils.plan.links import UNPROVEN, Links, Proven
from ansible_collections.llmhost.core.plugins.module_utils.plan.links_plan import expected
from ansible_collections.llmhost.core.plugins.module_utils.proof.verdict import Verdict
from ansible_collections.llmhost.core.plugins.module_utils.proof.work import NOT_TRIED, OK
from ansible_collections.llmhost.core.plugins.module_utils.record import Record

_LOWER: dict[Level, Level] = {"error": "warning"}


def read_proof(facts: Record, links: Links) -> tuple[Proven, list[Finding]]:
    """Return what is proved, and what the proof found; nothing of a proof of other GPUs or of another driver.

    What it found is no error of the plan: a plan with an error changes nothing, and so could not prove the host again.
    The role stops there instead.
    """
    result = record.section(facts, "proof")
    verdict = Verdict.from_result(result)
    if not verdict.is_of(record.section(facts, "nvidia")):
        return UNPROVEN, []
    bad = frozenset(frozenset((pair.a, pair.b)) for pair in verdict.pairs if pair.direct is False)
    verdict = Verdict.from_result(result, expected(links, bad))
    good = frozenset(frozenset((pair.a, pair.b)) for pair in verdict.pairs if pair.direct)
    summed = record.text(record.section(record.section(result, "all_reduce"), "with_peer"), "outcome")
    proven = Proven(True, good, bad, refuted=not bad and summed not in ("", OK, NOT_TRIED))
    return proven, [replace(finding, level=_LOWER.get(finding.level, finding.level)) for finding in verdict.findings]
