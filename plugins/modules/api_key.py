#!/usr/bin/python
# Copyright: the llmhost maintainers
# Apache License 2.0 (see LICENSE)
"""The API key of the served model."""

from __future__ import annotations

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.llmhost.core.plugins.module_utils.service.api_key import ApiKey, ApiKeyError

DOCUMENTATION = r"""
module: api_key
short_description: Make an API key once, and let some people read it
version_added: 0.1.0
description:
  - Makes a key of 256 random bits in a file that only root reads. A key that is there is never replaced; delete the
    file to get a new one.
  - With O(users), a group of exactly these people reads a copy in a directory of its own. Without, copy and group go.
  - The key itself is never returned.
options:
  path:
    description: File of the key.
    type: path
    default: /etc/llmhost/credentials/api_key
  copy:
    description: File of the copy for O(users). Its directory holds nothing else.
    type: path
    default: /etc/llmhost-api/api_key
  group:
    description: Group that reads the copy.
    type: str
    default: llmhost-api
  users:
    description: Accounts of the host that may read the key.
    type: list
    elements: str
    default: []
  state:
    description: V(absent) takes key, copy and group away.
    type: str
    choices: [present, absent]
    default: present
author:
  - The llmhost maintainers
attributes:
  check_mode:
    description: Says what would be done.
    support: full
"""

EXAMPLES = r"""
- name: Make the API key
  llmhost.core.api_key:
    users: [alice]
"""

RETURN = r"""
fingerprint:
  description: A short name of the key that changes with it and does not help to guess it; empty in check mode before
    there is a key.
  type: str
  returned: success
done:
  description: What was made, or would be.
  type: list
  elements: str
  returned: success
"""


def main() -> None:
    """Compare, then make what is missing."""
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "default": "/etc/llmhost/credentials/api_key"},
            "copy": {"type": "path", "default": "/etc/llmhost-api/api_key"},
            "group": {"type": "str", "default": "llmhost-api"},
            "users": {"type": "list", "elements": "str", "default": []},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        supports_check_mode=True,
    )
    params = module.params
    key = ApiKey(
        Path(params["path"]), Path(params["copy"]), params["group"], module.run_command, tuple(params["users"])
    )
    try:
        if params["state"] == "absent":
            module.exit_json(changed=key.remove(dry_run=module.check_mode), done=["remove"], fingerprint="")
        changes = key.changes()
        if not module.check_mode:
            key.apply(changes)
    except (ApiKeyError, OSError) as problem:
        module.fail_json(msg=str(problem))
    module.exit_json(changed=bool(changes), done=changes, fingerprint=key.fingerprint())


if __name__ == "__main__":
    main()
