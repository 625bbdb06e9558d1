"""Filter for a host that nobody has looked at: words become the facts that a plan reads."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.llmhost.core.plugins.module_utils.hardware.hardware import HardwareError, parse_hardware

DOCUMENTATION = r"""
name: hardware
short_description: Turn a description of hardware into the facts of a host
version_added: "0.1.0"
description:
  - Gives what M(llmhost.core.host_info) would tell of a machine, so that a plan can be made before there is one.
  - What the description leaves out is filled in as such a machine usually is. C(assumed) in the answer is the list of
    sentences that say with what.
options:
  _input:
    description:
      - A phrase, such as C(2x RTX 3090, 64 GiB RAM, 1 TB NVMe). Its parts stand between commas or C(+), in any order.
      - GPUs of NVIDIA by the names that people, nvidia-smi or clouds use, with a number before or behind (C(2x) or
        C(x2)), or C(CPU only). C(NVLink) where bridges join the cards; C(PCIe 3.0 x8) where the link is narrower than
        that of the card.
      - RAM as C(64 GiB RAM), or as a bare size. GB and GiB of RAM are the same, the size that is installed; a size with
        decimals is what the kernel reports.
      - Disks for models as C(1 TB NVMe), C(2x 500 GB SSD), C(4 TB HDD), with C(ephemeral) or C(network) before the kind
        where it is so. The system lies on another one; C(500 GB system disk) alone means that there is no other.
      - Optionally a CPU (C(Ryzen 7950X), C(2x EPYC 7763)), C(24 cores) or C(48 vCPU), C(8 GB swap), the speed of the
        memory (C(DDR5-6000 dual channel) or C(80 GB/s RAM)), and C(VM) or C(container).
      - Or the name of a machine, such as C(intermediate), C(advanced), C(aws g5.xlarge) or C(gcp g2-standard-8).
      - Or saved facts of M(llmhost.core.host_info), as a dictionary, as JSON, or as the path of a C(.json) file on the
        controller.
    type: raw
    required: true
"""

EXAMPLES = r"""
- name: Plan for a machine that is not there yet
  ansible.builtin.set_fact:
    llmhost_plan: "{{ '2x RTX 3090, 64 GiB RAM, 1 TB NVMe' | llmhost.core.hardware | llmhost.core.plan(facts.model) }}"
"""

RETURN = r"""
_value:
  description: Facts in the form of RV(llmhost.core.host_info#module:host).
  type: dict
  contains:
    assumed:
      description: What was filled in, in sentences.
      type: list
      elements: str
    hardware:
      description: The description that the facts were made from.
      type: str
"""

_MOST_BYTES = 8 << 20


def hardware(description: object) -> dict[str, Any]:
    """Return host facts, or fail with a message that says how to write the description."""
    try:
        return parse_hardware(_contents(description))
    except HardwareError as reason:
        raise AnsibleFilterError(f"llmhost.core.hardware: {reason}") from reason


def _contents(description: object) -> object:
    """Return the text of a file of saved facts, or what was given."""
    if isinstance(description, Mapping) or not isinstance(description, str):
        return description
    path = os.path.expanduser(description.strip())
    if not path.endswith(".json") or "\n" in path:
        return str(description)
    try:
        with open(path, encoding="utf-8") as file:
            return file.read(_MOST_BYTES + 1)
    except (OSError, ValueError) as reason:
        raise HardwareError(f"{path!r} cannot be read: {reason}.") from reason


class FilterModule:
    """Names the filter for Ansible."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters of this file."""
        return {"hardware": hardware}
