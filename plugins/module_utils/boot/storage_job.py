"""The unit llmhost-storage: brings back, without Ansible, what a boot or a new disk has left missing.

On storage that is recorded as ephemeral it makes the filesystem, the swap file and the cache again where the disks came
back blank. On every other it changes nothing, and says what is missing. Then it sees to it that the model is there: the
fetcher is started again and again until it is, and the service after that.
"""

from __future__ import annotations

import os
import pwd
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from ansible_collections.llmhost.core.plugins.module_utils.boot.notify import notify, say
from ansible_collections.llmhost.core.plugins.module_utils.boot.place import Place
from ansible_collections.llmhost.core.plugins.module_utils.boot.wanted_model import WantedModel, fetch_state
from ansible_collections.llmhost.core.plugins.module_utils.command import RunCommand
from ansible_collections.llmhost.core.plugins.module_utils.host.mounts import Mounts
from ansible_collections.llmhost.core.plugins.module_utils.lock import LockedError
from ansible_collections.llmhost.core.plugins.module_utils.storage.claim import RefusedError

MODELS_USER = "llmhost-models"
FETCH, SERVE = "llmhost-model-fetch.service", "llmhost-inference.service"

# Drives appear one after another; for so long their absence is not yet news.
PATIENCE_SECONDS = 30.0
LOOK_SECONDS = 1.0
NOT_THERE_YET = ("storage.disk_missing", "storage.array_incomplete")
# A hub that does not answer is asked again after this long, then after twice as long, up to the last.
FIRST_WAIT_SECONDS, LAST_WAIT_SECONDS = 15.0, 900.0


class CannotRestoreError(Exception):
    """The storage is not there, and this program can't or must not make it; the message says why."""


@dataclass(frozen=True)
class Host:
    """The machine, as far as this program needs it; tests hand in another one."""

    run: RunCommand
    restore_storage: Callable[[], list[str]]
    restore_swap: Callable[[], list[str]]
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    proc: str = "/proc"
    user: Callable[[str], tuple[int, int]] = field(default=lambda name: _ids(name))


@dataclass(frozen=True)
class StorageJob:
    """One run, for the storage and the model that this host was set up with."""

    host: Host
    place: Place
    model: WantedModel

    def run(self) -> int:
        """Bring everything back; 1 when the storage can't be."""
        try:
            for action in self._bring_storage():
                print(action, flush=True)
        except (CannotRestoreError, RefusedError, LockedError, OSError) as reason:
            say(f"The storage of llmhost is not there: {reason}")
            return 1
        notify("READY=1", f"STATUS={self.place.path} is there.")
        return self._bring_model()

    # -- the storage ----------------------------------------------------------------------------------------------

    def _bring_storage(self) -> list[str]:
        actions: list[str] = []
        if self.place.ephemeral and self.place.kind == "disk":
            actions += self._patiently(self.host.restore_storage)
        elif self.place.ephemeral:
            actions += self._make_directory()
        if trouble := self.place.trouble(self.host.proc):
            raise CannotRestoreError(f"{trouble}.")
        if self.place.ephemeral:
            actions += self.host.restore_swap()
        return actions + self._make_cache()

    def _patiently(self, restore: Callable[[], list[str]]) -> list[str]:
        """Try until the disks are there, or should be."""
        end = self.host.clock() + PATIENCE_SECONDS
        while True:
            try:
                return restore()
            except RefusedError as reason:
                if reason.code not in NOT_THERE_YET or self.host.clock() >= end:
                    raise
                notify(f"STATUS=waits for disks: {reason}")
                self.host.sleep(LOOK_SECONDS)

    def _make_directory(self) -> list[str]:
        path = self.place.path
        if os.path.isdir(path):
            return []
        mount = Mounts.from_proc(self.host.proc).holding(os.path.dirname(path))
        if mount is None or mount.target == "/":
            raise CannotRestoreError(
                f"{path} was on a disk of its own, which is not mounted now. It is not made on the root disk instead; "
                "mount that disk, and it comes back by systemctl start llmhost-storage."
            )
        os.makedirs(path, mode=0o755)
        return [f"make the directory {path} again"]

    def _make_cache(self) -> list[str]:
        """Make the folder of the models where it went with its disk: the fetcher may write nowhere else."""
        path = self.model.cache_path
        if not path or os.path.isdir(path) or not os.path.isdir(os.path.dirname(path)):
            return []
        uid, gid = self.host.user(MODELS_USER)
        os.mkdir(path, mode=0o750)
        os.chown(path, uid, gid)
        return [f"make the folder {path} again"]

    # -- the model ------------------------------------------------------------------------------------------------

    def _bring_model(self) -> int:
        wait = FIRST_WAIT_SECONDS
        while not self.model.is_here():
            say(f"The model is not on {self.place.path}; {FETCH} brings it.")
            if self.host.run(["systemctl", "start", "--wait", FETCH]).rc == 0 and self.model.is_here():
                break
            if trouble := self.place.trouble(self.host.proc):
                say(f"The storage of llmhost is gone: {trouble}.")
                return 1
            say(f"The model is not on {self.place.path}: {fetch_state() or 'see ' + FETCH}. Again in {wait:.0f} s.")
            self.host.sleep(wait)
            wait = min(2 * wait, LAST_WAIT_SECONDS)
        # Somebody who has disabled the service wants it to stay down.
        if self.host.run(["systemctl", "is-enabled", "--quiet", SERVE]).rc == 0:
            self.host.run(["systemctl", "start", "--no-block", SERVE])
        return 0


def _ids(name: str) -> tuple[int, int]:
    try:
        account = pwd.getpwnam(name)
    except KeyError:
        raise CannotRestoreError(f"there is no user {name}; run the playbook again.") from None
    return account.pw_uid, account.pw_gid
