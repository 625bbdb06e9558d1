"""Machines by name: the tiers' own, and what clouds rent. Each is a phrase that ``hardware.parse_hardware`` reads."""

from __future__ import annotations

MACHINES: dict[str, str] = {
    "intermediate": "RTX 3090, 64 GB RAM, 500 GB NVMe",
    "advanced": "2x RTX 3090 NVLink, 128 GB RAM, 1 TB NVMe",
}
