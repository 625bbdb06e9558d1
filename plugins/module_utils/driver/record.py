"""What llmhost did to the driver of a host, kept in /etc/llmhost/state/driver.json."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from ansible_collections.llmhost.core.plugins.module_utils.record import Record, flag, section, texts


def _versions(record: Record, key: str) -> dict[str, str]:
    return {str(name): str(version) for name, version in section(record, key).items()}


@dataclass(frozen=True)
class Upgrade:
    """A change of the driver that is not proved: the versions before it, and the packages that came with it.

    ``changed`` are those that were there before and still are: what a change that was cut off has to be completed by.
    """

    before: dict[str, str] = field(default_factory=dict)
    brought: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()

    def joined(self, before: Mapping[str, str], brought: Iterable[str], changed: Iterable[str]) -> Upgrade:
        """Return it after one more transaction; what was there first is the way back."""
        came = tuple(sorted({*self.brought, *brought} - set(self.before)))
        first = {**{name: v for name, v in before.items() if name not in self.brought}, **self.before}
        gone = set(before) - set(changed)
        still = ({*self.changed, *changed} & set(first)) - gone
        return Upgrade(first, tuple(name for name in came if name not in gone), tuple(sorted(still)))


@dataclass(frozen=True)
class DriverRecord:
    """``brought``: packages that were not there before llmhost. ``held``: those that llmhost put on hold.

    ``named``: those of the brought that llmhost asked for by name, so that apt takes them for somebody's wish.
    ``good``: the packages of the driver as they were proved last, with their versions. ``kept``: the driver was there
    before, and what is recorded came beside it.
    """

    brought: tuple[str, ...] = ()
    named: tuple[str, ...] = ()
    kept: bool = False
    held: tuple[str, ...] = ()
    good: dict[str, str] = field(default_factory=dict)
    upgrade: Upgrade | None = None

    @classmethod
    def from_dict(cls, data: Record) -> DriverRecord:
        """Read the record; an empty one says that nothing was done."""
        upgrade = section(data, "upgrade")
        return cls(
            brought=texts(data, "brought"),
            named=texts(data, "named"),
            kept=flag(data, "kept"),
            held=texts(data, "held"),
            good=_versions(data, "good"),
            upgrade=Upgrade(_versions(upgrade, "before"), texts(upgrade, "brought"), texts(upgrade, "changed"))
            if upgrade
            else None,
        )

    def as_dict(self) -> dict[str, Any]:
        """Return what is kept."""
        return {key: value for key, value in asdict(self).items() if value}

    def with_brought(self, names: Iterable[str], asked: Iterable[str]) -> DriverRecord:
        """Return the record with packages that a transaction is about to bring, and what was asked for by name."""
        brought = {*self.brought, *names}
        named = {*self.named, *asked} & brought
        return replace(self, brought=tuple(sorted(brought)), named=tuple(sorted(named)))

    def without(self, names: Iterable[str]) -> DriverRecord:
        """Return the record without packages that are gone, or never came."""
        gone = set(names)
        brought, named = (tuple(name for name in kept if name not in gone) for kept in (self.brought, self.named))
        return replace(self, brought=brought, named=named)
