"""Packages are installed on hosts whose apt is busy, interrupted, out of date or broken."""

from __future__ import annotations

import fcntl
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from ansible_collections.llmhost.core.plugins.module_utils.command import CommandResult
from ansible_collections.llmhost.core.plugins.module_utils.host.lock_holder import LockHolder, find_holder, lock_pid
from ansible_collections.llmhost.core.plugins.module_utils.service.packages import (
    ENVIRONMENT,
    LOCKS,
    BusyError,
    Packages,
    PackagesError,
    explain,
    parse_installed,
)

OK = CommandResult(0, "", "")
INSTALLED = "Package: libc6\nStatus: install ok installed\nArchitecture: amd64\n\n"
NOT_FOUND = "E: Failed to fetch http://mirror/pool/x.deb  404  Not Found [IP: 10.0.0.1 80]\n"
INTERRUPTED = "E: dpkg was interrupted, you must manually run 'dpkg --configure -a' to correct the problem.\n"
LOCKED = "E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 812 (unattended-upgr)\n"
UPDATE, INSTALL = "apt-get update", "apt-get install --no-install-recommends xfsprogs"
REPAIR = "dpkg --force-confdef --force-confold --configure -a"


class Apt:
    """A host's apt: a status file, lists, and what each next call answers."""

    def __init__(self, root: Path, *answers: CommandResult, lists: bool = True) -> None:
        self.root = root
        self.answers = list(answers)
        self.put("var/lib/dpkg/status", INSTALLED)
        (root / "var/lib/apt/lists").mkdir(parents=True)
        self.put("var/lib/apt/lists/lock", "")
        if lists:
            self.put("var/lib/apt/lists/mirror_dists_jammy_main_binary-amd64_Packages", "")
        self.packages = Packages(["xfsprogs"], self.run, str(root), lambda paths: None)

    def put(self, path: str, text: str) -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text)

    def run(self, argv: Sequence[str]) -> CommandResult:
        answer = self.answers.pop(0) if self.answers else OK
        if answer.rc == 0 and "install" in argv:
            self.put("var/lib/dpkg/status", f"{INSTALLED}Package: xfsprogs\nStatus: install ok installed\n")
        if answer.rc == 0 and "--configure" in argv:
            for name in (self.root / "var/lib/dpkg/updates").glob("*"):
                name.unlink()
        return answer

    def install(self) -> list[str]:
        self.packages.install()
        return self.packages.actions


def fails(text: str, rc: int = 100) -> CommandResult:
    return CommandResult(rc, text, "")


def test_what_is_installed_is_left_alone(tmp_path: Path) -> None:
    apt = Apt(tmp_path)
    assert Packages(["libc6"], apt.run, str(tmp_path)).missing() == []
    assert apt.packages.missing() == ["xfsprogs"]


@pytest.mark.parametrize(
    ("answers", "done"),
    [
        ([], [INSTALL]),
        # Old lists name what is no longer there, or what no longer fits.
        ([fails(NOT_FOUND)], [INSTALL, UPDATE, INSTALL]),
        ([fails("E: Unable to locate package xfsprogs\n")], [INSTALL, UPDATE, INSTALL]),
        ([fails("The following packages have unmet dependencies:\n")], [INSTALL, UPDATE, INSTALL]),
        # One source of several is out of reach.
        ([fails(NOT_FOUND), fails("E: The repository is not signed.\n")], [INSTALL, UPDATE, INSTALL]),
        ([fails(INTERRUPTED)], [INSTALL, REPAIR, INSTALL]),
        ([fails(INTERRUPTED), OK, fails(NOT_FOUND)], [INSTALL, REPAIR, INSTALL, UPDATE, INSTALL]),
    ],
)
def test_apt_is_brought_to_install(tmp_path: Path, answers: list[CommandResult], done: list[str]) -> None:
    assert Apt(tmp_path, *answers).install() == done


def test_lists_are_fetched_where_there_are_none(tmp_path: Path) -> None:
    assert Apt(tmp_path, lists=False).install() == [UPDATE, INSTALL]


def test_an_installation_that_was_cut_off_is_finished_first(tmp_path: Path) -> None:
    apt = Apt(tmp_path)
    apt.put("var/lib/dpkg/updates/0003", "")
    assert apt.install() == [REPAIR, INSTALL]


def test_damaged_lists_are_thrown_away_and_fetched(tmp_path: Path) -> None:
    broken = fails("E: The package lists or status file could not be parsed or opened.\n")
    apt = Apt(tmp_path, broken, broken, broken)
    assert apt.install() == [INSTALL, UPDATE, INSTALL, UPDATE, INSTALL]
    assert [path.name for path in (tmp_path / "var/lib/apt/lists").iterdir()] == ["lock"]


def test_a_broken_package_of_somebody_else_is_no_failure(tmp_path: Path) -> None:
    apt = Apt(tmp_path)

    def run(argv: Sequence[str]) -> CommandResult:
        apt.run(argv)
        return fails("Errors were encountered while processing:\n nvidia-dkms-550\nE: Sub-process /usr/bin/dpkg\n")

    apt.packages.run = run
    assert apt.install() == [INSTALL]


@pytest.mark.parametrize("when", [0, 1, 2])
def test_somebody_who_comes_in_between_is_waited_for(tmp_path: Path, when: int) -> None:
    answers = [fails(NOT_FOUND), OK, OK]
    answers[when] = fails(LOCKED)
    with pytest.raises(BusyError, match=r"^a process outside of this system to release apt's lock$"):
        Apt(tmp_path, *answers).install()


def test_dpkg_that_is_at_work_elsewhere_is_waited_for(tmp_path: Path) -> None:
    locked = fails("dpkg: error: dpkg frontend lock was locked by another process with pid 812\n", 2)
    apt = Apt(tmp_path, locked)
    apt.put("var/lib/dpkg/updates/0003", "")
    with pytest.raises(BusyError):
        apt.install()


def test_an_ordinary_user_does_not_wait_for_a_lock(tmp_path: Path) -> None:
    denied = fails("E: Could not open lock file /var/lib/dpkg/lock-frontend - open (13: Permission denied)\n")
    with pytest.raises(PackagesError, match="Permission denied"):
        Apt(tmp_path, denied, denied, denied).install()


@pytest.mark.parametrize(
    ("said", "remedy"),
    [
        ("E: You don't have enough free space in /var/cache/apt/archives/.", "Make room on the filesystem of /var"),
        ("W: Failed to fetch x  Temporary failure resolving 'mirror'", "name server, and llmhost_proxy"),
        ("E: Unable to locate package xfsprogs", "sources main and universe"),
        ("E: Unable to locate package cuda-nvcc-12-9", "cuda-keyring"),
        ("E: Package 'libcublas-12-9' has no installation candidate", "cuda-keyring"),
        ("E: Unable to correct problems, you have held broken packages.", "apt-get -f install"),
        ("E: Sub-process /usr/bin/dpkg returned an error code (1)", "dpkg --configure -a"),
        ("W: GPG error: x: NO_PUBKEY 1234", "Check the clock"),
        ("something new", "`apt-get install xfsprogs` on the host"),
    ],
)
def test_why_it_failed(tmp_path: Path, said: str, remedy: str) -> None:
    with pytest.raises(PackagesError) as failure:
        Apt(tmp_path, *[fails(f"Reading package lists...\n{said}\n")] * 3).install()
    assert str(failure.value).startswith("xfsprogs: not installed, for apt says:\n")
    assert said in str(failure.value)
    assert remedy in str(failure.value)


def test_only_the_last_words_are_told() -> None:
    told = explain(["a", "b"], "\n".join(f"E: {number}" for number in range(50)))
    assert told.splitlines()[0] == "a, b: not installed, for apt says:"
    assert told.splitlines()[1:-1] == [f"  E: {number}" for number in range(42, 50)]


@pytest.mark.parametrize(
    ("status", "found"),
    [
        ("", set()),
        ("no status at all", set()),
        ("Package: a\nStatus: install ok installed\n\nPackage: b\nStatus: deinstall ok config-files\n", {"a"}),
        ("Package: a\nStatus: hold ok installed\nDescription: x\n Status: y\n", {"a"}),
        ("Package: a\nStatus: install ok half-configured\n", set()),
        ("Package: a\nStatus: install reinstreq half-installed\n", set()),
        ("Package: a\nStatus: install reinstreq installed\n", set()),
        ("Status: install ok installed\n", set()),
    ],
)
def test_status_of_dpkg(status: str, found: set[str]) -> None:
    assert parse_installed(status) == found


def test_nobody_is_asked_anything() -> None:
    assert ENVIRONMENT["DEBIAN_FRONTEND"] == "noninteractive"
    assert ENVIRONMENT["NEEDRESTART_SUSPEND"]


@pytest.fixture
def lock(tmp_path: Path) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """Return a function that lets another process lock a file as apt does, until the test has ended."""
    started: list[subprocess.Popen[str]] = []

    def start(path: str) -> subprocess.Popen[str]:
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        script = tmp_path / "unattended-upgrade"
        script.write_text(
            "import fcntl, sys\n"
            "file = open(sys.argv[1], 'w')\n"
            "fcntl.lockf(file, fcntl.LOCK_EX)\n"
            "print('held', flush=True)\n"
            "sys.stdin.read()\n"
        )
        process = subprocess.Popen(
            [sys.executable, str(script), str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        assert process.stdout
        assert process.stdout.readline() == "held\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("path", LOCKS)
def test_the_holder_of_a_lock_is_named(tmp_path: Path, lock: Callable[[str], subprocess.Popen[str]], path: str) -> None:
    packages = Packages(["xfsprogs"], lambda argv: OK, str(tmp_path))
    assert packages.waiting_for() == ""
    process = lock(path)
    said = packages.waiting_for()
    assert said.startswith(f"unattended-upgrade (pid {process.pid}")
    assert said.endswith(") to release apt's lock")
    # To look is not to take: the file can still be locked by its holder alone.
    with (tmp_path / path).open("w") as file, pytest.raises(BlockingIOError):
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    process.kill()
    process.wait()
    assert packages.waiting_for() == ""


def test_a_file_that_is_not_there_is_not_locked(tmp_path: Path) -> None:
    assert lock_pid(str(tmp_path / "nothing")) is None
    assert find_holder([str(tmp_path / "nothing")]) is None


@pytest.mark.parametrize(
    ("cmdline", "cgroup", "said"),
    [
        (
            "/usr/bin/python3\0/usr/bin/unattended-upgrade\0",
            "0::/system.slice/apt-daily-upgrade.service\n",
            "unattended-upgrade (pid 812 of apt-daily-upgrade.service)",
        ),
        ("/usr/bin/python3.10\0-u\0/opt/x/y.py\0z\0", "", "y.py (pid 812)"),
        ("apt-get\0-y\0install\0vim\0", "0::/user.slice/user-0.slice/session-3.scope\n", "apt-get (pid 812)"),
        ("/bin/sh\0", "", "sh (pid 812)"),
        ("", "", "kworker (pid 812)"),
    ],
)
def test_names_of_holders(tmp_path: Path, cmdline: str, cgroup: str, said: str) -> None:
    process = tmp_path / "812"
    process.mkdir()
    (process / "cmdline").write_text(cmdline)
    (process / "cgroup").write_text(cgroup)
    (process / "comm").write_text("kworker\n")
    assert str(LockHolder.from_proc(812, str(tmp_path))) == said


def test_a_holder_that_is_out_of_sight(tmp_path: Path) -> None:
    assert str(LockHolder.from_proc(0, str(tmp_path))) == "a process outside of this system"
    assert str(LockHolder.from_proc(812, str(tmp_path))) == "a process (pid 812)"
