"""The PCI Express link of a device: what it runs at, and what it and the slot could do."""

from __future__ import annotations

import os
from dataclasses import dataclass

from ansible_collections.llmhost.core.plugins.module_utils.files import read_word

_GENERATIONS = {1: 2.5, 2: 5.0, 3: 8.0, 4: 16.0, 5: 32.0, 6: 64.0}
# The kernel writes 0, 63 or 255 where a function has no link of its own, as virtual ones have not.
_WIDTHS = frozenset({1, 2, 4, 8, 12, 16, 32})


@dataclass(frozen=True)
class PcieLink:
    """Widths in lanes and speeds in GT/s; None where the kernel does not know.

    An idle GPU lowers its speed, never its width: judge the width by ``current_width`` and the speed by the lower of
    ``max_speed_gts`` and ``upstream_max_speed_gts``, which is the port that the device is plugged into.
    """

    current_width: int | None
    max_width: int | None
    current_speed_gts: float | None
    max_speed_gts: float | None
    upstream_max_width: int | None
    upstream_max_speed_gts: float | None

    @classmethod
    def from_sysfs(cls, function: str) -> PcieLink | None:
        """Return the link of the PCI function at the directory ``function``, or None when it has none."""
        upstream = os.path.dirname(os.path.realpath(function))
        link = cls(
            current_width=_width(function, "current_link_width"),
            max_width=_width(function, "max_link_width"),
            current_speed_gts=_speed(function, "current_link_speed"),
            max_speed_gts=_speed(function, "max_link_speed"),
            upstream_max_width=_width(upstream, "max_link_width"),
            upstream_max_speed_gts=_speed(upstream, "max_link_speed"),
        )
        return link if link.current_width or link.max_width else None

    @classmethod
    def from_generations(
        cls, width: int | None, max_width: int | None, generation: int | None, max_generation: int | None
    ) -> PcieLink | None:
        """Return the link that a driver tells of in generations, where the kernel shows none."""
        now, most = _GENERATIONS.get(generation or 0), _GENERATIONS.get(max_generation or 0)
        return cls(width, max_width, now, most, None, None) if width or max_width else None


def parse_speed(text: str) -> float | None:
    """Return the GT/s in ``16.0 GT/s PCIe`` (``8 GT/s`` before kernel 5.7), or None for ``Unknown``."""
    words = text.split()
    if len(words) < 2 or words[1] != "GT/s" or not words[0].isascii():
        return None
    try:
        speed = float(words[0])
    except ValueError:
        return None
    return speed if 0 < speed < 1000 else None


def _width(*parts: str) -> int | None:
    text = read_word(*parts)
    return int(text) if text in map(str, _WIDTHS) else None


def _speed(*parts: str) -> float | None:
    return parse_speed(read_word(*parts))
