"""Filter for the environment that pip and the hub client need behind a proxy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.llmhost.core.plugins.module_utils.service.egress import EgressError, environment

DOCUMENTATION = r"""
name: egress_environment
short_description: Environment variables for programs that reach the outside
version_added: "0.1.0"
description:
  - Turns C(llmhost_proxy) and C(llmhost_ca_certificates) into the environment that pip and the hub client read.
  - Gives C(HTTP_PROXY), C(HTTPS_PROXY) and C(NO_PROXY) in both spellings when there is a proxy, and
    C(SSL_CERT_FILE), C(REQUESTS_CA_BUNDLE) and C(PIP_CERT) when there are certificates.
  - The result may hold a password. A unit must not carry it in its text; it reads the file
    C(/etc/llmhost/egress.env), which the role C(egress) writes with the same content, by C(EnvironmentFile=-).
positional: ca_certificates
options:
  _input:
    description: Value of C(llmhost_proxy), a dictionary of C(http), C(https) and C(no_proxy).
    type: dict
    required: true
  ca_certificates:
    description: Value of C(llmhost_ca_certificates). Only whether it is empty matters.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Install the hub client
  ansible.builtin.pip:
    requirements: /opt/llmhost/requirements.txt
  environment: "{{ llmhost_proxy | llmhost.core.egress_environment(llmhost_ca_certificates) }}"
"""

RETURN = r"""
_value:
  description: Names and values of environment variables; empty without a proxy and without certificates.
  type: dict
"""


def egress_environment(proxy: Mapping[str, Any] | None, ca_certificates: Sequence[str] = ()) -> dict[str, str]:
    """Return the environment, or fail with a message that a user understands."""
    try:
        return environment(proxy, ca_certificates)
    except EgressError as failure:
        raise AnsibleFilterError(str(failure)) from failure


class FilterModule:
    """Names the filter for Ansible."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters of this file."""
        return {"egress_environment": egress_environment}
