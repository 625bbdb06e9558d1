"""Filter that shows a plan to a person."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.llmhost.core.plugins.module_utils.plan import plan_table as table

DOCUMENTATION = r"""
name: plan_table
short_description: Show a plan as an aligned table
version_added: "0.1.0"
description:
  - Turns the result of P(llmhost.core.plan#filter) into text for people, with sizes in GiB, the steps that are skipped
    and why, and every finding with its remedy. The last line says whether the plan can be carried out.
positional: host, what_if
options:
  _input:
    description: The plan.
    type: dict
    required: true
  host:
    description: What M(llmhost.core.host_info) returned as C(host), to show what the host is.
    type: dict
  what_if:
    description: Whether the host need not exist; then the table leaves out what the roles would do.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Show the plan
  ansible.builtin.debug:
    msg: "{{ llmhost_plan | llmhost.core.plan_table(facts.host) }}"
"""

RETURN = r"""
_value:
  description: The table, of several lines.
  type: str
"""


def plan_table(plan: Mapping[str, Any], host: Mapping[str, Any] | None = None, what_if: bool = False) -> str:
    """Return the table and the sentence that sums it up."""
    if not isinstance(plan, Mapping):
        raise AnsibleFilterError(f"llmhost.core.plan_table needs a plan, not {type(plan).__name__}.")
    return f"{table.plan_table(plan, host, what_if)}\n{table.summary(plan, what_if)}"


class FilterModule:
    """Names the filter for Ansible."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters of this file."""
        return {"plan_table": plan_table}
