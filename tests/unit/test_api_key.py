"""The API key: made once, for root alone, shared with the people named."""

from __future__ import annotations

import grp
import os
import pwd
from pathlib import Path

import pytest
from ansible_collections.llmhost.core.plugins.module_utils.service.api_key import KEY, ApiKey, ApiKeyError

ME = pwd.getpwuid(os.getuid()).pw_name
GROUP = grp.getgrgid(os.getgid()).gr_name


def make_key(root: Path, *users: str, group: str = "llmhost-no-such-group", rc: int = 0) -> ApiKey:
    return ApiKey(root / "credentials/key", root / "shared/key", group, lambda command: (rc, "", "refused"), users)


def test_a_key_is_made_once(tmp_path: Path) -> None:
    key = make_key(tmp_path)
    assert (key.fingerprint(), key.changes()) == ("", ["key"])
    key.apply(["key"])
    first = key.key()
    assert KEY.fullmatch(first)
    assert key.changes() == []
    key.apply(["key"])
    assert key.key() == first


def test_modes_leave_nothing_to_others(tmp_path: Path) -> None:
    key = make_key(tmp_path)
    key.apply(["key"])
    assert key.path.stat().st_mode & 0o777 == 0o600
    assert key.path.parent.stat().st_mode & 0o777 == 0o700
    key.path.chmod(0o644)
    assert key.changes() == ["key"]
    before = key.key()
    key.apply(["key"])
    assert (key.path.stat().st_mode & 0o777, key.key()) == (0o600, before)


@pytest.mark.parametrize("text", ["", "short\n", "two\nlines\n", "ä" * 50])
def test_what_no_client_could_show_is_replaced(tmp_path: Path, text: str) -> None:
    key = make_key(tmp_path)
    key.path.parent.mkdir()
    key.path.write_text(text)
    key.apply(key.changes())
    assert KEY.fullmatch(key.key())


def test_the_fingerprint_changes_with_the_key_and_does_not_hold_it(tmp_path: Path) -> None:
    key = make_key(tmp_path)
    key.apply(["key"])
    first = key.fingerprint()
    assert len(first) == 16
    assert first not in key.key()
    key.path.unlink()
    key.apply(["key"])
    assert key.fingerprint() != first


def test_somebody_without_an_account_is_named(tmp_path: Path) -> None:
    with pytest.raises(ApiKeyError, match="mallory-who-is-not-here"):
        make_key(tmp_path, "mallory-who-is-not-here").changes()


def test_sharing_makes_group_and_copy(tmp_path: Path) -> None:
    assert make_key(tmp_path, ME).changes() == ["key", "group", "copy"]


def test_the_copy_belongs_to_the_group(tmp_path: Path) -> None:
    key = make_key(tmp_path, ME, group=GROUP)
    key.apply(["key", "copy"])
    assert key.copy.read_text().strip() == key.key()
    assert key.copy.stat().st_mode & 0o777 == 0o640
    assert key.copy.parent.stat().st_mode & 0o777 == 0o750
    assert "copy" not in key.changes()


def test_sharing_ends_when_nobody_is_named(tmp_path: Path) -> None:
    shared = make_key(tmp_path, ME, group=GROUP)
    shared.apply(["key", "copy"])
    alone = make_key(tmp_path)
    assert alone.changes() == ["sharing"]
    alone.apply(["sharing"])
    assert not alone.copy.parent.exists()
    assert alone.changes() == []


def test_a_tool_that_refuses_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ApiKeyError, match="groupadd failed: refused"):
        make_key(tmp_path, ME, rc=1).apply(["group"])


def test_remove_says_whether_there_was_anything(tmp_path: Path) -> None:
    key = make_key(tmp_path)
    key.apply(["key"])
    assert key.remove(dry_run=True)
    assert key.path.exists()
    assert key.remove()
    assert not key.path.exists()
    assert not key.remove()
