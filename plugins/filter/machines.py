"""Filter that turns one or several described machines into the facts of hosts, each with its name."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.llmhost.core.plugins.filter.hardware import hardware

DOCUMENTATION = r"""
name: machines
short_description: Turn descriptions of machines into the facts of hosts, by name
version_added: "0.1.0"
description:
  - For plans without a host, and for comparisons. Each machine is described as for P(llmhost.core.hardware#filter).
positional: rest, keep_errors
options:
  _input:
    description: One description, or several in a list or with semicolons between them.
    type: raw
    required: true
  rest:
    description:
      - What Ansible has cut off a description with spaces in C(-e name=value), which ends at the first space unless the
        value has quotes of its own. It is put back where the whole makes sense.
    type: str
    default: ""
  keep_errors:
    description: Whether a description that is not understood becomes an entry with C(error), instead of a failure.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Show two machines
  ansible.builtin.debug:
    msg: "{{ 'RTX 4090, 64 GiB RAM; 2x RTX 3090, 128 GiB RAM' | llmhost.core.machines }}"
"""

RETURN = r"""
_value:
  description: For each machine a dict with its C(name), as it was given, and its facts as C(host).
  type: list
  elements: dict
"""


def machines(given: Any, rest: str = "", keep_errors: bool = False) -> list[dict[str, Any]]:
    """Return the machines, or fail with what is not understood."""
    try:
        return _read_whole(given, rest)
    except AnsibleFilterError as reason:
        if not keep_errors:
            raise
        return [{"name": str(given), "host": {}, "error": str(reason).replace("llmhost.core.hardware: ", "")}]


def _read_whole(given: Any, rest: str) -> list[dict[str, Any]]:
    if not rest or not isinstance(given, str):
        return _read(given)
    try:
        return _read(f"{given} {rest}")
    except AnsibleFilterError as whole:
        # What follows may belong to another variable; if it does not help, the whole is what was meant.
        try:
            return _read(given)
        except AnsibleFilterError:
            raise whole from None


def _read(given: Any) -> list[dict[str, Any]]:
    return [{"name": _name(one), "host": hardware(one)} for one in _parts(given)]


def _parts(given: Any) -> Iterator[Any]:
    if isinstance(given, str) and not given.lstrip().startswith(("{", "[")):
        yield from (part.strip() for part in given.split(";") if part.strip())
    elif isinstance(given, (str, Mapping)):
        yield given
    elif isinstance(given, Sequence):
        for part in given:
            yield from _parts(part)
    else:
        raise AnsibleFilterError(f"llmhost.core.machines needs a description, not {type(given).__name__}.")


def _name(given: Any) -> str:
    if not isinstance(given, str) or given.startswith(("{", "[")):
        return "saved facts"
    return os.path.basename(given) if given.endswith(".json") else str(given)


class FilterModule:
    """Names the filter for Ansible."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters of this file."""
        return {"machines": machines}
