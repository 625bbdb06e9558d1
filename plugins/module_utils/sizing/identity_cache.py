"""Remember what was computed from an object, by the object itself: hashing a model's shape costs more than using it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class IdentityCache(Generic[K, V]):
    """The results of ``compute`` for the objects used last. It keeps those alive, so that an id stays theirs."""

    def __init__(self, compute: Callable[[K], V], size: int = 512) -> None:
        """Compute with that function; keep ``size`` results."""
        self._compute = compute
        self._size = size
        self._entries: OrderedDict[int, tuple[K, V]] = OrderedDict()

    def __call__(self, key: K) -> V:
        """Return the result for that very object."""
        found = self._entries.get(id(key))
        if found is not None:
            return found[1]
        result = self._compute(key)
        self._entries[id(key)] = (key, result)
        while len(self._entries) > self._size:
            self._entries.popitem(last=False)
        return result
