"""The text of the service's unit, on a CPU and on GPUs."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml
from ansible_collections.llmhost.core.plugins.module_utils.service.exec_line import systemd_exec
from ansible_collections.llmhost.core.plugins.module_utils.service.unit_name import unit_name

ROLE = Path(__file__).parents[2] / "roles/inference"
ON_GPUS = {
    "inference_accelerator": "nvidia",
    "inference_gpus": 2,
    "inference_environment": {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "NCCL_SOCKET_IFNAME": "=lo"},
    "inference_arguments": ["--device", "CUDA0,CUDA1"],
}


def unit(**variables: Any) -> str:
    """Return the unit of a small server on loopback, but for the variables given."""
    environment = jinja2.Environment(trim_blocks=True, undefined=jinja2.StrictUndefined)
    environment.filters |= {
        "bool": bool,
        "llmhost.core.systemd_exec": systemd_exec,
        "llmhost.core.unit_name": unit_name,
    }
    kept = yaml.safe_load((ROLE / "vars/main.yml").read_text())
    names = ("__inference_unit", "__inference_user", "__inference_models_group", "__inference_boot_program")
    given = {
        **{name: kept[name] for name in names},
        "__inference_runtime_kind": kept["__inference_providers"]["llama_cpp"],
        "__inference_key": {"fingerprint": "0123"},
        "inference_archive": "llama_cpp-1.0",
        "inference_accelerator": "cpu",
        "inference_gpus": 0,
        "inference_environment": {},
        "inference_arguments": ["--port", "8080"],
        "inference_host": "127.0.0.1",
        "inference_memory_max_bytes": 1 << 30,
        "inference_memory_swap_max_bytes": 0,
        "inference_cache_path": "/srv/llmhost/models",
        "inference_model_path": "/srv/llmhost/models/a model.gguf",
        "inference_read_ahead": True,
        "inference_storage_kind": "disk",
        "inference_storage_path": "/srv/llmhost",
        "inference_swap_path": "/srv/llmhost/swapfile",
    }
    text = (ROLE / "templates/llmhost-inference.service.j2").read_text()
    return environment.from_string(text).render({**given, **variables})


def values(text: str, key: str) -> list[str]:
    return [line.partition("=")[2] for line in text.splitlines() if line.startswith(f"{key}=")]


def test_a_server_on_gpus_waits_for_them_and_may_open_them() -> None:
    text = unit(**ON_GPUS)
    assert "systemd-modules-load.service nvidia-persistenced.service" in " ".join(values(text, "After"))
    assert values(text, "ExecStartPre") == ["+/usr/bin/python3 /opt/llmhost/boot/llmhost.pyz gpus 2"]
    kinds = ("char-nvidia", "char-nvidiactl", "char-nvidia-frontend", "char-nvidia-uvm", "char-nvidia-caps")
    assert values(text, "DeviceAllow") == [f"{kind} rw" for kind in kinds]
    assert values(text, "DevicePolicy") == ["closed"]
    assert values(text, "Environment") == ["CUDA_DEVICE_ORDER=PCI_BUS_ID", "NCCL_SOCKET_IFNAME==lo"]
    assert not values(text, "PrivateDevices")


def test_a_server_on_a_cpu_sees_no_devices() -> None:
    text = unit()
    assert (values(text, "PrivateDevices"), values(text, "DeviceAllow")) == (["yes"], [])
    assert not values(text, "ExecStartPre")
    assert "nvidia" not in text


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd here to ask")
@pytest.mark.parametrize("variables", [{}, ON_GPUS], ids=["cpu", "gpus"])
def test_systemd_understands_every_line(tmp_path: Path, variables: dict[str, Any]) -> None:
    path = tmp_path / "llmhost-inference.service"
    path.write_text(unit(**variables))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(path)], capture_output=True, text=True, check=False
    )
    complaints = [line for line in done.stderr.splitlines() if str(path) in line or "llmhost-inference.service" in line]
    # Only what is not on this machine may be missed.
    assert [line for line in complaints if "is not executable" not in line] == []
