"""Controller side of llmhost.core.runtime: carries archives between the store of the controller and the target."""

from __future__ import annotations

import base64
import os
import tempfile
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.llmhost.core.plugins.module_utils.service.runtime_store import (
    RuntimeStoreError,
    recorded_sha256,
    sha256,
    verify,
)

CHECKSUM = ".sha256"


class ActionModule(ActionBase):
    """Looks at the target first; an archive travels only when one side lacks it."""

    TRANSFERS_FILES = True
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Install from the target's own package, else from the store; then keep what the target has built."""
        super().run(tmp, task_vars)
        store = self._task.args.get("store")
        report = self._module(task_vars)
        if report.get("failed") or not store or self._task.check_mode:
            return report
        stored = Path(store).expanduser() / f"{report['name']}.tar.gz"
        try:
            if not report["present"] and recorded_sha256(stored):
                verify(stored)
                report = self._module(task_vars, package=self._send(stored))
            elif report["packaged"] and not recorded_sha256(stored):
                self._keep(self._task.args["package"], stored, task_vars)
        except RuntimeStoreError as problem:
            raise AnsibleActionFail(str(problem)) from problem
        except OSError as problem:
            raise AnsibleActionFail(
                f"{problem}. Choose a directory that you may write as llmhost_archive_dir."
            ) from problem
        finally:
            self._remove_tmp_path(self._connection._shell.tmpdir)
        if self._task.args.get("required") and not report.get("failed") and not report["present"]:
            return report | {"failed": True, "msg": f"No host of this run could build {report['name']}."}
        return report

    def _module(self, task_vars: dict[str, Any] | None, **changed: str) -> dict[str, Any]:
        report: dict[str, Any] = self._execute_module(module_args={**self._task.args, **changed}, task_vars=task_vars)
        return report

    def _send(self, stored: Path) -> str:
        """Copy an archive and its checksum to the target; return its path there."""
        if self._connection._shell.tmpdir is None:
            self._make_tmp_path()
        folder = self._connection._shell.tmpdir
        sent = [
            self._transfer_file(str(path), self._connection._shell.join_path(folder, path.name))
            for path in (stored, stored.with_name(stored.name + CHECKSUM))
        ]
        self._fixup_perms2([folder, *sent])
        return str(sent[0])

    def _keep(self, package: str, stored: Path, task_vars: dict[str, Any] | None) -> None:
        """Fetch an archive into the store. The checksum comes last and makes it valid; each file comes in one step."""
        stored.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=stored.parent, prefix=".fetching-") as folder:
            fetched = Path(folder) / stored.name
            for suffix in ("", CHECKSUM):
                (Path(folder) / (stored.name + suffix)).write_bytes(self._slurp(package + suffix, task_vars))
            if sha256(fetched) != recorded_sha256(fetched):
                raise RuntimeStoreError(f"{package} was damaged on its way to {stored.parent}. Run again.")
            for suffix in ("", CHECKSUM):
                os.replace(Path(folder) / (stored.name + suffix), stored.with_name(stored.name + suffix))

    def _slurp(self, path: str, task_vars: dict[str, Any] | None) -> bytes:
        read = self._execute_module(module_name="ansible.builtin.slurp", module_args={"src": path}, task_vars=task_vars)
        if read.get("failed"):
            raise AnsibleActionFail(f"{path} cannot be read: {read.get('msg')}")
        return base64.b64decode(read["content"])
