"""The runtime in a bed: the archive that the role inference would install there, built by the role if nobody has.

The first build on a machine takes some minutes on two cores, for GPUs most of an hour; the archive then stays in
.cache/archives. Virtual machines install it from there: under emulation a build takes hours. As a command, this prints
where the archive is.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

from ansible_collections.llmhost.core.plugins.module_utils.plan.cpu_build import cmake_options
from ansible_collections.llmhost.core.plugins.module_utils.plan.cuda_plan import NO_CUDA, CudaPlan
from ansible_collections.llmhost.core.plugins.module_utils.plan.host_facts import HostFacts
from ansible_collections.llmhost.core.plugins.module_utils.plan.runtime_plan import VERSION, archive_name, build_options

from tests.tools.bed import CACHE, CHECKOUT, Bed

STORE = CACHE / "archives"
# That of inventories/demo: every bed, container or machine, then installs the same archive.
CPU_LEVEL = "x86-64-v3"
CERTIFICATES = Path("/usr/local/share/ca-certificates")
INSTALL = """
- name: Install in the bed
  hosts: all
  tasks:
    - name: Trust what this machine trusts
      ansible.builtin.include_role: {name: llmhost.core.egress}
    - name: Bring the libraries of CUDA
      ansible.builtin.include_role: {name: llmhost.core.cuda}
      when: llmhost_plan.cuda is not none
    - name: Install
      ansible.builtin.include_role: {name: llmhost.core.inference, tasks_from: install}
"""


def facts_of(bed: Bed) -> HostFacts:
    """Return what the plan knows of the bed, so that the archive is the one that a whole run would want."""
    command = [str(Path(sys.executable).parent / "ansible"), "all", "-i", f"{bed.name},"]
    command += ["-m", "llmhost.core.host_info", "-c", "community.docker.docker", "--tree", str(bed.directory)]
    subprocess.run(command, cwd=CHECKOUT, check=True, capture_output=True)
    return HostFacts.from_facts(json.loads((bed.directory / bed.name).read_text())["host"])


def stored_archive() -> Path:
    """Return the archive for machines of this one's architecture; build it in a bed of its own if nobody has."""
    jammy = {"distribution": {"codename": "jammy"}, "kernel": {"architecture": platform.machine()}}
    facts = HostFacts.from_facts(jammy)
    path = STORE / f"{archive_name(facts, cmake_options(facts, CPU_LEVEL))}.tar.gz"
    if path.exists():
        return path
    print("building the runtime in a container (some minutes, once)", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory() as folder, Bed(f"llmhost-runtime-{os.getpid()}").running() as bed:
        return archive(bed, Path(folder))


def archive(bed: Bed, folder: Path, cuda: CudaPlan = NO_CUDA) -> Path:
    """Return the archive of the runtime for a bed; build it there if nobody has."""
    facts = facts_of(bed)
    cmake = build_options(facts, CPU_LEVEL, cuda)
    name = archive_name(facts, cmake, cuda)
    path = STORE / f"{name}.tar.gz"
    if not path.exists():
        install(bed, folder, name, cmake, cuda)
    return path


def install(bed: Bed, folder: Path, name: str, cmake: dict[str, str], cuda: CudaPlan = NO_CUDA) -> None:
    """Let the roles bring the runtime of this name to a bed, and what it is linked to."""
    runtime = {"provider": "llama_cpp", "version": VERSION, "archive": name, "cmake": cmake, "arguments": []}
    plan = {"accelerator": "cpu", "memory": {"weights_bytes": 0}, "cache": {"path": "/srv/llmhost/models"}}
    _install(bed, folder, {**plan, "cuda": cuda.as_dict(), "runtime": {**runtime, "host": "127.0.0.1", "port": 8080}})


def _install(bed: Bed, folder: Path, plan: dict[str, object]) -> None:
    variables = {
        "llmhost_plan": plan,
        "llmhost_archive_dir": str(STORE),
        "llmhost_ca_certificates": [str(path) for path in sorted(CERTIFICATES.glob("*.crt"))],
    }
    (folder / "install.yml").write_text(INSTALL)
    (folder / "install.json").write_text(json.dumps(variables))
    command = [str(Path(sys.executable).parent / "ansible-playbook"), str(folder / "install.yml")]
    command += ["-i", f"{bed.name},", "-c", "community.docker.docker", "-e", f"@{folder}/install.json"]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


if __name__ == "__main__":
    print(stored_archive())
