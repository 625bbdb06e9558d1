"""What packages and apt say about the driver, with apt's own answers of jammy."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from ansible_collections.llmhost.core.plugins.module_utils.command import CommandResult
from ansible_collections.llmhost.core.plugins.module_utils.host.nvidia_packages import read_packages
from ansible_collections.llmhost.core.plugins.module_utils.nvidia.package_names import parse_stanzas, transitional
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.apt_index import LISTS, Apt, jammy, look, status

SERVER = {"580-server", "580-server-open"}


@pytest.mark.parametrize(
    ("release", "flavour", "latest", "prebuilt"),
    [
        ("5.15.0-204-generic", "generic", "5.15.0-204-generic", True),
        ("5.15.0-203-generic", "generic", "5.15.0-204-generic", True),
        ("5.15.0-164-generic", "generic", "5.15.0-204-generic", False),  # built for 580.126.09
        ("5.15.0-119-generic", "generic", "5.15.0-204-generic", False),
        ("6.8.0-149-generic", "generic-hwe-22.04", "6.8.0-149-generic", True),
        ("6.5.0-35-generic", "generic-hwe-22.04", "6.8.0-149-generic", False),  # 5.15 would not be booted
        ("6.8.0-1070-aws", "aws", "6.8.0-1070-aws", True),
        ("5.15.0-1084-aws", "aws-lts-22.04", "5.15.0-1115-aws", False),
        ("6.18.5", "", "", False),
    ],
)
def test_modules_are_offered_for_kernels_that_go_with_the_driver_of_today(
    tmp_path: Path, release: str, flavour: str, latest: str, prebuilt: bool
) -> None:
    facts = look(tmp_path, release)

    assert (facts["kernel_flavour"], facts["kernel_latest"].rpartition("-")[2]) == (flavour, latest.rpartition("-")[2])
    assert facts["kernel_latest"].split(".")[:2] == latest.split(".")[:2]
    assert (set(facts["prebuilt"]) >= SERVER) is prebuilt
    assert (set(facts["newer_kernel"]) >= SERVER) is bool(flavour)
    assert set(facts["newer_kernel"].values()) <= {f"linux-image-{flavour}"}


def test_empty_packages_lead_to_the_branch_that_they_install(tmp_path: Path) -> None:
    facts = look(tmp_path, "5.15.0-164-generic")

    # A chain of them, one that drops a flavour for servers, and one that drops the proprietary modules.
    assert facts["transitional"]["535-server-open"] == "580-server-open"
    assert facts["transitional"]["550"] == "580"
    assert facts["transitional"]["590-server"] == "595-server"
    assert facts["transitional"]["610"] == facts["transitional"]["615"] == "615-open"
    assert not set(facts["transitional"]) & {"580", "580-server-open", "595-server", "615-open"}
    # -164 has modules of 570, whose driver is empty by now.
    assert facts["prebuilt"] == []
    assert not any(name.endswith(("570-server-open", "535")) for name in facts["candidates"])


def test_a_circle_of_empty_packages_ends() -> None:
    name = "nvidia-headless-no-dkms"
    text = f"Package: {name}-580\nDepends: {name}-590\n\nPackage: {name}-590\nDepends: {name}-580\n"

    assert set(transitional(parse_stanzas(text)).values()) <= {"580", "590"}


def test_installed_and_held_packages(tmp_path: Path) -> None:
    names = (
        "nvidia-utils-580-server",
        "linux-image-5.15.0-164-generic",
        "linux-image-generic",
        "linux-generic",
        "bash",
    )
    facts = look(
        tmp_path, "5.15.0-164-generic", status(*names, hold=["linux-image-generic", "nvidia-utils-580-server"])
    )

    assert facts["installed"] == {"nvidia-utils-580-server": "580.178.04-0ubuntu0.22.04.1"}
    assert facts["held"] == ["linux-image-generic", "nvidia-utils-580-server"]
    assert facts["kernel_packages"] == ["linux-generic", "linux-image-generic"]
    assert facts["kernel_images"] == ["5.15.0-164-generic"]
    assert facts["source"] == "ubuntu"


def test_the_metapackage_that_is_installed_says_what_the_next_kernel_is(tmp_path: Path) -> None:
    hwe = look(tmp_path / "hwe", "5.15.0-203-generic", status("linux-image-generic-hwe-22.04"))
    virtual = look(tmp_path / "virtual", "5.15.0-203-generic", status("linux-virtual", "linux-image-virtual"))

    assert (hwe["kernel_flavour"], hwe["kernel_latest"]) == ("generic-hwe-22.04", "6.8.0-149-generic")
    assert (virtual["kernel_flavour"], virtual["kernel_packages"]) == (
        "generic",
        ["linux-virtual", "linux-image-virtual"],
    )


def test_kernels_are_in_the_order_of_their_versions(tmp_path: Path) -> None:
    installed = status(*(f"linux-image-5.15.0-{number}-generic" for number in (204, 99, 164)))

    images = look(tmp_path, "5.15.0-164-generic", installed)["kernel_images"]
    assert images == [f"5.15.0-{number}-generic" for number in (99, 164, 204)]


@pytest.mark.parametrize(
    ("names", "maintainer", "files", "source"),
    [
        ((), "", (), "none"),
        ((), "", ("usr/bin/nvidia-uninstall",), "runfile"),
        (("nvidia-driver-535",), "", (), "ubuntu"),
        (("nvidia-open-580", "libnvidia-compute-580"), "NVIDIA <someone@nvidia.com>", (), "nvidia"),
        (("nvidia-container-toolkit", "libnvidia-container1"), "NVIDIA <someone@nvidia.com>", (), "none"),
        (("nvidia-settings",), "", (), "none"),
    ],
)
def test_whose_driver_it_is(
    tmp_path: Path, names: tuple[str, ...], maintainer: str, files: tuple[str, ...], source: str
) -> None:
    for path in files:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()

    facts = look(tmp_path, "5.15.0-204-generic", status(*names, maintainer=maintainer))
    assert facts["source"] == source
    assert set(facts["installed"]) == {name for name in names if "nvidia" in name}


def test_without_lists_apt_is_not_asked(tmp_path: Path) -> None:
    apt = Apt()
    facts = look(tmp_path, "5.15.0-164-generic", status("linux-image-generic"), lists=False, apt=apt)

    assert apt.calls == []
    assert (facts["lists"], facts["lists_stale"], facts["candidates"]) == (False, False, {})
    assert facts["kernel_packages"] == ["linux-image-generic"]


def test_the_toolkits_of_nvidias_repository_are_found(tmp_path: Path) -> None:
    assert look(tmp_path, "5.15.0-204-generic")["toolkits"] == []
    more = dict.fromkeys(
        ("cuda-nvcc-13-0", "cuda-nvcc-12-9", "cuda-nvcc-12-10", "cuda-toolkit-12-9", "cuda-nvcc-x"), ""
    )
    facts = look(tmp_path, "5.15.0-204-generic", apt=Apt({**jammy(), **more}))
    assert facts["toolkits"] == ["12.9", "12.10", "13.0"]


def test_old_lists_are_told(tmp_path: Path) -> None:
    look(tmp_path, "5.15.0-204-generic")
    written = os.stat(tmp_path / LISTS).st_mtime

    assert not read_packages(Apt().run, str(tmp_path), "5.15.0-204-generic", lambda: written + 86400)["lists_stale"]
    assert read_packages(Apt().run, str(tmp_path), "5.15.0-204-generic", lambda: written + 40 * 86400)["lists_stale"]


def test_every_recorded_stanza_is_understood() -> None:
    stanzas = parse_stanzas("\n\n".join(jammy().values()))

    assert stanzas.keys() == jammy().keys()
    assert all(stanza.version and stanza.from_ubuntu for stanza in stanzas.values())
    assert not any(stanza.is_installed or stanza.is_held for stanza in stanzas.values())


PARTS = (
    *("Package: ", "Depends: ", "Version: ", "Status: hold ok installed", "nvidia-headless-no-dkms-580", "\n", "\n\n"),
    *("linux-modules-nvidia-580-5.15.0-1-generic", "linux-image-generic", " (>= 580.1)", "| ", ", ", "\x1b[4m", "é"),
)
WORDS = st.lists(st.sampled_from(PARTS), max_size=40).map("".join)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(st.text(), WORDS), st.one_of(st.text(), WORDS), st.text(max_size=20), st.integers(-1, 255))
def test_no_answer_raises(tmp_path: Path, said: str, dpkg: str, release: str, rc: int) -> None:
    (tmp_path / "var/lib/dpkg").mkdir(parents=True, exist_ok=True)
    (tmp_path / "var/lib/dpkg/status").write_text(dpkg, encoding="utf-8", errors="replace")
    (tmp_path / LISTS).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / LISTS).touch()

    json.dumps(read_packages(lambda argv: CommandResult(rc, said, ""), str(tmp_path), release))
