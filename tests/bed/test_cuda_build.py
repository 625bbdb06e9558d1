"""llama.cpp compiled for a GPU by the roles, on a server without one: most of an hour on two cores, then it is kept."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.llmhost.core.plugins.module_utils.plan.cuda_plan import choose
from ansible_collections.llmhost.core.plugins.module_utils.plan.runtime_plan import archive_name, build_options

from tests.bed.runtime import CPU_LEVEL, archive, facts_of, install
from tests.tools.bed import Bed

CUDA = choose([(8, 6)], 580)
PROGRAM = "/opt/llmhost/llama_cpp/{}/bin/llama-server"

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def bed() -> Iterator[Bed]:
    with Bed(f"llmhost-cuda-build-{os.getpid()}").running() as started:
        yield started


@pytest.fixture(scope="module")
def package(bed: Bed, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive, installed in the bed whether it was built there or is an earlier one."""
    folder = tmp_path_factory.mktemp("build")
    path = archive(bed, folder, CUDA)
    facts = facts_of(bed)
    cmake = build_options(facts, CPU_LEVEL, CUDA)
    install(bed, folder, archive_name(facts, cmake, CUDA), cmake, CUDA)
    return path


@pytest.fixture
def program(package: Path) -> str:
    return PROGRAM.format(package.name.removesuffix(".tar.gz"))


def test_the_archive_says_how_it_was_made(bed: Bed, program: str) -> None:
    manifest = json.loads(bed.shell(f"cat {Path(program).parents[1]}/manifest.json"))
    assert manifest["cmake"]["CMAKE_CUDA_ARCHITECTURES"] == "86-real"
    assert "cuda_13.0" in manifest["cuda"]
    assert sorted(manifest["files"]) == ["bin/llama-bench", "bin/llama-fit-params", "bin/llama-server"]


def test_every_library_but_the_drivers_is_found_where_the_role_puts_it(bed: Bed, program: str) -> None:
    lines = [line.split() for line in bed.shell(f"ldd {program}").splitlines()]
    assert [words[0] for words in lines if "not found" in " ".join(words)] == ["libcuda.so.1"]
    places = {words[0]: words[2] for words in lines if words[0].startswith(("libcublas", "libcudart"))}
    assert {"libcublas.so.13", "libcublasLt.so.13", "libcudart.so.13"} <= places.keys()
    assert all(place.startswith("/opt/llmhost/cuda/13.0/lib/") for place in places.values())


def test_no_path_of_the_build_is_in_it(bed: Bed, program: str) -> None:
    bed.shell("command -v readelf strings >/dev/null || apt-get -qq install -y binutils >/dev/null 2>&1")
    found = re.findall(r"R(?:UN)?PATH.*\[(.*)\]", bed.shell(f"readelf --dynamic --wide {program}"))
    assert found == ["/opt/llmhost/cuda/13.0/lib"]
    assert bed.shell(f"strings {program} | grep -c /var/cache || true").strip() == "0"


def test_without_a_gpu_it_starts_and_refuses_to_serve(bed: Bed, program: str) -> None:
    """With a stand-in for the driver, as the build makes one: a host with GPUs has the real one."""
    calls = bed.shell(f"readelf --dyn-syms --wide {program} | grep -oE 'UND cu[A-Z][A-Za-z_0-9]*' | cut -d' ' -f2")
    code = "".join(f"int {name}(void) {{ return 100; }}" for name in sorted(set(calls.split())))
    bed.write("/tmp/libcuda.c", code)
    bed.shell("cd /tmp && cc -shared -fPIC -Wl,-soname,libcuda.so.1 -o libcuda.so.1 libcuda.c")
    with_driver = f"LD_LIBRARY_PATH=/tmp {program}"
    assert "version" in bed.shell(f"{with_driver} --version 2>&1")
    assert "CUDA0" not in bed.shell(f"{with_driver} --list-devices 2>&1")
    assert "invalid device: CUDA0" in bed.shell(f"{with_driver} --device CUDA0 --model /none 2>&1 || true")
