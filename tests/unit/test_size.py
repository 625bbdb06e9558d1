"""What people type as a size becomes bytes, in one place."""

from __future__ import annotations

import contextlib

import pytest
from ansible_collections.llmhost.core.plugins.module_utils.size import (
    GIB,
    SizeError,
    format_gib,
    parse_size,
    round_down,
    round_up,
)
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("typed", "size_bytes"),
    [
        (0, 0),
        ("0", 0),
        (4096, 4096),
        ("4096", 4096),
        ("24 GB", 24_000_000_000),
        ("24GB", 24_000_000_000),
        ("24 gb", 24_000_000_000),
        ("64GiB", 64 * GIB),
        (" 64 GiB ", 64 * GIB),
        ("1.5 TB", 1_500_000_000_000),
        ("0.5 GiB", GIB // 2),
        ("16G", 16 * GIB),
        ("512M", 512 * 2**20),
        ("1 TiB", 2**40),
        ("7 B", 7),
    ],
)
def test_sizes_that_people_type(typed: object, size_bytes: int) -> None:
    assert parse_size(typed) == size_bytes


@pytest.mark.parametrize(
    "typed",
    [
        "",
        "GB",
        "much",
        "-1 GB",
        "1,5 GB",
        "1e9",
        "24 GBit",
        "nan",
        "٣ GB",
        "1 GB 2",
        -1,
        True,
        None,
        1.5,
        [],
        "9" * 18 + " PB",
    ],
)
def test_what_is_no_size_is_refused_and_quoted(typed: object) -> None:
    with pytest.raises(SizeError, match=r"is not a size|larger than any machine"):
        parse_size(typed)


@pytest.mark.parametrize(
    ("size_bytes", "text"), [(0, "0"), (GIB, "1.0 GiB"), (41 * GIB + GIB // 5, "41.2 GiB"), (5 * 2**20, "5.0 MiB")]
)
def test_sizes_that_people_read(size_bytes: int, text: str) -> None:
    assert format_gib(size_bytes) == text


@given(st.integers(0, 2**63 - 1))
def test_a_number_of_bytes_means_itself(size_bytes: int) -> None:
    assert parse_size(size_bytes) == parse_size(str(size_bytes)) == size_bytes


@given(st.integers(0, 10**6), st.sampled_from(["KB", "MB", "GB", "KiB", "MiB", "GiB"]))
def test_a_larger_number_of_a_unit_is_more(count: int, unit: str) -> None:
    assert parse_size(f"{count} {unit}") < parse_size(f"{count + 1}{unit.lower()}")


@given(st.text())
def test_any_text_is_a_size_or_refused(typed: str) -> None:
    with contextlib.suppress(SizeError):
        assert parse_size(typed) >= 0


@given(st.integers(0, 2**50), st.integers(1, 2**40))
def test_rounding_reaches_the_next_step(value: int, step: int) -> None:
    up, down = round_up(value, step), round_down(value, step)
    assert up % step == down % step == 0
    assert down <= value <= up
    assert up - down in (0, step)
