#!/usr/bin/python
# Copyright: the llmhost maintainers
# Apache License 2.0 (see LICENSE)
"""A systemd service whose process runs what its unit file says."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.llmhost.core.plugins.module_utils.boot.units import NAME, BootUnits
from ansible_collections.llmhost.core.plugins.module_utils.service.service import Service
from ansible_collections.llmhost.core.plugins.module_utils.service.unit import SystemdUnit, UnitError
from ansible_collections.llmhost.core.plugins.module_utils.state import StateFile

DOCUMENTATION = r"""
module: service
short_description: Make a systemd service run what its unit file says
version_added: 0.1.0
description:
  - Writes the unit file, enables the service, and restarts it when its process was started from another unit file.
  - The process itself tells what it was started from, by a credential that holds a digest. So a run that was killed
    between the change and the restart is made good by the next one, and a run without a change never restarts.
  - Everything whose change needs a restart has to show in the unit file or in O(reads). Put the fingerprint of a secret
    into a comment.
options:
  name:
    description: Name of the unit, with or without C(.service).
    type: str
    required: true
  state:
    description: V(absent) stops the service and takes its unit file away.
    type: str
    choices: [present, absent]
    default: present
  content:
    description: Text of the unit file.
    type: str
    default: ""
  reads:
    description:
      - Files whose contents the process has to have been started with. Small ones, such as the record of what was
        published, since they are read on every run. One that is not there counts as empty.
    type: list
    elements: path
    default: []
  record:
    description: What to remember about the service in C(/etc/llmhost/state/<record_name>.json).
    type: dict
  record_name:
    description: Name of that record.
    type: str
  boot:
    description:
      - Also keep the unit C(llmhost-storage), which brings storage, swap and model back at boot from the records of
        this host, and the program C(/opt/llmhost/boot/llmhost.pyz), which tells why the service waits.
    type: bool
    default: false
author:
  - The llmhost maintainers
attributes:
  check_mode:
    description: Says what would be done.
    support: full
  diff_mode:
    description: Shows the unit file before and after.
    support: full
"""

EXAMPLES = r"""
- name: Serve the model
  llmhost.core.service:
    name: llmhost-inference
    content: "{{ lookup('ansible.builtin.template', 'llmhost-inference.service.j2') }}"
"""

RETURN = r"""
done:
  description: What was done, or would be, such as C(boot), C(write), C(reload), C(enable), C(restart).
  type: list
  elements: str
  returned: success
"""


def boot_units(module: AnsibleModule) -> BootUnits:
    """Return the units for the storage and the swap that this host has recorded."""
    return BootUnits(SystemdUnit(NAME, module.run_command), StateFile("storage").read(), StateFile("swap").read())


def remove_boot(boot: BootUnits, dry_run: bool) -> bool:
    """Take the boot's files away; tell whether there were any."""
    there = boot.exist()
    if there and not dry_run:
        boot.remove()
    return there


def main() -> None:
    """Compare, then do what is missing."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "content": {"type": "str", "default": ""},
            "reads": {"type": "list", "elements": "path", "default": []},
            "record": {"type": "dict"},
            "record_name": {"type": "str"},
            "boot": {"type": "bool", "default": False},
        },
        required_if=[("state", "present", ("content",))],
        required_together=[("record", "record_name")],
        supports_check_mode=True,
    )
    params = module.params
    unit = SystemdUnit(params["name"], module.run_command)
    service = Service(unit, params["content"], params["reads"])
    boot = boot_units(module) if params["boot"] else None
    try:
        if params["state"] == "absent":
            removed = service.remove(dry_run=module.check_mode)
            removed |= boot is not None and remove_boot(boot, dry_run=module.check_mode)
            module.exit_json(changed=removed, done=["remove"])
        before, changes = service.file.read(), service.changes()
        # First: before the service starts it asks the program whether it can.
        stale = boot is not None and not boot.is_current()
        if boot and stale and not module.check_mode:
            boot.apply()
        if not module.check_mode:
            service.apply(changes)
        record = params["record"]
        recorded = bool(record) and not module.check_mode and StateFile(params["record_name"]).write(record)
    except UnitError as problem:
        journal = unit.journal()
        module.fail_json(msg="\n".join([str(problem), *(f"  {line}" for line in journal)]), journal=journal)
    except OSError as problem:
        module.fail_json(msg=f"the service {unit.stem} could not be set up: {problem}. Mend that and run again.")
    changes = ["boot", *changes] if stale else changes
    after = service.file.text if "write" in changes else before
    module.exit_json(changed=bool(changes) or recorded, done=changes, diff={"before": before, "after": after})


if __name__ == "__main__":
    main()
