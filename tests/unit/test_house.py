"""The rules of the house for the whole repository."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import yaml

CHECKOUT = Path(__file__).resolve().parents[2]
COLLECTION = CHECKOUT / "collections/ansible_collections/llmhost/core"
LIMIT_BYTES = 1 << 20

# Hosts from which packages are downloaded: every tool knows its own, and a user's settings may name another.
REGISTRIES = re.compile(
    r"files\.pythonhosted|pypi\.org|archive\.ubuntu|security\.ubuntu|galaxy\.ansible\.com|docker\.io/|ghcr\.io|quay\.io"
)
# Where one of us works has no place in a file that everyone gets.
PRIVATE_PATHS = re.compile(rf"{re.escape(str(CHECKOUT))}\b|(?<![\w.])/(?:home|Users)/\w+/")


def tracked() -> list[Path]:
    """Return the files of the repository as git knows them."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=CHECKOUT, check=True, capture_output=True, text=True).stdout
    paths = [CHECKOUT / name for name in listed.split("\0") if name]
    return [path for path in paths if path.is_file() and not path.is_symlink()]


@pytest.fixture(scope="module")
def texts() -> dict[str, str]:
    """Return the text of every tracked file by its name, this one left out: it spells what it looks for."""
    found = {}
    for path in tracked():
        content = path.read_bytes()
        if path != Path(__file__).resolve() and b"\0" not in content[:4096]:
            found[str(path.relative_to(CHECKOUT))] = content.decode("utf-8", errors="replace")
    return found


def test_no_file_is_large() -> None:
    assert [str(path) for path in tracked() if path.stat().st_size > LIMIT_BYTES] == []


def test_no_file_names_the_host_of_a_registry(texts: dict[str, str]) -> None:
    assert {name: found[0] for name, text in texts.items() if (found := REGISTRIES.search(text))} == {}


def test_no_file_names_a_private_path(texts: dict[str, str]) -> None:
    assert {name: found[0] for name, text in texts.items() if (found := PRIVATE_PATHS.search(text))} == {}


def test_text_files_end_with_a_newline_and_have_no_trailing_space(texts: dict[str, str]) -> None:
    checked = {
        name: text for name, text in texts.items() if text and not name.startswith(("tests/fixtures/", "LICENSE"))
    }
    assert [name for name, text in checked.items() if not text.endswith("\n") or text.endswith("\n\n")] == []
    assert [name for name, text in checked.items() if re.search(r"[ \t]+$", text, re.MULTILINE)] == []


def test_requirements_are_pinned_by_hash_and_name_no_address(texts: dict[str, str]) -> None:
    for name in ("requirements/run.txt", "requirements/dev.txt"):
        text = texts[name]
        pins = re.findall(r"^\S+==\S+.*\\$", text, re.MULTILINE)
        assert pins, name
        assert len(re.findall(r"^[a-zA-Z]\S*", text, re.MULTILINE)) == len(pins), f"{name}: something is not pinned"
        assert "--index-url" not in text


def test_every_link_of_the_collection_resolves_to_the_root() -> None:
    links = {path.name: path for path in COLLECTION.iterdir()}
    assert {"galaxy.yml", "meta", "playbooks", "plugins", "roles"} <= set(links)
    for name, link in links.items():
        assert link.is_symlink(), f"{name} is a copy"
        assert not link.readlink().is_absolute(), f"{name} is an absolute link"
        assert link.resolve(strict=True) == CHECKOUT / name


def test_python_files_are_short_and_modules_shorter() -> None:
    limits = dict.fromkeys(CHECKOUT.glob("plugins/modules/*.py"), 150)
    limits |= dict.fromkeys(CHECKOUT.glob("plugins/module_utils/**/*.py"), 400)
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in limits}
    assert {path.name: lengths[path] for path, limit in limits.items() if lengths[path] > limit} == {}


def test_the_collection_builds_without_its_links(tmp_path: Path) -> None:
    galaxy = Path(sys.executable).with_name("ansible-galaxy")
    subprocess.run(
        [galaxy, "collection", "build", str(CHECKOUT), "--output-path", str(tmp_path)],
        check=True,
        capture_output=True,
        cwd=tmp_path,
    )
    version = yaml.safe_load((CHECKOUT / "galaxy.yml").read_text(encoding="utf-8"))["version"]
    with tarfile.open(tmp_path / f"llmhost-core-{version}.tar.gz") as archive:
        names = archive.getnames()
    assert "plugins/module_utils/finding.py" in names
    assert "roles/egress/tasks/main.yml" in names
    assert "tests/acceptance/conftest.py" in names
    unwanted = ("collections/", ".venv/", ".git/", ".cache/", "reports/")
    assert [name for name in names if name.startswith(unwanted)] == []
