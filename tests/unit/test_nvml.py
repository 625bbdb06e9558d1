"""NVML by ctypes, on a library that is compiled for the test: right answers, and ill ones."""

from __future__ import annotations

import ctypes
import os
import subprocess
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import pytest
from ansible_collections.llmhost.core.plugins.module_utils.command import TIMED_OUT, CommandResult
from ansible_collections.llmhost.core.plugins.module_utils.host.gpu import read_gpus
from ansible_collections.llmhost.core.plugins.module_utils.host.nvidia import Nvidia, told_by_driver
from ansible_collections.llmhost.core.plugins.module_utils.nvidia import nvml
from ansible_collections.llmhost.core.plugins.module_utils.nvidia.gpu import DriverGpu, Fabric, NvLink, RemappedRows
from ansible_collections.llmhost.core.plugins.module_utils.nvidia.isolated import run_isolated
from ansible_collections.llmhost.core.plugins.module_utils.nvidia.nvml_facts import NvmlFacts
from ansible_collections.llmhost.core.plugins.module_utils.nvidia.pair import Pair

from tests.unit.nvidia_machine import NvidiaMachine

SOURCE = Path(__file__).parents[1] / "fixtures" / "nvidia" / "fake_nvml.c"
RTX_3090 = DriverGpu(
    index=0,
    uuid="GPU-00000000",
    pci_address="0000:1a:00.0",
    device_id="2204",
    name="NVIDIA GeForce RTX 3090",
    vram_bytes=24 << 30,
    compute_capability="8.6",
    generation=1,
    max_generation=3,
    gpu_max_generation=4,
    width=8,
    max_width=16,
    bar1_bytes=256 << 20,
    persistence=True,
    power_limit_watts=250,
    power_limit_max_watts=390,
    temperature=40,
    nvlinks=(
        NvLink(0, True, "3.1", 14.062, "0000:1b:00.0"),
        NvLink(1, True, "3.1", 14.062, "0000:1b:00.0"),
        NvLink(2, False),
        NvLink(3, True, "3.1", 14.062, "0000:1b:00.0"),
    ),
)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Compile the library."""
    path = tmp_path_factory.mktemp("nvml") / "libnvidia-ml.so.580.178.04"
    subprocess.run(["cc", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o", path, SOURCE], check=True)
    return str(path)


def test_what_a_library_tells(library: str) -> None:
    facts = NvmlFacts.from_library(library)
    assert (facts.rc, facts.driver_version, facts.cuda_version) == (0, "580.178.04", "13.0")
    first, second, a100 = facts.gpus
    assert asdict(first) == asdict(RTX_3090)
    assert (second.index, second.pci_address, second.temperature) == (1, "0000:1b:00.0", 41)
    assert a100.device_id == "20B2"
    assert (a100.vram_bytes, a100.bar1_bytes, a100.compute_capability) == (80 << 30, 128 << 30, "8.0")
    assert (a100.ecc, a100.mig, a100.uncorrected_errors) == (True, False, 5_000_000_000)
    assert a100.remapped_rows == RemappedRows(1, 2, True, False)
    assert a100.fabric == Fabric("Completed", "Success")
    assert a100.nvlinks == (NvLink(0, True, "3.0", 25.0, "switch"), NvLink(1, True, "3.0", 25.001, "switch"))


def test_what_a_library_tells_of_pairs(library: str) -> None:
    assert NvmlFacts.from_library(library).pairs == (
        Pair(0, 1, "NV3", 3, "OK", "OK", "NS"),
        Pair(0, 2, "SYS", 0, "OK", "CNS", "NS"),
        Pair(1, 2, "SYS", 0, "OK", "CNS", "NS"),
    )


@pytest.mark.parametrize(("illness", "rc"), [("mismatch", 18), ("crash", None)])
def test_a_library_that_cannot_be_used(
    library: str, illness: str, rc: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_NVML", illness)
    assert NvmlFacts.from_library(library) == NvmlFacts(rc)


def test_a_library_that_hangs_is_left(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_NVML", "hang")
    assert NvmlFacts.from_library(library, seconds=0.3) == NvmlFacts(None)
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_a_library_that_talks_is_not_heard(
    library: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FAKE_NVML", "talk")
    assert len(NvmlFacts.from_library(library).gpus) == 3
    assert capfd.readouterr().out == ""


def test_a_lost_gpu_is_left_out(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_NVML", "lost")
    facts = NvmlFacts.from_library(library)
    assert [gpu.index for gpu in facts.gpus] == [0, 2]
    assert [(pair.a, pair.b) for pair in facts.pairs] == [(0, 2)]


def test_a_fabric_that_failed(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_NVML", "fabric")
    assert NvmlFacts.from_library(library).gpus[2].fabric == Fabric("Completed", "error 999")


def test_no_library(tmp_path: Path) -> None:
    assert NvmlFacts.from_library(None) == NvmlFacts(12)
    (tmp_path / "libnvidia-ml.so.1").write_text("no library\n")
    assert NvmlFacts.from_library(str(tmp_path / "libnvidia-ml.so.1")) == NvmlFacts(12)


def test_a_library_without_the_newer_calls() -> None:
    opened = nvml.Nvml.open("libc.so.6")
    assert opened
    assert opened.start() == nvml.FUNCTION_NOT_FOUND
    assert opened.fabric(ctypes.c_void_p()) is None


def test_the_structures_are_as_large_as_those_of_nvml_h() -> None:
    sizes = [ctypes.sizeof(kind) for kind in (nvml.PciInfo, nvml.FabricInfo, nvml.FieldValue)]
    assert sizes == [68, 28, 40]


def test_host_info_asks_nvml_first(library: str, tmp_path: Path) -> None:
    machine = NvidiaMachine(tmp_path, "2x3090-bridge")
    link = tmp_path / "usr/lib/x86_64-linux-gnu/libnvidia-ml.so.1"
    link.unlink()
    link.symlink_to(library)
    gpus = read_gpus(machine.path("sys"))
    found = Nvidia.from_host(machine.run_command, str(tmp_path), [gpu.pci_address for gpu in gpus])
    facts = found.as_dict()
    assert (facts["source"], facts["driver"]["cuda_version"], facts["driver"]["library_version"]) == (
        "nvml",
        "13.0",
        "580.178.04",
    )
    # What only nvidia-smi tells is there too, and what both tell is NVML's.
    assert (facts["gpus"][0]["pcie"]["host_max_generation"], facts["gpus"][0]["power_limit_watts"]) == (4, 250)
    assert [call[1][:11] for call in machine.calls if call[0] == "nvidia-smi"] == ["--query-gpu"]
    gpu = {"pci_address": "0000:1b:00.0", "vram_bytes": None}
    assert told_by_driver(gpu, facts) == {**gpu, "vram_bytes": 24 << 30, "nvlink": True}
    assert told_by_driver({"pci_address": "0000:99:00.0"}, facts)["nvlink"] is False


def test_a_driver_that_hung_once_is_not_asked_again(tmp_path: Path) -> None:
    machine = NvidiaMachine(tmp_path, "2x3090-bridge")
    asked: list[str | None] = []

    def ask(path: str | None) -> NvmlFacts:
        asked.append(path)
        return NvmlFacts(12)

    def hang(argv: Sequence[str]) -> CommandResult:
        machine.calls.append(list(argv))
        return CommandResult(TIMED_OUT, "", "nvidia-smi did not end")

    found = Nvidia.from_host(hang, str(tmp_path), [], ask)
    assert (found.source, asked) == ("none", [])
    assert len([call for call in machine.calls if call[0] == "nvidia-smi"]) == 1


def test_work_that_fails_or_is_no_json_is_nothing() -> None:
    assert run_isolated(lambda: {"a": [1]}, 10) == {"a": [1]}
    assert run_isolated(lambda: 1 // 0, 10) is None
    assert run_isolated(lambda: object(), 10) is None
    assert run_isolated(lambda: "x" * 1_000_000, 10) == "x" * 1_000_000


def test_work_that_takes_too_long_is_ended() -> None:
    assert run_isolated(lambda: time.sleep(600), 0.1) is None
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)
