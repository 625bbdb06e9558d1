"""Executes PTX without a GPU: all threads of a block at once, as arrays. It knows the instructions that the proof uses.

An instruction that it does not know, an address outside the memory, and a barrier that a part of the threads misses are
errors.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Values = NDArray[Any]
_TYPES: dict[str, Any] = {"u32": np.uint32, "b32": np.uint32, "u64": np.uint64, "b64": np.uint64, "f32": np.float32}
_TYPES["pred"] = np.bool_


@dataclass
class Kernel:
    """One entry of a PTX text."""

    parameters: list[tuple[str, str]]
    registers: dict[str, Any] = field(default_factory=dict)
    shared: dict[str, int] = field(default_factory=dict)
    shared_bytes: int = 0
    labels: dict[str, int] = field(default_factory=dict)
    code: list[tuple[str, str, list[str]]] = field(default_factory=list)

    def take(self, line: str) -> None:
        """Take one line of the body."""
        if line.endswith(":"):
            self.labels[line[:-1]] = len(self.code)
        elif line.startswith(".reg"):
            kind, names = _parts(r"\.reg \.(\w+) (.*);", line)
            for name in names.split(", "):
                stem, _, count = name.rstrip(">").partition("<")
                many = [f"{stem}{number}" for number in range(int(count))] if count else [stem]
                self.registers |= dict.fromkeys(many, _TYPES[kind])
        elif line.startswith(".shared"):
            name, size = _parts(r"\.shared \.align \d+ \.b8 (\w+)\[(\d+)\];", line)
            self.shared[name] = self.shared_bytes
            self.shared_bytes += int(size)
        elif line:
            guard, operation, rest = _parts(r"(?:@(%\w+) )?([\w.]+)\s*(.*);", line)
            self.code.append((guard, operation, re.findall(r"\{[^}]*\}|\[[^]]*\]|[^,\s]+", rest)))


def _parts(pattern: str, line: str) -> tuple[str, ...]:
    match = re.fullmatch(pattern, line)
    assert match, f"not understood: {line}"
    return match.groups(default="")


def kernels(text: str) -> dict[str, Kernel]:
    """Return the entries of a PTX text by name."""
    found: dict[str, Kernel] = {}
    for name, parameters, body in re.findall(r"\.visible \.entry (\w+)\(([^)]*)\)\s*\{\n(.*?)\n\}", text, re.DOTALL):
        kernel = found[name] = Kernel([(n, t) for t, n in re.findall(r"\.param \.(\w+) (\w+)", parameters)])
        for line in body.splitlines():
            kernel.take(line.strip())
    return found


class Machine:
    """Global memory, and the execution of kernels on it. Addresses begin at 256, so that 0 is never right."""

    BASE = 256

    def __init__(self, text: str, size: int) -> None:
        self.kernels = kernels(text)
        self.memory = np.zeros(size, np.uint8)

    def view(self, address: int, count: int, kind: str = "u32") -> Values:
        """Return a part of the memory as numbers that can be read and changed."""
        dtype = np.dtype(_TYPES[kind])
        start = address - self.BASE
        assert 0 <= start <= start + count * dtype.itemsize <= len(self.memory)
        return self.memory[start : start + count * dtype.itemsize].view(dtype)

    def launch(self, name: str, grid: tuple[int, int], threads: int, *arguments: int) -> None:
        """Execute a kernel, one block after the other."""
        kernel = self.kernels[name]
        given = {key: _TYPES[kind](value) for (key, kind), value in zip(kernel.parameters, arguments, strict=True)}
        for y in range(grid[1]):
            for x in range(grid[0]):
                special = {"%ctaid.x": x, "%ctaid.y": y, "%nctaid.x": grid[0], "%ntid.x": threads}
                _Block(self, kernel, given, special, threads).run()


class _Block:
    def __init__(
        self, machine: Machine, kernel: Kernel, given: Mapping[str, Any], special: Mapping[str, int], threads: int
    ) -> None:
        self.kernel, self.given = kernel, given
        self.registers = {name: np.zeros(threads, kind) for name, kind in kernel.registers.items()}
        self.special = {name: np.full(threads, value, np.uint32) for name, value in special.items()}
        self.special["%tid.x"] = np.arange(threads, dtype=np.uint32)
        self.memories = {
            "global": (machine.memory, Machine.BASE),
            "shared": (np.zeros(kernel.shared_bytes, np.uint8), 0),
        }
        self.places = np.zeros(threads, np.int64)  # where each thread is; those who are furthest behind go first

    def run(self) -> None:
        code, ended = self.kernel.code, len(self.kernel.code)
        with np.errstate(over="ignore"):
            while (place := int(self.places.min())) < ended:
                who = np.flatnonzero(self.places == place)
                self.step(*code[place], who, place)

    def step(self, guard: str, operation: str, operands: list[str], who: Values, place: int) -> None:
        self.places[who] = place + 1
        if guard:
            who = who[self.registers[guard][who]]
        first = operation.split(".")[0]
        if first == "bra":
            self.places[who] = self.kernel.labels[operands[0]]
        elif first == "ret":
            self.places[who] = len(self.kernel.code)
        elif first == "bar":
            assert len(who) == len(self.places), "a part of the threads misses the barrier"
        elif first in ("ld", "st", "atom"):
            self.access(operation.split("."), operands, who)
        else:
            self.compute(operation, operands, who)

    def compute(self, operation: str, operands: list[str], who: Values) -> None:
        kind = operation.split(".")[-1]
        given = [self.value(operand, kind)[who] for operand in operands[1:]]
        target = self.registers[operands[0]]
        if operation.startswith("mul.wide"):
            given = [value.astype(np.uint64) for value in given]
        target[who] = _OPERATIONS[operation](*given).astype(target.dtype)

    def value(self, operand: str, kind: str) -> Values:
        """Return what an operand is for every thread."""
        if operand in self.registers:
            return self.registers[operand]
        if operand in self.special:
            return self.special[operand]
        if operand in self.kernel.shared:
            number: Any = self.kernel.shared[operand]
        elif operand.startswith("0f"):
            number = np.array(int(operand[2:], 16), np.uint32).view(np.float32)
        else:
            number = int(operand, 0)
        return np.full(len(self.places), number, _TYPES[kind])

    def access(self, words: list[str], operands: list[str], who: Values) -> None:
        kind = words[-1]
        if words[1] == "param":
            self.registers[operands[0]][who] = self.given[operands[1].strip("[]")]
            return
        place = operands[0] if words[0] == "st" else operands[-1] if words[0] == "ld" else operands[1]
        base, _, offset = place.strip("[]").partition("+")
        at = self.registers[base][who].astype(np.int64) + int(offset or 0)
        if words[0] == "atom":
            self.atomic(words[2], kind, operands, at, who)
            return
        names = (operands[1] if words[0] == "st" else operands[0]).strip("{}").split(", ")
        for number, name in enumerate(names):
            cells, index = self.cells(words[1], kind, at + number * 4)
            if words[0] == "ld":
                self.registers[name][who] = cells[index]
            else:
                cells[index] = self.registers[name][who]

    def atomic(self, action: str, kind: str, operands: list[str], at: Values, who: Values) -> None:
        cells, index = self.cells("global", kind, at)
        change = {"add": np.add, "min": np.minimum, "or": np.bitwise_or}[action]
        change.at(cells, index, self.value(operands[2], kind)[who])

    def cells(self, space: str, kind: str, at: Values) -> tuple[Values, Values]:
        """Return a memory as numbers of a kind, and the places in it of addresses."""
        memory, base = self.memories[space]
        size = np.dtype(_TYPES[kind]).itemsize
        start = at - base
        assert (start % size == 0).all()
        assert (start >= 0).all()
        assert (start + size <= len(memory)).all()
        return memory.view(_TYPES[kind]), start // size


_OPERATIONS: dict[str, Callable[..., Values]] = {
    **dict.fromkeys(("mov.u32", "mov.f32", "cvt.u64.u32", "cvt.rn.f32.u32"), lambda a: a),
    "cvt.u32.u64": lambda a: a & np.uint64(0xFFFFFFFF),
    **dict.fromkeys(("add.u32", "add.u64"), lambda a, b: a + b),
    **dict.fromkeys(("mul.lo.u32", "mul.wide.u32"), lambda a, b: a * b),
    "mad.lo.u32": lambda a, b, c: a * b + c,
    "fma.rn.f32": lambda a, b, c: a * b + c,
    **dict.fromkeys(("shl.b32", "shl.b64"), lambda a, b: a << b.astype(a.dtype)),
    "shr.u32": lambda a, b: a >> b,
    "xor.b32": lambda a, b: a ^ b,
    "and.b32": lambda a, b: a & b,
    "setp.ge.u64": lambda a, b: a >= b,
    "setp.lt.u32": lambda a, b: a < b,
    "setp.eq.u32": lambda a, b: a == b,
}
