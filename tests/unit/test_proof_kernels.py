"""The kernels of the proof: executed instruction by instruction, and accepted by NVIDIA's own assembler."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from ansible_collections.llmhost.core.plugins.module_utils.proof.pattern import number, product_element, word
from ansible_collections.llmhost.core.plugins.module_utils.proof.ptx import THREADS, TILE, program

from tests.tools.ptx_machine import Machine

BASE = Machine.BASE
WORDS = 1000
SEED = 4_000_000_000
NOTHING = 2**64 - 1
# Turing to Blackwell; R580 drives older GPUs too, which this assembler no longer knows.
ARCHITECTURES = ["sm_75", "sm_80", "sm_86", "sm_89", "sm_90", "sm_100", "sm_120"]


@pytest.fixture
def machine() -> Machine:
    made = Machine(program(), 16 * WORDS)
    made.view(report_of(), 3, "u64")[:] = (0, NOTHING, 0)
    return made


def report_of() -> int:
    return BASE + 8 * WORDS


def filled(machine: Machine, flip: int = 0) -> Machine:
    machine.launch("llmhost_fill", (3, 1), 64, BASE, WORDS, SEED, flip)
    return machine


def check(machine: Machine, flip: int = 0, ranks: int = 1, seed: int = SEED) -> list[int]:
    machine.launch("llmhost_check", (3, 1), 64, BASE, WORDS, seed, flip, ranks, report_of())
    return [int(value) for value in machine.view(report_of(), 3, "u64")]


@pytest.mark.parametrize("flip", [0, 0xFFFFFFFF])
def test_the_words_of_the_gpu_are_those_of_python(machine: Machine, flip: int) -> None:
    words = filled(machine, flip).view(BASE, WORDS)
    assert [int(value) for value in words] == [word(place, SEED) ^ flip for place in range(WORDS)]
    assert not machine.view(BASE + 4 * WORDS, 100).any(), "it wrote more than it was asked to"


def test_right_words_pass(machine: Machine) -> None:
    assert check(filled(machine, 0xFFFFFFFF), 0xFFFFFFFF) == [0, NOTHING, 0]


def test_wrong_words_are_counted_and_located(machine: Machine) -> None:
    words = filled(machine).view(BASE, WORDS)
    words[[17, 900, WORDS - 1]] ^= np.array([1, 0x80, 0x80000000], np.uint32)
    assert check(machine) == [3, 17, 0x80000081]


@pytest.mark.parametrize("other", [SEED + 1, 0])
def test_words_of_another_seed_do_not_pass(machine: Machine, other: int) -> None:
    assert check(filled(machine), seed=other)[0] == WORDS


def test_shifted_words_do_not_pass(machine: Machine) -> None:
    words = filled(machine).view(BASE, WORDS)
    words[:-1] = words[1:].copy()
    assert check(machine)[:2] == [WORDS - 1, 0]


def test_the_sum_of_ranks_is_checked(machine: Machine) -> None:
    sums = [sum(word(place, SEED + rank) for rank in range(3)) & 0xFFFFFFFF for place in range(WORDS)]
    machine.view(BASE, WORDS)[:] = sums
    assert check(machine, ranks=3) == [0, NOTHING, 0]


def test_two_results_are_compared(machine: Machine) -> None:
    filled(machine)
    other = BASE + 4 * WORDS
    machine.view(other, WORDS)[:] = machine.view(BASE, WORDS)
    machine.view(other, WORDS)[[5, 6]] ^= 2
    machine.launch("llmhost_compare", (1, 1), THREADS, BASE, other, WORDS, report_of())
    assert [int(value) for value in machine.view(report_of(), 3, "u64")] == [2, 5, 2]


def test_numbers_are_those_of_python(machine: Machine) -> None:
    machine.launch("llmhost_numbers", (2, 1), 32, BASE, WORDS, 7)
    assert machine.view(BASE, WORDS, "f32").tolist() == [float(number(place, 7)) for place in range(WORDS)]


def test_the_product_of_two_matrices_is_exact() -> None:
    size = 2 * TILE
    count = size * size
    machine = Machine(program(), 12 * count)
    left, right, result = (BASE + 4 * count * number for number in range(3))
    machine.launch("llmhost_numbers", (4, 1), THREADS, left, count, 1)
    machine.launch("llmhost_numbers", (4, 1), THREADS, right, count, 2)
    machine.launch("llmhost_product", (2, 2), THREADS, left, right, result, size)
    a, b, c = (machine.view(at, count, "f32").reshape(size, size) for at in (left, right, result))
    assert (c == a @ b).all()
    assert c[200, 3] == product_element(200, 3, size, 1, 2)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_assembler_of_nvidia_takes_the_kernels(tmp_path: Path, architecture: str) -> None:
    assembler = shutil.which("ptxas")
    if assembler is None:
        pytest.skip("no ptxas on this machine")
    source = tmp_path / "proof.ptx"
    source.write_text(program(), encoding="utf-8")
    done = subprocess.run(
        [assembler, "-v", f"-arch={architecture}", str(source), "-o", str(tmp_path / "out")],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    spilled = [line for line in done.stderr.splitlines() if "spill" in line and "0 bytes spill stores" not in line]
    assert spilled == []
