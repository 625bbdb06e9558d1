#!/usr/bin/python
# Copyright: the llmhost maintainers
# Apache License 2.0 (see LICENSE)
"""Run the acceptance suite on the controller; the action plugin of this name does all of it."""

from __future__ import annotations

DOCUMENTATION = r"""
module: acceptance_suite
short_description: Run the acceptance suite on the controller
version_added: 0.2.0
description:
  - Runs a command on the controller, in the inventory of this run. It changes nothing.
  - A password for sudo, of the inventory (C(ansible_become_password)) or typed at the beginning of the run
    (C(--ask-become-pass)), is given to it through a pipe, whose number is in C(LLMHOST_BECOME_PASSWORD_FD).
options:
  argv:
    description: The command.
    type: list
    elements: str
    required: true
  chdir:
    description: The directory to run it in.
    type: path
    required: true
  inventory:
    description: The sources of the inventory, with commas between.
    type: str
    required: true
author:
  - The llmhost maintainers
attributes:
  action:
    description: Runs on the controller alone.
    support: full
  check_mode:
    description: Does the same.
    support: full
"""

EXAMPLES = r"""
- name: Run the acceptance suite
  llmhost.core.acceptance_suite:
    argv: [python3, -m, pytest, tests/acceptance, "--hosts=ansible://{{ inventory_hostname }}"]
    chdir: /opt/llmhost-checkout
    inventory: "{{ ansible_inventory_sources | join(',') }}"
"""

RETURN = r"""
rc:
  description: The exit status; 1 when checks failed. Any other but 0 fails the task.
  type: int
  returned: always
stdout:
  description: What the suite wrote.
  type: str
  returned: always
stderr:
  description: What it complained of.
  type: str
  returned: always
"""
