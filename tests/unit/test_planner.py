"""The planner on machines of the tiers, on machines that lack something, and on finished ones."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from ansible_collections.llmhost.core.plugins.module_utils.plan import planner
from ansible_collections.llmhost.core.plugins.module_utils.plan.plan_schema import problems
from ansible_collections.llmhost.core.plugins.module_utils.plan.plan_table import plan_table, summary

from tests.unit import hosts
from tests.unit.hosts import GIB, Facts

INTERMEDIATE = {
    "distribution": {"id": "ubuntu", "version": "22.04"},
    "gpus": 1,
    "vram": "24 GB",
    "ram": "64 GB",
    "disk": "500 GB",
    "cpu": {"AuthenticAMD": {"family": 23}, "GenuineIntel": {"family": 6, "models": [165, 167]}},
    "tokens_per_second": 30,
}
ADVANCED = {"gpus": 2, "vram": "48 GB", "ram": "128 GB", "disk": "1 TB", "gpu_link": {"nvlink": True, "lanes": 8}}
ON_CPU = {"llmhost_accelerator": "cpu", "llmhost_claim_disks": True}
OVERWRITE = {"llmhost_storage_devices": "/dev/nvme1n1", "llmhost_overwrite_unrecognised": True}
USED = {"blank": False, "not_blank": ["it has a signature"]}
RAW = hosts.disk("/dev/nvme1n1", 10**12, unrecognised_data=True)
LABELLED = hosts.disk("/dev/nvme3n1", 10**12, **USED, filesystem="xfs", label="llmhost-mode", uuid="5678-efab")


def decide(host: Facts, model: Facts | None = None, /, **variables: Any) -> Facts:
    """The plan of a custom tier without requirements that may claim disks, checked against its schema."""
    asked = {"llmhost_model": "Qwen/Qwen3-32B-GGUF:Q4_K_M", "llmhost_claim_disks": True}
    asked |= {f"llmhost_{name}": value for name, value in variables.items()}
    plan = planner.plan(host, hosts.qwen3_32b() if model is None else model, asked)
    assert problems(plan) == []
    return plan


def codes(plan: Facts, level: str = "error") -> list[str]:
    return [finding["code"] for finding in plan["findings"] if finding["level"] == level]


def finding(plan: Facts, code: str) -> Facts:
    found: Facts = next(entry for entry in plan["findings"] if entry["code"] == code)
    return found


def without(host: Facts, capability: str) -> Facts:
    host["capabilities"][capability] = {"able": False, "reason": "the reason why."}
    return host


# --- Machines of the tiers


def test_the_machine_of_the_tier_meets_its_tier() -> None:
    plan = decide(hosts.workstation(), tier="intermediate", requirements=INTERMEDIATE)

    assert plan["verdict"] == "fits"
    assert plan["accelerator"] == "nvidia"
    assert codes(plan) == []
    assert plan["cuda"]["capabilities"] == ["86"]
    assert plan["context"] % 1024 == 0
    assert 8192 <= plan["context"] <= 32768
    assert plan["memory"]["vram_need_bytes"] <= plan["memory"]["devices"][0]["usable_bytes"]
    assert plan["acceptance"]["tokens_per_second"] == 30


def test_a_70b_model_is_spread_over_two_gpus() -> None:
    model = hosts.qwen3_32b(
        {
            "weights_bytes": 42_500_000_000,
            "layers": 80,
            "embedding": 8192,
            "feed_forward": 28672,
            "vocab": 128256,
            "token_embedding_bytes": 591_000_000,
            "output_bytes": 862_000_000,
            "context": 131072,
        },
        total_bytes=42_520_000_000,
    )
    plan = decide(hosts.workstation(gpus=2), model)

    first, second, ram = plan["memory"]["devices"]
    assert plan["verdict"] == "fits"
    assert abs(first["need_bytes"] - second["need_bytes"]) < 2 * GIB
    assert (first["name"], second["name"], ram["name"]) == ("GPU0", "GPU1", "host")
    assert plan["memory"]["vram_need_bytes"] > 40 * GIB


def test_a_model_larger_than_its_gpu_leaves_layers_in_ram() -> None:
    plan = decide(
        hosts.workstation(ram_bytes=128 * GIB), hosts.qwen3_32b({"weights_bytes": 34 * GIB}, total_bytes=34 * GIB)
    )

    assert plan["verdict"] == "fits_with_offload"
    assert "memory.offload" in codes(plan, "warning")
    layers = plan["runtime"]["arguments"][plan["runtime"]["arguments"].index("--n-gpu-layers") + 1]
    assert 0 < int(layers) < 65


def test_a_host_without_gpu_is_told_what_is_missing_and_that_a_cpu_would_do() -> None:
    plan = decide(hosts.workstation(gpus=0), tier="intermediate", requirements=INTERMEDIATE)

    missing = finding(plan, "accelerator.no_gpu")
    assert missing["level"] == "error"
    assert "1 NVIDIA GPU with 24 GB of VRAM" in missing["message"]
    assert "llmhost_accelerator: cpu" in missing["remedy"]


def test_on_request_a_cpu_does_a_gpus_work() -> None:
    plan = decide(hosts.workstation(gpus=0), requirements=INTERMEDIATE, **{"accelerator": "cpu"})

    assert codes(plan) == []
    assert codes(plan, "info") == ["requirements.gpu_waived"]
    assert plan["verdict"] == "fits"
    assert plan["context"] == 8192
    assert plan["acceptance"]["tokens_per_second"] is None


def test_a_gpu_is_left_alone_when_the_cpu_is_asked_for() -> None:
    plan = decide(hosts.workstation(), accelerator="cpu")

    assert plan["accelerator"] == "cpu"
    assert [device["name"] for device in plan["memory"]["devices"]] == ["host"]


def test_a_gpu_asked_for_by_name_must_be_there() -> None:
    assert codes(decide(hosts.workstation(gpus=0), accelerator="nvidia")) == ["accelerator.no_gpu"]


def test_everything_a_laptop_lacks_for_a_tier_is_said_at_once() -> None:
    plan = decide(hosts.laptop(), tier="advanced", requirements=ADVANCED)

    assert set(codes(plan)) >= {"accelerator.no_gpu", "requirements.ram", "requirements.disk"}
    assert "7.6 GiB" in finding(plan, "requirements.ram")["message"]
    assert "128 GB" in finding(plan, "requirements.ram")["message"]


def test_one_gpu_of_two_is_not_enough() -> None:
    plan = decide(hosts.workstation(), requirements=ADVANCED)

    assert set(codes(plan)) >= {"requirements.gpus", "requirements.vram"}
    assert "GeForce RTX 3090" in finding(plan, "requirements.gpus")["message"]


def test_a_narrow_slot_is_a_warning() -> None:
    host = hosts.workstation(gpus=2)
    host["gpus"][1]["pcie"]["current_width"] = 4

    assert "requirements.gpu_lanes" in codes(decide(host, requirements=ADVANCED), "warning")


def test_a_sticker_tolerates_what_firmware_and_filesystem_take() -> None:
    plan = decide(
        hosts.workstation(ram_bytes=int(62.7 * GIB)),
        requirements={"ram": "64 GB", "disk": "500 GB"},
        **{"accelerator": "cpu"},
    )

    assert codes(plan) == []


@pytest.mark.parametrize(
    ("vendor", "family", "model", "warned"),
    [
        ("AuthenticAMD", 23, 113, False),
        ("AuthenticAMD", 25, 33, False),
        ("AuthenticAMD", 21, 2, True),
        ("GenuineIntel", 6, 165, False),
        ("GenuineIntel", 6, 158, True),
        ("CentaurHauls", 7, 1, False),
    ],
)
def test_an_older_cpu_is_a_warning_and_an_unknown_one_is_not_judged(
    vendor: str, family: int, model: int, warned: bool
) -> None:
    host = hosts.workstation()
    host["cpu"] |= {"vendor": vendor, "family": family, "model": model}
    plan = decide(host, requirements=INTERMEDIATE)

    assert ("requirements.cpu" in codes(plan, "warning")) is warned
    assert "requirements.cpu" not in codes(plan)


# --- What ends a run


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (
            {"distribution": {"id": "debian", "version": "12", "codename": "bookworm", "name": "Debian 12"}},
            "platform.distribution",
        ),
        (
            {"distribution": {"id": "ubuntu", "version": "24.04", "codename": "noble", "name": "Ubuntu 24.04"}},
            "platform.distribution",
        ),
        ({"kernel": {"release": "6.1", "architecture": "aarch64"}}, "platform.architecture"),
        (
            {"listening": [{"address": "0.0.0.0", "port": 8080, "process": "nginx", "unit": "nginx.service"}]},
            "port.in_use",
        ),
        ({"listening": [{"address": "::", "port": 8080, "process": None, "unit": None}]}, "port.in_use"),
        ({"listening": [{"address": "*", "port": 8080, "process": "java", "unit": None}]}, "port.in_use"),
    ],
)
def test_a_host_on_which_it_cannot_work(change: Facts, code: str) -> None:
    assert codes(decide(hosts.workstation(**change), **{"accelerator": "cpu"})) == [code]


@pytest.mark.parametrize(("capability", "code"), [("root", "platform.not_root"), ("systemd", "platform.no_systemd")])
def test_a_host_that_may_not_do_what_is_needed(capability: str, code: str) -> None:
    plan = decide(without(hosts.workstation(), capability), accelerator="cpu")

    assert codes(plan) == [code]
    assert "the reason why." in finding(plan, code)["message"]
    assert ".." not in finding(plan, code)["message"]


@pytest.mark.parametrize(
    "listener",
    [
        {"address": "127.0.0.1", "port": 8081, "process": "nginx", "unit": None},
        {"address": "192.0.2.1", "port": 8080, "process": "nginx", "unit": "nginx.service"},
        {"address": "::1", "port": 8080, "process": "nginx", "unit": "nginx.service"},
        {"address": "127.0.0.1", "port": 8080, "process": "llama-server", "unit": hosts.INFERENCE_UNIT},
        {"address": "127.0.0.1", "port": 8080, "user": "llmhost-inference", "process": None, "unit": None},
    ],
)
def test_a_port_that_is_free_or_ours(listener: Facts) -> None:
    assert codes(decide(hosts.workstation(listening=[listener]), **{"accelerator": "cpu"})) == []


@pytest.mark.parametrize(
    ("variables", "code", "says"),
    [
        ({"modle": "x/y"}, "variable.unknown", "llmhost_model"),
        ({"zzz": 1}, "variable.unknown", "all.yml"),
        ({"listen_port": "eighty"}, "variable.invalid", "8080"),
        ({"listen_port": 70000}, "variable.invalid", "8080"),
        ({"parallel": 0}, "variable.invalid", "1"),
        ({"context": "much"}, "variable.invalid", "auto"),
        ({"context": 12}, "variable.invalid", "auto"),
        ({"swap": "lots"}, "variable.invalid", "auto"),
        ({"swap_max": "-1 GB"}, "variable.invalid", "64 GiB"),
        ({"swap": "80 GiB"}, "swap.over_maximum", "llmhost_swap_max"),
        ({"storage_path": "srv"}, "variable.invalid", "/srv/llmhost"),
        ({"storage_path": "/srv/../etc"}, "variable.invalid", "/srv/llmhost"),
        ({"storage_filesystem": "btrfs"}, "variable.invalid", "ext4"),
        ({"listen_host": "example.com"}, "variable.invalid", "127.0.0.1"),
        ({"requirements": {"ram": "a lot"}}, "variable.invalid", "llmhost_requirements"),
        ({"model": ""}, "variable.missing", "llmhost_model"),
    ],
)
def test_a_variable_without_a_usable_value_names_its_remedy(variables: Facts, code: str, says: str) -> None:
    plan = decide(hosts.workstation(), **{"accelerator": "cpu", **variables})

    assert codes(plan) == [code]
    assert says in finding(plan, code)["remedy"]


def test_numbers_given_on_the_command_line_are_text() -> None:
    plan = decide(hosts.workstation(), accelerator="cpu", listen_port="8081", context="4096", parallel="2")

    assert codes(plan) == []
    assert (plan["runtime"]["port"], plan["context"], plan["parallel"]) == (8081, 4096, 2)
    arguments = plan["runtime"]["arguments"]
    assert arguments[arguments.index("--ctx-size") + 1] == "8192"


def test_a_model_for_another_engine_is_refused() -> None:
    assert codes(decide(hosts.workstation(), hosts.qwen3_32b(format="safetensors"), accelerator="cpu")) == [
        "model.format"
    ]


def test_an_architecture_that_is_not_sized_exactly_is_an_upper_bound() -> None:
    plan = decide(hosts.workstation(), hosts.qwen3_32b({"doubts": ("an attention of its own",)}), accelerator="cpu")

    assert codes(plan, "warning") == ["model.upper_bound"]
    assert "an attention of its own" in finding(plan, "model.upper_bound")["message"]


# --- Memory, context and swap


def test_a_model_too_large_for_ram_and_swap_says_what_would_fit() -> None:
    plan = decide(hosts.laptop(), accelerator="cpu", swap_max="4 GiB")

    assert plan["verdict"] == "does_not_fit"
    assert codes(plan) == ["memory.does_not_fit"]
    problem = finding(plan, "memory.does_not_fit")
    assert "19.2 GiB of RAM" in problem["message"]
    assert "6.9 GiB usable" in problem["message"]
    assert "quantisation with weights of at most" in problem["remedy"]
    assert "llmhost_swap_max of 13.0 GiB" in problem["remedy"]


def test_swap_stands_in_for_ram_that_is_missing_and_says_so() -> None:
    plan = decide(hosts.laptop(), accelerator="cpu")

    assert plan["verdict"] == "fits"
    assert plan["swap"]["size_bytes"] == 13 * GIB
    assert codes(plan, "warning") == ["swap.needed"]
    assert plan["storage"]["need_bytes"] > plan["model"]["total_bytes"] + 13 * GIB


def test_swap_that_the_host_has_already_counts() -> None:
    host = hosts.laptop()
    host["memory"]["swaps"] = [
        {"path": "/swap.img", "type": "file", "size_bytes": 8 * GIB, "used_bytes": 0, "priority": -2}
    ]

    assert decide(host, accelerator="cpu")["swap"]["size_bytes"] == 5 * GIB


def test_a_model_that_fits_gets_no_swap() -> None:
    plan = decide(hosts.workstation(), accelerator="cpu")

    assert plan["swap"]["size_bytes"] == 0
    assert plan["steps"]["swap"]["action"] == "apply"


def test_swap_of_a_size_typed_by_a_person() -> None:
    assert decide(hosts.workstation(), accelerator="cpu", swap="64 MiB")["swap"]["size_bytes"] == 64 * 2**20


def test_a_container_is_not_asked_to_swap_and_says_why() -> None:
    plan = decide(hosts.container(), hosts.nonsense(), accelerator="cpu", swap="1 GiB")

    assert codes(plan) == []
    assert plan["steps"]["swap"] == {
        "action": "skip",
        "reason": "this host cannot use a swap file: a docker container shares the swap of its machine",
    }
    assert plan["swap"]["size_bytes"] == 0
    assert "swap.skipped" in codes(plan, "info")


def test_a_container_that_needs_swap_is_too_small() -> None:
    host = hosts.container()
    host["memory"]["cgroup_limit_bytes"] = 8 * GIB
    plan = decide(host, accelerator="cpu")

    assert codes(plan) == ["memory.does_not_fit"]
    assert "a docker container shares the swap" in finding(plan, "memory.does_not_fit")["message"]


def test_a_filesystem_that_cannot_hold_swap_is_named() -> None:
    host = hosts.laptop()
    host["filesystems"][0]["type"] = "btrfs"
    plan = decide(host, hosts.nonsense(), accelerator="cpu")

    assert "btrfs" in plan["steps"]["swap"]["reason"]


def test_the_context_is_what_the_model_was_made_for_at_most() -> None:
    assert decide(hosts.container(), hosts.nonsense(), accelerator="cpu")["context"] == 4096
    assert decide(hosts.container(), hosts.nonsense(context=512), accelerator="cpu")["context"] == 512
    plan = decide(hosts.workstation(), accelerator="cpu", context=100000)
    assert plan["context"] == 40960
    assert "context.reduced" in codes(plan, "warning")


def test_less_ram_means_a_shorter_context_before_it_means_swap() -> None:
    plan = decide(hosts.workstation(ram_bytes=21 * GIB), accelerator="cpu")

    assert 2048 <= plan["context"] < 8192
    assert plan["swap"]["size_bytes"] == 0


# --- Storage


def test_the_label_is_what_the_filesystem_can_hold() -> None:
    host = hosts.workstation(disks=[hosts.disk("/dev/nvme1n1", 10**12)])
    labels = {
        kind: decide(host, accelerator="cpu", storage_filesystem=kind)["storage"]["label"] for kind in ("ext4", "xfs")
    }

    assert labels == {"ext4": "llmhost-models", "xfs": "llmhost-mode"}


def test_the_largest_blank_disk_is_chosen_by_a_name_that_lasts() -> None:
    host = hosts.workstation(disks=[hosts.disk("/dev/nvme1n1", 10**12), hosts.disk("/dev/nvme2n1", 2 * 10**12)])
    storage = decide(host, accelerator="cpu")["storage"]

    assert storage["kind"] == "disk"
    assert storage["devices"][0]["device"] == "/dev/disk/by-id/nvme-Example_S2n1"
    assert storage["devices"][0]["identity"]["size_bytes"] == 2 * 10**12
    assert storage["filesystem"] == "ext4"


@pytest.mark.parametrize(
    "fields",
    [
        {"blank": False, "not_blank": ["it has a filesystem (ext4)"]},
        {"not_blank": ["it is part of a RAID"]},
        {"rotational": True, "transport": "sata"},
        {"removable": True},
        {"read_only": True},
        {"network": True},
        {"type": "loop"},
        {"size_bytes": 10**9},
        {"label": "llmhost-models", "filesystem": "ext4", **USED, "network": True},
        {"label": "llmhost-models", "filesystem": "ext4", **USED, "removable": True},
        {"label": "llmhost-models", "filesystem": "ext4", **USED, "mountpoints": ["/data"]},
        {"label": "llmhost-models", "filesystem": "ext4", **USED, "children": ["nvme1n1p1"]},
        {"label": "llmhost-models", "filesystem": "ext4", **USED, "holders": ["dm-0"]},
        {"label": "llmhost-models", "filesystem": "ext4", **USED, "size_bytes": 10**9},
        {"label": "llmhost-models", "filesystem": "btrfs", **USED},
        {"label": "llmhost-mode", "filesystem": "ext4", **USED},
    ],
)
def test_a_disk_that_is_not_surely_spare_is_not_taken(fields: Facts) -> None:
    disk = hosts.disk("/dev/nvme1n1", 10**12) | fields
    plan = decide(hosts.workstation(disks=[disk]), accelerator="cpu")

    assert plan["storage"]["kind"] == "directory"
    assert plan["storage"]["path"] == "/srv/llmhost"
    assert codes(plan, "info") == ["storage.directory"]


def test_data_without_a_signature_keeps_auto_away_and_is_explained() -> None:
    raw = hosts.disk("/dev/nvme1n1", 10**12, unrecognised_data=True)
    alone = decide(hosts.workstation(disks=[raw]), accelerator="cpu")
    assert alone["storage"]["kind"] == "directory"
    assert codes(alone, "warning") == ["storage.unrecognised_data"]
    assert raw["by_id"][0] in finding(alone, "storage.unrecognised_data")["message"]
    for remedy in ("blkdiscard --zeroout", "llmhost_storage_devices"):
        assert remedy in finding(alone, "storage.unrecognised_data")["remedy"]

    both = decide(hosts.workstation(disks=[raw, hosts.disk("/dev/nvme2n1", 9 * 10**11)]), accelerator="cpu")
    assert str(hosts.chosen(both)).endswith("S2n1")
    assert (codes(both, "warning"), codes(both, "info")) == ([], ["storage.unrecognised_data"])
    assert both["storage"]["overwrite_unrecognised"] is False


def test_a_disk_of_which_nobody_says_that_it_reads_as_zeros_is_not_taken() -> None:
    raw = hosts.disk("/dev/nvme1n1", 10**12)
    del raw["unrecognised_data"]
    assert decide(hosts.workstation(disks=[raw]), accelerator="cpu")["storage"]["kind"] == "directory"


def test_disks_that_auto_would_not_take_anyway_are_not_mentioned() -> None:
    disks = [
        hosts.disk("/dev/sda", 10**12, unrecognised_data=True, rotational=True, transport="sata"),
        hosts.disk("/dev/sdb", 10**12, unrecognised_data=True, removable=True),
    ]
    for host in (hosts.workstation(disks=disks), hosts.container()):
        host["disks"][-1]["unrecognised_data"] = True
        assert "storage.unrecognised_data" not in json.dumps(decide(host, hosts.nonsense(), accelerator="cpu"))


def test_data_without_a_signature_on_a_named_disk_goes_after_a_warning() -> None:
    host = hosts.workstation(disks=[hosts.disk("/dev/nvme1n1", 10**12, unrecognised_data=True)])
    refused = decide(host, accelerator="cpu", storage_devices="/dev/nvme1n1")
    plan = decide(host, accelerator="cpu", storage_devices="/dev/nvme1n1", overwrite_unrecognised=True)

    assert codes(refused) == ["storage.unrecognised_data"]
    assert "llmhost_overwrite_unrecognised" in finding(refused, "storage.unrecognised_data")["remedy"]
    assert (plan["storage"]["kind"], plan["storage"]["overwrite_unrecognised"]) == ("disk", True)
    assert (codes(plan), codes(plan, "warning")) == ([], ["storage.unrecognised_data"])
    assert "data that no test recognises" in plan_table(plan, host)


def test_a_claimed_disk_that_holds_unknown_data_now_is_an_error_until_it_is_named() -> None:
    host = hosts.workstation()
    done = hosts.finished(host, decide(host, accelerator="cpu"))
    ours = done["disks"][1]
    ours |= {"blank": True, "not_blank": [], "unrecognised_data": True}
    ours |= {"filesystem": None, "label": None, "uuid": None, "mountpoints": []}

    assert codes(decide(done, accelerator="cpu")) == ["storage.unrecognised_data"]
    assert codes(decide(done, accelerator="cpu", storage_devices=ours["path"])) == ["storage.unrecognised_data"]
    named = decide(done, accelerator="cpu", storage_devices=ours["path"], overwrite_unrecognised=True)
    assert (codes(named), codes(named, "warning")) == ([], ["storage.unrecognised_data"])


@pytest.mark.parametrize("variables", [{}, {"storage_devices": "/dev/nvme1n1"}])
def test_a_filesystem_half_made_by_us_is_no_unknown_data(variables: Facts) -> None:
    host = hosts.workstation()
    plan = decide(host, accelerator="cpu", **variables)
    killed = copy.deepcopy(host)
    killed["state"]["storage"] = hosts.finished(host, plan)["state"]["storage"] | {"phase": "formatting"}
    killed["disks"][1]["unrecognised_data"] = True

    assert hosts.lasting(decide(killed, accelerator="cpu", **variables)) == hosts.lasting(plan)


def test_a_disk_that_forgets_is_taken_with_a_warning_and_after_one_that_does_not() -> None:
    ephemeral = hosts.disk("/dev/nvme2n1", 3 * 10**12, ephemeral=True)
    alone = decide(hosts.workstation(disks=[ephemeral]), accelerator="cpu")
    assert alone["storage"]["kind"] == "disk"
    assert "storage.ephemeral" in codes(alone, "warning")

    both = decide(hosts.workstation(disks=[ephemeral, hosts.disk("/dev/nvme1n1", 10**12)]), accelerator="cpu")
    assert both["storage"]["devices"][0]["identity"]["size_bytes"] == 10**12


def test_a_container_takes_no_disk_by_itself() -> None:
    assert decide(hosts.container(), hosts.nonsense(), accelerator="cpu")["storage"]["kind"] == "directory"


@pytest.mark.parametrize("name", ["/dev/loop5", "/dev/disk/by-id/bed-disk0", "LOOP-SERIAL"])
def test_a_disk_named_by_a_person_may_be_of_any_kind(name: str) -> None:
    loop = hosts.disk("/dev/loop5", 2 * GIB, type="loop", transport=None, serial="LOOP-SERIAL")
    loop["by_id"] = ["/dev/disk/by-id/bed-disk0"]
    host = hosts.container()
    host["disks"].append(loop)
    plan = decide(host, hosts.nonsense(), accelerator="cpu", storage_devices=name, storage_filesystem="xfs")

    assert codes(plan) == []
    assert str(hosts.chosen(plan)) == "/dev/disk/by-id/bed-disk0"
    assert plan["storage"]["filesystem"] == "xfs"


@pytest.mark.parametrize(
    ("name", "code", "says"),
    [
        ("/dev/nvme0n1", "storage.disk_not_blank", "it has a partition table (gpt)"),
        ("/dev/nvme9n1", "storage.disk_unknown", "/dev/nvme1n1"),
        ("/dev/nvme2n1", "storage.disk_too_small", "1.9 GiB"),
    ],
)
def test_a_named_disk_that_cannot_be_taken_is_an_error_and_untouched(name: str, code: str, says: str) -> None:
    host = hosts.workstation()
    host["disks"].append(hosts.disk("/dev/nvme2n1", 2 * 10**9))
    plan = decide(host, accelerator="cpu", storage_devices=name)

    assert codes(plan) == [code]
    assert says in finding(plan, code)["message"]
    assert hosts.chosen(plan) is None


def test_a_disk_of_an_earlier_installation_is_known_by_its_label() -> None:
    old = hosts.system_disk("/dev/nvme1n1", 10**12, label="llmhost-models", filesystem="ext4")
    plan = decide(hosts.workstation(disks=[old]), accelerator="cpu", storage_devices="/dev/nvme1n1")

    assert codes(plan) == []
    assert plan["storage"]["kind"] == "disk"


@pytest.mark.parametrize(
    "fields",
    [
        {"filesystem": "ext4", "label": "llmhost-models"},
        {"filesystem": "xfs", "label": "llmhost-mode"},
        {"filesystem": "ext4", "label": "llmhost-models", "mountpoints": ["/srv/llmhost"]},
        {"filesystem": "ext4", "label": "llmhost-models", "rotational": True, "transport": "sata"},
    ],
)
def test_models_are_found_again_on_the_disk_with_our_label(fields: Facts) -> None:
    old = hosts.disk("/dev/nvme2n1", 10**11, **USED, **fields)
    host = hosts.workstation()
    host["disks"].append(old)
    plan = decide(host, accelerator="cpu")

    assert (codes(plan), codes(plan, "warning")) == ([], [])
    assert str(hosts.chosen(plan)) == old["by_id"][0]
    assert plan["storage"]["filesystem"] == old["filesystem"]


def test_two_disks_with_our_label_are_an_error_until_one_is_named() -> None:
    label = {"filesystem": "ext4", "label": "llmhost-models"}
    disks = [hosts.disk(path, 10**12, **USED, **label) for path in ("/dev/nvme1n1", "/dev/nvme2n1")]
    plan = decide(hosts.workstation(disks=disks), accelerator="cpu")

    assert codes(plan) == ["storage.label_twice"]
    assert all(disk["by_id"][0] in finding(plan, "storage.label_twice")["message"] for disk in disks)
    assert codes(decide(hosts.workstation(disks=disks), accelerator="cpu", storage_devices="/dev/nvme2n1")) == []
    assert codes(decide(hosts.workstation(disks=disks), accelerator="cpu", storage_devices="none")) == []


def test_a_container_adopts_no_disk_by_itself() -> None:
    host = hosts.container()
    host["disks"] = [hosts.disk("/dev/nvme1n1", 10**12, **USED, filesystem="ext4", label="llmhost-models")]

    assert decide(host, hosts.nonsense(), accelerator="cpu")["storage"]["kind"] == "directory"
    assert (
        decide(host, hosts.nonsense(), accelerator="cpu", storage_devices="/dev/nvme1n1")["storage"]["kind"] == "disk"
    )


def test_a_recorded_directory_is_not_left_for_a_labelled_disk() -> None:
    host = hosts.laptop()
    plan = decide(host, hosts.nonsense(), accelerator="cpu")
    done = hosts.finished(host, plan)
    done["disks"].append(hosts.disk("/dev/nvme1n1", 10**12, **USED, filesystem="ext4", label="llmhost-models"))

    assert hosts.lasting(decide(done, hosts.nonsense(), accelerator="cpu")) == hosts.lasting(plan)


def test_a_claimed_disk_that_is_gone_is_an_error() -> None:
    host = hosts.workstation()
    done = hosts.finished(host, decide(host, accelerator="cpu"))
    done["disks"] = done["disks"][:1]

    assert codes(decide(done, accelerator="cpu")) == ["storage.disk_missing"]


def test_a_claimed_disk_is_not_given_up_by_a_changed_variable() -> None:
    host = hosts.workstation()
    done = hosts.finished(host, decide(host, accelerator="cpu"))

    assert codes(decide(done, accelerator="cpu", storage_devices="none")) == ["storage.disk_in_use"]


def test_without_a_spare_disk_the_largest_fast_filesystem_holds_the_models() -> None:
    filesystems = [
        hosts.filesystem("/", 100 * GIB),
        hosts.filesystem("/data", 900 * GIB),
        hosts.filesystem("/tank", 9000 * GIB, rotational=True, device="/dev/sda1"),
        hosts.filesystem("/nfs", 99000 * GIB, network=True),
        hosts.filesystem("/ro", 99000 * GIB, read_only=True),
    ]
    plan = decide(hosts.workstation(disks=[], filesystems=filesystems), accelerator="cpu")

    assert plan["storage"]["path"] == "/data/llmhost"
    assert plan["cache"]["model_path"].startswith("/data/llmhost/models/models--Qwen--Qwen3-32B-GGUF/snapshots/")


def test_a_path_named_by_a_person_wins() -> None:
    filesystems = [hosts.filesystem("/", 100 * GIB), hosts.filesystem("/data", 900 * GIB)]
    plan = decide(hosts.workstation(disks=[], filesystems=filesystems), accelerator="cpu", storage_path="/opt/models/")

    assert plan["storage"]["path"] == "/opt/models"


def test_a_full_filesystem_is_an_error_with_the_numbers() -> None:
    host = hosts.workstation(disks=[], filesystems=[hosts.filesystem("/", 100 * GIB, available_bytes=10 * GIB)])
    plan = decide(host, accelerator="cpu")

    assert codes(plan) == ["storage.too_small"]
    assert "10.0 GiB free" in finding(plan, "storage.too_small")["message"]
    assert "Free 9.3 GiB" in finding(plan, "storage.too_small")["remedy"]


# --- The same answer twice


@pytest.mark.parametrize(
    ("host", "model", "variables"),
    [
        (hosts.workstation(), hosts.qwen3_32b(), {"llmhost_claim_disks": True}),
        (hosts.workstation(), hosts.qwen3_32b(), ON_CPU),
        (hosts.laptop(), hosts.qwen3_32b(), ON_CPU),
        (hosts.laptop(), hosts.qwen3_32b(), {**ON_CPU, "llmhost_swap": "16 GiB"}),
        (hosts.container(), hosts.nonsense(), ON_CPU),
        (hosts.workstation(), hosts.nonsense(), {**ON_CPU, "llmhost_storage_devices": "/dev/nvme1n1"}),
        (hosts.workstation(), hosts.nonsense(), {**ON_CPU, "llmhost_storage_devices": "none"}),
        (hosts.workstation(disks=[RAW]), hosts.nonsense(), ON_CPU),
        (hosts.workstation(disks=[RAW, hosts.disk("/dev/nvme2n1", 10**12)]), hosts.nonsense(), ON_CPU),
        (hosts.workstation(disks=[RAW]), hosts.nonsense(), {**ON_CPU, **OVERWRITE}),
        (hosts.workstation(disks=[LABELLED, RAW]), hosts.nonsense(), ON_CPU),
        (hosts.workstation(disks=[LABELLED]), hosts.nonsense(), {**ON_CPU, "llmhost_storage_devices": "/dev/nvme3n1"}),
    ],
)
def test_a_finished_host_gives_the_plan_that_made_it(host: Facts, model: Facts, variables: Facts) -> None:
    before = copy.deepcopy((host, model, variables))
    plan = planner.plan(host, model, variables)
    finished = hosts.finished(host, plan)

    assert hosts.lasting(planner.plan(finished, model, variables)) == hosts.lasting(plan)
    assert json.loads(json.dumps(plan)) == plan
    assert (host, model, variables) == before


def test_a_full_disk_of_ours_does_not_stop_a_run_that_goes_on() -> None:
    host = hosts.laptop()
    done = hosts.finished(host, decide(host, hosts.nonsense(), accelerator="cpu"))
    done["filesystems"][0]["available_bytes"] = 0

    assert codes(decide(done, hosts.nonsense(), accelerator="cpu")) == []


def test_a_larger_second_disk_does_not_move_the_models() -> None:
    host = hosts.workstation()
    plan = decide(host, accelerator="cpu")
    done = hosts.finished(host, plan)
    done["disks"].append(hosts.disk("/dev/nvme5n1", 9 * 10**12))

    assert hosts.lasting(decide(done, accelerator="cpu")) == hosts.lasting(plan)


# --- The runtime


def test_the_runtime_is_built_for_the_cpu_that_is_there() -> None:
    host = hosts.workstation()
    host["cpu"]["features"] += ["avx512f", "avx512_vnni"]
    cmake = decide(host, accelerator="cpu")["runtime"]["cmake"]

    assert cmake["GGML_NATIVE"] == "OFF"
    on = {name for name, value in cmake.items() if name.startswith("GGML_") and value == "ON"}
    assert on == {"GGML_AVX", "GGML_AVX2", "GGML_BMI2", "GGML_F16C", "GGML_FMA", "GGML_AVX512", "GGML_AVX512_VNNI"}


def test_the_archive_is_named_after_what_is_in_it() -> None:
    plain = hosts.workstation()
    newer = hosts.workstation()
    newer["cpu"]["features"].append("avx512f")
    first, second = (decide(host, accelerator="cpu")["runtime"]["archive"] for host in (plain, newer))

    assert first != second
    assert first == decide(hosts.laptop(), accelerator="cpu")["runtime"]["archive"]
    assert first.startswith("llama_cpp-0.3.36-jammy-x86_64-cpu-")


@pytest.mark.parametrize(("cores", "usable", "threads"), [(16, 32, 16), (16, 4, 4), (1, 1, 1)])
def test_one_thread_for_each_core_that_may_be_used(cores: int, usable: int, threads: int) -> None:
    host = hosts.workstation()
    host["cpu"] |= {"physical_cores": cores, "usable_cpus": usable}

    assert decide(host, accelerator="cpu")["runtime"]["threads"] == threads


def test_the_arguments_leave_nothing_to_chance() -> None:
    arguments = decide(hosts.workstation(), accelerator="cpu")["runtime"]["arguments"]
    options = dict(zip(arguments[::2], arguments[1::2], strict=False))

    assert all(isinstance(argument, str) for argument in arguments)
    assert options["--host"] == "127.0.0.1"
    assert options["--port"] == "8080"
    assert options["--alias"] == "Qwen/Qwen3-32B-GGUF:Q4_K_M"
    assert options["--fit"] == "off"
    assert {"--offline", "--no-ui", "--jinja"} <= set(arguments)
    assert not any("key" in argument for argument in arguments)


def test_a_local_model_is_named_after_its_file() -> None:
    model = hosts.nonsense(source="local", path="/data/my.gguf")
    model |= {"repo": None, "files": [{"name": "my.gguf", "size_bytes": 1, "sha256": None, "git_oid": None}]}
    plan = decide(hosts.workstation(), model, accelerator="cpu")

    assert plan["runtime"]["served_name"] == "my"
    assert f"/models--local--my/snapshots/{model['commit']}/my.gguf" in plan["cache"]["model_path"]


def test_an_address_that_others_reach_is_a_warning() -> None:
    assert codes(decide(hosts.workstation(), accelerator="cpu", listen_host="0.0.0.0"), "warning") == ["listen.exposed"]


def test_the_plan_holds_no_secret() -> None:
    proxy = {
        "http": "http://someone:secret@proxy.example.com:3128",
        "https": "someone:secret@proxy",
        "no_proxy": [".a"],
    }
    plan = decide(hosts.workstation(), accelerator="cpu", proxy=proxy, hub_token="secret", ca_certificates=["/x/y.pem"])

    assert "secret" not in json.dumps(plan)
    assert plan["egress"]["ca_certificates"] == ["y.pem"]


# --- What a person reads


def test_the_table_shows_sizes_steps_and_remedies() -> None:
    host = hosts.container()
    plan = decide(host, accelerator="cpu", tier="intermediate", requirements=INTERMEDIATE, modle="x")
    table = plan_table(plan, host)

    assert "18.4 GiB" in table
    assert "skip: this host cannot use a swap file" in table
    assert "[variable.unknown] llmhost_modle is not a variable of llmhost." in table
    assert "→ Did you mean llmhost_model?" in table
    assert all(len(line) <= 110 for line in table.splitlines())
    assert summary(plan) == "1 error: nothing on this host is changed until it is gone."


def test_certificates_that_are_not_there_are_said_with_the_rest() -> None:
    plan = planner.plan(hosts.laptop(), None, {"llmhost_model": "a/b", **ON_CPU}, ["/nope/company.pem"])

    assert codes(plan) == ["certificates.missing"]
    assert "/nope/company.pem" in finding(plan, "certificates.missing")["message"]


def test_without_a_model_the_host_is_judged_all_the_same() -> None:
    plan = planner.plan(hosts.laptop(), None, {"llmhost_requirements": INTERMEDIATE, "llmhost_model": "a/b"})

    assert problems(plan) == []
    assert plan["verdict"] == "unknown"
    assert "requirements.ram" in codes(plan)
    assert "not computed" in plan_table(plan, hosts.laptop())


# --- The sizing engine in the plan


def test_a_plan_names_what_fits_at_most_and_how_fast() -> None:
    plan = decide(hosts.workstation())

    assert plan["largest"]["context"] >= plan["context"]
    assert plan["largest"]["parallel"] >= 1
    assert 15 < plan["speed"]["low"] < plan["speed"]["high"] < plan["speed"]["ceiling"] < 60
    assert [device["name"] for device in plan["speed"]["devices"]] == ["GPU0"]
    assert plan["alternatives"] == []


def test_the_parts_of_the_memory_add_up() -> None:
    memory = decide(hosts.workstation(gpus=2), context=40960, parallel=2)["memory"]
    others = ("total", "ram", "vram", "droppable")
    parts = [key for key in memory if key.endswith("_bytes") and key.split("_")[0] not in others]

    assert len(parts) == 6
    for row in memory["devices"]:
        assert row["need_bytes"] == sum(row[part] for part in parts)
    assert memory["total_bytes"] == sum(memory[part] for part in parts)
    assert memory["total_bytes"] == memory["ram_need_bytes"] + memory["vram_need_bytes"]


def test_several_gpus_get_a_split_and_one_of_several_is_named() -> None:
    host = hosts.workstation(gpus=2)
    both = decide(host, context=40960, kv_cache_type="f16")["runtime"]["arguments"]
    one = decide(host, context=4096)

    split = [int(part) for part in both[both.index("--tensor-split") + 1].split(",")]
    assert sum(split) == 65
    assert one["runtime"]["arguments"][one["runtime"]["arguments"].index("--device") + 1] == "CUDA0"
    assert "placement.gpus_free" in codes(one, "info")


def test_a_checkpoint_on_gpus_is_planned_for_vllm() -> None:
    model = hosts.qwen3_32b({"weights_bytes": 36 * GIB}, format="safetensors", total_bytes=36 * GIB, quantization="FP8")
    plan = decide(hosts.workstation(gpus=2), model)
    arguments = plan["runtime"]["arguments"]

    assert (plan["engine"], plan["runtime"]["provider"], plan["verdict"]) == ("vllm", "vllm", "fits")
    assert arguments[arguments.index("--tensor-parallel-size") + 1] == "2"
    assert arguments[arguments.index("--max-model-len") + 1] == str(plan["context"])
    assert plan["host_memory"]["shm_bytes"] > 0
    assert codes(plan) == ["accelerator.no_cuda_runtime"]
    assert "GGUF" in finding(plan, "accelerator.no_cuda_runtime")["remedy"]


def test_a_checkpoint_larger_than_ram_and_swap_needs_overcommit() -> None:
    model = hosts.qwen3_32b({"weights_bytes": 36 * GIB}, format="safetensors", largest_file_bytes=36 * GIB)
    plan = decide(hosts.workstation(gpus=2, ram_bytes=32 * GIB), model)

    assert plan["host_memory"]["overcommit_memory"] == 1
    assert plan["swap"]["size_bytes"] == 0
    assert plan["swap"]["overcommit_memory"] == 1
    assert "set to 1" in finding(plan, "memory.overcommit")["message"]


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"kv_cache_type": "fp8"}, "q8_0 is planned"),
        ({"kv_cache_type": "fp8", "accelerator": "cpu"}, "q8_0 is planned"),
    ],
)
def test_a_type_of_cells_of_the_other_engine_is_replaced_with_a_warning(variables: Facts, says: str) -> None:
    plan = decide(hosts.workstation(), **variables)

    assert says in finding(plan, "kv_cache.type")["message"]
    assert plan["placement"]["kv_cache_type"] == "q8_0"


def test_vllm_on_a_cpu_is_not_planned() -> None:
    plan = decide(hosts.workstation(gpus=0), engine="vllm", accelerator="cpu")

    assert plan["engine"] == "llama_cpp"
    assert codes(plan, "warning") == ["engine.no_gpu"]


def test_smaller_cells_that_the_plan_chose_are_said() -> None:
    plan = decide(hosts.workstation(), context=32768)

    assert plan["placement"]["kv_cache_type"] == "q8_0"
    assert "llmhost_kv_cache_type: f16" in finding(plan, "kv_cache.quantised")["remedy"]


def test_what_does_not_fit_names_the_three_ways_with_their_figures() -> None:
    model = hosts.qwen3_32b({"weights_bytes": 34 * GIB}, total_bytes=34 * GIB, quantization="Q8_0")
    plan = decide(hosts.workstation(), model)

    assert plan["verdict"] == "fits_with_offload"
    assert 2 <= len(plan["alternatives"]) <= 3
    for way in plan["alternatives"]:
        assert way["verdict"] == "fits"
        assert all(device["need_bytes"] <= device["usable_bytes"] for device in way["devices"])
        assert way["speed"]["high"] > 3 * plan["speed"]["high"]
    first = plan["alternatives"][0]["text"]
    assert first in finding(plan, "memory.offload")["remedy"]
    assert first[:40] in plan_table(plan, hosts.workstation())


def test_a_configuration_without_weights_is_planned_and_not_served() -> None:
    model = hosts.qwen3_32b(planned_only=True, chat_template=False)

    assert codes(decide(hosts.workstation(), model, accelerator="cpu")) == ["model.no_weights"]
    asked = {"llmhost_model": "/x/config.json:Q4_K_M", "llmhost_claim_disks": True}
    assert codes(planner.plan(hosts.workstation(), model, asked, what_if=True)) == []


def test_no_room_to_build_is_an_error_until_it_was_built() -> None:
    host = hosts.workstation()
    host["filesystems"][0]["available_bytes"] = GIB
    assert codes(decide(host, accelerator="cpu")) == ["storage.no_room_to_build"]

    host["state"]["inference"] = {"archive": "x"}
    assert codes(decide(host, accelerator="cpu")) == []


def test_checkpoints_of_states_that_cannot_be_cut_back_are_counted() -> None:
    def option(model: Facts, name: str, **host: Any) -> int | None:
        arguments = decide(hosts.workstation(**host), model, accelerator="cpu")["runtime"]["arguments"]
        return int(arguments[arguments.index(name) + 1]) if name in arguments else None

    window = hosts.qwen3_32b()
    window["shape"]["layer_kinds"][0]["attention"] |= {"kind": "sliding", "window": 4096}
    assert option(hosts.qwen3_32b(), "--ctx-checkpoints") is None
    assert option(window, "--ctx-checkpoints") == 9
    assert option(window, "--ctx-checkpoints", ram_bytes=256 * GIB) == 32
    assert option(window, "--ctx-checkpoints", ram_bytes=24 * GIB) == 0


def test_a_disk_that_is_called_blank_with_a_filesystem_on_it_is_not_taken() -> None:
    host = hosts.workstation()
    blank = [disk for disk in host["disks"] if disk["blank"]]
    for disk in blank:
        disk["filesystem"] = "zfs_member"

    assert blank
    assert hosts.chosen(decide(host)) is None
