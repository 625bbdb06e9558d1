#!/usr/bin/python
# Copyright: the llmhost maintainers
# Apache License 2.0 (see LICENSE)
"""Say whether a model is published on this host, or record that it is."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.llmhost.core.plugins.module_utils.service.published_model import PublishedModels, PublishError
from ansible_collections.llmhost.core.plugins.module_utils.state import StateFile

DOCUMENTATION = r"""
module: published_model
short_description: Say whether a model is published on this host, or record that it is
version_added: "0.1.0"
author: llmhost maintainers (@llmhost)
description:
  - A published model lies in the cache under its final name, and each of its files was verified by checksum.
  - The record holds size and time of change of each file as they were at the verification. A model counts as published
    as long as its files look the same; no content is read, and no network is needed.
options:
  model:
    description: The model, as M(llmhost.core.model_info) describes it and the plan carries it.
    type: dict
    required: true
  cache_path:
    description: The cache, in the layout of the Hugging Face hub client.
    type: path
    required: true
  files:
    description:
      - The files that were fetched and verified, as the unit C(llmhost-model-fetch) lists them in its result.
      - With it the model is recorded as published, if the files are those of the model. Without it, nothing is
        recorded.
    type: list
    elements: dict
  state_dir:
    description: Folder of the record C(models.json).
    type: path
    default: /etc/llmhost/state
attributes:
  check_mode:
    description: Records nothing; a model that is not published counts as a change to come.
    support: full
  diff_mode:
    description: There is nothing to show.
    support: none
"""

EXAMPLES = r"""
- name: See whether the model is published
  llmhost.core.published_model:
    model: "{{ llmhost_plan.model }}"
    cache_path: /srv/llmhost/models
  register: __published

- name: Record the model
  llmhost.core.published_model:
    model: "{{ llmhost_plan.model }}"
    cache_path: /srv/llmhost/models
    files: "{{ __download.result.files }}"
"""

RETURN = r"""
published:
  description: Whether the model is published, after what the module did.
  type: bool
  returned: always
reason:
  description: Why it is not; empty when it is.
  type: str
  returned: always
"""


def main() -> None:
    """Look, and record if files were given."""
    module = AnsibleModule(
        argument_spec={
            "model": {"type": "dict", "required": True},
            "cache_path": {"type": "path", "required": True},
            "files": {"type": "list", "elements": "dict"},
            "state_dir": {"type": "path", "default": "/etc/llmhost/state"},
        },
        supports_check_mode=True,
    )
    given = module.params
    models = PublishedModels(StateFile("models", given["state_dir"]), given["cache_path"])
    reason = models.trouble(given["model"])
    if given["files"] is None or not reason or module.check_mode:
        module.exit_json(changed=bool(reason) and given["files"] is not None, published=not reason, reason=reason)
    try:
        changed = models.record(given["model"], given["files"])
    except PublishError as problem:
        module.fail_json(msg=f"{problem}. Run the playbook again: it fetches what is missing.")
    module.exit_json(changed=changed, published=True, reason="")


if __name__ == "__main__":
    main()
