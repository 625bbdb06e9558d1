"""Remember what was read from facts, for runs that plan many models on many hosts."""

from __future__ import annotations

import marshal
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class FactsCache(Generic[T]):
    """``read`` called once for equal facts: the same object comes back, so that searches with it are done once."""

    def __init__(self, read: Callable[[Mapping[str, Any]], T], kept: int) -> None:
        """Keep the last ``kept`` results."""
        self._read = read
        self._kept = kept
        self._known: OrderedDict[bytes, T] = OrderedDict()

    def __call__(self, facts: Mapping[str, Any]) -> T:
        """Return what the facts say."""
        plain: Any = facts
        try:
            key = marshal.dumps(plain, 2)
        except ValueError:  # Ansible's own kinds of text, or facts that are no plain data
            return self._read(facts)
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = self._read(facts)
            while len(self._known) > self._kept:
                self._known.popitem(last=False)
        return found
