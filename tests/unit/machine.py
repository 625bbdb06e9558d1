"""A machine for tests: a tree of files below a directory, and the recorded outputs of its programs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible_collections.llmhost.core.plugins.module_utils.command import NOT_FOUND, CommandResult

FIXTURES = Path(__file__).parents[1] / "fixtures" / "host_info"

NOTHING_FOUND = {"wipefs": CommandResult(0, '{"signatures": []}', ""), "blkid": CommandResult(2, "", "")}


class Machine:
    """Files below ``root`` and answers of programs by their names; a program without an answer is not installed."""

    def __init__(self, root: Path, programs: Mapping[str, CommandResult] | None = None) -> None:
        self.root = root
        self.programs = dict(programs or {})
        self.calls: list[list[str]] = []

    def write(self, files: Mapping[str, str]) -> None:
        """Write files by their paths below the root."""
        for path, text in files.items():
            target = self.root / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)

    def link(self, path: str, target: str) -> None:
        """Make a symbolic link; a ``target`` that begins with ``/`` is below the root."""
        link = self.root / path
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(self.root / target.lstrip("/") if target.startswith("/") else target)

    def run_command(self, argv: Sequence[str]) -> CommandResult:
        """Answer as the program would: by name and first option, or by name."""
        self.calls.append(list(argv))
        missing = CommandResult(NOT_FOUND, "", f"{argv[0]} cannot be run: no such file")
        return self.programs.get(" ".join(argv[:2]), self.programs.get(argv[0], missing))

    def path(self, name: str) -> str:
        """Return a path below the root."""
        return str(self.root / name)


def recorded(case: str) -> dict[str, CommandResult]:
    """Return what lsblk, wipefs and blkid of Ubuntu 22.04 wrote about a loop device, by the case of its contents."""
    programs = json.loads((FIXTURES / "signatures" / f"{case}.json").read_text())
    return {
        name: CommandResult(said["rc"], "\n".join(said["stdout"]), "\n".join(said["stderr"]))
        for name, said in programs.items()
    }


def lsblk(*devices: Mapping[str, Any]) -> CommandResult:
    """Return the output of lsblk for devices, each given by what is not usual about it."""
    return CommandResult(0, json.dumps({"blockdevices": [block_device(**device) for device in devices]}), "")


def block_device(kname: str = "nvme0n1", **changes: Any) -> dict[str, Any]:
    """Return one node as lsblk prints it: an NVMe disk of 1 TB on which nothing is."""
    usual = {
        "kname": kname,
        "path": f"/dev/{kname}",
        "maj:min": "259:0",
        "type": "disk",
        "size": 1_000_204_886_016,
        "model": "Samsung SSD 990 PRO 1TB                 ",
        "serial": "S6Z1NX0W000001",
        "wwn": "eui.0025384231b0aaaa",
        "tran": "nvme",
        "rota": False,
        "rm": False,
        "ro": False,
        "fstype": None,
        "label": None,
        "uuid": None,
        "pttype": None,
        "mountpoints": [None],
    }
    return {**usual, **{name.replace("maj_min", "maj:min"): value for name, value in changes.items()}}
