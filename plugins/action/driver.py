"""Controller side of llmhost.core.driver: shows who holds the locks of apt that it waits for."""

from __future__ import annotations

from ansible_collections.llmhost.core.plugins.plugin_utils.watch import WaitAction


class ActionModule(WaitAction):
    """Waits until apt is free; the work itself is one call of the module."""
