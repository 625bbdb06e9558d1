"""The role cuda on a server without a GPU: wheels of the real index, and a repository that stands for NVIDIA's."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.llmhost.core.plugins.module_utils.plan.cuda_plan import TOOLKITS, CudaPlan, choose

from tests.acceptance.cuda_probe import PROBE
from tests.bed.conftest import LOCAL_CERTIFICATES, Target
from tests.tools.bed import CACHE, CHECKOUT, Bed

WHEELS, NVIDIA = TOOLKITS
COMPILER = "/opt/llmhost/cuda/13.0-compiler"
PINS = CHECKOUT / "roles/cuda/files/13.0/compiler.txt"
UNIT = (CHECKOUT / "roles/inference/templates/llmhost-runtime-build.service.j2").read_text()
SANDBOX = ["CacheDirectory=probe", *UNIT[UNIT.index("DynamicUser=") :].splitlines()]

# The wheels are fetched once for these pins; then pip knows nothing but them.
FETCH = """
place=/srv/wheels/$1
if [ ! -e "$place" ]; then
  apt-get -qq update && apt-get -qq install -y --no-install-recommends python3-venv >/dev/null
  python3 -m venv /tmp/fetch
  rm -rf "$place.new"
  PIP_CERT=/etc/ssl/certs/ca-certificates.crt \
    /tmp/fetch/bin/pip -q download --no-deps --require-hashes -r /srv/pins.txt -d "$place.new"
  mv "$place.new" "$place"
fi
printf '[install]\\nno-index = true\\nfind-links = %s\\n' "$place" > /etc/pip.conf
"""
# A flat repository with packages of the names that the plan asks for, each with the file by which it is found.
REPOSITORY = """
mkdir -p /srv/repository && cd /srv/repository
lib=usr/local/cuda-12.9/targets/x86_64-linux/lib
for name in "$@"; do
  file=$lib/of-$name
  case $name in cuda-nvcc-*) file=usr/local/cuda-12.9/bin/nvcc;; cuda-cudart-12-9) file=$lib/libcudart.so.12;; esac
  mkdir -p "$name/DEBIAN" "$name/$(dirname "$file")" && touch "$name/$file"
  printf 'Package: %s\\nVersion: 12.9.1-1\\nArchitecture: amd64\\nMaintainer: n <n@x>\\nDescription: x\\n' "$name" \
    > "$name/DEBIAN/control"
  dpkg-deb --build "$name" "$name.deb" >/dev/null
  cat "$name/DEBIAN/control"
  printf 'Filename: ./%s.deb\\nSize: %s\\nSHA256: %s\\n\\n' \
    "$name" "$(stat -c %s "$name.deb")" "$(sha256sum "$name.deb" | cut -d' ' -f1)"
done > Packages
echo 'deb [trusted=yes] file:/srv/repository ./' > /etc/apt/sources.list.d/nvidia.list
apt-get -qq update
"""


@pytest.fixture(scope="module")
def bed() -> Iterator[Bed]:
    name = f"llmhost-cuda-{os.getpid()}"
    with Bed(name, mounts={str(CACHE / "wheels"): "/srv/wheels"}).running() as started:
        for certificate in LOCAL_CERTIFICATES.glob("*.crt"):
            started.put(certificate, str(certificate))
        started.shell("update-ca-certificates >/dev/null 2>&1")
        started.put(PINS, "/srv/pins.txt")
        digest = hashlib.sha256(PINS.read_bytes()).hexdigest()[:12]
        started.exec("sh", "-euc", FETCH, "-", digest)
        yield started


@pytest.fixture
def target(bed: Bed, tmp_path: Path) -> Target:
    return Target(bed, tmp_path)


def on(target: Target, plan: CudaPlan) -> Target:
    target.plan = {"cuda": plan.as_dict()}
    return target


def test_check_mode_on_an_empty_host_changes_nothing(target: Target) -> None:
    on(target, choose([(8, 6)], 580))
    for entry in ("main", "compiler"):
        outcome = target.play("cuda", "--check", entry=entry)
        assert outcome.rc == 0, outcome.text
        assert outcome.changed >= 2
    assert target.shell("ls /opt/llmhost 2>/dev/null || true") == ""


def test_the_compiler_comes_from_wheels_once(target: Target) -> None:
    on(target, choose([(8, 6)], 580))
    assert target.play("cuda", entry="compiler").rc == 0
    again = target.play("cuda", entry="compiler")
    assert (again.rc, again.changed, again.executed <= 6) == (0, 0, True), again.text
    assert target.play("cuda", "--check", entry="compiler").changed == 0
    assert target.shell(f"readlink {COMPILER}").endswith("/site-packages/nvidia/cu13")


def test_nvcc_compiles_for_what_the_plan_believes(target: Target) -> None:
    target.shell("(apt-get -qq update; apt-get -qq install -y --no-install-recommends g++) >/dev/null 2>&1")
    codes = target.shell(f"{COMPILER}/bin/nvcc --list-gpu-code").split()
    assert {code.removeprefix("sm_") for code in codes} == {f"{major}{minor}" for major, minor in WHEELS.capabilities}

    target.bed.write("/opt/probe.cu", PROBE)
    targets = " ".join(f"-gencode=arch=compute_{one},code=sm_{one}" for one in ("75", "86", "120"))
    nvcc = f"{COMPILER}/bin/nvcc {targets} -L{COMPILER}/lib"
    script = f"cd $CACHE_DIRECTORY; {nvcc} -o probe /opt/probe.cu; ./probe || true"
    options = [word for line in SANDBOX for word in ("-p", line)]
    run = ("systemd-run", "--quiet", "--wait", "--collect", "--pipe", *options, "sh", "-euc", script)
    # It starts, and the one thing that it lacks is a driver.
    assert "driver" in target.bed.exec(*run).stdout
    machine_code = target.shell(
        "readelf --section-headers --wide /var/cache/probe/probe | grep -c -e nv_fatbin -e nvFatBin"
    )
    assert int(machine_code) >= 1


def test_what_an_earlier_release_installed_goes(target: Target) -> None:
    on(target, choose([(8, 6)], 580))
    target.shell(
        "cd /opt/llmhost/cuda && mkdir libraries-older .compiler-older.new && rm -r compiler-*/requirements.txt"
    )
    assert target.play("cuda", entry="compiler").rc == 0
    left = target.shell("ls -A /opt/llmhost/cuda").split()
    assert not [name for name in left if "older" in name]
    assert target.shell(f"{COMPILER}/bin/nvcc --version")


def test_a_repository_that_apt_does_not_know_is_named(target: Target) -> None:
    on(target, choose([(6, 1)], 580))
    outcome = target.play("cuda")
    assert outcome.rc != 0
    assert "cuda-keyring" in outcome.failure["msg"]
    assert target.shell("ls /opt/llmhost/cuda/12.9 2>/dev/null || true") == ""


def test_packages_of_nvidias_repository_are_found_under_the_same_name(target: Target) -> None:
    on(target, choose([(6, 1)], 580))
    target.bed.exec("sh", "-euc", REPOSITORY, "-", *NVIDIA.libraries, *NVIDIA.compiler)
    for entry in ("main", "compiler"):
        assert target.play("cuda", entry=entry).rc == 0
        assert target.play("cuda", entry=entry).changed == 0
    assert target.shell("ls /opt/llmhost/cuda/12.9/lib/libcudart.so.12 /opt/llmhost/cuda/12.9-compiler/bin/nvcc")


def test_removal_leaves_packages_and_nothing_else(target: Target) -> None:
    on(target, choose([(6, 1)], 580))
    assert target.play("cuda", entry="remove").changed == 1
    assert target.play("cuda", entry="remove").changed == 0
    assert target.shell("ls /opt/llmhost/cuda 2>/dev/null || true") == ""
    assert target.shell("ls /usr/local/cuda-12.9/bin/nvcc")
