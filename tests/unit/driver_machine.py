"""A machine for tests of the driver: its apt has a small index, and its files follow what is installed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ansible_collections.llmhost.core.plugins.module_utils.command import CommandResult
from ansible_collections.llmhost.core.plugins.module_utils.driver.archives import Archives
from ansible_collections.llmhost.core.plugins.module_utils.driver.dpkg import Dpkg
from ansible_collections.llmhost.core.plugins.module_utils.driver.driver import Driver
from ansible_collections.llmhost.core.plugins.module_utils.driver.settings import Paths
from ansible_collections.llmhost.core.plugins.module_utils.driver.wanted import Wanted
from ansible_collections.llmhost.core.plugins.module_utils.driver.work import Host, Work
from ansible_collections.llmhost.core.plugins.module_utils.state import StateFile

from tests.unit.machine import Machine

OK = CommandResult(0, "", "")
RUNNING, NEWER = "5.15.0-203-generic", "5.15.0-204-generic"
V580, V580_NEWER, V595 = "580.159.03-0ubuntu0.22.04.1", "580.178.04-0ubuntu0.22.04.1", "595.91.07-0ubuntu0.22.04.1"
NO_DEVICE = "modprobe: ERROR: could not insert 'nvidia': No such device"
NOT_FOUND = "E: Failed to fetch http://mirror/pool/x.deb  404  Not Found [IP: 10.0.0.1 80]\n"
LOCKED = "E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 812 (unattended-upgr)\n"

Index = dict[str, tuple[str, tuple[str, ...]]]


def driver_index(branch: str, version: str, kernels: Sequence[str] = (RUNNING, NEWER)) -> Index:
    """Return the packages of a branch as jammy has them: their versions, and what each depends on."""
    common, word = f"nvidia-kernel-common-{branch}", f"{branch}-open"
    firmware = f"nvidia-firmware-{branch}-{version.split('-')[0]}"
    needs = (common, f"libnvidia-compute-{branch}", f"nvidia-compute-utils-{branch}", f"nvidia-kernel-source-{word}")
    names: dict[str, tuple[str, ...]] = {
        common: (firmware,),
        firmware: (),
        f"libnvidia-compute-{branch}": (common,),
        f"nvidia-compute-utils-{branch}": (f"libnvidia-compute-{branch}",),
        f"nvidia-kernel-source-{word}": (),
        f"nvidia-utils-{branch}": (f"libnvidia-compute-{branch}",),
        f"nvidia-headless-no-dkms-{word}": needs,
        f"nvidia-dkms-{word}": (common, "dkms"),
        f"nvidia-headless-{word}": (*needs, f"nvidia-dkms-{word}"),
        f"nvidia-fabricmanager-{branch[:3]}": (common,),
    }
    modules = {f"linux-modules-nvidia-{word}-{kernel}": (common, f"linux-image-{kernel}") for kernel in kernels}
    return {name: (version, depends) for name, depends in {**names, **modules}.items()}


def kernel_index(kernel: str) -> Index:
    """Return a kernel and the metapackage that brings it, which is the newest for the kernel's branch."""
    number = kernel.removeprefix("5.15.0-").removesuffix("-generic")
    image = (f"5.15.0-{number}.1", (f"linux-modules-{kernel}",))
    return {
        f"linux-modules-{kernel}": (f"5.15.0-{number}.1", ()),
        f"linux-image-{kernel}": image,
        f"linux-headers-{kernel}": (f"5.15.0-{number}.1", ()),
        "linux-image-generic": (f"5.15.0.{number}.1", (f"linux-image-{kernel}",)),
    }


USUAL: Index = {
    "dkms": ("2.8.7", ("gcc",)),
    "gcc": ("11.4", ()),
    "nvidia-container-toolkit": ("1.18.1-1", ("libnvidia-container1",)),
    "libnvidia-container1": ("1.18.1-1", ()),
    **kernel_index(RUNNING),
    **driver_index("580-server", V580),
}
PLAN: dict[str, Any] = {
    "source": "ubuntu",
    "branch": "580-server",
    "flavour": "open",
    "packages": [
        f"linux-modules-nvidia-580-server-open-{RUNNING}",
        "nvidia-headless-no-dkms-580-server-open",
        "nvidia-utils-580-server",
    ],
    "kernel": None,
    "hold": ["linux-image-generic", "nvidia-utils-580-server"],
    "version": "580.159.03",
    "persistence": True,
    "modules": ["nvidia", "nvidia_uvm"],
}


class Killed(BaseException):
    """The process was killed."""


class DriverMachine(Machine):
    """Files below ``root``. ``killed_at`` is the number of the command at which the process is killed.

    ``how`` says when: before the command, after it (apt goes on alone), or halfway, as when the power fails.
    """

    def __init__(self, root: Path, *, gpus: int = 0, index: Index | None = None) -> None:
        super().__init__(root)
        self.index = dict(index or USUAL)
        self.deb_index = dict(self.index)
        self.packages: dict[str, tuple[str, tuple[str, ...]]] = {}
        self.held: set[str] = set()
        self.half: set[str] = set()
        self.manual: set[str] = set()
        self.remains: set[str] = set()
        self.enabled: set[str] = set()
        self.active: set[str] = set()
        self.answers: list[CommandResult] = []
        self.says: dict[str, CommandResult] = {}
        self.newer_lists: Index = {}
        self.killed_at, self.how, self.count = 0, "before", 0
        self.modprobe = CommandResult(1, "", NO_DEVICE)
        self.signer = "Canonical Ltd. Kernel Module Signing"
        self.kernel = RUNNING
        self.gpus = gpus
        self.write({"var/lib/apt/lists/mirror_jammy_Packages": ""})
        for number in range(gpus):
            place = f"sys/bus/pci/devices/0000:0{number + 1}:00.0"
            self.write({f"{place}/vendor": "0x10de\n", f"{place}/device": "0x2204\n", f"{place}/class": "0x030000\n"})
        self.put("linux-image-generic", f"linux-image-{RUNNING}", f"linux-modules-{RUNNING}")

    # -- what a test does ------------------------------------------------------------------------------------------

    def put(self, *names: str) -> None:
        """Install packages that llmhost has nothing to do with."""
        for name in names:
            self.packages[name] = self.index[name]
        self.manual |= set(names)
        self._sync()

    def offer(self, *indexes: Index) -> None:
        """Let apt have newer packages."""
        for index in indexes:
            self.index |= index
            self.deb_index |= index

    def host(self) -> Host:
        """Return it as the module sees it."""
        units = self.root / "etc/systemd/system"
        return Host(
            self.run_command,
            self.run_command,
            str(self.root),
            StateFile("driver", str(self.root / "etc/llmhost/state")),
            Paths(self.root / "etc/apt/52llmhost", self.root / "etc/modules-load.d/llmhost.conf", units),
            Archives(str(self.root / "var/cache/llmhost/driver"), str(self.root / "var/cache/apt/archives")),
            self.kernel,
            fabric_seconds=0,
        )

    def driver(self, check: bool = False, **changes: Any) -> Driver:
        """Return the driver of this machine for a plan."""
        return Driver(Work(self.host(), check), Wanted.from_plan({**PLAN, **changes}))

    def boot(self, kernel: str | None = None) -> None:
        """Start anew, with the newest kernel."""
        images = sorted(name for name in self.packages if re.match(r"linux-image-\d", name))
        self.kernel = kernel or images[-1].removeprefix("linux-image-")
        for name in ("nvidia", "nvidia_uvm", "nouveau"):
            (self.root / "sys/module" / name / "version").unlink(missing_ok=True)
            if (self.root / "sys/module" / name).is_dir():
                (self.root / "sys/module" / name).rmdir()

    def state(self) -> dict[str, Any]:
        """Return all that a run leaves: packages, holds, units and files."""
        kept = ("etc", "var/cache/llmhost")
        files = {
            str(path.relative_to(self.root)): path.read_text()
            for folder in kept
            for path in (self.root / folder).rglob("*")
            if path.is_file()
        }
        versions = {name: version for name, (version, _) in self.packages.items()}
        return {"packages": versions, "held": self.held, "half": self.half, "enabled": self.enabled, "files": files}

    # -- programs --------------------------------------------------------------------------------------------------

    def run_command(self, argv: Sequence[str]) -> CommandResult:
        """Answer as the program would."""
        self.count += 1
        self.calls.append(list(argv))
        killed = self.count == self.killed_at
        if killed and self.how == "before":
            raise Killed
        answer = self._answer(list(argv), cut=killed and self.how == "half")
        if killed:
            raise Killed
        return answer

    def _answer(self, argv: list[str], cut: bool) -> CommandResult:
        if argv[0] in self.says:
            return self.says[argv[0]]
        program = argv[0].replace("-", "_")
        if program == "apt_get":
            return self._apt(_without_options(argv[1:]), argv, cut)
        if program == "dpkg":
            self._configure()
            return OK
        if program == "modprobe":
            return self._modprobe(argv[1])
        found = getattr(self, f"_{program}", None)
        answer: CommandResult = found(argv[1:]) if found else OK
        return answer

    def _apt(self, words: list[str], argv: list[str], cut: bool) -> CommandResult:
        verb, names = words[0], [word for word in words[1:] if not word.startswith("--")]
        simulated = "--simulate" in argv
        if not simulated and verb != "update" and self.answers:
            answer = self.answers.pop(0)
            if answer.rc:
                return answer
        if verb == "update":
            self.offer(self.newer_lists)
            return OK
        if (self.root / "var/lib/dpkg/updates/0000").exists() and not simulated:
            return CommandResult(100, "E: dpkg was interrupted, you must manually run 'dpkg --configure -a'\n", "")
        if "--download-only" in argv:
            name, _, version = names[0].partition("=")
            there = self.deb_index.get(name, ("",))[0] == version
            return self._fetch({name: (version, ())}, argv) if there else CommandResult(100, "E: Version not found", "")
        wanted, gone = self._resolve(names if verb == "install" else [f"{name}-" for name in names])
        unknown = [name for name, (version, _) in wanted.items() if not version]
        if unknown:
            return CommandResult(100, f"E: Unable to locate package {unknown[0]}\n", "")
        result = {name: needs for name, (_, needs) in {**self.packages, **wanted}.items() if name not in gone}
        absent = sorted({need for needs in result.values() for need in needs if need not in result})
        if absent:
            return CommandResult(100, f"E: Unmet dependencies. Try 'apt --fix-broken install': {absent}\n", "")
        changed = {name: to for name, to in wanted.items() if self.packages.get(name) != to or name in self.half}
        if (locked := self.held & {*changed, *gone}) and "--allow-change-held-packages" not in argv:
            return CommandResult(100, f"E: Held packages were changed: {locked}\n", "")
        if simulated:
            return CommandResult(0, self._simulation(changed, gone, "Purg" if verb == "purge" else "Remv"), "")
        self._fetch(changed, argv)
        self._change(changed, gone, cut)
        if verb == "install":
            self.manual |= {name for name in names if name in self.index}
        return OK

    def _resolve(self, names: Sequence[str]) -> tuple[Index, set[str]]:
        """Return what would be there anew, and what would go: a driver of another branch, and what needs it."""
        wanted: Index = {}
        gone = {name[:-1] for name in names if name.endswith("-")} & (set(self.packages) | self.remains)
        queue = [name for name in names if not name.endswith("-")]
        while queue:
            name = queue.pop(0)
            if name.startswith("/"):
                name, version = Path(name).name.split("_")[:2]
                entry = (version, self.deb_index_of(name, version))
            elif "=" in name:
                name, _, version = name.partition("=")
                known = version in (self.deb_index.get(name, ("",))[0], self.packages.get(name, ("",))[0])
                entry = (version if known else "", self.deb_index_of(name, version))
            else:
                entry = self.index.get(name, ("", ()))
            if name in wanted:
                continue
            wanted[name] = entry
            queue += [need for need in entry[1] if need not in self.packages or self._is_older(need)]
        slots = {_slot(name): name for name in wanted if _slot(name)}
        gone |= {name for name in self.packages if slots.get(_slot(name), name) != name}
        gone |= self._left_behind({**self.packages, **wanted})
        while more := {n for n, (_, needs) in self.packages.items() if set(needs) & gone and n not in {*gone, *wanted}}:
            gone |= more
        return wanted, gone - set(wanted)

    def deb_index_of(self, name: str, version: str) -> tuple[str, ...]:
        """Return what a version of a package depends on; a file of it says so itself."""
        known = USUAL if USUAL.get(name, ("",))[0] == version else self.index
        return known.get(name, ("", ()))[1]

    def _left_behind(self, there: Index) -> set[str]:
        """Return modules of a kernel that go with another version of the driver: each is built for one."""
        built = {name: re.match(r"linux-modules-nvidia-(\d+-server)", name) for name in there}
        common = {name: f"nvidia-kernel-common-{match[1]}" for name, match in built.items() if match}
        return {name for name, other in common.items() if other in there and there[other][0] != there[name][0]}

    def _is_older(self, name: str) -> bool:
        """Ubuntu's packages of a driver go together in one version alone."""
        return "nvidia" in name and self.packages[name] != self.index.get(name)

    def _simulation(self, changed: Index, gone: set[str], word: str) -> str:
        lines = [f"{word} {name} [{self.packages.get(name, ('1',))[0]}]" for name in sorted(gone)]
        for name, (version, _) in changed.items():
            before = f"[{self.packages[name][0]}] " if name in self.packages else ""
            lines.append(f"Inst {name} {before}({version} Ubuntu:22.04/jammy-updates [amd64])")
        return "\n".join([*lines, ""])

    def _fetch(self, changed: Index, argv: Sequence[str]) -> CommandResult:
        place = next((word.partition("=")[2] for word in argv if word.startswith("Dir::Cache::Archives=")), "")
        for name, (version, _) in changed.items():
            Path(place, f"{name}_{version}_amd64.deb").write_text("")
        return OK

    def _change(self, changed: Index, gone: set[str], cut: bool) -> None:
        names = list(changed)
        done = names[: len(names) // 2] if cut else names
        for name in gone:
            self.packages.pop(name, None)
            self.remains.discard(name)
            self.held.discard(name)
        for name in done:
            self.packages[name] = changed[name]
        self.half = set(done) if cut else set()
        if cut:
            # The status file lags behind until dpkg is asked to go on.
            self.write({"var/lib/dpkg/updates/0000": ""})
        else:
            self._sync()

    def _configure(self) -> None:
        self.half = {name for name in self.half if set(self.packages[name][1]) - set(self.packages)}
        (self.root / "var/lib/dpkg/updates/0000").unlink(missing_ok=True)
        self._sync()

    def _sync(self) -> None:
        """Let the files follow the packages."""
        stanzas = []
        for name, (version, _) in sorted(self.packages.items()):
            selection = "hold" if name in self.held else "install"
            state = "half-configured" if name in self.half else "installed"
            stanzas.append(
                f"Package: {name}\nStatus: {selection} ok {state}\nArchitecture: amd64\nVersion: {version}\n"
            )
        stanzas += [
            f"Package: {name}\nStatus: deinstall ok config-files\nVersion: 1\n" for name in sorted(self.remains)
        ]
        self.write({"var/lib/dpkg/status": "\n".join(stanzas)})
        for path in [*self.root.glob("boot/*"), *self.root.glob("usr/lib/x86_64-linux-gnu/*")]:
            path.unlink()
        for name, (version, _) in self.packages.items():
            if match := re.match(r"linux-image-(\d.*)", name):
                self.write({f"boot/vmlinuz-{match[1]}": "", f"lib/modules/{match[1]}/x": ""})
            if name.startswith("libnvidia-compute-"):
                library = f"libnvidia-ml.so.{version.split('-')[0]}"
                self.write({f"usr/lib/x86_64-linux-gnu/{library}": ""})
                self.link("usr/lib/x86_64-linux-gnu/libnvidia-ml.so.1", library)

    def _apt_mark(self, words: list[str]) -> CommandResult:
        verb, *names = words
        if verb == "showmanual":
            return CommandResult(0, "\n".join(sorted(self.manual & set(self.packages))), "")
        self.held = self.held | set(names) if verb == "hold" else self.held - set(names)
        self._sync()
        return OK

    def _modinfo(self, words: list[str]) -> CommandResult:
        kernel = words[1] if words[0] == "-k" else self.kernel
        for name in self.packages:
            match = re.match(rf"(?:linux-modules-nvidia|nvidia-dkms)-(\d+-server)(-open)?(?:-{kernel})?$", name)
            if match and (name.startswith("nvidia-dkms") or name.endswith(kernel)):
                version = self.packages[f"nvidia-kernel-common-{match[1]}"][0].split("-")[0]
                fields = [f"version:        {version}", f"license:        {'Dual MIT/GPL' if match[2] else 'NVIDIA'}"]
                fields += [f"signer:         {self.signer}"] if self.signer else []
                return CommandResult(0, "\n".join(fields), "")
        return CommandResult(1, "", "modinfo: ERROR: Module nvidia not found.")

    def _modprobe(self, name: str) -> CommandResult:
        said = self._modinfo(["-k", self.kernel])
        if said.rc:
            return CommandResult(1, "", f"modprobe: FATAL: Module {name} not found in directory /lib/modules/x")
        if not self.gpus:
            return self.modprobe
        version = said.stdout.split()[1]
        self.write({f"sys/module/{name}/version": f"{version}\n", "dev/nvidiactl": ""})
        if name == "nvidia":
            self.write({f"dev/nvidia{number}": "" for number in range(self.gpus)})
            self.write({"proc/driver/nvidia/version": f"NVRM version: NVIDIA UNIX Open Kernel Module  {version}\n"})
        else:
            self.write({"dev/nvidia-uvm": ""})
        return OK

    def _nvidia_smi(self, words: list[str]) -> CommandResult:
        if not any(name.startswith("nvidia-utils-") for name in self.packages):
            return CommandResult(127, "", "nvidia-smi cannot be run: no such file")
        if not (self.root / "sys/module/nvidia").is_dir():
            return CommandResult(
                9, "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\n", ""
            )
        return CommandResult(0, "index, uuid\n" + "".join(f"{n}, GPU-{n}\n" for n in range(self.gpus)), "")

    def _dpkg_deb(self, words: list[str]) -> CommandResult:
        Path(words[-1]).write_text("")
        return OK

    def _systemctl(self, words: list[str]) -> CommandResult:
        unit = words[-1]
        by_package = {
            "nvidia-persistenced.service": "nvidia-compute-utils-",
            "nvidia-fabricmanager.service": "nvidia-fab",
        }
        there = (self.root / "etc/systemd/system" / unit).exists()
        there = there or any(name.startswith(by_package.get(unit, "none")) for name in self.packages)
        if words[0] == "show":
            load, active = "loaded" if there else "not-found", "active" if unit in self.active else "inactive"
            enabled = "enabled" if unit in self.enabled else "static"
            return CommandResult(0, f"LoadState={load}\nActiveState={active}\nUnitFileState={enabled}\n", "")
        if words[0] in ("enable", "disable"):
            self.enabled = self.enabled | {unit} if words[0] == "enable" else self.enabled - {unit}
        if words[0] in ("restart", "stop"):
            self.active = self.active | {unit} if words[0] == "restart" else self.active - {unit}
        return OK


def _without_options(words: Sequence[str]) -> list[str]:
    kept = [word for at, word in enumerate(words) if word != "-o" and words[at - 1] != "-o"]
    return [
        word for word in kept if not re.match(r"^(-\w|--simulate|--no-install-recommends|--reinstall|--allow.*)$", word)
    ]


def _slot(name: str) -> str:
    """Return what only one branch can be: nvidia-utils of nvidia-utils-580-server."""
    match = re.match(r"^((?:lib)?nvidia-[a-z-]+?)-\d{3}(?:-server)?(?:-open)?$", name)
    return match[1] if match else ""


def dpkg(machine: DriverMachine) -> Dpkg:
    """Return the packages of a machine as the module reads them."""
    return Dpkg.from_host(str(machine.root))
