"""What the user wants: the ``llmhost_*`` variables, checked and turned into values that the planner can use."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.llmhost.core.plugins.module_utils import record
from ansible_collections.llmhost.core.plugins.module_utils.finding import Finding, error
from ansible_collections.llmhost.core.plugins.module_utils.plan.driver_schema import FLAVOURS, SOURCES
from ansible_collections.llmhost.core.plugins.module_utils.size import SizeError, parse_size

PREFIX = "llmhost_"
AUTO = "auto"
NO_DISK = "none"

DEFAULTS: dict[str, Any] = {
    "tier": "custom",
    "requirements": {},
    "model": "",
    "model_revision": "main",
    "accelerator": "auto",
    "cpu_level": "auto",
    "engine": "auto",
    "context": "auto",
    "parallel": "1",
    "kv_cache_type": "auto",
    "storage_devices": AUTO,
    "claim_disks": AUTO,
    "overwrite_unrecognised": False,
    "storage_path": "/srv/llmhost",
    "storage_filesystem": "ext4",
    "swap": "auto",
    "swap_max": "64 GiB",
    "gpus": [],
    "driver_source": "auto",
    "driver_branch": "auto",
    "driver_flavour": "auto",
    "gpu_power_limit": "auto",
    "container_toolkit": False,
    "allow_reboot": "auto",
    "listen_host": "127.0.0.1",
    "listen_port": 8080,
    "api_users": [],
    "hub_endpoint": "https://huggingface.co",
    "hub_token": "",
    "proxy": {},
    "ca_certificates": [],
    "archive_dir": "",
    "download_stall_seconds": 60,
    "plan_hardware": "",
    "plan_models": [],
    "plan_output": "",
}
"""Every variable that a user may set, without its prefix. ``roles/llmhost`` documents the same list."""

FACTS = frozenset({"llmhost_plan"})
"""Names that llmhost itself sets while it runs."""

# A prefix that playbooks other than site.yml (remove, acceptance) and test beds use for their own switches.
_OTHER_PLAYBOOKS = ("llmhost_remove_", "llmhost_acceptance_", "llmhost_bed_")

# What a variable of an earlier release is called now.
_RENAMED = {"storage_disk": "storage_devices"}

_CHOICES = {
    "accelerator": ("auto", "nvidia", "cpu"),
    "cpu_level": ("auto", "x86-64-v2", "x86-64-v3", "x86-64-v4"),
    "driver_source": ("auto", *SOURCES),
    "driver_flavour": ("auto", *FLAVOURS),
    "engine": ("auto", "llama_cpp", "vllm"),
    "kv_cache_type": ("auto", "f16", "q8_0", "q4_0", "fp8"),
    "storage_filesystem": ("ext4", "xfs"),
}
_BOOLEANS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
_LEAST_CONTEXT = 256


@dataclass(frozen=True)
class Intent:
    """The wanted host. A size or number of None means that the planner chooses.

    ``storage_devices`` are the names of disks that the user gave: None leaves the choice to the planner, none at all
    asks for a directory. ``claim_disks`` of None allows a claim where it is safe to, ``allow_reboot`` of None a reboot
    of any machine but the one that runs Ansible.
    """

    tier: str
    requirements: Mapping[str, Any]
    model: str
    accelerator: str
    cpu_level: str
    engine: str
    context: int | None
    parallel: int | None
    kv_cache_type: str | None
    storage_devices: tuple[str, ...] | None
    claim_disks: bool | None
    overwrite_unrecognised: bool
    storage_path: str
    storage_filesystem: str
    swap_bytes: int | None
    swap_max_bytes: int
    gpus: tuple[str, ...]
    driver_source: str
    driver_branch: str | None
    driver_flavour: str | None
    power_limit_watts: int | None
    container_toolkit: bool
    allow_reboot: bool | None
    listen_host: str
    listen_port: int
    endpoint: str
    stall_seconds: int
    proxy: Mapping[str, Any] = field(default_factory=dict)
    ca_certificates: tuple[str, ...] = ()

    @property
    def storage_path_is_default(self) -> bool:
        """Whether the planner may put the models elsewhere."""
        return self.storage_path == str(DEFAULTS["storage_path"])


def read_intent(variables: Mapping[str, Any]) -> tuple[Intent, list[Finding]]:
    """Return the intent and an error for every variable that is unknown or has no usable value.

    A variable that cannot be used keeps its default, so that the rest of the plan is still worth reading.
    """
    reader = _Reader({_without_prefix(name): value for name, value in variables.items()})
    intent = Intent(
        tier=reader.text("tier"),
        requirements=record.section(reader.values, "requirements"),
        model=reader.text("model"),
        accelerator=reader.choice("accelerator"),
        cpu_level=reader.choice("cpu_level"),
        context=None if reader.is_auto("context") else reader.number("context", _LEAST_CONTEXT, 2**31),
        engine=reader.choice("engine"),
        parallel=None if reader.is_auto("parallel") else reader.number("parallel", 1, 256) or 1,
        kv_cache_type=reader.optional_choice("kv_cache_type"),
        storage_devices=reader.names("storage_devices"),
        claim_disks=None if reader.is_auto("claim_disks") else reader.boolean("claim_disks"),
        overwrite_unrecognised=bool(reader.boolean("overwrite_unrecognised")),
        storage_path=reader.path("storage_path"),
        storage_filesystem=reader.choice("storage_filesystem"),
        swap_bytes=None if reader.is_auto("swap") else reader.size("swap"),
        swap_max_bytes=reader.size("swap_max") or 0,
        gpus=reader.texts("gpus"),
        driver_source=reader.choice("driver_source"),
        driver_branch=reader.branch("driver_branch"),
        driver_flavour=reader.optional_choice("driver_flavour"),
        power_limit_watts=None if reader.is_auto("gpu_power_limit") else reader.number("gpu_power_limit", 25, 5000),
        container_toolkit=bool(reader.boolean("container_toolkit")),
        allow_reboot=None if reader.is_auto("allow_reboot") else reader.boolean("allow_reboot"),
        listen_host=reader.text("listen_host"),
        listen_port=reader.number("listen_port", 1, 65535) or int(DEFAULTS["listen_port"]),
        endpoint=reader.text("hub_endpoint").rstrip("/"),
        stall_seconds=reader.number("download_stall_seconds", 1, 86400) or 60,
        proxy={key: value for key, value in sorted(record.section(reader.values, "proxy").items()) if value},
        ca_certificates=record.texts(reader.values, "ca_certificates"),
    )
    if not intent.model:
        remedy = "Set llmhost_model, for example to Qwen/Qwen3-32B-GGUF:Q4_K_M."
        reader.findings.append(
            error("variable.missing", "llmhost_model is not set: there is no model to serve.", remedy)
        )
    return intent, _unknown(variables) + reader.findings


class _Reader:
    """Reads variables one by one and collects what is wrong with them."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.values = {**DEFAULTS, **values}
        self.findings: list[Finding] = []

    def text(self, name: str) -> str:
        value = self.values[name]
        if not isinstance(value, str):
            return str(self._refuse(name, "a text"))
        return value.strip()

    def path(self, name: str) -> str:
        value = self.text(name)
        if not value.startswith("/") or value.rstrip("/") == "" or ".." in value.split("/"):
            return str(self._refuse(name, "an absolute path below /, such as /srv/llmhost"))
        return value.rstrip("/")

    def choice(self, name: str) -> str:
        value = self.values[name]
        if not isinstance(value, str) or value not in _CHOICES[name]:
            return str(self._refuse(name, f"one of {', '.join(_CHOICES[name])}"))
        return str(value)

    def optional_choice(self, name: str) -> str | None:
        chosen = self.choice(name)
        return None if chosen == "auto" else chosen

    def is_auto(self, name: str) -> bool:
        return str(self.values[name]) == "auto"

    def number(self, name: str, least: int, most: int) -> int | None:
        value = self.values[name]
        # A variable given as -e name=value arrives as text.
        if isinstance(value, str) and value.strip().isascii() and value.strip().isdigit() and len(value) < 20:
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            default = str(self._refuse(name, f"a whole number from {least} to {most}"))
            return int(default) if default.isdigit() else None
        return value

    def boolean(self, name: str) -> bool | None:
        # A variable given as -e name=value arrives as text.
        value = _BOOLEANS.get(str(self.values[name]).strip().lower())
        if value is None:
            default = self._refuse(name, "true or false")
            return default if isinstance(default, bool) else None
        return value

    def branch(self, name: str) -> str | None:
        """Return a branch of the driver, 580 or 580-server; None for auto."""
        value = str(self.values[name]).strip()
        if value == "auto":
            return None
        # YAML reads a bare 580 as a number.
        if isinstance(self.values[name], bool) or not re.fullmatch(r"[1-9]\d{2}(-server)?", value, re.ASCII):
            self._refuse(name, "auto, or a branch such as 580 or 580-server")
            return None
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        """Return a list of texts, given as one or as a text with commas."""
        return self._texts(name, "a list of texts") or ()

    def _texts(self, name: str, wanted: str) -> tuple[str, ...] | None:
        value = self.values[name]
        given = value.split(",") if isinstance(value, str) else value
        if not isinstance(given, (list, tuple)) or not all(isinstance(entry, str) for entry in given):
            self._refuse(name, wanted)
            return None
        return tuple(filter(None, (entry.strip() for entry in given)))

    def names(self, name: str) -> tuple[str, ...] | None:
        """Return a list of names, given as one or as a text with commas; None for auto."""
        names = self._texts(name, "a list of texts; a serial number of digits alone needs quotes")
        if names is None:
            return None
        if not names:
            self._refuse(name, f"{AUTO}, {NO_DISK}, or the names of disks")
            return None
        if names == (AUTO,):
            return None
        return () if names == (NO_DISK,) else names

    def size(self, name: str) -> int | None:
        try:
            return parse_size(self.values[name])
        except SizeError as reason:
            self._add(name, str(reason))
            return None if DEFAULTS[name] == "auto" else parse_size(DEFAULTS[name])

    def _refuse(self, name: str, wanted: str) -> Any:
        self._add(name, f"{self.values[name]!r} is not {wanted}")
        return DEFAULTS[name]

    def _add(self, name: str, reason: str) -> None:
        remedy = f"Correct {PREFIX}{name} in the inventory; its default is {DEFAULTS[name]!r}."
        self.findings.append(error("variable.invalid", f"{PREFIX}{name}: {reason}.", remedy))


def _without_prefix(name: str) -> str:
    return name[len(PREFIX) :] if name.startswith(PREFIX) else name


def _unknown(variables: Mapping[str, Any]) -> list[Finding]:
    """Return an error for every name that nobody reads, with the nearest one that somebody does."""
    findings = []
    for name in sorted(variables):
        short = _without_prefix(name)
        if short in _RENAMED:
            now = PREFIX + _RENAMED[short]
            findings.append(error("variable.renamed", f"{name} is called {now} now.", f"Set {now} to what it was."))
            continue
        if short in DEFAULTS or name in FACTS or name.startswith(_OTHER_PLAYBOOKS):
            continue
        near = difflib.get_close_matches(short, DEFAULTS, n=1)
        remedy = (
            f"Did you mean {PREFIX}{near[0]}?" if near else "See inventories/common/group_vars/all.yml for the names."
        )
        findings.append(error("variable.unknown", f"{name} is not a variable of llmhost.", remedy))
    return findings
