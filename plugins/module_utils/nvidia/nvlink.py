"""The lists of ``nvidia-smi nvlink``: the links of each GPU, and what is at their other ends."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace

from ansible_collections.llmhost.core.plugins.module_utils.nvidia.gpu import NvLink
from ansible_collections.llmhost.core.plugins.module_utils.nvidia.smi_text import pci_address, plain

SWITCH = "switch"

_GPU = re.compile(r"\A\s*GPU ([0-9]{1,3}):", re.ASCII)
_LINK = re.compile(r"\A\s*Link ([0-9]{1,2})(?::|\s)\s*(.*?)\s*\Z", re.ASCII)
_RATE = re.compile(r"\A([0-9]{1,6}(?:\.[0-9]{1,6})?) GB/s\Z", re.ASCII)
_REMOTE = re.compile(r"\A(?:Remote Device )?([0-9a-fA-F:.]{12,16})(?:: Link [0-9]+)?\Z", re.ASCII)
_ASLEEP = "in sleep state"


def parse_status(text: str) -> dict[int, tuple[NvLink, ...]]:
    """Return the links of each GPU, from ``nvlink --status``; none for one that has none, or none that is active.

    A link that sleeps wakes when it is used, and counts as active.
    """
    links: dict[int, dict[int, NvLink]] = {}
    for gpu, link, said in _links(text):
        rate = _RATE.match(said)
        active = rate is not None or _ASLEEP in said.lower()
        links.setdefault(gpu, {})[link] = NvLink(link, active, gbs=float(rate[1]) if rate else None)
    return {gpu: tuple(found[number] for number in sorted(found)) for gpu, found in links.items()}


def parse_remotes(text: str) -> dict[tuple[int, int], str]:
    """Return the PCI address at the other end of each link, by GPU and link, from ``nvlink --remotelinkinfo``."""
    remotes = {}
    for gpu, link, said in _links(text):
        match = _REMOTE.match(said)
        address = pci_address(match[1]) if match else None
        if address:
            remotes[gpu, link] = address
    return remotes


def joined(
    links: tuple[NvLink, ...], gpu: int, remotes: Mapping[tuple[int, int], str], addresses: frozenset[str]
) -> tuple[NvLink, ...]:
    """Return the links of a GPU with their other ends: an address among those of the GPUs, or a switch."""
    return tuple(
        replace(link, remote=remote if remote in addresses else SWITCH)
        if link.active and (remote := remotes.get((gpu, link.link)))
        else link
        for link in links
    )


def links_between(first: tuple[NvLink, ...], second: tuple[NvLink, ...], second_address: str | None) -> int:
    """Return how many active links lead from one GPU to another, directly or by switches."""
    direct = sum(1 for link in first if link.active and link.remote is not None and link.remote == second_address)
    return direct or min(sum(1 for link in links if link.active and link.remote == SWITCH) for links in (first, second))


def _links(text: str) -> Iterator[tuple[int, int, str]]:
    """Yield the number of the GPU, the number of the link and what is said of it."""
    gpu = None
    for line in plain(text).splitlines():
        head, link = _GPU.match(line), _LINK.match(line)
        if head:
            gpu = int(head[1])
        elif link and gpu is not None:
            yield gpu, int(link[1]), link[2]
