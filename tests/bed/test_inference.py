"""The role inference on a small server: it builds or installs, serves, restarts once, and survives what kills it.

The first run on a machine compiles llama.cpp (some minutes on two cores); the archive then stays in .cache/archives.
"""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai
import pytest
from ansible_collections.llmhost.core.plugins.module_utils.plan.cpu_build import cmake_options
from ansible_collections.llmhost.core.plugins.module_utils.plan.runtime_plan import PROVIDER, VERSION, archive_name
from openai.types.chat import ChatCompletionMessageParam

from tests.bed.runtime import CPU_LEVEL, facts_of
from tests.tools.bed import CACHE, CHECKOUT, Bed
from tests.tools.make_model import main as make_model

STORE = CACHE / "archives"
CERTIFICATES = Path("/usr/local/share/ca-certificates")
MODEL = "/srv/llmhost/models/nonsense.gguf"
KEY_FILE = "/etc/llmhost/credentials/api_key"
PLAYBOOK = """
- name: Serve in the bed
  hosts: all
  tasks:
    - name: Trust what this machine trusts
      ansible.builtin.include_role: {name: llmhost.core.egress}
    - name: Install
      ansible.builtin.include_role: {name: llmhost.core.inference, tasks_from: install}
    - name: Serve
      ansible.builtin.include_role: {name: llmhost.core.inference}
"""
REMOVAL = """
- name: Remove from the bed
  hosts: all
  tasks:
    - name: Remove
      ansible.builtin.include_role: {name: llmhost.core.inference, tasks_from: remove}
"""


@dataclass(frozen=True)
class Run:
    """How a playbook ended."""

    rc: int
    text: str

    def count(self, word: str) -> int:
        """Return a number of the recap."""
        found = re.findall(rf"\b{word}=(\d+)", self.text)
        return int(found[-1]) if found else -1


@dataclass(frozen=True)
class Host:
    """A bed with a model, and the playbooks to run against it."""

    bed: Bed
    folder: Path
    cmake: dict[str, str]
    archive: str

    def plan(self, **changes: Any) -> dict[str, Any]:
        """Return a plan as the role llmhost makes it, as far as the role reads it."""
        host, port = changes.get("host", "127.0.0.1"), changes.get("port", 8080)
        arguments = ["--model", changes.get("model", MODEL), "--alias", '100 % "nonsense" $HOME ; \\', "--host", host]
        arguments += ["--port", str(port), "--ctx-size", str(changes.get("context", 2048)), "--parallel", "1"]
        arguments += ["--threads", "2", "--threads-batch", "2", "--fit", "off", "--jinja", "--no-ui", "--offline"]
        runtime = {"provider": PROVIDER, "version": VERSION, "archive": self.archive, "cmake": self.cmake}
        return {
            "accelerator": changes.get("accelerator", "cpu"),
            "placement": {"gpus": [0] if changes.get("accelerator") else []},
            "memory": {"weights_bytes": 36000000},
            "host_memory": {"read_ahead": True},
            "cache": {"path": "/srv/llmhost/models", "model_path": changes.get("model", MODEL)},
            "storage": {"kind": "directory", "path": "/srv/llmhost"},
            "swap": {"path": "/srv/llmhost/swapfile", "size_bytes": 0},
            "runtime": {**runtime, "host": host, "port": port, "memory_max_bytes": 4 * 2**30, "arguments": arguments},
        }

    def start(self, text: str, *options: str, store: Path = STORE, **changes: Any) -> subprocess.Popen[str]:
        """Start a playbook."""
        variables = {
            "llmhost_plan": self.plan(**changes),
            "llmhost_archive_dir": str(store),
            "llmhost_ca_certificates": [str(path) for path in sorted(CERTIFICATES.glob("*.crt"))],
            "llmhost_api_users": changes.get("users", []),
        }
        (self.folder / "play.yml").write_text(text)
        (self.folder / "variables.json").write_text(json.dumps(variables))
        command = [str(Path(sys.executable).parent / "ansible-playbook"), str(self.folder / "play.yml")]
        command += ["-i", f"{self.bed.name},", "-c", "community.docker.docker", "-e", f"@{self.folder}/variables.json"]
        return subprocess.Popen(
            [*command, *options],
            cwd=CHECKOUT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, text: str = PLAYBOOK, *options: str, store: Path = STORE, **changes: Any) -> Run:
        """Run a playbook to its end."""
        process = self.start(text, *options, store=store, **changes)
        output, _ = process.communicate()
        return Run(process.returncode, output)

    def converge(self, **changes: Any) -> Run:
        """Run a playbook that must succeed."""
        done = self.run(**changes)
        assert done.rc == 0, done.text
        return done

    def pid(self) -> str:
        """Return the process of the service."""
        return self.bed.shell("systemctl show -P MainPID llmhost-inference 2>/dev/null || true").strip()

    def arguments(self) -> list[str]:
        """Return what the process of the service was started with."""
        return self.bed.shell(f"cat /proc/{self.pid()}/cmdline").split("\0")[:-1]

    def client(self) -> openai.OpenAI:
        """Return the real client, from outside."""
        address = self.bed.shell("hostname -I").split()[0]
        key = self.bed.shell(f"cat {KEY_FILE}").strip()
        return openai.OpenAI(base_url=f"http://{address}:8080/v1", api_key=key, max_retries=0, timeout=60)


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    folder = tmp_path_factory.mktemp("inference")
    model = folder / "nonsense.gguf"
    make_model([str(model), "--preset", "demo"])
    with Bed("llmhost-bed-inference").running() as bed:
        bed.put(model, MODEL)
        bed.shell(
            "useradd --system llmhost-models; chmod 640 /srv/llmhost/models/*; chmod 750 /srv/llmhost/models;"
            "chown -R llmhost-models: /srv/llmhost/models"
        )
        facts = facts_of(bed)
        cmake = cmake_options(facts, CPU_LEVEL)
        yield Host(bed, folder, cmake, archive_name(facts, cmake))


def test_check_mode_on_an_empty_host_changes_nothing(host: Host, tmp_path: Path) -> None:
    done = host.run(PLAYBOOK, "--check", store=tmp_path)
    assert done.rc == 0, done.text
    assert host.bed.shell("ls -d /etc/llmhost* /opt/llmhost /var/cache/llmhost* 2>/dev/null || true") == ""
    assert list(tmp_path.iterdir()) == []


def test_first_run_serves(host: Host) -> None:
    done = host.converge()
    if "Wait for the build" in done.text:
        assert re.search(r"llmhost-runtime-build  compile: \d+/\d+", done.text), done.text
    assert (STORE / f"{host.archive}.tar.gz.sha256").exists()
    assert host.arguments()[3:] == host.plan()["runtime"]["arguments"]
    manifest = json.loads(host.bed.shell("cat /opt/llmhost/llama_cpp/current/manifest.json"))
    assert manifest["version"] == VERSION
    assert manifest["cmake"] == host.cmake


def test_second_run_changes_nothing_with_few_tasks(host: Host) -> None:
    pid = host.pid()
    done = host.converge()
    assert done.count("changed") == 0, done.text
    tasks = re.findall(r"^TASK \[llmhost\.core\.inference : ", done.text, re.MULTILINE)
    assert len(tasks) <= 13, done.text
    assert host.pid() == pid
    assert host.run(PLAYBOOK, "--check").count("changed") == 0


def test_key_is_for_root_alone_and_stands_nowhere_else(host: Host) -> None:
    assert host.bed.shell(f"stat -c '%a %U %G' {KEY_FILE}").strip() == "600 root root"
    assert host.bed.shell("stat -c '%a' /etc/llmhost/credentials /etc/llmhost").split() == ["700", "750"]
    key = host.bed.shell(f"cat {KEY_FILE}").strip()
    assert len(key) == 43
    assert key not in " ".join(host.arguments())
    assert key not in host.bed.shell("journalctl --no-pager -o export; systemctl show llmhost-inference")


def test_sandbox_is_tight(host: Host) -> None:
    score = host.bed.shell("systemd-analyze security --no-pager llmhost-inference | tail -1")
    assert float(re.findall(r"\d+\.\d", score)[0]) <= 2.0


def test_changed_address_restarts_once_and_the_real_client_talks_to_it(host: Host) -> None:
    host.bed.shell("journalctl --rotate --vacuum-time=1s 2>/dev/null")
    assert host.converge(host="0.0.0.0").count("changed") == 1
    starts = host.bed.shell("journalctl -o cat --no-pager -u llmhost-inference | grep -c '^Started' || true")
    assert starts.strip() == "1"

    client = host.client()
    question: list[ChatCompletionMessageParam] = [{"role": "user", "content": "How are you?"}]
    answer = client.chat.completions.create(model="nonsense", messages=question, max_tokens=16)
    assert answer.choices[0].message.content
    stream = client.chat.completions.create(model="nonsense", messages=question, max_tokens=16, stream=True)
    assert sum(bool(chunk.choices and chunk.choices[0].delta.content) for chunk in stream) > 1
    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key="wrong").models.list()


def test_people_named_read_a_copy_and_only_they(host: Host) -> None:
    host.bed.shell("useradd alice; useradd bob")
    host.converge(users=["alice"])
    read = "su -s /bin/sh {} -c 'cat /etc/llmhost-api/api_key'"
    assert host.bed.shell(read.format("alice")) == host.bed.shell(f"cat {KEY_FILE}")
    assert host.bed.exec("sh", "-c", read.format("bob"), check=False).returncode != 0
    host.converge()
    assert host.bed.shell("getent group llmhost-api || ls -d /etc/llmhost-api 2>/dev/null || echo gone") == "gone\n"
    assert "mallory" in host.run(users=["mallory"]).text


def test_a_port_that_is_taken_is_named(host: Host) -> None:
    host.bed.shell("systemd-run --unit=squatter --quiet python3 -m http.server --bind 127.0.0.1 8081; sleep 1")
    done = host.run(port=8081)
    assert done.rc != 0
    assert "port 8081 of 127.0.0.1 is taken by a process of user root" in done.text
    host.bed.shell("systemctl stop squatter")


def test_a_server_that_dies_shows_its_journal_at_once(host: Host) -> None:
    begun = time.monotonic()
    done = host.run(model="/srv/llmhost/models/absent.gguf")
    assert done.rc != 0
    assert "llmhost-inference died while it started" in done.text
    assert "absent.gguf" in done.text.split("died while it started")[1]
    assert time.monotonic() - begun < 30
    host.converge()


@pytest.mark.parametrize("seed", range(5))
def test_a_run_killed_at_any_moment_is_made_good(host: Host, seed: int) -> None:
    context = 1024 + 256 * seed
    process = host.start(PLAYBOOK, context=context)
    time.sleep(random.Random(seed).uniform(0.5, 4.5))
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    host.converge(context=context)
    assert str(context) in host.arguments()
    assert host.converge(context=context).count("changed") == 0


def test_a_damaged_program_is_repaired(host: Host) -> None:
    host.bed.shell(f"printf x >> /opt/llmhost/llama_cpp/{host.archive}/bin/llama-bench")
    host.converge()
    assert host.bed.shell("/opt/llmhost/llama_cpp/current/bin/llama-bench --help | wc -l").strip() != "0"


def test_a_damaged_archive_is_refused(host: Host, tmp_path: Path) -> None:
    (tmp_path / f"{host.archive}.tar.gz").write_bytes(b"damaged")
    (tmp_path / f"{host.archive}.tar.gz.sha256").write_text(f"{'0' * 64}  {host.archive}.tar.gz\n")
    host.bed.shell(
        f"printf x >> /opt/llmhost/llama_cpp/{host.archive}/bin/llama-bench; rm -rf /var/cache/llmhost*/*.tar.gz"
    )
    done = host.run(store=tmp_path)
    assert done.rc != 0
    assert "Delete both files and run again" in done.text


def test_without_its_gpus_nothing_is_served_and_the_reason_is_told(host: Host) -> None:
    done = host.run(accelerator="nvidia")
    assert done.rc != 0
    assert "cannot reach its GPUs: " in done.text.split("died while it started")[1]
    assert host.pid() == "0", "it does not serve from the CPU instead"
    host.converge()


def test_remove_leaves_the_models_and_nothing_else(host: Host) -> None:
    done = host.run(REMOVAL)
    assert done.rc == 0, done.text
    left = "find /etc /opt/llmhost /var/cache -path /etc/ssl -prune -o -name '*llm*' -print 2>/dev/null"
    assert set(host.bed.shell(f"{left} || true").split()) <= {"/etc/llmhost", "/opt/llmhost"}
    assert host.bed.shell("getent passwd llmhost-inference || echo gone") == "gone\n"
    assert host.bed.shell(f"ls {MODEL}")
    assert host.run(REMOVAL).count("changed") == 0
