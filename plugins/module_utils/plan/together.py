"""The GPUs of a host together: how they are joined, what a proof said of that, and what the plan makes of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from ansible_collections.llmhost.core.plugins.module_utils import record
from ansible_collections.llmhost.core.plugins.module_utils.finding import Finding
from ansible_collections.llmhost.core.plugins.module_utils.plan.links import NO_LINKS, UNPROVEN, Links, Proven
from ansible_collections.llmhost.core.plugins.module_utils.plan.links_findings import check_links
from ansible_collections.llmhost.core.plugins.module_utils.plan.links_plan import multi_gpu
from ansible_collections.llmhost.core.plugins.module_utils.plan.links_proven import read_proof
from ansible_collections.llmhost.core.plugins.module_utils.plan.links_split import Use, tensor_limit
from ansible_collections.llmhost.core.plugins.module_utils.record import Record
from ansible_collections.llmhost.core.plugins.module_utils.sizing.fit import Fit


@dataclass(frozen=True)
class Together:
    """``found`` is what the proof of this host found; ``settled``: the driver at work is the one of the plan.

    ``absent`` says why there is nothing to join or prove.
    """

    links: Links = NO_LINKS
    proven: Proven = UNPROVEN
    found: tuple[Finding, ...] = ()
    driver_branch: int = 0
    settled: bool = False
    absent: str = "the model runs on the CPU"

    @classmethod
    def from_facts(cls, facts: Record, driver: Record | None, declared: bool) -> Together:
        """Read the facts of a host that computes on GPUs, and the plan's ``driver``, None where none is planned."""
        planned = driver or {}
        links = Links.from_facts(facts)
        proven, found = read_proof(facts, links)
        branch = re.match(r"\d{3}", record.text(planned, "branch"))
        return cls(
            links=links,
            proven=proven,
            found=tuple(found),
            driver_branch=int(branch[0]) if branch else 0,
            settled=_is_settled(record.section(record.section(facts, "nvidia"), "driver"), planned),
            absent="the GPUs are declared by llmhost_gpus and not in the machine" if declared else "",
        )

    @property
    def tensor_ranks(self) -> int:
        """Over how many GPUs tensor parallel may go; 0 for all."""
        return tensor_limit(self.links)

    def findings(self, wanted: Record, engine: str) -> list[Finding]:
        """Return what a person should know; ``wanted`` are the tier's requirements."""
        link = record.section(wanted, "gpu_link")
        return [*check_links(self.links, link, engine, self.proven, self.settled), *self.found]

    def section(self, fit: Fit) -> dict[str, Any] | None:
        """Return the plan's ``multi_gpu``."""
        return None if self.absent else multi_gpu(self.links, Use.from_fit(fit), self.proven, self.driver_branch)


ON_CPU = Together()


def _is_settled(driver: Record, planned: Record) -> bool:
    """Whether no other driver comes with this plan: what the driver at work does not show is not there."""
    if not planned or record.flag(record.section(planned, "reboot"), "needed"):
        return False
    version = record.text(planned, "version").partition("-")[0]
    return record.text(planned, "source") == "kept" or record.text(driver, "loaded_version") == version != ""
