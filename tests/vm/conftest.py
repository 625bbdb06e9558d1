"""What machines start from is made before the first test: no test waits for it, and none hides that it failed."""

from __future__ import annotations

import pytest

from tests.tools.qemu import QemuError
from tests.tools.vm_image.states import saved


@pytest.fixture(scope="session", autouse=True)
def images() -> None:
    """Make the images; without QEMU this fails, and says so."""
    try:
        saved()
    except QemuError as error:
        pytest.exit(str(error), returncode=1)
