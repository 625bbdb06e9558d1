"""The parsers of what NVIDIA's tools write: odd values and old forms, and that no text makes one of them fail."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from ansible_collections.llmhost.core.plugins.module_utils.command import CommandResult
from ansible_collections.llmhost.core.plugins.module_utils.host.acs import redirecting_bridges, redirects
from ansible_collections.llmhost.core.plugins.module_utils.host.nvidia import largest_region
from ansible_collections.llmhost.core.plugins.module_utils.nvidia import (
    driver_state,
    matrix,
    nvlink,
    smi_query,
    smi_status,
    smi_text,
)
from ansible_collections.llmhost.core.plugins.module_utils.nvidia.driver_state import DkmsModule
from ansible_collections.llmhost.core.plugins.module_utils.nvidia.gpu import DriverGpu, NvLink
from ansible_collections.llmhost.core.plugins.module_utils.nvidia.nvlink import links_between
from ansible_collections.llmhost.core.plugins.module_utils.nvidia.pair import pairs_from_matrices
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.nvidia_machine import NAMES, read_transcript

WORDS = ["GPU0", "GPU1", "GPU 0:", "Link 0:", "NV4", "PHB", " X ", "OK", "[N/A]", "14.062 GB/s", "index", "MiB", "\t"]
WORDS += ["\x1b[4m", ", ", "\n", "nvidia,", ": installed", "CUDA Version", "580.178.04", "00000000:1A:00.0", '"', ":"]
TEXT = st.text() | st.text("GPUNVLink0123456789.:,/ \t\n\x1b[m]\"'") | st.lists(st.sampled_from(WORDS)).map("".join)
PARSERS: dict[str, Callable[[str], object]] = {
    "address": smi_text.pci_address,
    "cuda": driver_state.parse_cuda_version,
    "device id": smi_text.device_id,
    "dkms": driver_state.parse_dkms,
    "flavour": driver_state.parse_flavour,
    "modinfo": driver_state.parse_modinfo,
    "nvlink": nvlink.parse_status,
    "number": smi_text.number,
    "p2p": matrix.parse_p2p,
    "plain": smi_text.plain,
    "query": smi_query.parse_query,
    "remotes": nvlink.parse_remotes,
    "resource": largest_region,
    "size": smi_text.size,
    "switch": smi_text.switch,
    "topology": matrix.parse_topology,
    "version": driver_state.parse_version,
    "whole": smi_text.whole,
}
TRANSCRIPTS = st.sampled_from([result.stdout for name in NAMES for result in read_transcript(name).values()])


@pytest.mark.parametrize("parser", PARSERS)
@given(text=TEXT)
def test_parsers_take_any_text(parser: str, text: str) -> None:
    PARSERS[parser](text)


@pytest.mark.parametrize("parser", PARSERS)
@given(text=TRANSCRIPTS, start=st.integers(0, 200), end=st.integers(0, 3000), extra=TEXT)
def test_parsers_take_what_is_cut_and_mixed(parser: str, text: str, start: int, end: int, extra: str) -> None:
    PARSERS[parser](text[start:end] + extra + text[end:])


@given(text=TEXT | TRANSCRIPTS, rc=st.integers(-15, 300))
def test_every_end_of_nvidia_smi_has_a_finding_or_none(text: str, rc: int) -> None:
    result = CommandResult(rc, text, "")
    finding = smi_status.judge_status(result)
    assert (finding is None) is (smi_status.status_of(result) in (0, 127))
    assert finding is None or finding.remedy


@given(text=TRANSCRIPTS)
def test_tabs_and_escapes_may_be_lost_on_the_way(text: str) -> None:
    """Somebody copied the matrix from a terminal into a page and back, or by way of another system."""
    copied = smi_text.plain(text).expandtabs(8)
    for other in (copied, text.replace("\n", "\r\n"), copied.replace("\n", "\r\n")):
        assert matrix.parse_topology(other) == matrix.parse_topology(text)
        assert matrix.parse_p2p(other) == matrix.parse_p2p(text)
        assert nvlink.parse_status(other) == nvlink.parse_status(text)


@given(text=TRANSCRIPTS, lines=st.integers(0, 40))
def test_what_ends_early_says_less_and_nothing_else(text: str, lines: int) -> None:
    cut = "".join(text.splitlines(keepends=True)[:lines])
    assert matrix.parse_topology(cut).items() <= matrix.parse_topology(text).items()
    assert matrix.parse_p2p(cut).items() <= matrix.parse_p2p(text).items()
    assert set(smi_query.parse_query(cut)) <= set(smi_query.parse_query(text))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("24576 MiB", 24576 << 20),
        ("24576", 24576 << 20),
        ("80 GiB", 80 << 30),
        ("[N/A]", None),
        ("[Not Supported]", None),
        ("[GPU is lost]", None),
        ("N/A", None),
        ("-1 MiB", None),
        ("1 lot", None),
        ("", None),
    ],
)
def test_sizes(text: str, value: int | None) -> None:
    assert smi_text.size(text) == value


@pytest.mark.parametrize(
    ("text", "value"), [("350.00 W", 350), ("16", 16), ("[N/A]", None), ("٣", None), ("-5", -5), ("1e9", None)]
)
def test_whole_numbers(text: str, value: int | None) -> None:
    assert smi_text.whole(text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("00000000:1A:00.0", "0000:1a:00.0"),
        ("0000:01:00.0", "0000:01:00.0"),
        ("0000000F:01:00.0", "000f:01:00.0"),
        ("00010000:01:00.0", "10000:01:00.0"),
        ("01:00.0", None),
    ],
)
def test_addresses(text: str, value: str | None) -> None:
    assert smi_text.pci_address(text) == value


def test_a_gpu_that_is_lost_is_none() -> None:
    said = "index, uuid\n0, GPU-1\n1, [GPU is lost]\n2, GPU-3\n"
    assert [gpu.index for gpu in smi_query.parse_query(said)] == [0, 2]


ODD = """index, uuid, pci.bus_id, memory.total [MiB], compute_cap, power.limit [W], ecc.mode.current, temperature.gpu
0, GPU-a, 00000000:01:00.0, 24576 MiB, 8.6, 350.00 W, [N/A], 41, one, more, column
1, GPU-b, 00000000:02:00.0, [Unknown Error], [Unknown Error], [Unknown Error], [Not Supported], [Unknown Error]
2, GPU-c, 00000000:03:00.0, [GPU requires reset], 8.6, [GPU requires reset], Disabled, [GPU requires reset]
3, GPU-d, 00000000:04:00.0, 24576 MiB, 8,6, 350,00 W, Enabled, 41
4, GPU-e, 00000000:05:00.0, 24576 MiB, 8.6, 350,00 W, Enabled, 41
5, GPU-f, 00000000:06:00.0, 24576 M"""


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_rows_that_are_odd_are_read_as_far_as_they_go(end: str) -> None:
    found = smi_query.parse_query(ODD.replace("\n", end))
    facts = [
        (gpu.index, gpu.pci_address, gpu.vram_bytes, gpu.compute_capability, gpu.power_limit_watts, gpu.ecc)
        for gpu in found
    ]
    memory = 24576 << 20
    assert facts == [
        (0, "0000:01:00.0", memory, "8.6", 350, None),
        (1, "0000:02:00.0", None, None, None, None),
        (2, "0000:03:00.0", None, "8.6", None, False),
        (3, "0000:04:00.0", memory, "8.6", 350, True),
        (4, "0000:05:00.0", memory, "8.6", 350, True),
        (5, "0000:06:00.0", None, None, None, None),
    ]


def test_a_gpu_that_waits_for_a_reset_is_said_though_the_status_is_0() -> None:
    finding = smi_status.judge_status(CommandResult(0, ODD, ""))
    assert finding is not None
    assert finding.code == "facts.nvidia_smi_reset_required"
    assert smi_status.judge_status(CommandResult(0, ODD.replace("GPU requires reset", "N/A"), "")) is None


def test_words_that_look_like_a_header_and_rows() -> None:
    assert smi_query.parse_query('"index"\nThe number of the GPU\n"uuid"\n') == ()
    assert smi_query.parse_query("pci.bus_id, name\nhere, there\n") == ()


def test_device_ids() -> None:
    assert [smi_text.device_id(text) for text in ("0x233010DE", "0x1eb810de", "0x23301002", "[N/A]")] == [
        "2330",
        "1EB8",
        None,
        None,
    ]


def test_a_table_without_a_header_and_units() -> None:
    (gpu,) = smi_query.parse_query("0, NVIDIA L4, 23034, 8.9\n", ("index", "name", "memory.total", "compute_cap"))
    assert (gpu.name, gpu.vram_bytes, gpu.compute_capability) == ("NVIDIA L4", 23034 << 20, "8.9")


def test_a_table_with_other_names_and_a_warning_before_it() -> None:
    said = "WARNING: infoROM is corrupted at gpu 0000:02:00.0\nuuid, gpu_name\nGPU-1, NVIDIA A10G\nGPU-2, NVIDIA A10G\n"
    assert [(gpu.index, gpu.uuid, gpu.name) for gpu in smi_query.parse_query(said)] == [
        (0, "GPU-1", "NVIDIA A10G"),
        (1, "GPU-2", "NVIDIA A10G"),
    ]


@pytest.mark.parametrize(
    "said",
    [
        CommandResult(2, 'Field "index" is not a valid field to query.\n', ""),
        CommandResult(2, 'Field "no.such" is not a valid field to query.\n', ""),
        CommandResult(2, "", "ERROR: Option --query-gpu is not recognized. Please run 'nvidia-smi -h'.\n"),
    ],
)
def test_a_query_that_is_refused_whatever_is_asked(said: CommandResult) -> None:
    calls: list[list[str]] = []

    def refuse(argv: object) -> CommandResult:
        calls.append([str(argv)])
        return said

    answer = smi_query.query(refuse)
    assert (answer.gpus, answer.result.rc) == ((), 2)
    assert len(calls) <= 2


def test_what_each_says_of_a_gpu_is_put_together() -> None:
    one = DriverGpu(0, name="NVIDIA L4", ecc=False, nvlinks=())
    other = DriverGpu(0, name="other", ecc=True, power_limit_watts=72, nvlinks=(NvLink(0, True),))
    both = one.completed(other)
    assert (both.name, both.ecc, both.power_limit_watts, both.nvlinks) == ("NVIDIA L4", False, 72, (NvLink(0, True),))
    assert one.completed(None) is one


def test_of_two_directions_the_worse_one_counts() -> None:
    levels = {(0, 1): "NV4", (1, 0): "NV3"}
    statuses = {"read": {(0, 1): "OK", (1, 0): "CNS"}, "write": {(0, 1): "OK"}, "atomics": {}}
    (pair,) = pairs_from_matrices(levels, statuses)
    assert (pair.level, pair.nvlinks, pair.read, pair.write, pair.atomics) == ("NV3", 3, "CNS", "OK", None)


@pytest.mark.parametrize("level", ["PIX", "PXB", "PHB", "NODE", "SYS", "C2C"])
def test_levels_without_links(level: str) -> None:
    (pair,) = pairs_from_matrices({(2, 5): level, (5, 2): level}, {})
    assert (pair.a, pair.b, pair.level, pair.nvlinks) == (2, 5, level, 0)


def test_matrices_that_are_no_more_than_one_gpu() -> None:
    assert matrix.parse_topology("\tGPU0\tCPU Affinity\nGPU0\t X \t0-15\n") == {}
    assert pairs_from_matrices({}, {}) == []


def test_links_to_a_gpu_and_to_switches() -> None:
    here = (NvLink(0, True, remote="0000:02:00.0"), NvLink(1, False), NvLink(2, True, remote="0000:03:00.0"))
    assert links_between(here, (), "0000:02:00.0") == 1
    assert links_between(here, (), "0000:04:00.0") == 0
    assert links_between(here, (), None) == 0
    switched = tuple(NvLink(number, True, remote="switch") for number in range(18))
    assert links_between(switched, switched[:17], "0000:02:00.0") == 17


@pytest.mark.parametrize(
    ("line", "module"),
    [
        ("nvidia, 580.95.05, 5.15.0-204-generic, x86_64: installed", ("nvidia", "580.95.05", "5.15.0-204-generic")),
        (
            "nvidia-srv/580.178.04, 6.8.0-149-generic, x86_64: installed (WARNING! Diff between built and installed!)",
            ("nvidia-srv", "580.178.04", "6.8.0-149-generic"),
        ),
    ],
)
def test_dkms(line: str, module: tuple[str, str, str]) -> None:
    assert driver_state.parse_dkms(f"zfs/2.1.5, 5.15.0-204-generic, x86_64: installed\n{line}\n") == (
        DkmsModule(*module, "installed"),
    )


def test_dkms_of_a_module_that_is_only_added() -> None:
    assert driver_state.parse_dkms("nvidia/580.95.05: added\n") == (DkmsModule("nvidia", "580.95.05", "", "added"),)


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("CUDA Version        : 13.0\n", "13.0"),
        ("KMD version         : 615.71.09\nCUDA UMD version    : 13.4\n", "13.4"),
        ("| NVIDIA-SMI 610.43.02  KMD Version: 610.43.02  CUDA UMD Version: 13.3 |", "13.3"),
        ("CUDA Version        : N/A\n", None),
    ],
)
def test_cuda_versions(text: str, version: str | None) -> None:
    assert driver_state.parse_cuda_version(text) == version


@pytest.mark.parametrize(
    ("text", "version", "flavour"),
    [
        ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.90.07  Fri May 31", "550.90.07", "proprietary"),
        (
            "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.142  Release Build  (dvs@U22-I3-B1)",
            "580.142",
            "open",
        ),
        ("GCC version:  gcc version 12.3.0", None, None),
    ],
)
def test_the_version_of_a_module(text: str, version: str | None, flavour: str | None) -> None:
    assert (driver_state.parse_version(text), driver_state.parse_flavour(text)) == (version, flavour)


def test_the_largest_region_is_bar1() -> None:
    regions = [(0xFA000000, 0xFAFFFFFF), (0xC000000000, 0xC7FFFFFFFF), (0, 0), (0xC800000000, 0xC801FFFFFF)]
    text = "".join(f"0x{start:016x} 0x{end:016x} 0x0000000000040200\n" for start, end in regions)
    assert largest_region(text) == 32 << 30
    assert largest_region("") is None
    assert largest_region("0x0 0x0 0x0\n") is None


def config(control: int, before: int = 2) -> bytes:
    """Return a configuration space whose ACS capability comes after some others."""
    space = bytearray(4096)
    for number in range(before + 1):
        at = 0x100 + number * 0x40
        last = number == before
        struct.pack_into("<L", space, at, (0x000D if last else 0x0001) | 1 << 16 | (0 if last else at + 0x40) << 20)
    struct.pack_into("<H", space, 0x100 + before * 0x40 + 6, control)
    return bytes(space)


@pytest.mark.parametrize(
    ("space", "verdict"),
    [
        (config(0x001D), True),
        (config(0x0004, before=0), True),
        (config(0x0000), False),
        (config(0x0001), False),
        (bytes(256), False),
        (bytes(4096), False),
        (bytes(64), None),
        (b"", None),
    ],
)
def test_bridges_that_redirect(space: bytes, verdict: bool | None) -> None:
    assert redirects(space) is verdict


@given(space=st.binary(min_size=256, max_size=600) | st.binary(max_size=80).map(lambda end: bytes(256) + end))
def test_any_configuration_space_is_judged(space: bytes) -> None:
    assert redirects(space) in (True, False)


def test_the_bridges_above_each_gpu_are_looked_at(tmp_path: Path) -> None:
    functions = []
    for port, control in (("0000:00:01.0", 0x1D), ("0000:00:03.0", 0)):
        function = tmp_path / "devices/pci0000:00" / port / "0000:10:00.0" / f"0000:1{port[9]}:00.0"
        function.mkdir(parents=True)
        (function.parents[1] / "config").write_bytes(config(control))
        (function.parent / "config").write_bytes(config(0))
        functions.append(str(function))
    assert redirecting_bridges(functions) == ["0000:00:01.0"]
    (tmp_path / "devices/pci0000:00/0000:00:03.0/config").write_bytes(bytes(64))
    assert redirecting_bridges(functions) is None
    assert redirecting_bridges([]) == []
