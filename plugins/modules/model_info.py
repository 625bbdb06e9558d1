#!/usr/bin/python
"""Ansible module: what a model is, from its own headers. Its documentation is in ``model_info.yml``."""

from __future__ import annotations

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.llmhost.core.plugins.module_utils.model.http_range import HttpClient
from ansible_collections.llmhost.core.plugins.module_utils.model.hub import Hub
from ansible_collections.llmhost.core.plugins.module_utils.model.model_error import ModelError
from ansible_collections.llmhost.core.plugins.module_utils.model.model_query import ModelQuery
from ansible_collections.llmhost.core.plugins.module_utils.service.egress import EgressError, Proxy

ARGUMENTS: dict[str, dict[str, Any]] = {
    "model": {"type": "str", "required": True},
    "revision": {"type": "str", "default": "main"},
    "variant": {"type": "str", "default": ""},
    "endpoint": {"type": "str", "default": "https://huggingface.co"},
    "token": {"type": "str", "default": "", "no_log": True},
    # The address of a proxy may hold a password.
    "proxy": {
        "type": "dict",
        "options": {
            "http": {"type": "str", "no_log": True},
            "https": {"type": "str", "no_log": True},
            "no_proxy": {"type": "raw"},
        },
    },
    "ca_certificates": {"type": "list", "elements": "str", "default": []},
    "state_dir": {"type": "path", "default": "/etc/llmhost/state"},
    "timeout": {"type": "float", "default": 30},
}


def main() -> None:
    """Read the arguments, answer with the model."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    given = module.params
    query = ModelQuery(given["model"], given["revision"], given["endpoint"], given["variant"])

    def connect() -> Hub:
        client = HttpClient(Proxy.from_settings(given["proxy"]), given["ca_certificates"], given["timeout"])
        return Hub(client, given["endpoint"], given["token"])

    try:
        model = query.published(given["state_dir"]) or query.read(connect)
    except ModelError as error:
        module.fail_json(msg=str(error), code=error.code)
    except EgressError as error:
        module.fail_json(msg=str(error), code="hub.proxy")
    module.exit_json(changed=False, model=model)


if __name__ == "__main__":
    main()
