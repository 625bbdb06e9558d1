"""Filter that decides: host and model and intent become the plan."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.llmhost.core.plugins.module_utils.files import read_word
from ansible_collections.llmhost.core.plugins.module_utils.plan import planner

DOCUMENTATION = r"""
name: plan
short_description: Decide what a host becomes
version_added: "0.1.0"
description:
  - Turns the facts of a host, the facts of a model and the user's variables into the plan that every role reads.
  - Pure arithmetic on the controller. The same input always gives the same plan, and a host on which the plan was
    carried out gives it once more. Of the controller it reads the kernel's C(boot_id) alone, which tells whether the
    host is this very machine, that is not rebooted unasked.
  - What keeps the plan from being carried out is a finding of level C(error) in it, not a failure of the filter.
positional: model, variables, missing_files
options:
  _input:
    description: What M(llmhost.core.host_info) returned as C(host).
    type: dict
    required: true
  model:
    description: What M(llmhost.core.model_info) returned as C(model); without it, only the host is judged.
    type: dict
  variables:
    description: The C(llmhost_) variables by name. Unknown names are errors in the plan.
    type: dict
    default: {}
  missing_files:
    description: The files of C(llmhost_ca_certificates) that the controller does not have.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Decide
  ansible.builtin.set_fact:
    llmhost_plan: "{{ facts.host | llmhost.core.plan(facts.model, {'llmhost_accelerator': 'cpu'}) }}"
"""

RETURN = r"""
_value:
  description: The plan; C(plugins/module_utils/plan/plan_schema.py) names every field and its meaning.
  type: dict
"""


def plan(
    host: Mapping[str, Any],
    model: Mapping[str, Any] | None = None,
    variables: Mapping[str, Any] | None = None,
    missing_files: Sequence[str] = (),
) -> dict[str, Any]:
    """Return the plan, or fail when what is given is not a host's facts at all."""
    if not isinstance(host, Mapping):
        raise AnsibleFilterError(f"llmhost.core.plan needs the facts of a host, not {type(host).__name__}.")
    # Where there is no such file, as on macOS, the host is another machine.
    boot_id = read_word("/proc/sys/kernel/random/boot_id")
    return planner.plan(host, model or None, variables or {}, missing_files, boot_id=boot_id)


class FilterModule:
    """Names the filter for Ansible."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters of this file."""
        return {"plan": plan}
