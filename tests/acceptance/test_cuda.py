"""CUDA: the libraries are there, the programs find them, and the compiler makes programs that run on the GPUs."""

from __future__ import annotations

import re

import pytest

from tests.acceptance.cuda_probe import PROBE
from tests.acceptance.expectation import Figure, expect, expect_equal
from tests.acceptance.target import SERVICE, Target

RERUN = "run the tier's playbook again."
PROGRAM = "/opt/llmhost/llama_cpp/current/bin/llama-server"

COMPILE = """
folder=$(mktemp -d) && trap 'rm -r "$folder"' EXIT && cd "$folder" && cat > probe.cu <<'END'
{probe}
END
{compiler}/bin/nvcc {architectures} -L{compiler}/lib -o probe probe.cu && echo compiled && {run} 2>&1
"""

pytestmark = pytest.mark.applied("cuda")


def test_the_libraries_are_there(target: Target) -> None:
    part = target.slice("cuda")
    major = part["toolkit"].partition(".")[0]
    wanted = [f"lib{name}.so.{major}" for name in ("cublas", "cublasLt", "cudart")]
    found = set(target.lines(f"ls {part['prefix']}/lib"))
    missing = [name for name in wanted if name not in found]
    expect(not missing, f"libraries in {part['prefix']}/lib", expected=wanted, found=f"no {missing}", remedy=RERUN)


@pytest.mark.applied("inference")
def test_the_server_finds_its_libraries(target: Target) -> None:
    lines = [line.split() for line in target.lines(f"ldd {PROGRAM}")]
    missing = [words[0] for words in lines if "not found" in " ".join(words)]
    expect(not missing, f"libraries of {PROGRAM}", expected="all found", found=f"no {missing}", remedy=RERUN)
    prefix = f"{target.slice('cuda')['prefix']}/lib/"
    places = {words[0]: words[2] for words in lines if words[0].startswith(("libcublas.", "libcudart."))}
    foreign = {name: place for name, place in places.items() if not place.startswith(prefix)}
    expect(len(places) == 2 and not foreign, "libraries of CUDA", expected=prefix, found=places, remedy=RERUN)


@pytest.mark.applied("inference")
def test_the_server_sees_as_many_gpus_as_the_host_has(target: Target, figure: Figure) -> None:
    if target.plan["gpus_declared"]:
        pytest.skip("the GPUs are declared: they are not in this machine")
    found = [line for line in target.lines(f"{PROGRAM} --list-devices 2>&1") if "CUDA" in line and ":" in line]
    wanted = len(target.lines("nvidia-smi -L"))
    figure("GPUs", str(len(found)))
    expect_equal(f"GPUs of {PROGRAM}", expected=wanted, found=len(found), remedy="nvidia-smi; nvidia-smi -q")


@pytest.mark.applied("inference")
def test_the_server_has_opened_its_gpus(target: Target, figure: Figure) -> None:
    """A server that serves from the CPU has none of them open, whatever it was asked to do."""
    if target.plan["gpus_declared"]:
        pytest.skip("the GPUs are declared: they are not in this machine")
    found = target.as_service("find", f"/proc/{target.main_pid}/fd", "-lname", "/dev/nvidia*", "-printf", "%l\\n")
    gpus = {name for name in found.split() if re.fullmatch(r"/dev/nvidia\d+", name)}
    wanted = len(target.plan["placement"]["gpus"])
    figure("GPUs open", ", ".join(sorted(gpus)) or "none")
    look = f"journalctl -u {SERVICE}; nvidia-smi"
    expect(len(gpus) >= wanted, f"GPUs that {SERVICE} has open", expected=wanted, found=sorted(gpus), remedy=look)


def test_the_compiler_makes_programs_for_the_gpus(target: Target, figure: Figure) -> None:
    part = target.slice("cuda")
    compiler = f"{part['prefix']}-compiler"
    if target.host.run(f"test -x {compiler}/bin/nvcc").rc != 0:
        pytest.skip("this host did not build: it has no compiler of CUDA")
    architectures = " ".join(f"-gencode=arch=compute_{one},code=sm_{one}" for one in part["capabilities"])
    run = "true" if target.plan["gpus_declared"] else "./probe"
    script = COMPILE.format(probe=PROBE, compiler=compiler, architectures=architectures, run=run)
    found = [line.strip() for line in target.lines(script)]
    wanted = ["compiled"] if target.plan["gpus_declared"] else ["compiled", "4950"]
    figure("nvcc", f"{part['toolkit']} for {', '.join(part['capabilities'])}")
    expect_equal("what nvcc made", expected=wanted, found=found, remedy=f"{RERUN} nvidia-smi")
