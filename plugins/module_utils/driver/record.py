"""What llmhost did to the driver of a host, kept in /etc/llmhost/state/driver.json."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from ansible_collections.llmhost.core.plugins.module_utils.record import Record, section, texts


def _versions(record: Record, key: str) -> dict[str, str]:
    return {str(name): str(version) for name, version in section(record, key).items()}


@dataclass(frozen=True)
class Upgrade:
    """A change of the driver that is not proved: the versions before it, and the packages that came with it."""

    before: dict[str, str] = field(default_factory=dict)
    brought: tuple[str, ...] = ()

    def joined(self, before: Mapping[str, str], brought: Iterable[str]) -> Upgrade:
        """Return it after one more transaction; what was there first is the way back."""
        came = tuple(sorted({*self.brought, *brought} - set(self.before)))
        return Upgrade({**{name: v for name, v in before.items() if name not in self.brought}, **self.before}, came)


@dataclass(frozen=True)
class DriverRecord:
    """``brought``: packages that were not there before llmhost. ``held``: those that llmhost put on hold.

    ``good``: the packages of the driver as they were proved last, with their versions.
    """

    brought: tuple[str, ...] = ()
    held: tuple[str, ...] = ()
    good: dict[str, str] = field(default_factory=dict)
    upgrade: Upgrade | None = None

    @classmethod
    def from_dict(cls, data: Record) -> DriverRecord:
        """Read the record; an empty one says that nothing was done."""
        upgrade = section(data, "upgrade")
        return cls(
            brought=texts(data, "brought"),
            held=texts(data, "held"),
            good=_versions(data, "good"),
            upgrade=Upgrade(_versions(upgrade, "before"), texts(upgrade, "brought")) if upgrade else None,
        )

    def as_dict(self) -> dict[str, Any]:
        """Return what is kept."""
        return {key: value for key, value in asdict(self).items() if value}

    def with_brought(self, names: Iterable[str]) -> DriverRecord:
        """Return the record with packages that a transaction is about to bring."""
        return replace(self, brought=tuple(sorted({*self.brought, *names})))
