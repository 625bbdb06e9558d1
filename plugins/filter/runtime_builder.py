"""Filter that chooses the host which builds a runtime for all hosts of a run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

DOCUMENTATION = r"""
name: runtime_builder
short_description: Choose the host that builds a runtime
version_added: "0.1.0"
description:
  - Returns the first host of the play that lacks the archive, or nothing when none does. The others wait, as the linear
    strategy makes them, and install what that one has built.
options:
  _input:
    description: The hosts of the play, in order.
    type: list
    elements: str
    required: true
  hostvars:
    description: C(hostvars). A host's C(__inference_runtime) is what llmhost.core.runtime returned there.
    type: dict
    required: true
  archive:
    description: Name of the archive.
    type: str
    required: true
positional: hostvars, archive
author:
  - The llmhost maintainers
"""

EXAMPLES = r"""
- name: Build the runtime
  ansible.builtin.include_tasks: build.yml
  when: inventory_hostname == (ansible_play_hosts | llmhost.core.runtime_builder(hostvars, inference_archive))
"""

RETURN = r"""
_value:
  description: Name of a host, or an empty string.
  type: str
"""


def runtime_builder(hosts: Iterable[str], hostvars: Mapping[str, Any], archive: str) -> str:
    """Return the first host that lacks the archive."""
    for host in hosts:
        runtime = hostvars[host].get("__inference_runtime") or {}
        if runtime.get("name") == archive and not runtime.get("present"):
            return host
    return ""


class FilterModule:
    """Names the filter for Ansible."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters of this file."""
        return {"runtime_builder": runtime_builder}
