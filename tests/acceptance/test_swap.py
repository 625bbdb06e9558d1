"""Swap: of the planned size, private, without holes, and there again after a reboot."""

from __future__ import annotations

import pytest

from tests.acceptance.expectation import Figure, expect, expect_equal, gib
from tests.acceptance.target import Target

RERUN = "run the tier's playbook again."
SLACK_BYTES = 1 << 20  # the header of the swap area, and rounding to whole pages


@pytest.fixture
def path(target: Target) -> str:
    """Return the planned swap file, for hosts that get one."""
    part = target.slice("swap")
    if not part["size_bytes"]:
        pytest.skip("the plan needs no swap of its own")
    return str(part["path"])


def active_areas(target: Target) -> dict[str, int]:
    """Return the sizes of the active swap areas in bytes by path."""
    rows = [line.split() for line in target.output("cat", "/proc/swaps").splitlines()[1:]]
    return {row[0]: int(row[2]) * 1024 for row in rows}


@pytest.mark.applied("swap")
def test_the_swap_is_active_and_of_the_planned_size(target: Target, path: str, figure: Figure) -> None:
    found, wanted = active_areas(target).get(path, 0), target.slice("swap")["size_bytes"]
    figure("size", gib(found))
    close = abs(found - wanted) <= SLACK_BYTES
    expect(close, f"active swap {path}", expected=gib(wanted), found=gib(found), remedy=f"swapon {path}, or {RERUN}")


@pytest.mark.applied("swap")
def test_the_swap_file_is_private_and_without_holes(target: Target, path: str) -> None:
    mode, owner, size, blocks = target.output("stat", "--format=%a %U:%G %s %b", path).split()
    expect_equal(f"mode and owner of {path}", expected="600 root:root", found=f"{mode} {owner}", remedy=RERUN)
    held = int(blocks) * 512
    expect(held >= int(size), f"space that {path} holds", expected=size, found=held, remedy=f"remove it and {RERUN}")


@pytest.mark.applied("swap")
def test_the_kernel_uses_it_before_what_lies_in_ram(target: Target, path: str) -> None:
    rows = [line.split() for line in target.output("cat", "/proc/swaps").splitlines()[1:]]
    found = [int(row[4]) for row in rows if row[0] == path]
    wanted = [target.slice("swap").get("priority", 10)]
    expect_equal(f"priority of the swap {path}", expected=wanted, found=found, remedy=RERUN)


@pytest.mark.applied("swap")
def test_the_swap_comes_back_after_a_reboot(target: Target, path: str) -> None:
    # On a disk that a stop empties, the unit that makes the disk again makes the swap file again.
    lines = 0 if target.slice("swap").get("ephemeral") else 1
    found = target.lines(f'awk \'$1 == "{path}" && $3 == "swap"\' /etc/fstab')
    expect_equal(f"entries in /etc/fstab for {path}", expected=lines, found=len(found), remedy=RERUN)


@pytest.mark.applied("swap")
@pytest.mark.parametrize("name", ["swappiness", "overcommit_memory"])
def test_the_kernel_is_told_what_is_planned(target: Target, name: str) -> None:
    planned = target.slice("swap").get(name)
    wanted = [] if planned is None else [str(planned)]
    kept = target.lines(f"cat /etc/sysctl.d/*llmhost* | grep -o '^vm.{name} *= *[0-9]*' | grep -o '[0-9]*$'")
    expect_equal(f"vm.{name} below /etc/sysctl.d", expected=wanted, found=kept, remedy=RERUN)
    if wanted and target.host.run(f"test -w /proc/sys/vm/{name}").rc == 0:
        found = target.output("cat", f"/proc/sys/vm/{name}").strip()
        remedy = f"sysctl --system; a file that sets vm.{name} after 60-llmhost.conf wins at boot."
        expect_equal(f"vm.{name} in force", expected=wanted[0], found=found, remedy=remedy)


def test_without_a_planned_swap_there_is_none_of_ours(target: Target) -> None:
    part = target.slice("swap")
    if target.action("swap") == "apply" and part["size_bytes"]:
        pytest.skip("the plan has a swap file")
    path = part.get("path") or "/srv/llmhost/swapfile"
    # /proc/swaps is no witness here: a container sees the areas of the whole machine in it.
    found = {
        "in /etc/fstab": bool(target.lines(f"grep -F '{path}' /etc/fstab")),
        "on the disk": target.host.file(path).exists,
    }
    left = [where for where, there in found.items() if there]
    expect(not left, f"swap file {path}", expected="none", found=left, remedy=RERUN)
