"""Filter that names the quantisations to read before several machines are planned."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible_collections.llmhost.core.plugins.module_utils.plan import what_if

DOCUMENTATION = r"""
name: wanted_variants
short_description: Name the quantisations that machines should have
version_added: "0.1.0"
description:
  - For each model of which no quantisation is pinned, the best for each machine, unless it was read already.
positional: models, variables
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
"""

EXAMPLES = r"""
- name: Read them
  llmhost.core.model_info:
    model: "{{ item.model }}"
    variant: "{{ item.variant }}"
  loop: "{{ machines | llmhost.core.wanted_variants(models) }}"
"""

RETURN = r"""
_value:
  description: The C(model) as it was asked for, and the label of the C(variant).
  type: list
  elements: dict
"""


def wanted_variants(
    machines: Sequence[Mapping[str, Any]],
    models: Sequence[Mapping[str, Any]],
    variables: Mapping[str, Any] | None = None,
) -> list[dict[str, str]]:
    """Return what to read."""
    return what_if.wanted_variants(machines, models, variables or {})


class FilterModule:
    """Names the filter for Ansible."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters of this file."""
        return {"wanted_variants": wanted_variants}
