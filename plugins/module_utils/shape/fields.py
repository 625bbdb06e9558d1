"""The fields of a model's metadata, each checked before it is believed: nothing in a header can be trusted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.llmhost.core.plugins.module_utils.model.model_error import ModelError

MAX_LENGTH = 2**32
"""No length of a model comes near it; what is larger is a broken or a lying header."""

MAX_NAMED = 4  # doubts of one kind that are spelled out


class Fields:
    """Numbers, flags and lists by name. ``doubts`` collects what was read, but not as it ought to be."""

    def __init__(self, where: str, values: Mapping[str, Any]) -> None:
        """Take the values; ``where`` is what a person calls their source."""
        self.where = where
        self.doubts: list[str] = []
        self._values = values

    def __contains__(self, key: str) -> bool:
        """Say whether there is a value that is not null."""
        return self._values.get(key) is not None

    def names(self) -> list[str]:
        """Return all names that have a value."""
        return [key for key, value in self._values.items() if value is not None]

    def raw(self, key: str) -> Any:
        """Return the value as it is, or None."""
        return self._values.get(key)

    def text(self, key: str) -> str:
        """Return a string, else nothing."""
        value = self._values.get(key)
        return value if isinstance(value, str) else ""

    def flag(self, key: str, default: bool = False) -> bool:
        """Return a boolean, or a number that stands for one."""
        value = self._values.get(key)
        return default if value is None else bool(value) if isinstance(value, (bool, int, float)) else default

    def number(self, key: str, default: int = 0, limit: int = MAX_LENGTH) -> int:
        """Return a whole number from 0 to ``limit``; of a list the largest one. Raise ModelError for anything else."""
        value = self._values.get(key)
        if value is None:
            return default
        if isinstance(value, (list, tuple)):
            return max((self._checked(key, entry, limit) for entry in value if entry is not None), default=default)
        return self._checked(key, value, limit)

    def first(self, *keys: str, default: int = 0) -> int:
        """Return the number of the first name that has one."""
        for key in keys:
            if key in self:
                return self.number(key)
        return default

    def required(self, *keys: str, limit: int = MAX_LENGTH) -> int:
        """Return the first number that is there, and not zero; raise ModelError if there is none."""
        for key in keys:
            found = self.number(key, limit=limit)
            if found:
                return found
        raise ModelError(
            "model.invalid", f"{self.where} does not describe a language model: it has no {keys[0]}",
            "Choose another file.",
        )  # fmt: skip

    def by_layer(self, key: str, count: int, default: int = 0) -> tuple[int, ...]:
        """Return ``count`` numbers: one for all layers, or a list with one for each.

        A list of another length is cut, or filled up with its largest number, and leaves a doubt.
        """
        value = self._values.get(key)
        if not isinstance(value, (list, tuple)):
            return (self.number(key, default),) * count
        numbers = [self._checked(key, 0 if entry is None else entry, MAX_LENGTH) for entry in value[:count]]
        if len(value) != count:
            self.doubts.append(f"{key} has {len(value)} values for {count} layers")
        return (*numbers, *(max(numbers, default=default),) * (count - len(numbers)))

    def _checked(self, key: str, value: Any, limit: int) -> int:
        number = int(value) if isinstance(value, float) and value.is_integer() else value
        if not isinstance(number, int):
            raise self.invalid(f"{key} is {str(value)[:40]!r} and not a whole number")
        if not 0 <= number <= limit:
            raise self.invalid(f"{key} is {number if abs(number) < 2**64 else 'huge'}")
        return int(number)

    def invalid(self, reason: str) -> ModelError:
        """Return the error for a value that cannot be true."""
        return ModelError("model.invalid", f"{self.where} is not sound: {reason}", "Choose or fetch another file.")
