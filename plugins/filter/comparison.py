"""Filter that shows several plans in one table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible_collections.llmhost.core.plugins.module_utils.plan import what_if

DOCUMENTATION = r"""
name: comparison
short_description: Show several plans in one table
version_added: "0.1.0"
description:
  - A line for each model on each machine - verdict, quantisation, context, memory and expected speed.
options:
  _input:
    description: What P(llmhost.core.what_if#filter) returned.
    type: list
    elements: dict
    required: true
"""

EXAMPLES = r"""
- name: Compare
  ansible.builtin.debug:
    msg: "{{ plans | llmhost.core.comparison }}"
"""

RETURN = r"""
_value:
  description: The table, of several lines.
  type: str
"""


def comparison(plans: Sequence[Mapping[str, Any]]) -> str:
    """Return the table."""
    return what_if.comparison(plans)


class FilterModule:
    """Names the filter for Ansible."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters of this file."""
        return {"comparison": comparison}
