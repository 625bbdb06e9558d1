"""One tensor of a model that need not exist yet: its name and its lengths."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ModelTensor:
    """A tensor under the name that GGUF gives it (without the number of its block)."""

    name: str
    row: int  # the length along which it is quantised
    rows: int = 1
    depth: int = 1  # experts, or heads of the up-projections of latent attention
    dimensions: int = 2

    @property
    def elements(self) -> int:
        """Return how many numbers it holds."""
        return self.row * self.rows * self.depth


def vector(name: str, length: int) -> ModelTensor:
    """Return a tensor of one dimension."""
    return ModelTensor(name, length, dimensions=1)


def matrix(name: str, row: int, rows: int, depth: int | None = None) -> ModelTensor:
    """Return a tensor of two dimensions, or of three if it has a depth."""
    return ModelTensor(name, row, rows, 1 if depth is None else depth, 2 if depth is None else 3)
