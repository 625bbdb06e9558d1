"""Progress lines: what a person reads while a long job runs."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.llmhost.core.plugins.module_utils.service.progress import (
    Progress,
    ProgressMeter,
    duration,
    progress_line,
)
from hypothesis import given
from hypothesis import strategies as st

GIB = 2**30


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59.4, "59 s"), (60, "1 min 00 s"), (136, "2 min 16 s"), (3600, "1 h 00 min"), (45296, "12 h 34 min")],
)
def test_duration_has_two_units(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("progress", "rate", "text"),
    [
        (
            Progress("download", 5 * GIB, 20 * GIB, "bytes"),
            112e6,
            "download: 5.00 of 20.00 GiB  25 %  112 MB/s  2 min 24 s left",
        ),
        (Progress("download", 5 * GIB, 0, "bytes"), 1.25e6, "download: 5.00 GiB  1.2 MB/s"),
        (Progress("download", 2**20, 2**24, "bytes"), 0, "download: 0.001 of 0.016 GiB  6 %"),
        (Progress("compile", 123, 214), 2, "compile: 123/214  57 %  46 s left"),
        (Progress("compile", 214, 214), 2, "compile: 214/214  100 %"),
        (Progress("unpack", message="sources"), 0, "unpack:   (sources)"),
        (Progress(), 0, ""),
    ],
)
def test_line_names_stage_amount_rate_and_rest(progress: Progress, rate: float, text: str) -> None:
    assert progress_line(progress, rate) == text


def test_meter_says_the_rate_of_the_last_samples() -> None:
    meter = ProgressMeter()
    lines = [meter.line(Progress("fetch", n * 10**8, 10**10, "bytes", updated=float(n)), float(n)) for n in range(10)]
    assert lines[0] is not None
    assert "MB/s" not in lines[0]
    assert lines[9] is not None
    assert "100 MB/s" in lines[9]


def test_meter_is_silent_when_nothing_changed_and_speaks_each_minute() -> None:
    meter = ProgressMeter()
    report = Progress("fetch", 1, 10)
    assert meter.line(report, 0.0)
    assert [meter.line(report, float(now)) for now in range(1, 60)] == [None] * 59
    assert meter.line(report, 60.0) == "fetch: nothing new for a minute"
    assert meter.line(report, 61.0) is None


def test_meter_without_any_report_speaks_each_minute() -> None:
    meter = ProgressMeter()
    assert [meter.line(None, now) for now in (0.0, 30.0, 59.0)] == [None] * 3
    assert meter.line(None, 60.0) == "running: nothing new for a minute"


def test_a_new_stage_starts_a_new_rate() -> None:
    meter = ProgressMeter()
    meter.line(Progress("fetch", 10**9, 10**9, "bytes", updated=1), 1)
    line = meter.line(Progress("verify", 10**6, 10**9, "bytes", updated=2), 2)
    assert line is not None
    assert "MB/s" not in line


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"x"'])
def test_unreadable_file_is_no_progress(text: str) -> None:
    assert Progress.from_json(text) is None


JSON = st.recursive(st.none() | st.booleans() | st.floats() | st.integers() | st.text(), st.lists, max_leaves=3)


@given(
    st.dictionaries(st.sampled_from(["stage", "done", "total", "unit", "message", "updated", "other"]), JSON),
    st.floats(0, 1e12),
)
def test_any_report_gives_one_printable_line(data: dict[str, Any], rate: float) -> None:
    line = progress_line(Progress.from_dict(data), rate)
    assert line.isprintable()


def test_control_characters_of_a_message_do_not_reach_the_terminal() -> None:
    assert Progress.from_dict({"message": "\x1b[31mred\n"}).message == "[31mred"
