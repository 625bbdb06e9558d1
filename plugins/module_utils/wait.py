"""Wait for a moment until something is no longer in the way."""

from __future__ import annotations

import time
from collections.abc import Callable

LOOK_SECONDS = 0.5


def wait_until_free(
    obstacle: Callable[[], str],
    seconds: float,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> str:
    """Look until there is no obstacle or the time is over; return what is still in the way, "" for nothing."""
    end = clock() + seconds
    while (found := obstacle()) and (left := end - clock()) > 0:
        sleep(min(LOOK_SECONDS, left))
    return found
