"""Filter that names the unit of a path."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.llmhost.core.plugins.module_utils.service.unit_name import unit_name

DOCUMENTATION = r"""
name: unit_name
short_description: Name the unit that systemd makes for a path
version_added: "0.1.0"
positional: suffix
description:
  - Writes the path as C(systemd-escape --path) does.
options:
  _input:
    description: The absolute path of a mount point, a swap file or a device.
    type: str
    required: true
  suffix:
    description: The kind of unit, such as V(mount), V(swap) or V(device).
    type: str
    required: true
author:
  - The llmhost maintainers
"""

EXAMPLES = r"""
- name: Show the unit of a mount point
  ansible.builtin.debug:
    msg: "{{ '/srv/llmhost' | llmhost.core.unit_name('mount') }}"
"""

RETURN = r"""
_value:
  description: The name of the unit, such as C(srv-llmhost.mount).
  type: str
"""


class FilterModule:
    """Names the filter for Ansible."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters of this file."""
        return {"unit_name": unit_name}
