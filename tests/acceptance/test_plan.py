"""The plan itself: it is there, it has no error, and only root can read it."""

from __future__ import annotations

import pytest
from ansible_collections.llmhost.core.plugins.module_utils.plan.plan_schema import STEPS

from tests.acceptance.expectation import expect, expect_equal
from tests.acceptance.target import CREDENTIALS_PATH, PLAN_PATH, Target

RERUN = "run the tier's playbook again."


def test_the_suite_runs_on_a_host(target: Target) -> None:
    expect(bool(target.name), "host under test", expected="a name", found=target.name, remedy="name it with --hosts.")
    expect_equal("kernel", expected="Linux", found=target.output("uname", "-s").strip(), remedy="name a Linux host.")


def test_the_plan_has_no_error(target: Target) -> None:
    errors = [finding["message"] for finding in target.plan["findings"] if finding["level"] == "error"]
    expect(not errors, f"findings in {PLAN_PATH}", expected="no error", found=errors, remedy=f"mend them and {RERUN}")


def test_the_plan_says_what_happens_with_each_step(target: Target) -> None:
    for step in STEPS:
        said = target.plan["steps"].get(step, {}).get("action")
        expect(
            said in ("apply", "skip"), f"step {step} in the plan", expected="apply or skip", found=said, remedy=RERUN
        )
        if said == "skip":
            found = target.plan["steps"][step].get("reason")
            expect(bool(found), f"reason to skip {step}", expected="a sentence", found=found, remedy=RERUN)


@pytest.mark.parametrize(
    ("path", "mode"), [("/etc/llmhost", "750"), (PLAN_PATH, "640"), (CREDENTIALS_PATH, "700")], ids=lambda value: value
)
def test_what_llmhost_keeps_belongs_to_root(target: Target, path: str, mode: str) -> None:
    found = target.output("stat", "--format=%a %U:%G", path).strip()
    expect_equal(f"mode and owner of {path}", expected=f"{mode} root:root", found=found, remedy=RERUN)


def test_nothing_that_llmhost_keeps_is_readable_by_everyone(target: Target) -> None:
    found = target.lines("find /etc/llmhost ! -type l -perm /o=rwx")
    expect(not found, "files below /etc/llmhost that everyone can read", expected="none", found=found, remedy=RERUN)
