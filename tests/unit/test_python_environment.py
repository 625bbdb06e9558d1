"""Making a virtual environment as a whole or not at all, with a Python that only notes what it is asked."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from ansible_collections.llmhost.core.plugins.module_utils.command import CommandResult
from ansible_collections.llmhost.core.plugins.module_utils.service.python_environment import (
    EnvironmentFailedError,
    PythonEnvironment,
)


class FakePython:
    """Makes the folder of an environment, and fails at the command that it was told to fail at."""

    def __init__(self, fail_at: str = "") -> None:
        self.fail_at = fail_at
        self.commands: list[Sequence[str]] = []

    def __call__(self, command: Sequence[str]) -> CommandResult:
        self.commands.append(command)
        if command[2] == "venv":
            python = Path(command[3]) / "bin/python"
            python.parent.mkdir(parents=True)
            python.touch()
        return CommandResult(1, "", "no such package\n") if command[2] == self.fail_at else CommandResult(0, "", "")


def test_an_environment_is_made_once(tmp_path: Path) -> None:
    python = FakePython()
    environment = PythonEnvironment(tmp_path / "opt/hub", "x==1 --hash=sha256:0\n")
    assert not environment.is_complete()
    environment.make("/usr/bin/python3", python)
    assert environment.is_complete()
    assert [command[2] for command in python.commands[:2]] == ["venv", "pip"]
    assert list(python.commands[2]) == ["sync", "--file-system", str(tmp_path / "opt/.hub.new")]
    assert "--require-hashes" in python.commands[1]
    assert [path.name for path in (tmp_path / "opt").iterdir()] == ["hub"]


def test_it_is_readable_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        PythonEnvironment(tmp_path / "opt/hub", "x==1\n").make("python3", FakePython())
        assert os.umask(0o077) == 0o077
    finally:
        os.umask(before)
    paths = [tmp_path / "opt", *(tmp_path / "opt").rglob("*")]
    assert len(paths) >= 4
    assert [path.name for path in paths if not path.stat().st_mode & 0o004] == []


def test_other_requirements_are_not_those_that_are_there(tmp_path: Path) -> None:
    PythonEnvironment(tmp_path / "hub", "x==1\n").make("python3", FakePython())
    assert not PythonEnvironment(tmp_path / "hub", "x==2\n").is_complete()


@pytest.mark.parametrize("step", ["venv", "pip"])
def test_a_failure_leaves_nothing_that_counts(tmp_path: Path, step: str) -> None:
    broken = PythonEnvironment(tmp_path / "hub", "x==1\n")
    with pytest.raises(EnvironmentFailedError, match="no such package"):
        broken.make("python3", FakePython(fail_at=step))
    assert not broken.is_complete()
    whole = PythonEnvironment(tmp_path / "hub", "x==1\n")
    whole.make("python3", FakePython())
    assert whole.is_complete()


def test_an_environment_without_its_interpreter_is_made_again(tmp_path: Path) -> None:
    environment = PythonEnvironment(tmp_path / "hub", "x==1\n")
    environment.make("python3", FakePython())
    environment.python.unlink()
    assert not environment.is_complete()


def test_removing_it_twice_is_no_error(tmp_path: Path) -> None:
    environment = PythonEnvironment(tmp_path / "hub", "x==1\n")
    environment.make("python3", FakePython())
    environment.remove()
    environment.remove()
    assert not environment.path.exists()
