"""A machine with NVIDIA GPUs for tests, by a transcript of what its driver says."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from pathlib import Path

from ansible_collections.llmhost.core.plugins.module_utils.command import NOT_FOUND, CommandResult
from ansible_collections.llmhost.core.plugins.module_utils.nvidia.nvml_facts import NvmlFacts
from ansible_collections.llmhost.core.plugins.module_utils.nvidia.smi_text import pci_address

from tests.unit.machine import Machine

TRANSCRIPTS = Path(__file__).parents[1] / "fixtures" / "nvidia"
NAMES = sorted(path.stem for path in TRANSCRIPTS.glob("*.txt"))
KERNEL = "5.15.0-204-generic"

_LIBRARIES = "usr/lib/x86_64-linux-gnu"


def read_transcript(name: str) -> dict[str, CommandResult]:
    """Return what each command of a transcript said, by the command."""
    said = {}
    for part in re.split(r"^\$ ", (TRANSCRIPTS / f"{name}.txt").read_text(), flags=re.MULTILINE)[1:]:
        command, _, output = part.partition("\n")
        status = re.match(r"\? (\d+)\n", output)
        said[command] = CommandResult(int(status[1]) if status else 0, output[status.end() if status else 0 :], "")
    return said


class NvidiaMachine(Machine):
    """The files of such a machine below ``root``, and its programs. A GPU has 256 MiB of BAR1, and no IOMMU."""

    def __init__(self, root: Path, name: str) -> None:
        super().__init__(root)
        self.said = read_transcript(name)
        self.write({f"dev/{node}": "" for node in self._words("ls /dev")})
        version = self._text("cat /proc/driver/nvidia/version")
        if version:
            self.write({"proc/driver/nvidia/version": version})
            for module in ("nvidia", "nvidia_uvm"):
                (root / "sys/module" / module).mkdir(parents=True)
        for library in self._words("readlink libnvidia-ml.so.1"):
            self.write({f"{_LIBRARIES}/{library}": ""})
            (root / _LIBRARIES / "libnvidia-ml.so.1").symlink_to(library)
        for line in [*self._text("lspci").splitlines(), *self._text("nvswitches").splitlines()]:
            self._add_function(line)

    def run_command(self, argv: Sequence[str]) -> CommandResult:
        """Answer as the transcript does; a driver's tool that it does not have is not installed."""
        self.calls.append(list(argv))
        if argv[1:] and argv[1].startswith("--query-gpu="):
            return self._query(argv[1].partition("=")[2].split(","))
        missing = CommandResult(NOT_FOUND, "", f"{argv[0]} cannot be run: no such file")
        silent = CommandResult(0, "", "") if argv[0] == "nvidia-smi" else missing
        return self.said.get(" ".join(argv), silent)

    def _query(self, fields: Sequence[str]) -> CommandResult:
        recorded = self.said["nvidia-smi --query-gpu"]
        header, *rows = csv.reader(recorded.stdout.splitlines(), skipinitialspace=True)
        known = {name.split(" [")[0]: at for at, name in enumerate(header)}
        if "index" not in known:
            return recorded
        for field in fields:
            if field not in known:
                return CommandResult(2, f'Field "{field}" is not a valid field to query.\n', "")
        lines = [[header[known[field]] for field in fields]]
        lines += [[row[known[field]] for field in fields] if len(row) == len(header) else row for row in rows]
        return CommandResult(recorded.rc, "".join(", ".join(line) + "\n" for line in lines), "")

    def _add_function(self, line: str) -> None:
        address, device = line.split()
        name = pci_address(address)
        assert name
        bridge = f"sys/devices/pci0000:00/0000:00:{int(name[5:7], 16) % 32:02x}.0"
        function = f"{bridge}/{name}"
        switch = device in {"22a3", "1af1"}
        self.write(
            {
                f"{function}/vendor": "0x10de\n",
                f"{function}/device": f"0x{device.lower()}\n",
                f"{function}/class": "0x068000\n" if switch else "0x030200\n",
                f"{function}/numa_node": "0\n",
                f"{function}/max_link_width": "16\n",
                f"{function}/resource": "0x00000000fa000000 0x00000000faffffff 0x0000000000040200\n"
                "0x000000c000000000 0x000000c00fffffff 0x000000000014220c\n",
            }
        )
        self.link(f"sys/bus/pci/devices/{name}", f"/{function}")
        (self.root / bridge / "config").write_bytes(bytes(256))

    def _text(self, command: str) -> str:
        return self.said[command].stdout if command in self.said else ""

    def _words(self, command: str) -> list[str]:
        return self._text(command).split()


def no_nvml(_: str | None) -> NvmlFacts:
    """Answer for a machine whose library cannot be used."""
    return NvmlFacts(12)
