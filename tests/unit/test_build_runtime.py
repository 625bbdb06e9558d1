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
# Makes what is named after -o, with what it was told to do in it.
COMPILER = """
told="$*"; while [ "$1" != -o ]; do shift; done; { echo "$told"; cat "$3"; } > "$2"
"""

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


cuda_toolkit: Any = load("cuda_toolkit", FILES / "cuda_toolkit.py")
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


@pytest.fixture
def cuda_parts(tmp_path: Path) -> tuple[Path, Path]:
    """A compiler and libraries as wheels lay them out, small."""
    compiler, libraries = tmp_path / "13.0-compiler", tmp_path / "13.0"
    for part, names in (
        (compiler, ("bin/nvcc", "nvvm/bin/cicc", "include/crt/a.h", "include/both.h", "lib/libcudart.so.13")),
        (libraries, ("include/cublas_v2.h", "include/both.h", "lib/libcudart.so.13", "lib/libcublas.so.13")),
    ):
        for name in names:
            (part / name).parent.mkdir(parents=True, exist_ok=True)
            (part / name).write_text(f"{part.name} {name}")
    (compiler / "bin/nvcc").write_text("#!/bin/sh\necho 'nvcc: NVIDIA'\necho 'Build cuda_13.0'\n")
    (compiler / "bin/nvcc").chmod(0o755)
    return compiler, libraries


def test_a_toolkit_is_made_of_its_parts(cuda_parts: tuple[Path, Path], tmp_path: Path) -> None:
    tree = tmp_path / "tree/cuda"
    tree.parent.mkdir()
    for _again in range(2):
        assert cuda_toolkit.merged(*cuda_parts, tree) == tree
    found = {str(path.relative_to(tree)): path.read_text() for path in tree.rglob("*") if path.is_file()}
    assert found["include/cublas_v2.h"] == "13.0 include/cublas_v2.h"
    assert found["include/crt/a.h"] == "13.0-compiler include/crt/a.h"
    assert found["lib/libcublas.so"] == found["lib/libcublas.so.13"] == "13.0 lib/libcublas.so.13"
    assert (tree / "lib64/libcudart.so").read_text() == (tree / "lib/libcudart.so.13").read_text()
    assert (tree / "bin/nvcc").stat().st_mode & 0o111
    assert cuda_toolkit.version(tree) == "Build cuda_13.0"


def test_a_whole_toolkit_is_used_as_it_is(cuda_parts: tuple[Path, Path], tmp_path: Path) -> None:
    (cuda_parts[0] / "lib64").symlink_to("lib")
    assert cuda_toolkit.merged(*cuda_parts, tmp_path / "tree") == cuda_parts[0]
    assert not (tmp_path / "tree").exists()


def test_the_driver_has_a_stand_in_with_what_the_sources_call(
    cuda_parts: tuple[Path, Path], work: Path, tmp_path: Path
) -> None:
    tool(tmp_path, "cc", COMPILER)
    sources = work / ARCHIVE / "src"
    (sources / "a.cu").write_text("CU_CHECK(cuMemCreate(&handle, size, &prop, 0)); cudaFree(p); x.curve(1);")
    (sources / "b.cuh").write_text("cuGetErrorString (e, &s); cuMemCreate(a) // cuBLAS (slow)")
    (sources / "c.cpp").write_text("cuNever()")
    toolkit = cuda_toolkit.merged(*cuda_parts, tmp_path / "tree")
    for _again in range(2):
        place = cuda_toolkit.stand_in(toolkit, sources, tmp_path / "driver")
    made = (place / "libcuda.so.1").read_text().splitlines()
    assert "-Wl,-soname,libcuda.so.1" in made[0]
    assert [line.split()[1] for line in made[1:]] == ["cuGetErrorString(void)", "cuMemCreate(void)"]
    assert (toolkit / "lib64/stubs/libcuda.so").exists()


def test_the_stand_in_of_nvidia_is_taken_where_it_is(cuda_parts: tuple[Path, Path], work: Path, tmp_path: Path) -> None:
    tool(tmp_path, "cc", "exit 1")
    toolkit = cuda_toolkit.merged(*cuda_parts, tmp_path / "tree")
    (toolkit / "lib/stubs").mkdir()
    (toolkit / "lib/stubs/libcuda.so").write_text("of NVIDIA")
    place = cuda_toolkit.stand_in(toolkit, work, tmp_path / "driver")
    assert (place / "libcuda.so.1").read_text() == "of NVIDIA"


def test_a_build_with_cuda_finds_its_toolkit_and_starts_without_a_driver(
    cuda_parts: tuple[Path, Path], work: Path, tmp_path: Path
) -> None:
    tool(tmp_path, "cc", COMPILER)
    (work / ARCHIVE / "src/ggml/src/ggml-cuda").mkdir(parents=True)
    server = r'[ -e "$LD_LIBRARY_PATH/libcuda.so.1" ]'
    tool(tmp_path, "ninja", TOOLS["ninja"].replace("echo started", server))
    recipe = build.Recipe.from_dict(
        {"archive": ARCHIVE, "version": "1.0", "sha256": "0" * 64, "cmake": {}, "cuda": list(map(str, cuda_parts))}
    )
    package = Path(str(make(recipe, work)["package"]))
    told = (tmp_path / "tools/cmake.arguments").read_text()
    tree = work / ARCHIVE / "cuda"
    assert f"-DCUDAToolkit_ROOT={tree} -DCMAKE_CUDA_COMPILER={tree}/bin/nvcc" in told
    assert "-Xcompiler=-ffile-prefix-map=" in told
    with tarfile.open(package) as tar:
        manifest = tar.extractfile(f"{ARCHIVE}/manifest.json")
        assert manifest is not None
        assert json.load(manifest)["cuda"] == "Build cuda_13.0"


def test_a_toolkit_that_is_not_there_says_what_to_do(work: Path, tmp_path: Path) -> None:
    (work / ARCHIVE / "src/ggml/src/ggml-cuda").mkdir(parents=True)
    recipe = build.Recipe(ARCHIVE, "1.0", "0" * 64, {}, (tmp_path / "none-compiler", tmp_path / "none"))
    with pytest.raises(build.BuildError, match="none-compiler") as failure:
        make(recipe, work)
    assert "role cuda" in failure.value.remedy


def test_the_stand_in_hands_pip_the_metadata_of_the_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = load("stand_in", FILES / "scikit_build_core/build.py")
    (tmp_path / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: llama_cpp_python\nVersion: 0.3.36\n\nText\n")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").mkdir()
    name = backend.prepare_metadata_for_build_wheel(str(tmp_path / "out"))
    assert name == "llama_cpp_python-0.3.36.dist-info"
    assert (tmp_path / "out" / name / "METADATA").read_text().startswith("Metadata-Version")
