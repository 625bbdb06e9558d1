"""Hosts and models for the planner's tests: what host_info and model_info say about real kinds of machines."""

from __future__ import annotations

import copy
from typing import Any

from ansible_collections.llmhost.core.plugins.module_utils.shape.shape import Attention, FeedForward, Layer, Shape
from ansible_collections.llmhost.core.plugins.module_utils.weights.weights import LayerWeights, Weights

GIB = 2**30
Facts = dict[str, Any]

ABLE = {"able": True, "reason": ""}
CAPABILITIES = ("root", "systemd", "kernel_modules", "swap", "mkfs", "sysctl", "reboot")
INFERENCE_UNIT = "llmhost-inference.service"


def disk(path: str, size_bytes: int, **fields: Any) -> Facts:
    """A blank NVMe disk, but for the fields given."""
    serial = fields.pop("serial", "S" + path[-3:])
    return {
        "path": path,
        "by_id": [f"/dev/disk/by-id/nvme-Example_{serial}"],
        "name": path.rpartition("/")[2],
        "type": "disk",
        "size_bytes": size_bytes,
        "model": "Example SSD",
        "serial": serial,
        "wwn": None,
        "transport": "nvme",
        "rotational": False,
        "removable": False,
        "read_only": False,
        "filesystem": None,
        "label": None,
        "uuid": None,
        "partition_table": None,
        "mountpoints": [],
        "children": [],
        "holders": [],
        "signatures": [],
        "blkid_status": 2,
        "ephemeral": False,
        "network": False,
        "blank": True,
        "not_blank": [],
        "unrecognised_data": False,
        "pcie": None,
        **fields,
    }


def system_disk(path: str, size_bytes: int, **fields: Any) -> Facts:
    """A disk that holds the system."""
    return disk(path, size_bytes, blank=False, not_blank=["it has a partition table (gpt)"], **fields)


def filesystem(mountpoint: str, size_bytes: int, **fields: Any) -> Facts:
    """A local ext4 filesystem on an SSD, half full, but for the fields given."""
    return {
        "mountpoint": mountpoint,
        "device": "/dev/nvme0n1p2",
        "type": "ext4",
        "size_bytes": size_bytes,
        "available_bytes": size_bytes // 2,
        "uuid": "0000",
        "rotational": False,
        "network": False,
        "read_only": False,
        **fields,
    }


def rtx_3090(number: int = 0) -> Facts:
    """One RTX 3090 as seen on the PCI bus."""
    return {
        "pci_address": f"0000:0{number + 1}:00.0",
        "device_id": "2204",
        "name": "GeForce RTX 3090",
        "vram_bytes": 24576 * 2**20,
        "driver": None,
        "class": "030000",
        "numa_node": None,
        "pcie": {"current_width": 16, "max_width": 16, "current_speed_gts": 16.0, "max_speed_gts": 16.0},
    }


def workstation(gpus: int = 1, ram_bytes: int = 67_300_000_000, **fields: Any) -> Facts:
    """The machine that the tier intermediate describes: 64 GB of RAM, an RTX 3090, a spare NVMe disk of 1 TB."""
    return {
        "schema": 1,
        "distribution": {"id": "ubuntu", "version": "22.04", "codename": "jammy", "name": "Ubuntu 22.04.5 LTS"},
        "kernel": {"release": "5.15.0-119-generic", "architecture": "x86_64"},
        "init": "systemd",
        "virtualization": {"machine": "none", "container": "none"},
        "cloud": {
            **{"name": "none", "fresh": False, "first_boot": None, "mounts": [], "swaps": []},
            "init": {"state": "absent", "stage": "", "errors": []},
        },
        "secure_boot": False,
        "capabilities": {name: dict(ABLE) for name in CAPABILITIES},
        "cpu": {
            "vendor": "AuthenticAMD",
            "family": 25,
            "model": 33,
            "name": "AMD Ryzen 9 5950X 16-Core Processor",
            "sockets": 1,
            "physical_cores": 16,
            "logical_cpus": 32,
            "usable_cpus": 32,
            "numa_nodes": 1,
            "features": ["avx", "avx2", "bmi2", "f16c", "fma"],
        },
        "memory": {
            "total_bytes": ram_bytes,
            "available_bytes": ram_bytes - 2 * GIB,
            "cgroup_limit_bytes": None,
            "overcommit": 0,
            "swap_total_bytes": 0,
            "swaps": [],
        },
        "filesystems": [filesystem("/", 490 * GIB)],
        "disks": [system_disk("/dev/nvme0n1", 500_107_862_016), disk("/dev/nvme1n1", 1_000_204_886_016)],
        "gpus": [rtx_3090(number) for number in range(gpus)],
        "listening": [{"address": "0.0.0.0", "port": 22, "process": "sshd", "unit": "ssh.service"}],
        "state": {"storage": {}, "swap": {}, "models": {}, "inference": {}},
        "findings": [],
        **fields,
    }


def laptop() -> Facts:
    """8 GB of RAM, four cores, one small disk, no GPU."""
    return workstation(
        gpus=0,
        ram_bytes=8_200_000_000,
        filesystems=[filesystem("/", 230 * GIB)],
        disks=[system_disk("/dev/nvme0n1", 256_060_514_304)],
    )


def container() -> Facts:
    """A container on a machine whose blank disks it can see but must not take."""
    facts = workstation(gpus=0, filesystems=[filesystem("/", 200 * GIB, type="overlay", rotational=None)])
    facts["virtualization"]["container"] = "docker"
    facts["capabilities"]["swap"] = {"able": False, "reason": "a docker container shares the swap of its machine"}
    facts["capabilities"]["kernel_modules"] = {"able": False, "reason": "a container has no kernel of its own"}
    return facts


def named(disk: Facts) -> tuple[str, ...]:
    """The names by which a plan may call a disk."""
    return (disk["path"], *disk["by_id"])


def chosen(plan: Facts) -> str | None:
    """The disk that a plan claims or keeps; None for a directory."""
    devices = plan["storage"]["devices"]
    return devices[0]["device"] if devices else None


def lasting(plan: Facts) -> Facts:
    """The plan without the list of disks, which shows the moment: a disk that was blank is ours once it is claimed."""
    return {key: value for key, value in plan.items() if key != "disks"}


def finished(host: Facts, plan: Facts) -> Facts:
    """The same host after the plan was carried out."""
    facts = copy.deepcopy(host)
    storage, swap = plan["storage"], plan["swap"]
    state = {key: storage[key] for key in ("kind", "path", "devices", "filesystem")}
    if storage["kind"] == "disk":
        claimed = next(entry for entry in facts["disks"] if storage["devices"][0]["device"] in named(entry))
        uuid = claimed["uuid"] or "1234-abcd"
        made = claimed["filesystem"] or storage["filesystem"]
        state |= {"filesystem": made, "uuid": uuid, "label": storage["label"], "phase": "ready"}
        state |= {"unrecognised_data": claimed["unrecognised_data"]}
        claimed |= {
            "blank": False,
            "not_blank": ["it has a filesystem (ext4)", f"it is mounted on {storage['path']}"],
            "filesystem": made,
            "unrecognised_data": False,
            "uuid": uuid,
            "label": storage["label"][: 12 if made == "xfs" else 16],
            "mountpoints": [storage["path"]],
        }
        facts["filesystems"].append(filesystem(storage["path"], claimed["size_bytes"] * 95 // 100))
    used = plan["model"]["total_bytes"] + swap["size_bytes"]
    for entry in facts["filesystems"]:
        entry["available_bytes"] = max(0, entry["available_bytes"] - used)
    if swap["size_bytes"]:
        size = swap["size_bytes"] - 4096
        area = {"path": swap["path"], "type": "file", "size_bytes": size, "used_bytes": 0, "priority": swap["priority"]}
        facts["memory"]["swaps"].append(area)
        facts["memory"]["swap_total_bytes"] += size
    facts["memory"]["available_bytes"] //= 2
    runtime = plan["runtime"]
    listener = {
        "address": runtime["host"],
        "port": runtime["port"],
        "process": "llama-server",
        "unit": INFERENCE_UNIT,
    }
    facts["listening"].append(listener)
    facts["state"] = {
        "storage": state,
        "swap": _swap(facts, plan),
        "models": {"commit": "x"},
        "inference": {"archive": "x"},
    }
    return facts


def _swap(facts: Facts, plan: Facts) -> Facts:
    """Return the record of the role swap, when it has told the kernel what the plan wants."""
    if plan["steps"]["swap"]["action"] != "apply":
        return {}
    swap, before = plan["swap"], {"vm.swappiness": 60}
    if swap["overcommit_memory"] is not None:
        before["vm.overcommit_memory"] = facts["memory"]["overcommit"]
        facts["memory"]["overcommit"] = swap["overcommit_memory"]
    return {**swap, "before": before}


def dense(
    layers: int,
    embedding: int,
    feed_forward: int,
    heads: int,
    kv_heads: int,
    head_dim: int,
    vocab: int,
    context: int,
    weights_bytes: int,
    token_embedding_bytes: int,
    output_bytes: int,
    architecture: str = "qwen3",
    doubts: tuple[str, ...] = (),
) -> Facts:
    """The fields of a dense model with grouped-query attention that come from its header."""
    attention = Attention(heads=heads, kv_heads=kv_heads, head_dim_k=head_dim, head_dim_v=head_dim)
    layer = Layer(attention, None, FeedForward(length=feed_forward))
    tied = not output_bytes
    shape = Shape(architecture, embedding, vocab, context, (layer,) * layers, tied_embeddings=tied, doubts=doubts)
    body = max(0, weights_bytes - token_embedding_bytes - output_bytes)
    split = [body // layers + (body % layers if number == 0 else 0) for number in range(layers)]
    weights = Weights(
        token_embedding_bytes=token_embedding_bytes,
        input_bytes=token_embedding_bytes,
        output_bytes=output_bytes,
        output_norm_bytes=0,
        layers=tuple(LayerWeights(split_bytes=size) for size in split),
        parameters=weights_bytes * 8 // 5,
    )
    return {
        "architecture": architecture,
        "shape": shape.as_dict(),
        "weights": weights.as_dict(),
        "weights_bytes": weights.total_bytes,
    }


QWEN3_32B: Facts = {
    "layers": 64,
    "embedding": 5120,
    "feed_forward": 25600,
    "heads": 64,
    "kv_heads": 8,
    "head_dim": 128,
    "vocab": 151936,
    "context": 40960,
    "weights_bytes": 19_756_000_000,
    "token_embedding_bytes": 437_575_680,
    "output_bytes": 638_131_200,
}


def qwen3_32b(changed: Facts | None = None, **fields: Any) -> Facts:
    """Qwen3-32B at Q4_K_M; the shape is that of its published header, but for what is ``changed`` of it."""
    return {
        "schema": 2,
        "request": {
            "model": "Qwen/Qwen3-32B-GGUF:Q4_K_M",
            "revision": "main",
            "endpoint": "https://huggingface.co",
        },
        "source": "hub",
        "repo": "Qwen/Qwen3-32B-GGUF",
        "commit": "0123456789abcdef0123456789abcdef01234567",
        "path": None,
        "format": "gguf",
        "quantization": "Q4_K_M",
        "name": "Qwen3 32B",
        "parameters": 32_762_123_264,
        "total_bytes": 19_762_149_024,
        "largest_file_bytes": 19_762_149_024,
        "header_bytes": 6_000_000,
        "files": [{"name": "Qwen3-32B-Q4_K_M.gguf", "size_bytes": 19_762_149_024, "sha256": "0" * 64, "git_oid": None}],
        "tensor_types": {"Q4_K": 14_000_000_000, "Q6_K": 5_756_000_000},
        **dense(**{**QWEN3_32B, **(changed or {})}),
        "pinned": True,
        "variants": [],
        "projectors": [],
        "planned_only": False,
        "chat_template": True,
        "license": "apache-2.0",
        "gated": False,
        "private": False,
        "findings": [],
        **fields,
    }


def nonsense(context: int = 4096, **fields: Any) -> Facts:
    """The small generated model of the demo."""
    name = "demo-nonsense-Q8_0.gguf"
    shape = {
        "layers": 10,
        "embedding": 512,
        "feed_forward": 1408,
        "heads": 8,
        "kv_heads": 4,
        "head_dim": 64,
        "vocab": 4100,
        "context": context,
        "weights_bytes": 37_000_000,
        "token_embedding_bytes": 2_200_000,
        "output_bytes": 2_200_000,
        "architecture": "llama",
    }
    return (
        qwen3_32b(
            shape,
            request={
                "model": "llmhost/demo-nonsense-GGUF:Q8_0",
                "revision": "main",
                "endpoint": "http://127.0.0.1:9696",
            },
            repo="llmhost/demo-nonsense-GGUF",
            quantization="Q8_0",
            name="Nonsense",
            parameters=35_000_000,
            total_bytes=38_000_000,
            largest_file_bytes=38_000_000,
            files=[{"name": name, "size_bytes": 38_000_000, "sha256": "0" * 64, "git_oid": None}],
        )
        | fields
    )
