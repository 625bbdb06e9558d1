"""Filter that chooses the quantisation of a repository for a host."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.llmhost.core.plugins.module_utils.plan.variant_choice import choose_variant

DOCUMENTATION = r"""
name: model_variant
short_description: Choose the quantisation of a model for a host
version_added: "0.1.0"
description:
  - Where the user named a repository alone, the best of its quantisations that fits the host with the wanted context.
    What the host serves already stays as long as it fits.
positional: model, variables
options:
  _input:
    description: What M(llmhost.core.host_info) returned as C(host).
    type: dict
    required: true
  model:
    description: What M(llmhost.core.model_info) returned as C(model).
    type: dict
    required: true
  variables:
    description: The C(llmhost_) variables by name.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Read the header of the one to be served
  llmhost.core.model_info:
    model: "{{ llmhost_model }}"
    variant: "{{ facts.host | llmhost.core.model_variant(first.model) }}"
"""

RETURN = r"""
_value:
  description: The label of the quantisation, or an empty text when the one that was read is the right one.
  type: str
"""


def model_variant(host: Mapping[str, Any], model: Mapping[str, Any], variables: Mapping[str, Any] | None = None) -> str:
    """Return the label."""
    if not isinstance(host, Mapping) or not isinstance(model, Mapping):
        raise AnsibleFilterError("llmhost.core.model_variant needs the facts of a host and of a model.")
    return choose_variant(host, model, variables or {})


class FilterModule:
    """Names the filter for Ansible."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters of this file."""
        return {"model_variant": model_variant}
