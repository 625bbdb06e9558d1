"""A disk that fails is named in what the fetcher says."""

from __future__ import annotations

import errno
import importlib.util
import os
import sys
from pathlib import Path
from typing import Any

import pytest

FILES = Path(__file__).parents[2] / "roles/model_cache/files"


def load(name: str) -> Any:
    """Return a module of the fetcher under a name of its own."""
    spec = importlib.util.spec_from_file_location(f"words_{name}", FILES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


cache: Any = load("hub_cache")


def drive(sys_block: Path, name: str, serial: str) -> Path:
    """Make what sysfs tells of a drive."""
    folder = sys_block / "devices" / name
    (folder / "device").mkdir(parents=True)
    (folder / "device/model").write_text("Fast 1TB      \n")
    (folder / "device/serial").write_text(f"{serial}\n")
    return folder


def here(tmp_path: Path) -> Path:
    """Return the name under which sysfs has the disk that a path of this machine lies on."""
    number = tmp_path.stat().st_dev
    return tmp_path / f"{os.major(number)}:{os.minor(number)}"


def test_a_drive_is_named_with_model_and_serial(tmp_path: Path) -> None:
    here(tmp_path).symlink_to(drive(tmp_path, "nvme0n1", "S1"))
    assert cache.disk_words(tmp_path, tmp_path) == "the disk /dev/nvme0n1 Fast 1TB (serial S1)"


def test_any_member_of_an_array_may_be_the_one(tmp_path: Path) -> None:
    array = tmp_path / "devices/md127"
    (array / "slaves").mkdir(parents=True)
    for name in ("nvme1n1", "nvme0n1"):
        (array / "slaves" / name).symlink_to(drive(tmp_path, name, f"S-{name}"))
    here(tmp_path).symlink_to(array)
    words = cache.disk_words(tmp_path, tmp_path)
    assert words == "the disk /dev/nvme0n1 Fast 1TB (serial S-nvme0n1) or /dev/nvme1n1 Fast 1TB (serial S-nvme1n1)"


def test_a_disk_that_tells_nothing_is_still_spoken_of(tmp_path: Path) -> None:
    assert cache.disk_words(tmp_path, tmp_path) == "the disk of the models"
    assert cache.disk_words(tmp_path / "gone", tmp_path) == "the disk of the models"


@pytest.mark.parametrize("number", [errno.EIO, errno.EROFS, errno.EUCLEAN])
def test_a_broken_disk_is_no_matter_of_the_network(tmp_path: Path, number: int) -> None:
    problem = cache.disk_trouble(OSError(number, os.strerror(number), "/srv/x"), tmp_path)
    assert problem.code == "disk.failed"
    assert not problem.retry, "to go on writing does not mend it"
    assert str(tmp_path) in problem.message
    assert "llmhost_storage_devices" in problem.remedy
