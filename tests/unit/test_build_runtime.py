"""The build of llama.cpp, with stand-ins for the tools that compile."""

from __future__ import annotations

import importlib.util
import io
import json
import sys
import tarfile
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from ansible_collections.llmhost.core.plugins.module_utils.service.runtime_store import RuntimeStore, verify

FILES = Path(__file__).parents[2] / "roles/inference/files/llama_cpp"
ARCHIVE = "llama_cpp-1.0-jammy-x86_64-cpu-0123456789ab"

TOOLS = {
    "cmake": 'echo "$@" > "$0.arguments"',
    "ninja": """
tree=$2
mkdir -p $tree/bin
for program in llama-server llama-bench llama-fit-params; do
  printf '#!/bin/sh\\necho started\\n' > $tree/bin/$program; chmod +x $tree/bin/$program
done
echo "[1/2] Compiling a"; echo "a.cpp:1: warning: odd"; echo "[2/2] Linking b"
""",
    "strip": "true",
    "c++": "echo 'c++ (Test) 1.0'; echo more",
}


def load(name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


build: Any = load("build_runtime", FILES / "build_runtime.py")


@pytest.fixture
def recipe() -> object:
    return build.Recipe.from_dict(
        {"archive": ARCHIVE, "version": "1.0", "sha256": "0" * 64, "cmake": {"GGML_AVX2": "ON"}}
    )


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache directory whose sources are there already, and tools that pretend."""
    bring_sources(tmp_path / "work")
    (tmp_path / "tools").mkdir()
    for name, script in TOOLS.items():
        tool(tmp_path, name, script)
    monkeypatch.setenv("PATH", f"{tmp_path}/tools:/usr/bin:/bin")
    return tmp_path / "work"


def bring_sources(work: Path) -> None:
    (work / ARCHIVE / "src").mkdir(parents=True)
    (work / ARCHIVE / "boot_id").write_text(build.BOOT_ID.read_text())


def tool(folder: Path, name: str, script: str) -> None:
    path = folder / "tools" / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def make(recipe: object, work: Path) -> dict[str, object]:
    result: dict[str, object] = build.Builder(recipe, work, build.Reporter(work.parent)).run()
    return result


def test_the_package_installs_and_says_how_it_was_made(recipe: object, work: Path, tmp_path: Path) -> None:
    package = Path(str(make(recipe, work)["package"]))
    verify(package)
    runtimes = RuntimeStore(tmp_path / "opt")
    runtimes.install(ARCHIVE, package)
    assert runtimes.is_complete(ARCHIVE)
    manifest = json.loads((tmp_path / "opt" / ARCHIVE / "manifest.json").read_text())
    assert (manifest["cmake"], manifest["compiler"]) == ({"GGML_AVX2": "ON"}, "c++ (Test) 1.0")
    assert "-DGGML_AVX2=ON" in (tmp_path / "tools/cmake.arguments").read_text()


def test_only_the_package_is_left(recipe: object, work: Path) -> None:
    (work / "llama_cpp-0.9-other").mkdir()
    make(recipe, work)
    assert sorted(path.name for path in work.iterdir()) == [f"{ARCHIVE}.tar.gz", f"{ARCHIVE}.tar.gz.sha256"]


def test_the_same_input_gives_the_same_bytes(recipe: object, work: Path) -> None:
    first = make(recipe, work)["sha256"]
    for path in work.iterdir():
        path.unlink()
    bring_sources(work)
    assert make(recipe, work)["sha256"] == first


def test_a_finished_build_is_not_made_again(recipe: object, work: Path, tmp_path: Path) -> None:
    first = make(recipe, work)
    tool(tmp_path, "ninja", "exit 1")
    assert make(recipe, work) == first


def test_a_compiler_that_fails_says_so_in_the_journal(
    recipe: object, work: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    tool(tmp_path, "ninja", "echo '[1/2] Compiling a'; echo 'a.cpp:1: error: no such thing'; exit 1")
    with pytest.raises(build.BuildError, match=r"compiling llama.cpp 1\.0 failed"):
        make(recipe, work)
    assert capfd.readouterr().out == "a.cpp:1: error: no such thing\n"
    assert (work / ARCHIVE / "src").exists(), "the next build goes on from here"


def test_what_was_built_before_the_last_boot_is_not_trusted(
    recipe: object, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (work / ARCHIVE / "boot_id").write_text("another boot\n")
    seen: list[list[str]] = []
    monkeypatch.setattr(
        build.Builder, "_sources", lambda _self: seen.append([path.name for path in (work / ARCHIVE).iterdir()])
    )
    make(recipe, work)
    assert seen == [["boot_id"]], "a power cut may have emptied any file of it"


def test_progress_counts_the_steps_of_ninja(
    recipe: object, work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reporter = build.Reporter(tmp_path)
    seen: list[tuple[str, int, int]] = []
    monkeypatch.setattr(
        reporter, "progress", lambda stage, done=0, total=0, message="": seen.append((stage, done, total))
    )
    build.Builder(recipe, work, reporter).run()
    assert seen == [("configure", 0, 0), ("compile", 1, 2), ("compile", 2, 2), ("pack", 0, 0)]


def test_progress_within_a_stage_is_written_once_a_second(tmp_path: Path) -> None:
    reporter = build.Reporter(tmp_path)
    for done in (1, 2, 3):
        reporter.progress("compile", done, 9)
    assert json.loads((tmp_path / "progress.json").read_text())["done"] == 1
    reporter.progress("compile", 9, 9)
    assert json.loads((tmp_path / "progress.json").read_text())["done"] == 9


def test_only_regular_files_of_the_wanted_folder_are_unpacked(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "s.tar.gz", "w:gz") as tar:
        for name in (
            "s/vendor/llama.cpp/a/b.c",
            "s/other/c.c",
            "s/vendor/llama.cpp/../../d",
            "s/vendor/llama.cpp//etc/e",
        ):
            info = tarfile.TarInfo(name)
            info.size = 1
            tar.addfile(info, io.BytesIO(b"x"))
        link = tarfile.TarInfo("s/vendor/llama.cpp/link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    build.unpack_folder(tmp_path / "s.tar.gz", "vendor/llama.cpp", tmp_path / "out")
    assert [str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_file()] == [
        "a/b.c"
    ]


def test_the_stand_in_hands_pip_the_metadata_of_the_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = load("stand_in", FILES / "scikit_build_core/build.py")
    (tmp_path / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: llama_cpp_python\nVersion: 0.3.36\n\nText\n")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").mkdir()
    name = backend.prepare_metadata_for_build_wheel(str(tmp_path / "out"))
    assert name == "llama_cpp_python-0.3.36.dist-info"
    assert (tmp_path / "out" / name / "METADATA").read_text().startswith("Metadata-Version")
