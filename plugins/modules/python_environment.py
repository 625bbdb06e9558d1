#!/usr/bin/python
# Copyright: the llmhost maintainers
# Apache License 2.0 (see LICENSE)
"""Make a virtual environment with pinned packages."""

from __future__ import annotations

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.llmhost.core.plugins.module_utils.lock import LockedError, hold
from ansible_collections.llmhost.core.plugins.module_utils.service.python_environment import (
    EnvironmentFailedError,
    PythonEnvironment,
)

DOCUMENTATION = r"""
module: python_environment
short_description: Make a virtual environment with pinned packages
version_added: "0.1.0"
author: llmhost maintainers (@llmhost)
description:
  - Makes a virtual environment and installs packages whose versions and hashes are pinned.
  - The environment appears at its path only when it is complete. A run that is killed leaves nothing that a later run
    could take for complete.
  - One run at a time makes it. Another one waits, also for what goes on after its run was killed.
  - A proxy and certificates come from the environment of the task.
options:
  path:
    description: Folder of the environment. Name it after the requirements, so that two sets can stand side by side.
    type: path
    required: true
  requirements:
    description: Text of a requirements file with a hash for every package.
    type: str
    required: true
  python:
    description: The interpreter that makes it. On Ubuntu it needs the package C(python3-venv).
    type: path
    default: /usr/bin/python3
  lock_timeout:
    description: Seconds to wait for another run.
    type: int
    default: 600
attributes:
  check_mode:
    description: Makes nothing, and tells whether something is to be made.
    support: full
  diff_mode:
    description: There is nothing to show.
    support: none
"""

EXAMPLES = r"""
- name: Install the hub client
  llmhost.core.python_environment:
    path: /opt/llmhost/hub-0123456789ab
    requirements: "{{ lookup('ansible.builtin.file', 'requirements.txt') }}"
  environment: "{{ llmhost_proxy | llmhost.core.egress_environment(llmhost_ca_certificates) }}"
"""

RETURN = r"""
python:
  description: The interpreter of the environment.
  type: str
  returned: always
"""


def main() -> None:
    """Make the environment unless it is complete."""
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "requirements": {"type": "str", "required": True},
            "python": {"type": "path", "default": "/usr/bin/python3"},
            "lock_timeout": {"type": "int", "default": 600},
        },
        supports_check_mode=True,
    )
    given = module.params
    environment = PythonEnvironment(Path(given["path"]), given["requirements"])
    changed = not environment.is_complete()
    if changed and not module.check_mode:
        try:
            with hold("environment", given["lock_timeout"]) as lock:
                # Whoever held the lock may have made it meanwhile.
                changed = not environment.is_complete()
                if changed:
                    environment.make(given["python"], lock.run)
        except (EnvironmentFailedError, LockedError, OSError) as problem:
            module.fail_json(
                msg=f"{given['path']}: {problem}\nCheck llmhost_proxy, llmhost_ca_certificates and the disk."
            )
    module.exit_json(changed=changed, python=str(environment.python))


if __name__ == "__main__":
    main()
