"""The acceptance suite as a user who has to give sudo a password."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import testinfra

from tests.acceptance.sudo import PIPE, SudoPassword, inherited_password

# Takes the options that the suite gives, reads a password as the real one does, and runs the rest.
SUDO = """#!/bin/sh
user=root
while :; do
  case $1 in
    -S | -k) shift ;;
    -p) shift 2 ;;
    -u) user=$2; shift 2 ;;
    *) break ;;
  esac
done
echo "$user: $*" >> "$SUDO_LOG"
if [ "$SUDO_ASKS" = yes ]; then
  read -r password
  [ "$password" = "pass word'\\"s" ] || { echo "sudo: no password was provided" >&2; exit 1; }
fi
exec "$@"
"""
PASSWORD = "pass word'\"s"


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> testinfra.host.Host:
    """Return this machine, with another sudo."""
    (tmp_path / "sudo").write_text(SUDO)
    (tmp_path / "sudo").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("SUDO_LOG", str(tmp_path / "log"))
    monkeypatch.setenv("SUDO_ASKS", "yes")
    return testinfra.get_host("local://", sudo=True)


def test_sudo_gets_the_password_and_the_command_does_not(host: testinfra.host.Host, tmp_path: Path) -> None:
    SudoPassword(host.backend, PASSWORD)
    done = host.run("cat; echo %s", "it's done")
    assert (done.rc, done.stdout) == (0, "it's done\n")
    assert "word" not in (tmp_path / "log").read_text()


def test_a_sudo_that_asks_nothing(host: testinfra.host.Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_ASKS", "no")
    SudoPassword(host.backend, PASSWORD)
    assert host.run("cat").stdout == ""


def test_a_wrong_password_is_what_the_command_complains_of(host: testinfra.host.Host) -> None:
    SudoPassword(host.backend, "another")
    done = host.run("true")
    assert (done.rc, done.stderr) == (1, "sudo: no password was provided\n")


@pytest.mark.usefixtures("host")
def test_another_user_than_root(tmp_path: Path) -> None:
    another = testinfra.get_host("local://", sudo=True, sudo_user="bin")
    SudoPassword(another.backend, PASSWORD)
    assert another.run("true").rc == 0
    assert (tmp_path / "log").read_text().startswith("bin: /bin/sh -c")


def test_the_password_comes_through_a_pipe_once(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    with os.fdopen(writer, "w") as end:
        end.write(PASSWORD)
    monkeypatch.setenv(PIPE, str(reader))
    assert inherited_password() == PASSWORD
    assert PIPE not in os.environ
    assert inherited_password() == ""
