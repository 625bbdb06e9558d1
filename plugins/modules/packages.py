#!/usr/bin/python
# Copyright: the llmhost maintainers
# Apache License 2.0 (see LICENSE)
"""Install packages of the distribution, whatever its apt is busy with."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.llmhost.core.plugins.module_utils.service.outlive import run
from ansible_collections.llmhost.core.plugins.module_utils.service.packages import (
    BusyError,
    Packages,
    PackagesError,
)
from ansible_collections.llmhost.core.plugins.module_utils.wait import wait_until_free

DOCUMENTATION = r"""
module: packages
short_description: Install packages on a host whose apt may be busy, interrupted or out of date
version_added: 0.1.0
description:
  - Installs what is missing by C(apt-get), without recommended packages and without asking anything.
  - While somebody else holds one of apt's locks, as unattended-upgrades does on the first boot of a cloud's image, it
    waits; an action plugin on the controller shows for whom.
  - An installation that was cut off is finished first (C(dpkg --configure -a)). Package lists are fetched when there
    are none, or when an installation fails with those at hand.
options:
  name:
    description: The packages.
    type: list
    elements: str
    required: true
  timeout:
    description: Fail when apt is still busy after so many seconds. 0 waits for ever.
    type: int
    default: 1800
  poll:
    description: Seconds between two looks from the controller.
    type: int
    default: 5
author:
  - The llmhost maintainers
attributes:
  check_mode:
    description: Tells whether something is to be installed, and neither waits nor asks a source of packages.
    support: full
  diff_mode:
    description: There is nothing to show.
    support: none
"""

EXAMPLES = r"""
- name: Install what makes a filesystem
  llmhost.core.packages:
    name: [xfsprogs]
"""

RETURN = r"""
running:
  description: Whether there is something to wait for; then nothing was done yet.
  type: bool
  returned: always
waiting_for:
  description: What that is, in words.
  type: str
  returned: when RV(running)
  sample: unattended-upgrade (pid 812 of apt-daily-upgrade.service) to release apt's lock
remedy:
  description: What to do when it takes too long.
  type: str
  returned: when RV(running)
actions:
  description: What was done, or in check mode would be.
  type: list
  elements: str
  returned: when not RV(running)
"""

REMEDY = "See what that process does; run again when it has ended."


def main() -> None:
    """Install what is missing, or say for whom to wait."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "list", "elements": "str", "required": True},
            "timeout": {"type": "int", "default": 1800},
            "poll": {"type": "int", "default": 5},
        },
        supports_check_mode=True,
    )
    packages = Packages(module.params["name"], run)
    missing = packages.missing()
    if not missing or module.check_mode:
        actions = [f"install {' '.join(missing)}"] if missing else []
        module.exit_json(changed=bool(missing), running=False, actions=actions)
    busy = wait_until_free(packages.waiting_for, module.params["poll"])
    try:
        if not busy:
            packages.install()
    except BusyError as somebody:
        busy = str(somebody)
    except (PackagesError, OSError) as problem:
        module.fail_json(msg=str(problem), actions=packages.actions)
    if busy:
        module.exit_json(changed=False, running=True, waiting_for=busy, remedy=REMEDY)
    module.exit_json(changed=True, running=False, actions=packages.actions)


if __name__ == "__main__":
    main()
