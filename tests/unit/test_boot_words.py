"""Why a service waits, or has ended, in the words that ``systemctl status`` shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.llmhost.core.plugins.module_utils.boot.kernel_log import disk_errors
from ansible_collections.llmhost.core.plugins.module_utils.boot.place import Place
from ansible_collections.llmhost.core.plugins.module_utils.boot.waiting import reason_of_end, reason_to_wait
from ansible_collections.llmhost.core.plugins.module_utils.boot.wanted_model import fetch_state

MOUNTED = "30 1 259:1 / {} rw shared:1 - ext4 /dev/nvme0n1 rw\n"
ERROR = "4,811,95000000,-;blk_update_request: I/O error, dev nvme0n1, sector 2048 op 0x0:(READ) flags 0x80700\n"


def place(tmp_path: Path, there: tuple[bool, ...], mounted: bool = False) -> tuple[Place, str]:
    """Return storage on disks of which some are there, and the folder that stands for /proc."""
    (tmp_path / "nvme0n1").touch()
    devices: list[dict[str, Any]] = []
    for number, is_there in enumerate(there):
        device = tmp_path / f"by-id-{number}"
        if is_there:
            device.symlink_to(tmp_path / "nvme0n1")
        devices.append({"device": str(device), "identity": {"model": "Fast 1TB", "serial": f"S{number}"}})
    (tmp_path / "self").mkdir()
    (tmp_path / "self/mountinfo").write_text(MOUNTED.format("/srv/llmhost") if mounted else "")
    return Place.from_record({"kind": "disk", "path": "/srv/llmhost", "devices": devices}), str(tmp_path)


def test_a_missing_disk_is_named_as_on_its_sticker(tmp_path: Path) -> None:
    storage, proc = place(tmp_path, (False,))
    assert reason_to_wait(storage, "/m", proc=proc) == (
        "waits for the storage: /srv/llmhost is not mounted, because the host does not have the disk Fast 1TB "
        f"(serial S0), {tmp_path}/by-id-0. The service starts by itself then."
    )


def test_of_several_disks_the_missing_ones_are_named(tmp_path: Path) -> None:
    storage, proc = place(tmp_path, (True, False, False))
    words = reason_to_wait(storage, "/m", proc=proc)
    assert "2 of its 3 disks are missing: Fast 1TB (serial S1)" in words
    assert "S0" not in words


def test_a_disk_that_is_there_and_not_mounted_leads_to_the_units(tmp_path: Path) -> None:
    storage, proc = place(tmp_path, (True,))
    assert "systemctl status srv-llmhost.mount llmhost-storage" in reason_to_wait(storage, "/m", proc=proc)


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ("llmhost-model-fetch is bringing it (41 %)", "The service starts by itself then."),
        ("the last try to fetch it failed: no route.", "See systemctl status"),
        ("", "run the playbook again"),
    ],
)
def test_a_missing_model_is_told_with_what_the_fetcher_says(tmp_path: Path, state: str, words: str) -> None:
    storage, proc = place(tmp_path, (True,), mounted=True)
    found = reason_to_wait(storage, "/srv/llmhost/m.gguf", lambda: state, proc)
    assert found.startswith("waits for the model: /srv/llmhost/m.gguf is not there")
    assert state in found
    assert words in found


def test_nothing_is_said_when_nothing_is_missing(tmp_path: Path) -> None:
    storage, proc = place(tmp_path, (True,), mounted=True)
    assert reason_to_wait(storage, str(tmp_path / "nvme0n1"), proc=proc) == ""
    assert reason_of_end(storage, str(tmp_path / "nvme0n1"), True, lambda: [], proc) == ""


def test_a_disk_that_was_pulled_is_named_while_it_still_counts_as_mounted(tmp_path: Path) -> None:
    storage, proc = place(tmp_path, (False,), mounted=True)
    words = reason_of_end(storage, "/m", True, lambda: [ERROR], proc)
    assert words.startswith("ended, because the host no longer has the disk Fast 1TB (serial S0)")
    assert words.endswith("It starts again by itself when the disk comes back.")


def test_a_disk_with_errors_is_named_after_the_service_has_died(tmp_path: Path) -> None:
    storage, proc = place(tmp_path, (True,), mounted=True)
    model = str(tmp_path / "nvme0n1")
    words = reason_of_end(storage, model, True, lambda: [ERROR], proc)
    assert "Fast 1TB (serial S0)" in words
    assert "I/O error, dev nvme0n1, sector 2048" in words
    assert reason_of_end(storage, model, False, lambda: [ERROR], proc) == "", "it was only stopped"
    assert reason_of_end(storage, model, True, lambda: [ERROR], proc, since=96.0) == "", "that was long ago"


@pytest.mark.parametrize(
    ("message", "counts"),
    [
        ("I/O error, dev nvme0n1, sector 8 op 0x1:(WRITE) flags 0x800", True),
        ("critical medium error, dev nvme0n1, sector 8 op 0x0:(READ)", True),
        ("Buffer I/O error on dev nvme0n1, logical block 0, async page read", True),
        ("Buffer I/O error on device nvme0n1p1, logical block 0", True),
        ("EXT4-fs error (device nvme0n1): ext4_find_entry:1683: inode #2", True),
        ("XFS (nvme0n1): log I/O error -5", True),
        ("I/O error, dev nvme0n10, sector 8", False),
        ("I/O error, dev nvme1n1, sector 8", False),
        ("EXT4-fs (nvme0n1): mounted filesystem", False),
        ("XFS (nvme0n1): Ending clean mount", False),
    ],
)
def test_errors_of_these_disks_alone_count(message: str, counts: bool) -> None:
    assert disk_errors(["nvme0n1"], [f"3,1,5,-;{message}\n"]) == ([message] if counts else [])


def test_records_of_one_disk_are_still_read() -> None:
    old = Place.from_record({"kind": "disk", "path": "/p", "device": "/dev/x", "identity": {"serial": "S"}})
    assert [disk.words for disk in old.disks] == ["(serial S), /dev/x"]


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, ""),
        ({"progress.json": '{"done": 41, "total": 100}'}, "llmhost-model-fetch is bringing it (41 %)"),
        ({"result.json": '{"ok": true}', "progress.json": '{"done": 1, "total": 1}'}, ""),
        ({"result.json": '{"ok": false, "message": "No route.", "remedy": "Wait."}'}, "failed: No route. Wait."),
        ({"result.json": "[", "progress.json": "nonsense"}, ""),
    ],
)
def test_the_fetcher_is_quoted(tmp_path: Path, files: dict[str, str], words: str) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    found = fetch_state(str(tmp_path))
    assert found.endswith(words)
    assert bool(found) == bool(words)
