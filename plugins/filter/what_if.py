"""Filter that plans several models for several machines."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible_collections.llmhost.core.plugins.module_utils.plan.what_if import plan_all

DOCUMENTATION = r"""
name: what_if
short_description: Plan several models for several machines
version_added: "0.1.0"
description:
  - The plan of each model on each machine. The machines need not exist, so what this release cannot install yet is no
    error in these plans.
positional: models, variables, others, failures
options:
  _input:
    description: Machines, as P(llmhost.core.machines#filter) returns them.
    type: list
    elements: dict
    required: true
  models:
    description: What M(llmhost.core.model_info) returned as C(model), for each model.
    type: list
    elements: dict
    required: true
  variables:
    description: The C(llmhost_) variables by name.
    type: dict
    default: {}
  others:
    description: The quantisations that P(llmhost.core.wanted_variants#filter) asked for, read the same way.
    type: list
    elements: dict
    default: []
  failures:
    description: Results of M(llmhost.core.model_info) for models that could not be read.
    type: list
    elements: dict
    default: []
"""

EXAMPLES = r"""
- name: Plan
  ansible.builtin.set_fact:
    plans: "{{ 'intermediate; advanced' | llmhost.core.machines | llmhost.core.what_if([facts.model]) }}"
"""

RETURN = r"""
_value:
  description: For each pair the C(machine), the C(model) and the C(plan), or an C(error) instead of it.
  type: list
  elements: dict
"""


def what_if(
    machines: Sequence[Mapping[str, Any]],
    models: Sequence[Mapping[str, Any]],
    variables: Mapping[str, Any] | None = None,
    others: Sequence[Mapping[str, Any]] = (),
    failures: Sequence[Mapping[str, Any]] = (),
) -> list[dict[str, Any]]:
    """Return the plans."""
    return plan_all(machines, models, variables or {}, others, failures)


class FilterModule:
    """Names the filter for Ansible."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters of this file."""
        return {"what_if": what_if}
