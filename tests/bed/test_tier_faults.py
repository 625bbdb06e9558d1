"""Bad input to the whole tier: a clear error (the thing, the reason, the remedy), and nothing on the host is changed.

Where each fault is proved (here and in the other files of the tier through playbooks/intermediate.yml and real roles):

====================================================  ===============================================================
model that does not exist, no network, wrong token    here; unit/test_hub.py, unit/test_fetch_model.py in detail
no GGUF, truncated, absurd lengths                    here; unit/test_gguf.py in detail
model too big for RAM and allowed swap                here; unit/test_planner.py in detail
port in use                                           here before any change; bed/test_inference.py at the start
unknown variable, wrong type                          here; unit/test_planner.py in detail
not root, no systemd, not Ubuntu 22.04                here
no GPU; everything that a tier asks for is missing    here; unit/test_planner.py in detail
disk with a filesystem                                here; every other signature and mount in bed/test_storage.py
checksum wrong, download cut, disk full, dead server  bed/test_tier_trouble.py; unit/test_fetch_model.py in detail
SIGKILL at random moments of a whole run              bed/test_tier_killed.py; of single roles in the roles' own tests
removal and a run after it                            bed/test_tier_remove.py
====================================================  ===============================================================
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.bed.tier import MODEL, Tier, hub_with, started
from tests.tools.bed import build_image, docker
from tests.tools.demo_model import REPO, models_directory
from tests.tools.make_model import PRESETS, write_hollow_gguf

WRONG_TOKEN = "hf_NobodyGaveThisOne"
HUGE = "/var/tmp/huge-Q8_0.gguf"
# 400 billion parameters at 8 bit.
HUGE_SPEC = replace(PRESETS["bench"], layers=126, embedding=16384, heads=128, head_dim=128, feed_forward=53248)


def hub_of_bad_models(folder: Path) -> Path:
    """Return a hub with the demo's model and with some that are none."""
    root = hub_with(folder)
    good = next((models_directory() / REPO).glob("*.gguf")).read_bytes()
    bad = {
        "acme/prose-GGUF": b"This is a poem, and no model.\n" * 1000,
        "acme/cut-GGUF": good[: len(good) * 2 // 5],
        "acme/absurd-GGUF": b"GGUF" + struct.pack("<IQQ", 3, 2**60, 2**61) + bytes(4096),
    }
    for name, content in bad.items():
        (root / name).mkdir(parents=True)
        (root / name / "model-Q8_0.gguf").write_bytes(content)
    (root / "acme/private-GGUF").mkdir()
    (root / "acme/private-GGUF/model-Q8_0.gguf").write_bytes(good)
    (root / "acme/private-GGUF/.hub.json").write_text(json.dumps({"private": True}))
    return root


@pytest.fixture(scope="module")
def tier(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tier]:
    """Return a host that nobody has set up yet."""
    folder = tmp_path_factory.mktemp("faults")
    with started(f"llmhost-tier-faults-{os.getpid()}", folder, hub_of_bad_models(folder / "hub")) as host:
        yield host


@contextmanager
def changed(tier: Tier, before: str, after: str) -> Iterator[None]:
    """Change the host on purpose for a while."""
    tier.known = ""
    tier.shell(before)
    try:
        yield
    finally:
        tier.shell(after)
        tier.known = ""


MODELS = [
    ("nobody/nothing:Q8_0", ("nobody/nothing on http://127.0.0.1:9696 does not exist", "Correct llmhost_model")),
    (f"{REPO}:Q2_K", (f"{REPO} on .* has no Q2_K; it has Q8_0", "Name one of these")),
    ("acme/private-GGUF:Q8_0", ("acme/private-GGUF .*(is private|needs a token)", "llmhost_hub_token")),
    ("acme/prose-GGUF:Q8_0", ("model-Q8_0.gguf is no GGUF file", "begins with b'This'", "Name a file in the GGUF")),
    ("acme/cut-GGUF:Q8_0", ("model-Q8_0.gguf is truncated", "tensor .* lies beyond its end", "Fetch the file again")),
    (
        "acme/absurd-GGUF:Q8_0",
        ("model-Q8_0.gguf is not a sound GGUF file", "claims 11529.* tensors", "Choose"),
    ),
    ("/var/tmp/absent.gguf", ("/var/tmp/absent.gguf cannot be read", "No such file", "Check the path")),
]


@pytest.mark.parametrize(("model", "says"), MODELS, ids=[model for model, _ in MODELS])
def test_a_model_that_is_none(tier: Tier, model: str, says: tuple[str, ...]) -> None:
    tier.refuse(llmhost_model=model, says=says)


def test_a_wrong_token_is_refused_and_never_shown(tier: Tier) -> None:
    says = ("http://127.0.0.1:9696 refuses the token", "Check llmhost_hub_token")
    done = tier.refuse("-vvv", llmhost_model="acme/private-GGUF:Q8_0", llmhost_hub_token=WRONG_TOKEN, says=says)
    assert WRONG_TOKEN not in done.text


def test_no_network_to_the_hub(tier: Tier) -> None:
    tier.refuse(
        llmhost_hub_endpoint="http://127.0.0.1:9",
        says=("127.0.0.1:9 cannot be read.*refused", "Check .*llmhost_hub_endpoint"),
    )


def test_a_model_too_big_for_ram_and_swap(tier: Tier, tmp_path: Path) -> None:
    header, size = write_hollow_gguf(tmp_path / "huge.gguf", HUGE_SPEC)
    tier.bed.put(header, HUGE)
    tier.shell(f"truncate -s {size} {HUGE}")
    says = (f"{HUGE} needs 39.* GiB of RAM", "this host has .* GiB usable, and swap may add 0", "Choose a quantisation")
    tier.refuse(llmhost_model=HUGE, llmhost_swap="auto", llmhost_swap_max="0", says=says)
    tier.shell(f"rm {HUGE}")


def test_a_port_that_another_process_holds(tier: Tier) -> None:
    serve = "systemd-run -q --unit=squatter python3 -m http.server --bind 127.0.0.1 8080; sleep 1"
    with changed(tier, serve, "systemctl stop squatter"):
        tier.refuse(says=("[Pp]ort 8080 .*(taken|in use)", "squatter|python3", "llmhost_listen_port"))


def test_variables_that_are_not_right_are_all_said_at_once(tier: Tier) -> None:
    wrong: dict[str, Any] = {"llmhost_modell": MODEL, "llmhost_context": "much", "llmhost_swap_max": "64 parrots"}
    says = (
        "llmhost_modell is not a variable of llmhost. Did you mean llmhost_model[?]",
        "llmhost_context: 'much' is not",
        "llmhost_swap_max: .*64 parrots",
    )
    tier.refuse(**wrong, says=says)


def test_a_variable_of_the_wrong_type(tier: Tier) -> None:
    tier.refuse(
        llmhost_listen_port=["x"], says=("'llmhost_listen_port' is of type list", "cannot be converted to an int")
    )
    tier.refuse(llmhost_parallel=["two"], says=(r"llmhost_parallel: \['two'\] is not a whole number from 1 to 256",))


def test_a_user_without_root(tier: Tier) -> None:
    with changed(tier, "useradd -m somebody", "userdel -r somebody 2>/dev/null"):
        tier.refuse(
            "-e",
            '{"ansible_become": false, "ansible_user": "somebody"}',
            says=("needs root", "not root", "become: true"),
        )


def test_another_distribution(tier: Tier) -> None:
    other = "rm /etc/os-release; sed 's/22[.]04/24.04/g; s/jammy/noble/g' /usr/lib/os-release > /etc/os-release"
    with changed(tier, other, "ln -sf ../usr/lib/os-release /etc/os-release"):
        tier.refuse(says=("24[.]04", "22[.]04"))


def test_a_disk_with_a_filesystem_is_never_touched(tier: Tier) -> None:
    device = tier.bed.loop_disk("64 MiB", "data")
    with changed(tier, f"mkfs.ext4 -q -L family-photos {device}", f"wipefs -qa {device}"):
        before = tier.shell(f"sha256sum < {device}")
        disk = "/dev/disk/by-id/bed-data"
        tier.refuse(
            llmhost_storage_devices=disk, says=("bed-data is not claimed: it holds data", "ext4", "Name a blank disk")
        )
        assert tier.shell(f"sha256sum < {device}") == before


@pytest.mark.parametrize("name", ["intermediate", "advanced"])
def test_the_tiers_own_inventory_lists_what_this_machine_lacks(tier: Tier, name: str) -> None:
    host = {"ansible_connection": "community.docker.docker", "ansible_host": tier.bed.name}
    missing = {
        "intermediate": ("asks for 1 NVIDIA GPU with 24 GB", "set llmhost_accelerator: cpu"),
        "advanced": ("asks for 2 NVIDIA GPUs with 48 GB", "has no NVIDIA GPU|has 1 NVIDIA GPU"),
    }
    tier.refuse(
        *("-i", f"inventories/{name}", "--limit", f"this-machine-{name}", "-e", json.dumps(host)),
        playbook=name,
        says=missing[name],
    )


def test_a_host_without_systemd(tier: Tier) -> None:
    name = f"{tier.bed.name}-bare"
    docker("run", "-d", "--rm", "--name", name, build_image(), "sleep", "infinity")
    look = ("exec", name, "sh", "-c", "find /etc /srv /opt /usr/local -printf '%p %m %u %s %T@\\n' | sort")
    try:
        before = docker(*look).stdout
        done = tier.run("-e", json.dumps({"ansible_host": name}), llmhost_storage_devices="none")
        done.says("systemd", "sleep")
        assert docker(*look).stdout == before
    finally:
        docker("rm", "-f", name)
