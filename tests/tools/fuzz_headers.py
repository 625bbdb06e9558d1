"""Spoil real headers at random, and see that each is read or refused with a clear error, quickly and in little memory.

``python -m tests.tools.fuzz_headers --seconds 600`` (from the root, with ``PYTHONPATH=collections``) runs for long;
``--seed N --rounds 1`` repeats what failed. The headers are those of generated models of every architecture, of a
checkpoint, and the config.json of published models.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import struct
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ansible_collections.llmhost.core.plugins.module_utils.model.gguf import GgufHeader
from ansible_collections.llmhost.core.plugins.module_utils.model.model import Model, ModelFile
from ansible_collections.llmhost.core.plugins.module_utils.model.model_error import ModelError
from ansible_collections.llmhost.core.plugins.module_utils.model.safetensors import SafetensorsHeader, read_json_object

from tests.tools import make_model
from tests.tools.architectures import SMALL, write_sparse
from tests.tools.memory_source import MemorySource
from tests.unit.config_samples import SAMPLES

MAX_CPU_SECONDS = 1.0
MAX_MEMORY = 200 * 2**20
NUMBERS = [0, 1, 2, 7, 127, 128, 255, 256, 2**15, 2**16, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**62, 2**63, 2**64 - 1]
VALUES: list[Any] = [
    None, True, False, 0, -1, 1, 2, 3, 10**6, 2**31, 2**63, 10**30, 0.5, -0.5, float("nan"), float("inf"), "", "8", "x",
    [], [0], [1, "a", None], ["full_attention"] * 9, {}, {"a": 1}, [[]] * 3, "M*-" * 9, "LLLG",
]  # fmt: skip

Case = tuple[str, bytes, int]
"""What kind of header it is, the header, and the size of its file."""


def cases() -> list[Case]:
    """Return sound headers of all kinds."""
    found: list[Case] = []
    with tempfile.TemporaryDirectory() as folder:
        for name, model in SMALL.items():
            path = Path(folder, f"{name}.gguf")
            write_sparse(path, model(), "Q8_0")
            size = path.stat().st_size
            with path.open("rb") as file:
                head = file.read(min(size, 2**22))
            header = GgufHeader.from_source(MemorySource(head, size=size))
            found.append(("gguf", bytes(header.data), size))
        [path] = make_model.write_safetensors(Path(folder), make_model.PRESETS["tiny"])
        data = path.read_bytes()
        found.append(("safetensors", data[: 8 + int.from_bytes(data[:8], "little")], len(data)))
    found += [("config", json.dumps(config).encode(), 0) for _, config, _, _ in SAMPLES]
    return found


def read(kind: str, data: bytes, size: int) -> dict[str, Any]:
    """Read a header as the product does."""
    file = ModelFile("m", max(size, 1))
    if kind == "gguf":
        source = MemorySource(data, size=max(size, len(data)))
        return Model.from_gguf([GgufHeader.from_source(source)], [file]).as_dict({})
    if kind == "safetensors":
        header = SafetensorsHeader.from_source(MemorySource(data, size=max(size, len(data))))
        return Model.from_safetensors(SAMPLES[0][1], [header], [file], "m", False).as_dict({})
    config = read_json_object(data, "config.json")
    return Model.from_config(config, data, "config.json", "Q4_K_M").as_dict({})


def spoiled(chance: random.Random, case: Case) -> Case:
    """Return the header with one to four things wrong."""
    kind, data, size = case
    for _ in range(chance.randint(1, 4)):
        way = _other_value if kind == "config" else chance.choice(WAYS)
        data = way(chance, data)
    return kind, data, chance.choice([size, size, len(data), 2**45])


def _flip(chance: random.Random, data: bytes) -> bytes:
    place = chance.randrange(max(len(data), 1))
    return data[:place] + bytes([chance.randrange(256)]) + data[place + 1 :]


def _number(chance: random.Random, data: bytes) -> bytes:
    place, code = chance.randrange(max(len(data), 1)), chance.choice("IQ")
    number = chance.choice(NUMBERS) % 2 ** (32 if code == "I" else 64)
    return data[:place] + struct.pack(f"<{code}", number) + data[place + struct.calcsize(code) :]


def _cut(chance: random.Random, data: bytes) -> bytes:
    return data[: chance.randrange(len(data) + 1)]


def _move(chance: random.Random, data: bytes) -> bytes:
    places = sorted(chance.randrange(len(data) + 1) for _ in range(3))
    return data[: places[0]] + data[places[1] : places[2]] + data[places[0] :]


def _field(chance: random.Random, data: bytes) -> bytes:
    """Change the value behind a key of the metadata, where lengths of layers are."""
    place = data.find(chance.choice([b".block_count", b".attention.", b".ssm.", b".expert_", b"_length"]))
    if place < 0:
        return _number(chance, data)
    place += chance.randrange(8, 60)
    return data[:place] + struct.pack("<I", chance.choice(NUMBERS) % 2**32) + data[place + 4 :]


def _other_value(chance: random.Random, data: bytes) -> bytes:
    """Give one field of a config another value; or spoil the text itself."""
    if chance.random() < 0.1:
        return chance.choice([_flip, _cut, _move])(chance, data)
    try:
        config = json.loads(data)
    except ValueError:
        return data
    part = config
    while isinstance(part, dict) and part:
        key = chance.choice(sorted(part))
        if isinstance(part[key], dict) and part[key] and chance.random() < 0.8:
            part = part[key]
            continue
        if chance.random() < 0.1:
            del part[key]
        else:
            part[key] = chance.choice(VALUES)
        break
    return json.dumps(config).encode()


WAYS: list[Callable[[random.Random, bytes], bytes]] = [_flip, _number, _number, _cut, _move, _field, _field]


def run(seed: int, sound: list[Case]) -> str:
    """Read one spoiled header; return what became of it. Raise AssertionError for what must not happen."""
    chance = random.Random(seed)
    kind, data, size = spoiled(chance, chance.choice(sound))
    begin, failure = time.process_time(), None
    try:
        json.dumps(read(kind, data, size))
    except ModelError as error:
        failure = error
    took = time.process_time() - begin
    assert took < MAX_CPU_SECONDS, f"{took:.2f} s"
    if failure is None:
        return f"{kind}: read"
    assert failure.code.startswith("model."), failure.code
    assert failure.message
    assert failure.remedy, failure.message
    return f"{kind}: {failure.code}"


def main(arguments: list[str] | None = None) -> int:
    """Read the command line, spoil headers, say what became of them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seed", type=int, default=1, help="of the first round; each one adds 1")
    parser.add_argument("--rounds", type=int, default=0, help="0 for as many as fit in the time")
    parser.add_argument("--seconds", type=float, default=60)
    options = parser.parse_args(arguments)
    sound = cases()
    for case in sound:
        read(*case)
    used = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MAX_MEMORY, resource.RLIM_INFINITY))
    end, seed, results = time.monotonic() + options.seconds, options.seed, Counter[str]()
    while seed - options.seed < options.rounds if options.rounds else time.monotonic() < end:
        try:
            results[run(seed, sound)] += 1
        except Exception:
            traceback.print_exc()
            print(f"failed: --seed {seed} --rounds 1", file=sys.stderr)
            return 1
        seed += 1
    print(json.dumps(dict(sorted(results.items())), indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
