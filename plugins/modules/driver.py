#!/usr/bin/python
# Copyright: the llmhost maintainers
# Apache License 2.0 (see LICENSE)
"""The driver of the GPUs, as the plan says."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.llmhost.core.plugins.module_utils.command import run_command
from ansible_collections.llmhost.core.plugins.module_utils.driver.doing import act, needs_apt
from ansible_collections.llmhost.core.plugins.module_utils.driver.driver import Driver
from ansible_collections.llmhost.core.plugins.module_utils.driver.transaction import TransactionError
from ansible_collections.llmhost.core.plugins.module_utils.driver.wanted import Wanted
from ansible_collections.llmhost.core.plugins.module_utils.driver.work import DriverError, Host, Work
from ansible_collections.llmhost.core.plugins.module_utils.service.outlive import run
from ansible_collections.llmhost.core.plugins.module_utils.service.packages import BusyError, Packages
from ansible_collections.llmhost.core.plugins.module_utils.service.unit import UnitError
from ansible_collections.llmhost.core.plugins.module_utils.wait import wait_until_free

DOCUMENTATION = r"""
module: driver
short_description: Install, pin, load, prove, upgrade and take back the driver of NVIDIA GPUs
version_added: 0.1.0
description:
  - Installs the packages of the plan in one transaction of apt, after a simulation that shows what would come. Refused
    are a compiler that nobody asked for, another branch than the plan's, and the loss of packages of somebody else.
  - Holds them and keeps unattended-upgrades from them, lets the modules be loaded at boot, and persistence be on.
  - Judges what results, on the disk and, with a GPU, in the kernel. Without a GPU the module must end with "No such
    device", and for no other reason.
  - A transaction is recorded in C(/etc/llmhost/state/driver.json) before it begins. While somebody else holds apt's
    locks it waits; an action plugin on the controller shows for whom.
options:
  state:
    description:
      - V(present) makes the driver what the plan says; once one was proved it is not changed to another.
      - V(proved) installs nothing, and does all the rest of that.
      - V(upgraded) brings everything that is pinned to its newest version; refused without a way back.
      - V(returned) takes back an upgrade that was not proved.
      - V(absent) lets the packages go and removes those that were not there before. A kernel stays.
    type: str
    choices: [present, proved, upgraded, returned, absent]
    default: present
  plan:
    description: The plan's section C(driver).
    type: dict
    default: {}
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
    description: Tells what would be done, and neither waits nor asks a source of packages.
    support: full
  diff_mode:
    description: RV(actions) says what was done.
    support: none
"""

EXAMPLES = r"""
- name: Make the driver what the plan says
  llmhost.core.driver:
    plan: "{{ llmhost_plan.driver }}"
"""

RETURN = r"""
reboot:
  description: Why a restart is needed before the driver is in use; empty when it is.
  type: str
  returned: when not RV(running)
  sample: the driver has modules for the kernel 6.8.0-149-generic, and 5.15.0-142-generic runs
version: {description: Version of the driver on the disk., type: str, returned: when not RV(running)}
actions:
  description: What was done, or in check mode would be.
  type: list
  elements: str
  returned: always
findings:
  description: Why the driver is not what it should be.
  type: list
  elements: dict
  returned: on failure
running:
  description: Whether there is something to wait for; then nothing was done yet.
  type: bool
  returned: success
waiting_for: {description: "What that is, in words.", type: str, returned: when RV(running)}
remedy: {description: What to do when it takes too long., type: str, returned: when RV(running)}
"""

REMEDY = "See what that process does; run again when it has ended."


def main() -> None:
    """Make the driver what is asked for, or say for whom to wait."""
    module = AnsibleModule(
        argument_spec={
            "state": {
                "type": "str",
                "choices": ["present", "proved", "upgraded", "returned", "absent"],
                "default": "present",
            },
            "plan": {"type": "dict", "default": {}},
            "timeout": {"type": "int", "default": 1800},
            "poll": {"type": "int", "default": 5},
        },
        supports_check_mode=True,
    )
    state = module.params["state"]
    work = Work(Host(run_command, run), module.check_mode)
    driver = Driver(work, Wanted.from_plan(module.params["plan"]))
    busy, reboot = "", ""
    if needs_apt(driver, state) and not module.check_mode:
        busy = wait_until_free(Packages((), run).waiting_for, module.params["poll"])
    try:
        if not busy:
            reboot = act(driver, state)
    except BusyError as somebody:
        busy = str(somebody)
    except DriverError as problem:
        findings = [finding.as_dict() for finding in problem.findings]
        module.fail_json(msg=str(problem), findings=findings, actions=work.actions)
    except (TransactionError, UnitError, OSError) as problem:
        module.fail_json(msg=f"the driver: {problem}", findings=[], actions=work.actions)
    changed = bool(work.actions)
    if busy:
        module.exit_json(changed=changed, running=True, waiting_for=busy, remedy=REMEDY, actions=work.actions)
    told = {"reboot": reboot, "version": driver.version, "actions": work.actions}
    module.exit_json(changed=changed, running=False, **told)


if __name__ == "__main__":
    main()
