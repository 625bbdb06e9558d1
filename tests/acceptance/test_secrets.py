"""Secrets: in their file, and nowhere else. They are looked for on the host, so none leaves it."""

from __future__ import annotations

import re

import pytest

from tests.acceptance.expectation import expect, expect_equal
from tests.acceptance.target import CREDENTIALS_PATH, PLAN_PATH, Target

RERUN = "make a new one (remove its file), and run the tier's playbook again."
NAMES = ("api_key", "hub_token")

# Where a secret would be read by others: units, arguments and environments of processes, what llmhost writes down.
_FIND = "grep --recursive --files-with-matches --text --fixed-strings --file={file}"
PLACES = {
    "unit files": f"{_FIND} /etc/systemd /run/systemd/system",
    "arguments of processes": f"{_FIND} /proc/[0-9]*/cmdline",
    "environment of processes": f"{_FIND} /proc/[0-9]*/environ",
    "plan and state": f"{_FIND} /etc/llmhost/plan.json /etc/llmhost/state",
    "files of running jobs": f"{_FIND} /run/llmhost",
    "journal": "journalctl --no-pager --boot --output=cat | grep -aF --file={file} | sed 's/.*/a line/'",
}


@pytest.fixture(params=NAMES)
def secret(request: pytest.FixtureRequest, target: Target) -> str:
    """Return the file of a secret, for hosts that have one."""
    path = f"{CREDENTIALS_PATH}/{request.param}"
    if not target.host.file(path).exists:
        pytest.skip(f"no {request.param} on this host")
    return path


@pytest.mark.applied("inference")
def test_the_service_has_a_key(target: Target) -> None:
    length = len(target.api_key)
    expect(length >= 32, "length of the API key", expected="32 characters or more", found=length, remedy=RERUN)


def test_the_secret_is_readable_by_root_alone(target: Target, secret: str) -> None:
    found = target.output("stat", "--format=%a %U:%G", secret).strip()
    expect_equal(f"mode and owner of {secret}", expected="600 root:root", found=found, remedy=f"chmod 600 {secret}")


@pytest.mark.parametrize("place", PLACES)
def test_the_secret_is_nowhere_else(target: Target, secret: str, place: str) -> None:
    found = target.lines(f"exec 2>/dev/null; {PLACES[place].format(file=secret)}")
    expect(not found, f"{secret} in the {place}", expected="nowhere", found=found[:5], remedy=RERUN)


def test_the_plan_holds_no_password_of_a_proxy(target: Target) -> None:
    found = bool(re.search(r"://[^/\s\"]+:(?!\*+@)[^/\s\"]+@", target.output("cat", PLAN_PATH)))
    expect(not found, f"password of a proxy in {PLAN_PATH}", expected="none", found="one", remedy=RERUN)
