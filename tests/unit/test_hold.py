"""What is held is a block device, and nothing that a link leads to."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.llmhost.core.plugins.module_utils.storage.claim import RefusedError
from ansible_collections.llmhost.core.plugins.module_utils.storage.hold import hold_disks


def test_a_file_in_the_place_of_a_disk_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "disk"
    file.touch()
    with pytest.raises(RefusedError, match="no block device any more"), hold_disks([str(file)]):
        pass


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to("/dev/null")
    with pytest.raises(OSError, match="symbolic links"), hold_disks([str(link)]):
        pass
