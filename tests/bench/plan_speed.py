"""Measure how long plans take: one host and one model, and a thousand hosts with fifty models each, in one process.

Every host is another one: RAM, GPUs, cores, disks and what is free on them differ. The models are of real shapes, in
quantisations from 2 to 16 bits, so that some fit, some have to be split, and some do not fit at all.
Run from the root of the repository: ``PYTHONPATH=collections python -m tests.bench.plan_speed``; ``--hosts`` and
``--models`` take other numbers.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections import Counter
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from ansible_collections.llmhost.core.plugins.module_utils.hardware.hardware import parse_hardware
from ansible_collections.llmhost.core.plugins.module_utils.plan import planner
from ansible_collections.llmhost.core.plugins.module_utils.shape.config_shape import shape_from_config
from ansible_collections.llmhost.core.plugins.module_utils.weights.weights_from_shape import weights_from_shape

Facts = dict[str, Any]

CONFIGS = Path(__file__).parents[1] / "fixtures/sizing/configs.json"
GPUS = (
    *("", "RTX 3060", "RTX 3090", "2x RTX 3090", "RTX 4090", "4x RTX 4090", "RTX 3090, RTX 3060", "T4", "L4", "2x L4"),
    *("A10G", "A100 80GB", "2x A100 80GB", "H100 SXM", "8x H100 SXM", "RTX A6000", "L40S", "RTX 4060 Ti 16GB"),
)
RAM_GIB = (8, 16, 32, 48, 64, 96, 128, 192, 256, 512)
QUANTISATIONS = ("Q4_K_M", "Q8_0", "IQ2_M", "BF16")


def a_host(number: int) -> Facts:
    """Return one of many hosts."""
    rng = random.Random(number)
    gpus = rng.choice(GPUS)
    phrase = f"{gpus or 'CPU only'}, {rng.choice(RAM_GIB)} GiB RAM, {rng.choice((1, 2, 4))} TB NVMe"
    facts = parse_hardware(f"{phrase}, {rng.choice((8, 16, 32))} cores")
    facts["memory"]["total_bytes"] -= rng.randrange(1 << 29)
    for disk in facts["disks"]:
        disk["serial"] += str(number)
    for filesystem in facts["filesystems"]:
        filesystem["available_bytes"] -= rng.randrange(1 << 30)
    return facts


def models(count: int) -> list[Facts]:
    """Return models as ``model_info`` describes them."""
    configs = json.loads(CONFIGS.read_text(encoding="utf-8"))["configs"]
    names = [name for name, config in configs.items() if "model_type" in config["config"]]
    wanted = ((names[at % len(names)], QUANTISATIONS[at % len(QUANTISATIONS)]) for at in range(count))
    return [a_model(name, configs[name]["config"], quantization) for name, quantization in wanted]


def a_model(name: str, config: Facts, quantization: str) -> Facts:
    """Return a model that has this configuration and no files yet."""
    shape = shape_from_config(config)
    weights = weights_from_shape(shape, quantization)
    size = weights.total_bytes
    file = {"name": f"{name}.gguf", "size_bytes": size, "sha256": None, "git_oid": None}
    return {
        "schema": 2,
        "request": {"model": f"bench/{name}:{quantization}", "revision": "main", "endpoint": "", "variant": ""},
        "source": "hub",
        "repo": f"bench/{name}",
        "commit": "0" * 40,
        "path": None,
        "format": "gguf",
        "quantization": quantization,
        "name": name,
        "parameters": weights.parameters,
        "weights_bytes": size,
        "total_bytes": size,
        "largest_file_bytes": size,
        "files": [file],
        "shape": shape.as_dict(),
        "weights": weights.as_dict(),
        "pinned": True,
        "variants": [],
        "chat_template": True,
        "findings": [],
    }


def main() -> None:
    """Plan, and print the figures."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--hosts", type=int, default=1000)
    arguments.add_argument("--models", type=int, default=50)
    given = arguments.parse_args()
    hosts, planned = [a_host(number) for number in range(given.hosts)], models(given.models)
    first: list[float] = []
    later: list[float] = []
    verdicts: Counter[str] = Counter()
    began = time.perf_counter()
    for number, host in enumerate(hosts):
        for model in planned:
            start = time.perf_counter()
            plan = planner.plan(host, model, {"llmhost_model": model["request"]["model"]}, what_if=True)
            (later if number else first).append(time.perf_counter() - start)
            verdicts[plan["verdict"]] += 1
    seconds = time.perf_counter() - began
    each = seconds * 1000 / sum(verdicts.values())
    print(f"{len(hosts)} hosts x {len(planned)} models: {seconds:.1f} s, {each:.2f} ms each")
    for name, times in (("a model's first plan", first), ("every other plan", later)):
        if len(times) > 1:
            shown = (
                f"median {median(times) * 1000:.2f} ms, 99 of 100 within {quantiles(times, n=100)[98] * 1000:.1f} ms"
            )
            print(f"{name}: {shown}, longest {max(times) * 1000:.1f} ms")
    print(", ".join(f"{verdict} {count}" for verdict, count in sorted(verdicts.items())))


if __name__ == "__main__":
    main()
