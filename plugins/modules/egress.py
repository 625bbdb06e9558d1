#!/usr/bin/python
"""Ansible module: a company's certificates and proxy on a host."""

from __future__ import annotations

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.llmhost.core.plugins.module_utils.service.certificates import (
    CertificateError,
    TrustStore,
    certificates_from_files,
)
from ansible_collections.llmhost.core.plugins.module_utils.service.egress import (
    EgressError,
    Proxy,
    environment,
    environment_file,
)
from ansible_collections.llmhost.core.plugins.module_utils.text_file import TextFile

DOCUMENTATION = r"""
module: egress
short_description: Let a host reach the outside through a company's proxy
version_added: "0.1.0"
description:
  - Installs certificates among those that the host trusts, and removes the ones it installed before that are no
    longer listed. Other certificates of the host are never touched.
  - Writes the proxy into C(/etc/apt/apt.conf.d/80llmhost-proxy), and the environment of O(proxy) and
    O(ca_certificates) into C(/etc/llmhost/egress.env), from where units read it. Both are readable by root alone
    when the proxy's address holds credentials.
  - Checks everything it is given before it changes anything.
options:
  state:
    description: V(absent) removes all that this module ever wrote.
    type: str
    choices: [present, absent]
    default: present
  ca_certificates:
    description: PEM text by the name of the file it came from. A file may hold several certificates.
    type: dict
    default: {}
  proxy:
    description: The proxy; empty for none.
    type: dict
    default: {}
    suboptions:
      http:
        description: Proxy for C(http) addresses, such as V(http://proxy.example.com:3128).
        type: str
      https:
        description: Proxy for C(https) addresses; the one of O(proxy.http) when it is not given.
        type: str
      no_proxy:
        description: Hosts, domains (V(.example.com)) and networks that are reached directly.
        type: list
        elements: str
attributes:
  check_mode:
    support: full
    description: Reports what would change, and changes nothing.
author:
  - llmhost maintainers (@llmhost)
"""

EXAMPLES = r"""
- name: Trust the company's authority and use its proxy
  llmhost.core.egress:
    ca_certificates:
      company.pem: "{{ lookup('ansible.builtin.file', 'company.pem') }}"
    proxy:
      http: http://proxy.example.com:3128
      no_proxy: [.example.com]
"""

RETURN = r"""
files:
  description: Paths that were written or deleted, or would be.
  type: list
  elements: str
  returned: always
certificates:
  description: Names of the certificates that the host now trusts because of this module.
  type: list
  elements: str
  returned: always
bundle_tool:
  description: Whether the host has C(update-ca-certificates). Without it, the package that brings it makes the bundle.
  type: bool
  returned: always
"""

ARGUMENTS = {
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "ca_certificates": {"type": "dict", "default": {}},
    "proxy": {
        "type": "dict",
        "default": {},
        "options": {
            "http": {"type": "str", "no_log": True},
            "https": {"type": "str", "no_log": True},
            "no_proxy": {"type": "list", "elements": "str"},
        },
    },
}


def main() -> None:
    """Compare, write, and let the host make its bundle anew."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    present = module.params["state"] == "present"
    sources = module.params["ca_certificates"] if present else {}
    settings = module.params["proxy"] if present else {}
    try:
        wanted = certificates_from_files(sources)
        proxy = Proxy.from_settings(settings)
        variables = environment(settings, list(sources))
    except (CertificateError, EgressError) as failure:
        module.fail_json(msg=str(failure))

    store = TrustStore()
    secret = 0o600 if proxy.has_credentials else 0o644
    settings_files = [
        TextFile(Path("/etc/apt/apt.conf.d/80llmhost-proxy"), proxy.apt_configuration(), secret),
        TextFile(Path("/etc/llmhost/egress.env"), environment_file(variables), 0o600),
    ]
    changes = store.changes(wanted) + [file for file in settings_files if not file.is_current()]
    bundle_tool = store.tool.exists()
    behind = bundle_tool and not store.is_current(wanted)
    if not module.check_mode:
        for file in changes:
            file.apply()
        if bundle_tool and not store.is_current(wanted):
            module.run_command(store.refresh_command(wanted), check_rc=True)
    module.exit_json(
        changed=bool(changes) or behind,
        files=[str(file.path) for file in changes],
        certificates=[item.file_name for item in wanted],
        bundle_tool=bundle_tool,
    )


if __name__ == "__main__":
    main()
