"""Machines by name: the tiers' own, and what clouds rent. Each is a phrase that ``hardware.parse_hardware`` reads.

Sources: the providers' pages of instance types (AWS EC2 accelerated computing, G4dn to P6; Google's GPU machine types;
Azure's NC, ND and NV series; Lambda's instance types), as known in 2026-11 and not asked of any API. RunPod and Vast.ai
rent containers on machines of many owners: theirs are what is usual for a GPU of the kind, with the disk that is asked
for, and may differ. RAM is in GiB; disks are those that come with the machine, and where none does, a system disk of
500 GB stands for the chosen one.
"""

from __future__ import annotations

from collections.abc import Iterable

TIERS = {
    "intermediate": "RTX 3090, 64 GB RAM, 500 GB NVMe",
    "advanced": "2x RTX 3090 NVLink, 128 GB RAM, 1 TB NVMe",
}

# Provider, what all of the group have, and of each: name, GPUs, vCPUs, GiB of RAM, disks.
_NONE = "500 GB system disk"
_Row = tuple[str, str, int, int, str]
_GROUPS: tuple[tuple[str, str, tuple[_Row, ...]], ...] = (
    (
        "aws",
        "Xeon Platinum 8259CL, VM",
        (
            ("g4dn.xlarge", "T4", 4, 16, "125 GB ephemeral NVMe"),
            ("g4dn.2xlarge", "T4", 8, 32, "225 GB ephemeral NVMe"),
            ("g4dn.4xlarge", "T4", 16, 64, "225 GB ephemeral NVMe"),
            ("g4dn.8xlarge", "T4", 32, 128, "900 GB ephemeral NVMe"),
            ("g4dn.12xlarge", "4x T4", 48, 192, "900 GB ephemeral NVMe"),
            ("g4dn.16xlarge", "T4", 64, 256, "900 GB ephemeral NVMe"),
            ("g4dn.metal", "8x T4", 96, 384, "2x 900 GB ephemeral NVMe"),
        ),
    ),
    (
        "aws",
        "EPYC 7R32, VM",
        (
            ("g5.xlarge", "A10G", 4, 16, "250 GB ephemeral NVMe"),
            ("g5.2xlarge", "A10G", 8, 32, "450 GB ephemeral NVMe"),
            ("g5.4xlarge", "A10G", 16, 64, "600 GB ephemeral NVMe"),
            ("g5.8xlarge", "A10G", 32, 128, "900 GB ephemeral NVMe"),
            ("g5.12xlarge", "4x A10G", 48, 192, "3800 GB ephemeral NVMe"),
            ("g5.16xlarge", "A10G", 64, 256, "1900 GB ephemeral NVMe"),
            ("g5.24xlarge", "4x A10G", 96, 384, "3800 GB ephemeral NVMe"),
            ("g5.48xlarge", "8x A10G", 192, 768, "2x 3800 GB ephemeral NVMe"),
        ),
    ),
    (
        "aws",
        "EPYC 7R13, VM",
        (
            ("g6.xlarge", "L4", 4, 16, "250 GB ephemeral NVMe"),
            ("g6.2xlarge", "L4", 8, 32, "450 GB ephemeral NVMe"),
            ("g6.4xlarge", "L4", 16, 64, "600 GB ephemeral NVMe"),
            ("g6.8xlarge", "L4", 32, 128, "2x 450 GB ephemeral NVMe"),
            ("g6.12xlarge", "4x L4", 48, 192, "4x 940 GB ephemeral NVMe"),
            ("g6.16xlarge", "L4", 64, 256, "2x 940 GB ephemeral NVMe"),
            ("g6.24xlarge", "4x L4", 96, 384, "4x 940 GB ephemeral NVMe"),
            ("g6.48xlarge", "8x L4", 192, 768, "8x 940 GB ephemeral NVMe"),
            ("g6e.xlarge", "L40S", 4, 32, "250 GB ephemeral NVMe"),
            ("g6e.2xlarge", "L40S", 8, 64, "450 GB ephemeral NVMe"),
            ("g6e.4xlarge", "L40S", 16, 128, "600 GB ephemeral NVMe"),
            ("g6e.8xlarge", "L40S", 32, 256, "2x 450 GB ephemeral NVMe"),
            ("g6e.12xlarge", "4x L40S", 48, 384, "2x 1900 GB ephemeral NVMe"),
            ("g6e.16xlarge", "L40S", 64, 512, "2x 950 GB ephemeral NVMe"),
            ("g6e.24xlarge", "4x L40S", 96, 768, "2x 1900 GB ephemeral NVMe"),
            ("g6e.48xlarge", "8x L40S", 192, 1536, "4x 1900 GB ephemeral NVMe"),
            ("p5.4xlarge", "H100 SXM", 16, 256, "3840 GB ephemeral NVMe"),
            ("p5.48xlarge", "8x H100 SXM", 192, 2048, "8x 3840 GB ephemeral NVMe"),
            ("p5e.48xlarge", "8x H200", 192, 2048, "8x 3840 GB ephemeral NVMe"),
        ),
    ),
    (
        "aws",
        "Xeon E5-2686 v4, VM",
        (
            ("p3.2xlarge", "V100 SXM2 16GB", 8, 61, _NONE),
            ("p3.8xlarge", "4x V100 SXM2 16GB", 32, 244, _NONE),
            ("p3.16xlarge", "8x V100 SXM2 16GB", 64, 488, _NONE),
        ),
    ),
    (
        "aws",
        "2x Xeon Platinum 8275CL, VM",
        (
            ("p4d.24xlarge", "8x A100 SXM 40GB", 96, 1152, "8x 1000 GB ephemeral NVMe"),
            ("p4de.24xlarge", "8x A100 SXM 80GB", 96, 1152, "8x 1000 GB ephemeral NVMe"),
        ),
    ),
    (
        "aws",
        "2x Xeon Platinum 8488C, VM",
        (
            ("p5en.48xlarge", "8x H200", 192, 2048, "8x 3840 GB ephemeral NVMe"),
            ("p6-b200.48xlarge", "8x B200", 192, 2048, "8x 3840 GB ephemeral NVMe"),
        ),
    ),
    (
        "gcp",
        "VM",
        (
            ("n1-standard-4 t4", "T4", 4, 15, _NONE),
            ("n1-standard-8 t4", "T4", 8, 30, _NONE),
            ("n1-standard-16 t4", "T4", 16, 60, _NONE),
            ("n1-standard-32 4x t4", "4x T4", 32, 120, _NONE),
            ("g2-standard-4", "L4", 4, 16, _NONE),
            ("g2-standard-8", "L4", 8, 32, _NONE),
            ("g2-standard-12", "L4", 12, 48, _NONE),
            ("g2-standard-16", "L4", 16, 64, _NONE),
            ("g2-standard-24", "2x L4", 24, 96, _NONE),
            ("g2-standard-32", "L4", 32, 128, _NONE),
            ("g2-standard-48", "4x L4", 48, 192, _NONE),
            ("g2-standard-96", "8x L4", 96, 384, _NONE),
            ("g4-standard-48", "RTX PRO 6000 Server", 48, 180, _NONE),
            ("g4-standard-96", "2x RTX PRO 6000 Server", 96, 360, _NONE),
            ("g4-standard-192", "4x RTX PRO 6000 Server", 192, 720, _NONE),
            ("g4-standard-384", "8x RTX PRO 6000 Server", 384, 1440, _NONE),
            ("a2-highgpu-1g", "A100 SXM 40GB", 12, 85, _NONE),
            ("a2-highgpu-2g", "2x A100 SXM 40GB", 24, 170, _NONE),
            ("a2-highgpu-4g", "4x A100 SXM 40GB", 48, 340, _NONE),
            ("a2-highgpu-8g", "8x A100 SXM 40GB", 96, 680, _NONE),
            ("a2-megagpu-16g", "16x A100 SXM 40GB", 96, 1360, _NONE),
            ("a2-ultragpu-1g", "A100 SXM 80GB", 12, 170, "375 GB ephemeral NVMe"),
            ("a2-ultragpu-2g", "2x A100 SXM 80GB", 24, 340, "2x 375 GB ephemeral NVMe"),
            ("a2-ultragpu-4g", "4x A100 SXM 80GB", 48, 680, "4x 375 GB ephemeral NVMe"),
            ("a2-ultragpu-8g", "8x A100 SXM 80GB", 96, 1360, "8x 375 GB ephemeral NVMe"),
            ("a3-highgpu-1g", "H100 SXM", 26, 234, "2x 375 GB ephemeral NVMe"),
            ("a3-highgpu-2g", "2x H100 SXM", 52, 468, "4x 375 GB ephemeral NVMe"),
            ("a3-highgpu-4g", "4x H100 SXM", 104, 936, "8x 375 GB ephemeral NVMe"),
            ("a3-highgpu-8g", "8x H100 SXM", 208, 1872, "16x 375 GB ephemeral NVMe"),
            ("a3-megagpu-8g", "8x H100 SXM", 208, 1872, "16x 375 GB ephemeral NVMe"),
            ("a3-ultragpu-8g", "8x H200", 224, 2952, "32x 375 GB ephemeral NVMe"),
            ("a4-highgpu-8g", "8x B200", 224, 3968, "32x 375 GB ephemeral NVMe"),
        ),
    ),
    (
        "azure",
        "EPYC 7V12, VM",
        (
            ("nc4as_t4_v3", "T4", 4, 28, "176 GB ephemeral SSD"),
            ("nc8as_t4_v3", "T4", 8, 56, "352 GB ephemeral SSD"),
            ("nc16as_t4_v3", "T4", 16, 110, "352 GB ephemeral SSD"),
            ("nc64as_t4_v3", "4x T4", 64, 440, "2816 GB ephemeral SSD"),
            ("nd96asr_v4", "8x A100 SXM 40GB", 96, 900, "6000 GB ephemeral NVMe"),
            ("nd96amsr_a100_v4", "8x A100 SXM 80GB", 96, 1900, "6400 GB ephemeral NVMe"),
        ),
    ),
    (
        "azure",
        "EPYC 7V13, VM",
        (
            ("nc24ads_a100_v4", "A100 80GB PCIe", 24, 220, "960 GB ephemeral NVMe"),
            ("nc48ads_a100_v4", "2x A100 80GB PCIe", 48, 440, "2x 960 GB ephemeral NVMe"),
            ("nc96ads_a100_v4", "4x A100 80GB PCIe", 96, 880, "4x 960 GB ephemeral NVMe"),
            ("nv36ads_a10_v5", "A10", 36, 440, "1440 GB ephemeral SSD"),
            ("nv72ads_a10_v5", "2x A10", 72, 880, "2880 GB ephemeral SSD"),
        ),
    ),
    (
        "azure",
        "EPYC 9V84, VM",
        (
            ("nc40ads_h100_v5", "H100 NVL", 40, 320, "3576 GB ephemeral NVMe"),
            ("nc80adis_h100_v5", "2x H100 NVL", 80, 640, "2x 3576 GB ephemeral NVMe"),
        ),
    ),
    (
        "azure",
        "2x Xeon Platinum 8480C, VM",
        (
            ("nd96isr_h100_v5", "8x H100 SXM", 96, 1900, "8x 3500 GB ephemeral NVMe"),
            ("nd96isr_h200_v5", "8x H200", 96, 1850, "8x 3500 GB ephemeral NVMe"),
        ),
    ),
    (
        "azure",
        "Xeon E5-2690 v4, VM",
        (
            ("nc6s_v3", "V100 PCIe 16GB", 6, 112, "736 GB ephemeral SSD"),
            ("nc12s_v3", "2x V100 PCIe 16GB", 12, 224, "1474 GB ephemeral SSD"),
            ("nc24s_v3", "4x V100 PCIe 16GB", 24, 448, "2948 GB ephemeral SSD"),
        ),
    ),
    (
        "lambda",
        "VM",
        (
            ("gpu_1x_a10", "A10", 30, 200, "1400 GB system disk"),
            ("gpu_1x_a6000", "RTX A6000", 14, 100, "500 GB system disk"),
            ("gpu_2x_a6000", "2x RTX A6000", 28, 200, "1000 GB system disk"),
            ("gpu_4x_a6000", "4x RTX A6000", 56, 400, "1000 GB system disk"),
            ("gpu_1x_a100", "A100 PCIe 40GB", 30, 200, "500 GB system disk"),
            ("gpu_1x_a100_sxm4", "A100 SXM 40GB", 30, 200, "500 GB system disk"),
            ("gpu_8x_a100", "8x A100 SXM 40GB", 124, 1800, "6000 GB system disk"),
            ("gpu_8x_a100_80gb_sxm4", "8x A100 SXM 80GB", 240, 1800, "19500 GB system disk"),
            ("gpu_1x_h100_pcie", "H100 PCIe", 26, 200, "1000 GB system disk"),
            ("gpu_1x_h100_sxm5", "H100 SXM", 26, 225, "2800 GB system disk"),
            ("gpu_2x_h100_sxm5", "2x H100 SXM", 52, 450, "5500 GB system disk"),
            ("gpu_4x_h100_sxm5", "4x H100 SXM", 104, 900, "11000 GB system disk"),
            ("gpu_8x_h100_sxm5", "8x H100 SXM", 208, 1800, "22000 GB system disk"),
            ("gpu_8x_b200_sxm6", "8x B200", 208, 2900, "22000 GB system disk"),
            ("gpu_1x_gh200", "GH200 480GB", 64, 432, "4000 GB system disk"),
            ("gpu_8x_v100", "8x V100 SXM2 16GB", 92, 448, "5900 GB system disk"),
        ),
    ),
    (
        "runpod",
        "container",
        (
            ("rtx 3090", "RTX 3090", 16, 125, "200 GB disk"),
            ("rtx 4090", "RTX 4090", 6, 41, "200 GB disk"),
            ("rtx 5090", "RTX 5090", 9, 35, "200 GB disk"),
            ("rtx a5000", "RTX A5000", 9, 25, "200 GB disk"),
            ("rtx a6000", "RTX A6000", 9, 50, "200 GB disk"),
            ("rtx 6000 ada", "RTX 6000 Ada", 10, 167, "200 GB disk"),
            ("rtx pro 6000", "RTX PRO 6000 Workstation", 16, 188, "200 GB disk"),
            ("l4", "L4", 12, 50, "200 GB disk"),
            ("a40", "A40", 9, 50, "200 GB disk"),
            ("l40", "L40", 8, 94, "200 GB disk"),
            ("l40s", "L40S", 16, 94, "200 GB disk"),
            ("a100 pcie", "A100 80GB PCIe", 8, 117, "200 GB disk"),
            ("a100 sxm", "A100 SXM 80GB", 16, 125, "200 GB disk"),
            ("h100 pcie", "H100 PCIe", 16, 188, "200 GB disk"),
            ("h100 sxm", "H100 SXM", 20, 125, "200 GB disk"),
            ("h100 nvl", "H100 NVL", 16, 94, "200 GB disk"),
            ("h200", "H200", 24, 276, "500 GB disk"),
            ("b200", "B200", 28, 283, "500 GB disk"),
        ),
    ),
    (
        "vast",
        "container",
        (
            ("rtx 3060", "RTX 3060", 8, 32, "200 GB disk"),
            ("rtx 3090", "RTX 3090", 16, 64, "200 GB disk"),
            ("2x rtx 3090", "2x RTX 3090", 32, 128, "200 GB disk"),
            ("4x rtx 3090", "4x RTX 3090", 64, 256, "200 GB disk"),
            ("rtx 4090", "RTX 4090", 16, 64, "200 GB disk"),
            ("2x rtx 4090", "2x RTX 4090", 32, 128, "200 GB disk"),
            ("4x rtx 4090", "4x RTX 4090", 64, 256, "200 GB disk"),
            ("8x rtx 4090", "8x RTX 4090", 128, 512, "200 GB disk"),
            ("rtx 5090", "RTX 5090", 16, 64, "200 GB disk"),
            ("rtx a6000", "RTX A6000", 16, 64, "200 GB disk"),
            ("a100 sxm 80gb", "A100 SXM 80GB", 16, 120, "200 GB disk"),
            ("h100 sxm", "H100 SXM", 24, 200, "200 GB disk"),
            ("8x h100 sxm", "8x H100 SXM", 192, 1600, "500 GB disk"),
            ("h200", "H200", 24, 250, "500 GB disk"),
        ),
    ),
)


def _machines(groups: Iterable[tuple[str, str, tuple[_Row, ...]]]) -> dict[str, str]:
    return {
        f"{provider} {name}": f"{gpus}, {cpus} vCPU, {gib} GiB RAM, {disks}, {common}"
        for provider, common, rows in groups
        for name, gpus, cpus, gib, disks in rows
    }


MACHINES: dict[str, str] = {**TIERS, **_machines(_GROUPS)}
"""Every machine by its name, in lower case: a tier, or provider and type."""


def find_machine(name: str) -> str | None:
    """Return the phrase of a machine; the provider may be left out where the type alone tells, as AWS's do."""
    wanted = " ".join(name.lower().removeprefix("standard_").split())
    if wanted in MACHINES or not wanted:
        return MACHINES.get(wanted)
    # What RunPod and Vast.ai rent goes by the GPU, which alone is no machine.
    types = [key for key in MACHINES if key.partition(" ")[2] == wanted and key.split()[0] not in ("runpod", "vast")]
    return MACHINES[types[0]] if types else None
