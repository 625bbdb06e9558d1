"""Which driver a host gets: on kernels and with packages of today's jammy, on images of clouds, on what cannot work."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.llmhost.core.plugins.module_utils.hardware.hardware import parse_hardware
from ansible_collections.llmhost.core.plugins.module_utils.plan import planner
from ansible_collections.llmhost.core.plugins.module_utils.plan.driver_packages import usual_flavour
from ansible_collections.llmhost.core.plugins.module_utils.plan.plan_schema import problems
from ansible_collections.llmhost.core.plugins.module_utils.plan.plan_table import plan_table
from ansible_collections.llmhost.core.plugins.module_utils.plan.what_if import plan_all
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit import hosts
from tests.unit.apt_index import Apt, jammy, look, status
from tests.unit.hosts import Facts
from tests.unit.test_planner_properties import damaged

RUNNING = "5.15.0-204-generic"
MODULES = "linux-modules-nvidia-580-server-open"
DRIVER = ["nvidia-headless-no-dkms-580-server-open", "nvidia-utils-580-server"]
WHOLE = (f"{MODULES}-{RUNNING}", f"{MODULES}-generic", *DRIVER, "libnvidia-compute-580-server")
VERSION = "580.178.04"


def machine(
    root: Path, release: str = RUNNING, *, gpus: int = 1, dpkg: str = "", lists: bool = True, **driver: Any
) -> Facts:
    """A workstation with this kernel, these packages and what its driver says."""
    facts = hosts.workstation(gpus=gpus)
    facts["kernel"] |= {"release": release, "boot_id": "the host"}
    facts["nvidia"] = {
        "driver": {"smi": {"rc": 0 if driver else 9, "text": ""}, "modules": ["nvidia"] if driver else [], **driver},
        "packages": look(root, release, dpkg, lists),
        "gpus": [],
        "nvswitches": [],
    }
    return facts


def working(version: str = VERSION, flavour: str = "open") -> Facts:
    """What a driver says that works."""
    return {"loaded_version": version, "module_version": version, "library_version": version, "flavour": flavour}


def gpu(device_id: str, name: str = "", number: int = 0) -> Facts:
    """A GPU by its PCI id; without a name it is one that llmhost does not know."""
    return (
        hosts.rtx_3090(number)
        | {"device_id": device_id, "name": name or f"NVIDIA device {device_id}"}
        | ({} if name else {"vram_bytes": None})
    )


def decide(host: Facts, boot_id: str = "another machine", /, **variables: Any) -> Facts:
    """The plan, checked against its schema and shown."""
    asked = {"llmhost_model": "a/b", "llmhost_claim_disks": True}
    asked |= {f"llmhost_{name}": value for name, value in variables.items()}
    plan = planner.plan(host, hosts.qwen3_32b(), asked, boot_id=boot_id)
    assert problems(plan) == []
    assert plan_table(plan, host)
    return plan


def driver(host: Facts, /, **variables: Any) -> Facts:
    made: Facts = decide(host, **variables)["driver"]
    return made


def codes(plan: Facts, level: str = "error") -> list[str]:
    found = [entry["code"] for entry in plan["findings"] if entry["level"] == level]
    return [code for code in found if code.startswith(("driver.", "gpus.", "variable."))]


# --- Packages, by the kernel


def test_modules_for_the_running_kernel_in_one_transaction_without_a_compiler(tmp_path: Path) -> None:
    plan = decide(machine(tmp_path))
    made = plan["driver"]

    assert made["packages"] == [f"{MODULES}-{RUNNING}", f"{MODULES}-generic", *DRIVER]
    assert (made["source"], made["branch"], made["flavour"]) == ("ubuntu", "580-server", "open")
    assert (made["version"], made["kernel"], made["reboot"]["needed"]) == (VERSION, None, False)
    assert set(made["hold"]) >= {*made["packages"], "linux-image-generic", "libnvidia-compute-580-server"}
    assert plan["steps"]["nvidia_driver"] == {"action": "apply", "reason": ""}
    assert codes(plan) == []


def test_a_kernel_that_is_not_the_newest_is_left_as_it_is(tmp_path: Path) -> None:
    made = driver(machine(tmp_path, "5.15.0-203-generic", dpkg=status("linux-image-generic")))

    assert made["packages"] == [f"{MODULES}-5.15.0-203-generic", *DRIVER]
    assert made["kernel"] is None
    assert "linux-image-generic" in made["hold"]


def test_the_kernel_of_the_next_boot_has_its_modules_too(tmp_path: Path) -> None:
    installed = status(
        "linux-image-5.15.0-203-generic", f"linux-image-{RUNNING}", "linux-generic", "linux-image-generic"
    )
    made = driver(machine(tmp_path, "5.15.0-203-generic", dpkg=installed))

    assert {f"{MODULES}-5.15.0-203-generic", f"{MODULES}-generic", "linux-image-generic"} <= set(made["packages"])
    assert not made["reboot"]["needed"]


@pytest.mark.parametrize("release", ["5.15.0-164-generic", "5.15.0-119-generic"])
def test_a_kernel_outside_of_the_window_gives_way_to_a_newer_one_of_its_kind(tmp_path: Path, release: str) -> None:
    plan = decide(machine(tmp_path, release))
    made = plan["driver"]

    assert made["packages"] == ["linux-image-generic", f"{MODULES}-generic", *DRIVER]
    assert made["kernel"] == "linux-image-generic"
    assert made["reboot"] == {
        "allowed": True,
        "needed": True,
        "why": f"its modules go with kernel {RUNNING}, and {release} is running",
        "local": False,
    }
    assert codes(plan, "info") == ["driver.newer_kernel", "driver.reboot"]


def test_the_boot_loader_takes_the_newest_kernel_so_an_older_one_is_no_way_out(tmp_path: Path) -> None:
    hwe = driver(machine(tmp_path, "6.5.0-35-generic", dpkg=status("linux-image-generic")))
    assert (hwe["kernel"], hwe["reboot"]["needed"]) == ("linux-image-generic-hwe-22.04", True)

    newest = machine(tmp_path, "6.11.0-29-generic")
    newest["nvidia"]["packages"]["headers"] = True
    assert driver(newest)["source"] == "ubuntu-dkms"


def test_after_the_reboot_the_same_packages_are_what_is_planned(tmp_path: Path) -> None:
    first = driver(machine(tmp_path / "first", "5.15.0-164-generic", dpkg=status("linux-image-generic")))
    installed = status(*first["packages"], f"{MODULES}-{RUNNING}", f"linux-image-{RUNNING}", "linux-image-generic")
    host = machine(tmp_path / "second", dpkg=installed, **working())
    host["state"]["driver"] = {"branch": "580-server"}
    second = driver(host)

    assert set(first["packages"]) - {"linux-image-generic"} <= set(second["packages"])
    assert (second["source"], second["kernel"], second["reboot"]["needed"]) == ("ubuntu", None, False)


def test_a_set_that_is_installed_stays_when_apt_has_a_newer_one(tmp_path: Path) -> None:
    """Lists of a later day: the running kernel has fallen out of the window of the newer driver."""
    names = (f"{MODULES}-5.15.0-164-generic", *DRIVER)
    installed = status(*names, "linux-image-generic", version="580.126.09-0ubuntu0.22.04.1", hold=names)
    host = machine(tmp_path, "5.15.0-164-generic", dpkg=installed, **working("580.126.09"))
    host["state"]["driver"] = {"branch": "580-server"}
    plan = decide(host)
    made = plan["driver"]

    assert made["packages"] == list(names)
    assert (made["version"], made["kernel"], made["reboot"]["needed"]) == ("580.126.09", None, False)
    assert codes(plan, "info") == []


def test_the_branch_that_llmhost_installed_stays_its_branch(tmp_path: Path) -> None:
    names = ("linux-modules-nvidia-595-server-open-" + RUNNING, "nvidia-headless-no-dkms-595-server-open")
    host = machine(tmp_path, dpkg=status(*names), **working("595.91.07"))
    assert driver(host)["source"] == "kept"

    host["state"]["driver"] = {"branch": "595-server"}
    assert (driver(host)["source"], driver(host)["branch"]) == ("ubuntu", "595-server")
    assert driver(host, driver_branch="580")["branch"] == "580-server"


@pytest.mark.parametrize("source", ["auto", "ubuntu-dkms"])
def test_dkms_where_ubuntu_signs_no_modules(tmp_path: Path, source: str) -> None:
    index = {name: block for name, block in jammy().items() if not name.startswith("linux-modules-nvidia")}
    index["linux-headers-5.15.0-1090-ibm"] = "Package: linux-headers-5.15.0-1090-ibm\nVersion: 1"
    host = machine(tmp_path)
    host["kernel"]["release"] = "5.15.0-1090-ibm"
    host["nvidia"]["packages"] = look(tmp_path, "5.15.0-1090-ibm", apt=Apt(index))
    plan = decide(host, driver_source=source)

    assert plan["driver"]["source"] == "ubuntu-dkms"
    assert plan["driver"]["packages"][:2] == ["linux-headers-5.15.0-1090-ibm", "nvidia-headless-580-server-open"]
    assert "nvidia-dkms-580-server-open" in plan["driver"]["hold"]
    assert codes(plan) == []

    assert codes(decide(host | {"secure_boot": True}, driver_source=source)) == ["driver.secure_boot"]
    assert codes(decide(host, driver_source="ubuntu")) == ["driver.no_modules"]


def test_a_kernel_of_somebody_else_without_headers_is_refused(tmp_path: Path) -> None:
    assert codes(decide(machine(tmp_path, "6.18.5"))) == ["driver.no_headers"]


def test_dkms_that_is_there_stays_dkms(tmp_path: Path) -> None:
    installed = status("nvidia-headless-580-server-open", "nvidia-dkms-580-server-open", "nvidia-utils-580-server")
    host = machine(tmp_path, dpkg=installed, **working())
    host["state"]["driver"] = {"branch": "580-server"}

    assert driver(host)["source"] == "ubuntu-dkms"


def test_without_lists_the_metapackages_of_the_kernel_are_planned(tmp_path: Path) -> None:
    plan = decide(machine(tmp_path, "6.8.0-60-generic", lists=False))

    flavour = "generic-hwe-22.04"
    assert plan["driver"]["packages"] == [f"linux-image-{flavour}", f"{MODULES}-{flavour}", *DRIVER]
    assert (plan["driver"]["version"], plan["driver"]["reboot"]["needed"]) == (None, False)
    assert codes(plan, "info") == ["driver.no_package_lists"]


@pytest.mark.parametrize(
    ("release", "flavour"),
    [
        ("5.15.0-119-generic", "generic"),
        ("6.8.0-60-generic", "generic-hwe-22.04"),
        ("6.8.0-1021-aws", "aws"),
        ("5.15.0-1084-azure", "azure-lts-22.04"),
        ("5.15.0-1040-nvidia", "nvidia"),
        ("6.8.0-60-lowlatency", "lowlatency-hwe-22.04"),
        ("6.18.5", "generic"),
        ("", "generic"),
    ],
)
def test_the_flavour_of_a_kernel_by_its_name(release: str, flavour: str) -> None:
    assert usual_flavour(release) == flavour


# --- Kernel modules, by the generation


@pytest.mark.parametrize(
    ("device_id", "name", "flavour"),
    [
        ("2204", "NVIDIA GeForce RTX 3090", "open"),
        ("1EB8", "NVIDIA Tesla T4", "open"),
        ("1DB6", "NVIDIA Tesla V100 PCIe 32GB", "proprietary"),
        ("1B06", "NVIDIA GeForce GTX 1080 Ti", "proprietary"),
        ("2B85", "NVIDIA GeForce RTX 5090", "open"),
        ("2901", "NVIDIA B200", "open"),
        ("2182", "", "open"),  # not in the table: by the id, Turing
        ("1C82", "", "proprietary"),  # Pascal
        ("2D04", "", "open"),  # Blackwell
        ("", "", "open"),
    ],
)
def test_the_flavour_goes_by_the_generation(tmp_path: Path, device_id: str, name: str, flavour: str) -> None:
    host = machine(tmp_path)
    host["gpus"] = [gpu(device_id, name)]
    plan = decide(host)

    assert plan["driver"]["flavour"] == flavour
    suffix = "-open" if flavour == "open" else ""
    assert plan["driver"]["packages"][-2:] == [f"nvidia-headless-no-dkms-580-server{suffix}", "nvidia-utils-580-server"]
    assert codes(plan) == []


@pytest.mark.parametrize(
    ("ids", "variables", "code"),
    [
        (["1DB6", "2B85"], {}, "driver.no_common_flavour"),
        (["1004"], {}, "driver.gpu_too_old"),
        (["2B85"], {"driver_flavour": "proprietary"}, "driver.flavour"),
        (["1B06"], {"driver_flavour": "open"}, "driver.flavour"),
        (["1B06"], {"driver_branch": "595"}, "driver.branch"),
        (["2204"], {"driver_branch": "999"}, "driver.branch"),
        (["2204"], {"driver_branch": "615", "driver_flavour": "proprietary"}, "driver.branch"),
        (["2204"], {"driver_branch": "newest"}, "variable.invalid"),
        (["2204"], {"driver_branch": True}, "variable.invalid"),
        (["2204"], {"driver_source": "nvidia"}, "driver.no_repository"),
        (["2204"], {"driver_source": "kept"}, "driver.none_to_keep"),
        (["2204"], {"container_toolkit": True}, "driver.no_container_toolkit"),
        (["2204"], {"gpu_power_limit": "much"}, "variable.invalid"),
    ],
)
def test_what_cannot_work_is_refused(tmp_path: Path, ids: list[str], variables: Facts, code: str) -> None:
    host = machine(tmp_path)
    host["gpus"] = [gpu(device_id, "", number) for number, device_id in enumerate(ids)]

    assert codes(decide(host, **variables)) == [code]


def test_an_old_gpu_beside_a_newer_one_gets_the_modules_that_drive_both(tmp_path: Path) -> None:
    host = machine(tmp_path, gpus=2)
    host["gpus"][1] = gpu("1DB6", "NVIDIA Tesla V100 PCIe 32GB", 1)

    assert driver(host)["flavour"] == "proprietary"


@pytest.mark.parametrize(
    ("asked", "branch"),
    [
        (580, "580-server"),
        ("580-server", "580-server"),
        ("595", "595-server"),
        ("535-server", "580-server"),
        ("570", "580-server"),
        ("590", "595-server"),
        ("610", "615"),
        ("615", "615-server"),
    ],
)
def test_the_branch_that_results_is_planned(tmp_path: Path, asked: object, branch: str) -> None:
    plan = decide(machine(tmp_path), driver_branch=asked)

    assert plan["driver"]["branch"] == branch
    assert str(plan["driver"]["version"]).startswith(branch[:3])
    changed = str(asked)[:3] != branch[:3]
    assert codes(plan, "warning") == (["driver.branch_replaced"] if changed else [])
    assert codes(plan) == []


# --- A driver that is there


@pytest.mark.parametrize("packages", ["ubuntu", "nvidia", "runfile", "none"])
def test_a_good_driver_of_an_image_is_kept_and_only_checked(tmp_path: Path, packages: str) -> None:
    host = machine(tmp_path, **working("595.71.05"))
    host["nvidia"]["packages"]["source"] = packages
    plan = decide(host)
    made = plan["driver"]

    assert (made["source"], made["branch"], made["version"]) == ("kept", "595", "595.71.05")
    assert (made["packages"], made["hold"], made["reboot"]["needed"]) == ([], [], False)
    assert codes(plan, "info") == ["driver.kept"]
    assert codes(plan) == []


@pytest.mark.parametrize(
    ("there", "variables"),
    [
        (working("535.183.01"), {}),
        (working("580.95.05", "proprietary"), {"driver_flavour": "open"}),
        (working("595.71.05"), {"driver_branch": "580"}),
        ({**working(), "library_version": None}, {}),
        ({**working("580.95.05"), "module_version": "580.95.05", "library_version": "580.126.09"}, {}),
        (working("595.71.05"), {"driver_source": "ubuntu"}),
    ],
)
def test_a_driver_that_is_not_good_is_replaced_where_ubuntu_made_it(
    tmp_path: Path, there: Facts, variables: Facts
) -> None:
    host = machine(tmp_path, dpkg=status("libnvidia-compute-535"), **there)
    plan = decide(host, **variables)
    assert plan["driver"]["source"] == "ubuntu"
    assert plan["driver"]["reboot"]["needed"] is (there["loaded_version"] != VERSION)
    assert codes(plan) == []

    for foreign in ("nvidia", "runfile", "none"):
        other = copy.deepcopy(host)
        other["nvidia"]["packages"]["source"] = foreign
        assert codes(decide(other, **variables)) == ["driver.foreign"]


def test_a_blackwell_with_proprietary_modules_is_not_kept(tmp_path: Path) -> None:
    host = machine(tmp_path, dpkg=status("libnvidia-compute-580"), **working("580.126.09", "proprietary"))
    host["gpus"] = [gpu("2B85", "NVIDIA GeForce RTX 5090")]
    plan = decide(host)

    assert plan["driver"]["flavour"] == "open"
    assert codes(plan, "warning") == ["driver.replaced"]


def test_a_library_that_was_upgraded_below_a_loaded_module_needs_a_reboot(tmp_path: Path) -> None:
    host = machine(tmp_path, **{**working("580.126.09"), "module_version": VERSION, "library_version": VERSION})
    plan = decide(host)

    assert plan["driver"]["source"] == "kept"
    assert plan["driver"]["reboot"]["why"] == f"580.126.09 is loaded and {VERSION} is installed"
    assert codes(plan, "info") == ["driver.kept", "driver.reboot"]


def test_what_came_beside_a_kept_driver_does_not_make_it_ours(tmp_path: Path) -> None:
    host = machine(tmp_path, **working("595.71.05"))
    host["state"]["driver"] = {"brought": ["nvidia-container-toolkit"], "kept": True}
    assert (driver(host)["source"], driver(host)["modules"]) == ("kept", ["nvidia", "nvidia_uvm"])
    host["state"]["driver"] = {"brought": ["nvidia-utils-580-server"]}
    assert driver(host)["source"] == "ubuntu"


def test_a_container_has_the_driver_of_its_machine_or_none(tmp_path: Path) -> None:
    host = machine(tmp_path, **working("470.256.02"))
    host["capabilities"]["kernel_modules"] = {"able": False, "reason": "a container has no kernel of its own."}
    assert codes(decide(host)) == ["driver.too_old"]

    host["nvidia"]["driver"] |= working()
    assert driver(host)["source"] == "kept"
    assert driver(host)["modules"] == []

    host["nvidia"]["driver"] = {}
    plan = decide(host)
    assert codes(plan) == ["driver.not_loaded"]
    assert plan["driver"]["packages"] == []


def test_declared_gpus_of_a_container_are_planned_and_refused(tmp_path: Path) -> None:
    host = machine(tmp_path, "6.18.5", gpus=0)
    host["capabilities"]["kernel_modules"] = {"able": False, "reason": "a container has no kernel of its own."}
    plan = decide(host, gpus=["RTX 3090"])

    assert plan["driver"]["packages"] == ["linux-image-generic", f"{MODULES}-generic", *DRIVER]
    assert codes(plan) == ["driver.no_kernel"]
    assert codes(plan, "info") == ["gpus.declared"]


def test_another_distribution_is_planned_as_if_it_were_the_right_one(tmp_path: Path) -> None:
    host = machine(tmp_path, "6.1.0-37-amd64")
    host["distribution"] |= {"id": "debian", "version": "12", "codename": "bookworm"}
    plan = decide(host)

    assert plan["driver"]["packages"][0] == "linux-image-generic"
    assert codes(plan) == []
    assert "platform.distribution" in [entry["code"] for entry in plan["findings"]]


def test_drivers_of_two_makers_do_not_go_together(tmp_path: Path) -> None:
    host = machine(tmp_path, dpkg=status("nvidia-driver-535"))
    host["nvidia"]["packages"]["candidates"] |= {
        "nvidia-open-580": "580.95.05-0ubuntu1",
        "nvidia-driver-pinning-580": "580",
    }
    assert codes(decide(host, driver_source="nvidia")) == ["driver.foreign"]

    host["nvidia"]["packages"]["source"] = "none"
    made = driver(host, driver_source="nvidia")
    assert made["packages"] == ["nvidia-driver-pinning-580", "nvidia-open-580", f"linux-headers-{RUNNING}"]


# --- Reboot


def test_nouveau_has_to_go(tmp_path: Path) -> None:
    host = machine(tmp_path)
    host["gpus"][0]["driver"] = "nouveau"

    assert driver(host)["reboot"]["why"] == "nouveau has the GPU"


@pytest.mark.parametrize(
    ("boot_id", "consent", "able", "allowed", "level"),
    [
        ("another machine", "auto", True, True, "info"),
        ("the host", "auto", True, False, "warning"),
        ("the host", True, True, True, "info"),
        ("another machine", "false", True, False, "warning"),
        ("another machine", True, False, False, "warning"),
        ("", "auto", True, True, "info"),
    ],
)
def test_the_machine_that_runs_ansible_is_not_rebooted_unasked(
    tmp_path: Path, boot_id: str, consent: object, able: bool, allowed: bool, level: str
) -> None:
    host = machine(tmp_path, "5.15.0-119-generic")
    host["capabilities"]["reboot"] = {"able": able, "reason": "it cannot"}
    plan = decide(host, boot_id, allow_reboot=consent)
    reboot = plan["driver"]["reboot"]

    assert (reboot["needed"], reboot["allowed"], reboot["local"]) == (True, allowed, boot_id == "the host")
    assert [code for code in codes(plan, level) if "reboot" in code]
    assert codes(plan) == []


# --- Declared GPUs, and hosts without any


def test_declared_gpus_are_planned_on_a_host_without(tmp_path: Path) -> None:
    plan = decide(machine(tmp_path, gpus=0), gpus=["2x RTX 3090"])

    assert (plan["gpus_declared"], plan["accelerator"], plan["driver"]["declared"]) == (True, "nvidia", True)
    assert plan["driver"]["packages"][-2:] == DRIVER
    assert plan["verdict"] == "fits"
    assert {step: said["action"] for step, said in plan["steps"].items()}["nvidia_driver"] == "apply"
    assert "declared" in plan["steps"]["inference"]["reason"]
    assert codes(plan) == []
    assert codes(plan, "info") == ["gpus.declared"]


def test_a_host_with_declared_gpus_may_serve_from_its_cpu(tmp_path: Path) -> None:
    plan = decide(machine(tmp_path, gpus=0), gpus="RTX 3090", accelerator="cpu")

    assert plan["accelerator"] == "cpu"
    assert plan["driver"]["declared"]
    assert [plan["steps"][step]["action"] for step in ("nvidia_driver", "inference")] == ["apply", "apply"]


@pytest.mark.parametrize("name", ["RTX 3091", "A100", "0x RTX 3090", "65x RTX 3090", "3090 x 2 x 4"])
def test_a_declaration_that_means_no_gpu_is_an_error(tmp_path: Path, name: str) -> None:
    plan = decide(machine(tmp_path, gpus=0), gpus=[name], accelerator="cpu")

    assert codes(plan) == ["variable.invalid"]
    assert not plan["gpus_declared"]


def test_gpus_that_are_there_count_and_a_difference_is_told(tmp_path: Path) -> None:
    same = decide(machine(tmp_path), gpus=["RTX 3090"])
    less = decide(machine(tmp_path), gpus=["2x RTX 3090"])

    assert (same["gpus_declared"], less["gpus_declared"]) == (False, False)
    assert (codes(same, "warning"), codes(less, "warning")) == ([], ["gpus.differ"])


def test_no_gpu_no_driver(tmp_path: Path) -> None:
    plan = decide(machine(tmp_path, gpus=0))
    assert plan["driver"] is None
    assert plan["steps"]["nvidia_driver"] == {"action": "skip", "reason": "this host has no NVIDIA GPU"}

    plan = decide(machine(tmp_path), accelerator="cpu")
    assert plan["driver"] is None
    assert plan["steps"]["nvidia_driver"]["action"] == "skip"


# --- What goes with it


def test_the_fabric_manager_only_where_nvswitch_is(tmp_path: Path) -> None:
    host = machine(tmp_path)
    assert driver(host)["fabric_manager"] is None

    host["gpus"] = [gpu("2330", "NVIDIA H100 80GB HBM3", number) for number in range(8)]
    assert driver(host)["fabric_manager"] is None
    host["nvidia"]["nvswitches"] = ["0000:07:00.0"]
    made = driver(host)
    assert made["fabric_manager"] == "nvidia-fabricmanager-580"
    assert "nvidia-fabricmanager-580" in made["packages"]
    assert "nvidia-fabricmanager-580" in made["hold"]

    host["nvidia"]["packages"]["candidates"].pop("nvidia-fabricmanager-580")
    assert codes(decide(host)) == ["driver.no_fabric_manager"]


def test_declared_boards_are_taken_to_have_switches(tmp_path: Path) -> None:
    def declared(*names: str) -> Facts:
        return decide(machine(tmp_path, gpus=0), gpus=list(names))

    assert declared("8x B200")["driver"]["fabric_manager"] == "nvidia-fabricmanager-580"
    assert codes(declared("8x B200"), "warning") == ["driver.nvlsm"]
    assert declared("4x H100 SXM")["driver"]["fabric_manager"] is None


def test_the_power_limit_is_within_what_the_gpus_take(tmp_path: Path) -> None:
    host = machine(tmp_path)
    host["nvidia"]["gpus"] = [{"power_limit_max_watts": 400}, {"power_limit_max_watts": 350}]

    assert driver(host, gpu_power_limit="280")["power_limit_watts"] == 280
    assert codes(decide(host, gpu_power_limit=380)) == ["driver.power_limit"]


# --- What people read


def test_the_table_shows_driver_packages_and_holds(tmp_path: Path) -> None:
    host = machine(tmp_path, "5.15.0-119-generic")
    table = plan_table(decide(host, gpu_power_limit=250, allow_reboot=False), host)

    for words in (f"version {VERSION}", "nvidia-utils-580-server", "held", "250 W", "this run does not do it"):
        assert words in table
    assert all(len(line) <= 110 for line in table.splitlines())


def test_a_machine_that_is_only_described_has_a_driver_too() -> None:
    rows = plan_all([{"name": "x", "host": parse_hardware("8x H100 SXM, 2 TB RAM")}], [hosts.qwen3_32b()], {})
    made = rows[0]["plan"]["driver"]

    assert problems(rows[0]["plan"]) == []
    assert made["packages"][0] == "linux-image-generic"
    assert made["fabric_manager"] == "nvidia-fabricmanager-580"
    assert not [entry for entry in rows[0]["plan"]["findings"] if entry["code"].startswith("driver.")]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Facts:
    """A host of which everything is known."""
    return machine(tmp_path_factory.mktemp("host"), dpkg=status(*WHOLE, "linux-generic"), **working())


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_odd_facts_about_the_driver_give_a_plan(whole: Facts, data: st.DataObject) -> None:
    odd = data.draw(damaged({name: whole[name] for name in ("nvidia", "gpus", "kernel", "state", "secure_boot")}))
    asked = {
        "driver_source": data.draw(st.sampled_from(["auto", "ubuntu", "ubuntu-dkms", "nvidia", "kept"])),
        "driver_branch": data.draw(st.sampled_from(["auto", "580", "535-server", "615"])),
    }

    decide({**whole, **odd}, **asked)
