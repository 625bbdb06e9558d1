#!/usr/bin/python
# Copyright: the llmhost maintainers
# Apache License 2.0 (see LICENSE)
"""Bring the proof of GPUs to the host, and say what it has found."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.llmhost.core.plugins.module_utils.proof.installed import NAME, InstalledProof
from ansible_collections.llmhost.core.plugins.module_utils.service.unit import SystemdUnit, UnitError

DOCUMENTATION = r"""
module: gpu_proof
short_description: Bring the proof of GPUs to the host, and say what it has found
version_added: 0.1.0
description:
  - Writes a program, its request (C(/etc/llmhost/proof.json)) and the unit C(llmhost-proof), which M(llmhost.core.job)
    runs. The program needs the driver and Python, and nothing else.
  - It tests the memory and the arithmetic of each GPU, all of them under load at once, the transfers between each two,
    and an all-reduce over all. Whatever may hang has a process and a clock of its own, and a hang is a result.
  - What it found is kept in C(/etc/llmhost/state/gpu_proof.json). It stands for these GPUs with this driver alone.
options:
  state:
    description: Whether the host has the proof. V(absent) takes away what was found and every NCCL of it, too.
    type: str
    choices: [present, absent]
    default: present
  gpus:
    description: PCI addresses of the GPUs, as sysfs writes them; needed to be present.
    type: list
    elements: str
  burn_in_seconds:
    description: How long all GPUs multiply matrices at once. V(0) leaves that out.
    type: int
    default: 60
  environment:
    description: Environment of the all-reduce. C(NCCL_P2P_DISABLE) does not count here, since both ways are proved.
    type: dict
    default: {}
  nccl:
    description: The environment of Python that has NCCL, or the library itself; without it there is no all-reduce.
    type: path
    default: ""
attributes:
  check_mode: {description: Writes nothing, and tells whether something is to be written., support: full}
  diff_mode: {description: There is nothing to show., support: none}
author:
  - The llmhost maintainers
"""

EXAMPLES = r"""
- name: Bring the proof to the host
  llmhost.core.gpu_proof:
    gpus: ["0000:01:00.0", "0000:41:00.0"]
  register: proof

- name: Prove the GPUs
  llmhost.core.job:
    unit: llmhost-proof
    state: "{{ item }}"
  loop: [started, finished]
  when: not proof.proved
"""

RETURN = r"""
proved:
  description: Whether these GPUs with this driver were proved and found healthy.
  type: bool
  returned: when present
result:
  description: What the last proof of these GPUs with this driver found, or an empty dict.
  type: dict
  returned: when present
"""


def main() -> None:
    """Write the files or take them away, and read the record."""
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "gpus": {"type": "list", "elements": "str"},
            "burn_in_seconds": {"type": "int", "default": 60},
            "environment": {"type": "dict", "default": {}},
            "nccl": {"type": "path", "default": ""},
        },
        required_if=[("state", "present", ("gpus",))],
        supports_check_mode=True,
    )
    given = module.params
    present = given["state"] == "present"
    request = {name: given[name] for name in ("gpus", "burn_in_seconds", "environment", "nccl")} if present else {}
    proof = InstalledProof(SystemdUnit(NAME, module.run_command), request)
    changed = not proof.is_current() if present else proof.exist()
    try:
        if changed and not module.check_mode:
            (proof.apply if present else proof.remove)()
    except (UnitError, OSError) as problem:
        module.fail_json(msg=f"the proof of the GPUs could not be set up: {problem}. Mend that and run again.")
    if not present:
        module.exit_json(changed=changed)
    module.exit_json(changed=changed, proved=proof.result.get("ok") is True, result=proof.result)


if __name__ == "__main__":
    main()
