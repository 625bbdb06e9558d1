"""The model: each file whole, verified, private, and readable by the service but not writable."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

import pytest

from tests.acceptance.expectation import Figure, expect, expect_equal, gib
from tests.acceptance.target import Target

RERUN = "run the tier's playbook again."
pytestmark = pytest.mark.applied("model_cache")


def files(plan: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the files of the planned model."""
    found: list[dict[str, Any]] = plan["model"]["files"]
    return found


each_file: pytest.MarkDecorator = pytest.mark.each.with_args(files)


def path_of(target: Target, file: dict[str, Any]) -> str:
    """Return where a file of the model lies; the plan gives the path of the first."""
    first = PurePosixPath(target.slice("model_cache")["model_path"])
    names = [PurePosixPath(known["name"]) for known in files(target.plan)]
    folder = first.parents[len(names[0].parts) - 1]
    return str(folder / file["name"])


@each_file
def test_the_file_has_the_planned_size(target: Target, item: dict[str, Any], figure: Figure) -> None:
    path = path_of(target, item)
    answer = target.host.run("stat --dereference --format=%%s %s", path)
    found = int(answer.stdout) if answer.rc == 0 else "no such file"
    figure("size", gib(item["size_bytes"]))
    expect_equal(f"size of {path}", expected=item["size_bytes"], found=found, remedy=f"remove it and {RERUN}")


@each_file
def test_the_file_holds_the_bytes_that_were_published(
    target: Target, item: dict[str, Any], pytestconfig: pytest.Config
) -> None:
    path = path_of(target, item)
    known = {file["name"]: file.get("sha256") for file in target.models.get("files", [])}
    kept = known.get(item["name"]) or item.get("sha256")
    expect(bool(kept), f"remembered SHA-256 of {item['name']}", expected="64 digits", found=kept, remedy=RERUN)
    if item.get("sha256"):
        expect_equal(f"remembered SHA-256 of {item['name']}", expected=item["sha256"], found=kept, remedy=RERUN)
    limit = pytestconfig.getoption("--hash-limit-bytes")
    if item["size_bytes"] <= limit:
        found = target.output("sha256sum", path).split()[0]
        expect_equal(f"SHA-256 of {path}", expected=kept, found=found, remedy=f"remove it and {RERUN}")


def test_the_models_belong_to_their_own_user(target: Target) -> None:
    part = target.slice("model_cache")
    foreign = target.lines(f"find {part['path']} ! -user {part['user']}")
    expect(not foreign, f"files below {part['path']} of others", expected="none", found=foreign[:5], remedy=RERUN)
    shell = target.output("getent", "passwd", part["user"]).strip().rsplit(":", 1)[1]
    expect(shell.endswith(("nologin", "false")), f"shell of {part['user']}", expected="none", found=shell, remedy=RERUN)


def test_the_models_are_not_readable_by_everyone(target: Target) -> None:
    path = target.slice("model_cache")["path"]
    found = target.lines(f"find {path} ! -type l -perm /o=rwx")
    expect(not found, f"entries below {path} open to everyone", expected="none", found=found[:5], remedy=RERUN)


def test_the_service_reads_the_model_and_cannot_change_it(target: Target) -> None:
    path, user = target.slice("model_cache")["model_path"], target.slice("inference")["user"]
    # The unit, not the account, is a member of the models' group.
    groups = "".join(f"-G {group} " for group in target.unit_property("SupplementaryGroups").split())
    reads = target.host.run(f"runuser -u %s {groups}-- test -r %s", user, path).rc == 0
    expect(reads, f"{path} for {user}", expected="readable", found="not readable", remedy=RERUN)
    writes = target.host.run(f"runuser -u %s {groups}-- test -w %s", user, path).rc == 0
    expect(not writes, f"{path} for {user}", expected="not writable", found="writable", remedy=RERUN)


def test_no_part_of_a_download_is_left(target: Target) -> None:
    path = target.slice("model_cache")["path"]
    found = target.lines(f"find {path} -name '*.incomplete' -o -name '*.part'")
    expect(not found, "unfinished downloads", expected="none", found=found, remedy=f"remove them, or {RERUN}")


def test_no_file_of_the_model_can_run_code(target: Target) -> None:
    pickles = [
        file["name"] for file in files(target.plan) if file["name"].endswith((".bin", ".pt", ".pth", ".pkl", ".ckpt"))
    ]
    expect(not pickles, "pickled weights", expected="none", found=pickles, remedy="choose a GGUF or safetensors model.")
