"""The states that the module ``driver`` knows."""

from __future__ import annotations

from ansible_collections.llmhost.core.plugins.module_utils.driver.driver import Driver
from ansible_collections.llmhost.core.plugins.module_utils.driver.removal import Removal
from ansible_collections.llmhost.core.plugins.module_utils.driver.renewal import Renewal


def needs_apt(driver: Driver, state: str) -> bool:
    """Tell whether packages will change: then whoever holds apt's locks is waited for first."""
    record = driver.work.record
    if state == "present":
        return bool(driver.missing())
    return state == "upgraded" or bool({"returned": record.upgrade, "absent": record.brought}.get(state))


def act(driver: Driver, state: str) -> str:
    """Do what is asked for; return why a restart is needed, "" where none is."""
    if state == "absent":
        Removal(driver.work).run()
        return ""
    if state in ("present", "proved"):
        return driver.apply() if state == "present" else driver.prove()
    renewal = Renewal(driver)
    return renewal.go_back() if state == "returned" else renewal.upgrade()
