"""What the plan of a whole host makes of CUDA: toolkit, archive, environment, steps and words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.llmhost.core.plugins.module_utils.hardware.hardware import parse_hardware
from ansible_collections.llmhost.core.plugins.module_utils.plan import planner
from ansible_collections.llmhost.core.plugins.module_utils.plan.plan_schema import problems
from ansible_collections.llmhost.core.plugins.module_utils.plan.plan_table import plan_table

from tests.unit import gpu_hosts, hosts
from tests.unit.apt_index import Apt, jammy, look
from tests.unit.hosts import Facts

SIZES = {"P40": 24, "V100": 32, "T4": 16, "GeForce RTX 5090": 32, "GeForce RTX 3090": 24, "Something New": 24}
NVIDIAS = {"cuda-nvcc-12-9": "Package: cuda-nvcc-12-9\nVersion: 12.9.86-1"}


def gpu(name: str, number: int = 0) -> Facts:
    return {**hosts.rtx_3090(number), "name": f"NVIDIA {name}", "vram_bytes": SIZES[name] * hosts.GIB}


def machine(root: Path, *names: str, repository: bool = False, lists: bool = True, version: str = "") -> Facts:
    """A workstation with these GPUs, a driver that works if ``version`` names one, and NVIDIA's repository or not."""
    apt = Apt({**jammy(), **(NVIDIAS if repository else {})})
    driver = {"loaded_version": version, "module_version": version, "library_version": version} if version else {}
    nvidia = {
        "driver": {"smi": {"rc": 0 if version else 9, "text": ""}, "modules": ["nvidia"] if version else [], **driver},
        "packages": look(root, "5.15.0-204-generic", lists=lists, apt=apt),
        "gpus": [],
        "nvswitches": [],
    }
    facts = hosts.workstation(gpus=0)
    facts["kernel"] |= {"release": "5.15.0-204-generic", "boot_id": "the host"}
    return {**facts, "gpus": [gpu(name, number) for number, name in enumerate(names)], "nvidia": nvidia}


def decide(host: Facts, model: Facts | None = None, /, **variables: Any) -> Facts:
    asked = {"llmhost_model": "a/b", "llmhost_claim_disks": True, "llmhost_context": 4096}
    asked |= {f"llmhost_{name}": value for name, value in variables.items()}
    made = planner.plan(host, hosts.nonsense() if model is None else model, asked, boot_id="another machine")
    assert problems(made) == []
    return made


def codes(plan: Facts, level: str = "error") -> list[str]:
    return [entry["code"] for entry in plan["findings"] if entry["level"] == level]


def remedy(plan: Facts, code: str) -> str:
    return next(str(entry["remedy"]) for entry in plan["findings"] if entry["code"] == code)


def archive(plan: Facts) -> str:
    return str(plan["runtime"]["archive"]).removeprefix("llama_cpp-").partition("-jammy-x86_64-")[2].rpartition("-")[0]


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        (["GeForce RTX 3090"], "cuda13.0-sm86"),
        (["GeForce RTX 3090"] * 2, "cuda13.0-sm86"),
        (["GeForce RTX 5090"], "cuda13.0-sm120"),
        (["T4"], "cuda13.0-sm75"),
        (["P40"], "cuda12.9-sm61"),
        (["V100"], "cuda12.9-sm70"),
        (["T4", "V100"], "cuda12.9-sm70_75"),
    ],
)
def test_each_gpu_gets_a_build_of_its_own(tmp_path: Path, names: list[str], kind: str) -> None:
    host = machine(tmp_path, *names, repository=True)
    plan = decide(host)

    assert codes(plan) == []
    assert archive(plan) == kind
    assert plan["steps"]["cuda"] == {"action": "apply", "reason": ""}
    assert plan["steps"]["inference"]["action"] == "apply"
    assert plan["runtime"]["environment"]["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    assert plan["runtime"]["cmake"]["CMAKE_INSTALL_RPATH"] == f"{plan['cuda']['prefix']}/lib"
    assert plan["host_memory"]["build_bytes"] == 4 << 30


def test_the_table_says_what_is_compiled_for_what(tmp_path: Path) -> None:
    host = machine(tmp_path, "T4", "V100", repository=True)
    rows = [" ".join(line.split()) for line in plan_table(decide(host), host).splitlines()]
    assert "cuda 12.9 for compute capability 7.0, 7.5, from NVIDIA's repository" in rows


def test_the_driver_that_comes_with_the_plan_changes_nothing_once_it_is_there(tmp_path: Path) -> None:
    before = decide(machine(tmp_path, "GeForce RTX 3090"))
    after = decide(machine(tmp_path, "GeForce RTX 3090", version="580.178.04"))
    assert before["cuda"] == after["cuda"]
    assert before["runtime"] == after["runtime"]


@pytest.mark.parametrize("name", ["P40", "V100"])
def test_what_cuda_13_left_behind_needs_nvidias_repository(tmp_path: Path, name: str) -> None:
    plan = decide(machine(tmp_path, name))
    assert codes(plan) == ["cuda.no_repository"]
    assert "cuda-keyring" in remedy(plan, "cuda.no_repository")
    assert codes(decide(machine(tmp_path / "other", name, lists=False))) == [], "only apt itself can tell"


def test_a_driver_that_is_older_than_cuda_13_is_not_kept_without_a_word(tmp_path: Path) -> None:
    """llmhost's own takes its place, unless it is told to stay or is that of the machine around a container."""
    host = machine(tmp_path, "GeForce RTX 3090", version="535.309.01")
    assert archive(decide(host)) == "cuda13.0-sm86"

    host["capabilities"]["kernel_modules"] = {"able": False, "reason": "a container has no kernel of its own"}
    plan = decide(host)
    assert (plan["driver"]["source"], plan["cuda"]["toolkit"], codes(plan)) == ("kept", "12.9", ["cuda.no_repository"])

    host["nvidia"]["packages"] = machine(tmp_path, "P40", repository=True)["nvidia"]["packages"]
    plan = decide(host)
    assert (archive(plan), codes(plan)) == ("cuda12.9-sm86", [])
    assert "cuda.older_toolkit" in codes(plan, "info")


def test_a_driver_older_than_any_toolkit_is_refused(tmp_path: Path) -> None:
    plan = decide(machine(tmp_path, "GeForce RTX 3090", version="470.256.02"), driver_source="kept")
    assert {"driver.too_old", "cuda.driver_too_old"} <= set(codes(plan))
    assert (plan["cuda"], plan["steps"]["cuda"]["action"]) == (None, "skip")
    assert archive(plan) == "cpu", "a plan with errors is shown, and never carried out"


def test_vllm_needs_no_toolkit_and_is_not_installed_yet(tmp_path: Path) -> None:
    checkpoint = hosts.qwen3_32b({"weights_bytes": 20 * hosts.GIB}, format="safetensors", quantization="FP8")
    plan = decide(machine(tmp_path, "GeForce RTX 5090"), checkpoint)
    assert (plan["engine"], plan["cuda"], plan["runtime"]["archive"]) == ("vllm", None, "")
    assert plan["steps"]["cuda"]["reason"].startswith("the wheels of vLLM")
    assert "accelerator.no_cuda_runtime" in codes(plan)
    assert "GGUF" in remedy(plan, "accelerator.no_cuda_runtime")

    old = decide(machine(tmp_path, "GeForce RTX 3090", version="570.86.15"), checkpoint, driver_source="kept")
    assert "cuda.driver_too_old" in codes(old)


def test_the_links_decide_about_the_environment() -> None:
    made = planner.plan(
        {**hosts.workstation(), **gpu_hosts.bridged()},
        hosts.qwen3_32b({"weights_bytes": 30 * hosts.GIB}),
        {"llmhost_model": "a/b"},
        what_if=True,
    )
    assert (made["engine"], made["multi_gpu"]["split"]) == ("llama_cpp", "layer")
    assert made["runtime"]["environment"] == made["multi_gpu"]["environment"]


def test_a_gpu_that_nobody_knows_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    plan = decide(machine(tmp_path, "Something New"))
    assert "cuda.unknown_gpu" in codes(plan)
    assert plan["steps"]["cuda"] == {"action": "skip", "reason": "what to compile for is not known"}


def test_a_host_that_serves_from_its_cpu_has_nothing_of_it(tmp_path: Path) -> None:
    for host in (hosts.workstation(gpus=0), machine(tmp_path, "GeForce RTX 3090")):
        plan = decide(host, accelerator="cpu")
        assert (plan["cuda"], archive(plan), plan["runtime"]["environment"]) == (None, "cpu", {})
        assert plan["steps"]["cuda"] == {"action": "skip", "reason": "the model runs on the CPU"}
        assert plan["host_memory"]["build_bytes"] == 2 << 30


def test_declared_gpus_bring_the_libraries_and_are_not_served_from(tmp_path: Path) -> None:
    host = machine(tmp_path)
    plan = decide(host, gpus=["2x RTX 3090"])
    assert (plan["gpus_declared"], plan["cuda"]["capabilities"]) == (True, ["86"])
    assert plan["steps"]["cuda"]["action"] == "apply"
    assert plan["steps"]["inference"]["action"] == "skip"


def test_without_a_model_the_toolkit_is_planned_all_the_same(tmp_path: Path) -> None:
    made = planner.plan(machine(tmp_path, "GeForce RTX 3090"), None, {"llmhost_model": "a/b"})
    assert problems(made) == []
    assert (made["cuda"]["toolkit"], made["steps"]["cuda"]["action"]) == ("13.0", "apply")


def test_a_thing_of_the_catalogue_is_planned_without_a_word_of_apt() -> None:
    made = planner.plan(parse_hardware("P40, 64 GiB RAM"), hosts.nonsense(), {"llmhost_model": "a/b"})
    assert made["cuda"]["toolkit"] == "12.9"
    assert "cuda.no_repository" not in codes(made)
