"""Controller side of llmhost.core.host_info: shows what it waits for on a host that is being set up by its cloud."""

from __future__ import annotations

from ansible_collections.llmhost.core.plugins.plugin_utils.watch import WaitAction


class ActionModule(WaitAction):
    """Waits until cloud-init has ended, where the task asks for that."""
