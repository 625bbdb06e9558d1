"""The beds' arithmetic and promises that need no container."""

from __future__ import annotations

import itertools

import pytest

from tests.tools import bed as bed_module
from tests.tools.bed import Bed, parse_size


@pytest.mark.parametrize(
    ("text", "size_bytes"), [("0", 0), ("512", 512), ("64 MiB", 64 << 20), ("2G", 2 << 30), (" 1 TiB ", 1 << 40)]
)
def test_sizes_are_binary(text: str, size_bytes: int) -> None:
    assert parse_size(text) == size_bytes


@pytest.mark.parametrize("text", ["", "1.5 GiB", "-1", "1 PiB", "GiB"])
def test_other_sizes_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a size"):
        parse_size(text)


@pytest.mark.parametrize("bed", [Bed("x"), Bed("x", swap=True, loops=True)])
def test_no_bed_is_privileged(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Bed, "_security", lambda self: [])
    arguments = bed._run_arguments("image")
    assert "--privileged" not in arguments
    assert [after for word, after in itertools.pairwise(arguments) if word == "--cap-add"] == ["SYS_ADMIN"]


def test_the_filter_for_system_calls_is_replaced_only_for_swap(monkeypatch: pytest.MonkeyPatch) -> None:
    class Answer:
        stdout = "[name=apparmor name=seccomp,profile=default]"

    monkeypatch.setattr(bed_module, "docker", lambda *args, **options: Answer)
    assert Bed("x")._security() == ["--security-opt", "apparmor=unconfined"]
    assert any(option.endswith("seccomp.json") for option in Bed("x", swap=True)._security())
