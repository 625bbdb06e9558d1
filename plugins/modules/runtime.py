#!/usr/bin/python
# Copyright: the llmhost maintainers
# Apache License 2.0 (see LICENSE)
"""A runtime archive on the host."""

from __future__ import annotations

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.llmhost.core.plugins.module_utils.service.runtime_store import (
    RuntimeStore,
    RuntimeStoreError,
    verify,
)

DOCUMENTATION = r"""
module: runtime
short_description: Install a versioned runtime archive
version_added: 0.1.0
description:
  - Makes sure that one version of a runtime lies complete below a directory, beside other versions.
  - It comes from O(store) on the controller, or from O(package) where this host has built it; what this host has built
    goes to the store, so that no other host has to. Every archive is checked against its SHA-256 on both sides.
  - When neither has it, nothing is changed and RV(present) is false, which fails with O(required).
options:
  name:
    description: Name of the archive without its suffix; also the name of its directory.
    type: str
    required: true
  directory:
    description: Directory on the target below which versions lie.
    type: path
    required: true
  store:
    description: Directory on the controller with the archives that were built so far.
    type: path
  package:
    description: Archive on the target, with its checksum in a file beside it.
    type: path
  required:
    description: Fail when the version is neither there nor to be had.
    type: bool
    default: false
  active:
    description: Also make it the version in use (link C(current)), and remember the one before (link C(previous)).
    type: bool
    default: false
author:
  - The llmhost maintainers
attributes:
  check_mode:
    description: Says what is there.
    support: full
"""

EXAMPLES = r"""
- name: Install the runtime if an archive is to be had
  llmhost.core.runtime:
    name: llama_cpp-0.3.36-jammy-x86_64-cpu-0123456789ab
    directory: /opt/llmhost/llama_cpp
    store: ~/.cache/llmhost/archives
"""

RETURN = r"""
name:
  description: Name of the archive.
  type: str
  returned: success
present:
  description: Whether the version is installed.
  type: bool
  returned: success
packaged:
  description: Whether O(package) is on the target.
  type: bool
  returned: success
"""


def main() -> None:
    """Install or activate a version; the controller's part is in the action plugin."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "directory": {"type": "path", "required": True},
            "store": {"type": "path"},
            "package": {"type": "path"},
            "required": {"type": "bool", "default": False},
            "active": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    params, changed = module.params, False
    name, runtimes = params["name"], RuntimeStore(Path(params["directory"]))
    package = Path(params["package"]) if params["package"] else None
    try:
        present, packaged = runtimes.is_complete(name), package is not None and package.exists()
        if packaged and package and not present and not module.check_mode:
            verify(package)
            runtimes.install(name, package)
            present = changed = True
        if params["active"] and module.check_mode:
            changed = runtimes.active() != name
        elif params["active"]:
            changed = runtimes.activate(name) or changed
    except (RuntimeStoreError, OSError) as problem:
        module.fail_json(msg=str(problem))
    module.exit_json(changed=changed, name=name, present=present, packaged=packaged)


if __name__ == "__main__":
    main()
