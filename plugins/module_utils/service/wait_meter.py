"""What is shown while a run waits for somebody else on the host."""

from __future__ import annotations

from dataclasses import dataclass

from ansible_collections.llmhost.core.plugins.module_utils.service.progress import duration

# A wait that goes on is mentioned this often.
REPEAT_SECONDS = 20.0


@dataclass
class WaitMeter:
    """Turns what is waited for into lines: one at once, one when it changes, and one now and then."""

    _since: float | None = None
    _spoke_at: float = 0.0
    _text: str = ""

    def line(self, waiting_for: str, now: float) -> str | None:
        """Return the line to show, or None; ``now`` is any clock that only goes forward."""
        if waiting_for != self._text or self._since is None:
            self._since, self._text = now, waiting_for
        elif now - self._spoke_at < REPEAT_SECONDS:
            return None
        self._spoke_at = now
        waited = f": {duration(now - self._since)}" if now - self._since >= 1 else ""
        return f"waiting for {waiting_for}{waited}"
