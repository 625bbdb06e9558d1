"""The next boot: what comes back, in which order, and what is said when something is missing."""

from __future__ import annotations

import pytest
from ansible_collections.llmhost.core.plugins.module_utils.service.unit_name import unit_name

from tests.acceptance.expectation import expect, expect_equal
from tests.acceptance.target import SERVICE, Target

STORAGE_UNIT = "llmhost-storage.service"
PROGRAM = "/opt/llmhost/boot/llmhost.pyz"
RERUN = "run the tier's playbook again."

pytestmark = pytest.mark.applied("inference")


def words(target: Target, name: str, unit: str = SERVICE) -> set[str]:
    """Return the units that a property of a unit names."""
    return set(target.unit_property(name, unit).split())


def test_the_unit_that_brings_the_storage_back_starts_with_the_host(target: Target) -> None:
    found = target.unit_property("UnitFileState", STORAGE_UNIT)
    expect_equal(f"start of {STORAGE_UNIT} at boot", expected="enabled", found=found, remedy=RERUN)
    expect_equal(
        f"last run of {STORAGE_UNIT}",
        expected="success",
        found=target.unit_property("Result", STORAGE_UNIT),
        remedy=f"systemctl status {STORAGE_UNIT} says what is missing.",
    )


def test_mount_and_swap_come_before_the_service(target: Target) -> None:
    storage, swap = target.slice("model_storage"), target.slice("swap")
    wanted = {STORAGE_UNIT}
    if storage["kind"] == "disk":
        wanted.add(unit_name(storage["path"], "mount"))
    if swap.get("size_bytes"):
        wanted.add(unit_name(swap["path"], "swap"))
    missing = wanted - words(target, "After")
    expect(not missing, f"what {SERVICE} comes after", expected=sorted(wanted), found=f"not {missing}", remedy=RERUN)


def test_the_service_goes_and_comes_with_its_disk(target: Target) -> None:
    storage = target.slice("model_storage")
    if storage["kind"] != "disk":
        pytest.skip(f"the plan uses a directory, {storage['path']}, and no disk of its own")
    mount = unit_name(storage["path"], "mount")
    for name in ("PartOf", "WantedBy"):
        found = words(target, name)
        expect(mount in found, f"{name} of {SERVICE}", expected=mount, found=sorted(found), remedy=RERUN)


def test_the_service_has_nothing_to_wait_for(target: Target) -> None:
    model = target.slice("model_cache")["model_path"]
    answer = target.host.run("/usr/bin/python3 %s ready %s", PROGRAM, model)
    said = f"{answer.stdout}{answer.stderr}".strip()
    expect(answer.rc == 0, f"{PROGRAM} ready", expected="no word", found=said, remedy=f"mend that, or {RERUN}")
