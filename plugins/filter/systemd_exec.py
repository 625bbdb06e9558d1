"""Filter that writes a command line for a systemd unit."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.llmhost.core.plugins.module_utils.service.exec_line import systemd_exec as write_line

DOCUMENTATION = r"""
name: systemd_exec
short_description: Quote a command line for C(ExecStart=)
version_added: "0.1.0"
description:
  - Writes a list of arguments so that the process gets exactly these. Unlike the quoting of a shell, that of systemd
    also has to protect C(%) and C($).
options:
  _input:
    description: The program's absolute path and its arguments, or arguments alone.
    type: list
    elements: raw
    required: true
author:
  - The llmhost maintainers
"""

EXAMPLES = r"""
- name: Show the line of a unit
  ansible.builtin.debug:
    msg: "ExecStart={{ ['/usr/bin/printf', '100 %'] | llmhost.core.systemd_exec }}"
"""

RETURN = r"""
_value:
  description: The words of the command line.
  type: str
"""


def systemd_exec(arguments: Iterable[object]) -> str:
    """Return the line, or fail with a message that a user understands."""
    try:
        return write_line(arguments)
    except ValueError as failure:
        raise AnsibleFilterError(str(failure)) from failure


class FilterModule:
    """Names the filter for Ansible."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters of this file."""
        return {"systemd_exec": systemd_exec}
