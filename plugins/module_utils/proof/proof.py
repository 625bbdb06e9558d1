"""The whole proof, in order: what CUDA shows, each GPU, all of them under load, each pair, and all together."""

from __future__ import annotations

import itertools
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from ansible_collections.llmhost.core.plugins.module_utils.proof.pair_verdict import Pair
from ansible_collections.llmhost.core.plugins.module_utils.proof.request import Request, driver_version, gpu_uuid
from ansible_collections.llmhost.core.plugins.module_utils.proof.supervisor import Account, Watch
from ansible_collections.llmhost.core.plugins.module_utils.proof.work import ERROR, HANG, NOT_TRIED, OK, WRONG
from ansible_collections.llmhost.core.plugins.module_utils.proof.xid import xids

SCHEMA = 1
# The kernel's stamps are a little older than the moment at which a record can be read.
_CLOCK_SLACK = 1.0

Data = dict[str, Any]
Say = Callable[[str, int, int], None]  # stage, steps done, all steps


class Gauge(Protocol):
    """What is seen while a block lasts."""

    def as_dict(self) -> Mapping[str, Data]: ...


@dataclass(frozen=True)
class Host:
    """What the proof uses of the host."""

    watch: Watch
    sensors: Callable[[], AbstractContextManager[Gauge]]
    kernel_log: Callable[[], Iterable[str]]
    say: Say = lambda _stage, _done, _total: None
    clock: Callable[[], float] = time.monotonic
    proc: str = "/proc"
    sysfs: str = "/sys"


class Proof:
    """One proof of one host."""

    def __init__(self, host: Host, request: Request) -> None:
        self._host, self._request = host, request
        self._pairs = list(itertools.combinations(request.gpus, 2))
        self._total = len(request.gpus) + 1 + len(self._pairs) + (1 if self._reduces else 0)
        self._stuck = False

    @property
    def _reduces(self) -> bool:
        return bool(self._request.nccl) and len(self._request.gpus) > 1

    def run(self) -> Data:
        """Return the result; a GPU that hangs or lies is a result too."""
        began = self._host.clock()
        shown = self._one("devices")
        result: Data = {"schema": SCHEMA, "request": {"gpus": list(self._request.gpus)}} | self._machine()
        result["devices"] = shown.steps.get("devices") or shown.error
        if result["devices"].get("outcome") == OK:
            result["gpus"] = self._each_gpu(result["devices"]["addresses"])
            sound = [gpu for gpu in result["gpus"] if gpu.get("checker", {}).get("outcome") == OK]
            self._load(sound)
            addresses = {gpu["pci_address"] for gpu in sound}
            result["pairs"] = list(self._each_pair(addresses))
            all_sound = addresses == set(self._request.gpus)
            result["all_reduce"] = self._all_reduce(result["pairs"]) if self._reduces and all_sound else None
        found = xids(self._host.kernel_log(), began - _CLOCK_SLACK)
        result["xids"] = [xid.as_dict() for xid in found]
        result["stuck"] = self._stuck
        result["seconds"] = round(self._host.clock() - began)
        return result

    def _machine(self) -> Data:
        return {
            "fingerprint": self._request.fingerprint(self._host.proc, self._host.sysfs),
            "driver_version": driver_version(self._host.sysfs),
            "uuids": {address: gpu_uuid(address, self._host.proc) for address in self._request.gpus},
            "environment": dict(self._request.environment),
        }

    def _one(self, kind: str, **more: Any) -> Account:
        account = self._host.watch(self._request.work(kind, **more), self._request.step_seconds)
        self._stuck |= account.stuck
        return account

    # -- each GPU -------------------------------------------------------------------------------------------------

    def _each_gpu(self, shown: list[str]) -> list[Data]:
        """Test one GPU after the other: together they would share the way to the host."""
        found = []
        for number, address in enumerate(self._request.gpus):
            self._host.say("memory of the GPUs", number, self._total)
            if address not in shown:
                missing = {"outcome": ERROR, "message": "CUDA does not show this GPU", "remedy": _SHOWN}
                found.append({"pci_address": address, "setup": missing})
            elif self._stuck:
                found.append({"pci_address": address, "setup": {"outcome": NOT_TRIED}})
            else:
                account = self._one("memory", gpu=address)
                found.append({"pci_address": address, **_setup(account), **_believable(account.steps)})
        return found

    def _load(self, ready: list[Data]) -> None:
        """Let all GPUs work at once: what is weak about the supply or the cooling shows only then."""
        self._host.say("all GPUs under load", len(self._request.gpus), self._total)
        if not ready or self._stuck or not self._request.burn_in_seconds:
            return
        seconds = self._request.step_seconds + self._request.burn_in_seconds
        works = [self._request.work("product", gpu=gpu["pci_address"]) for gpu in ready]
        with self._host.sensors() as sensors:
            accounts = self._together(works, seconds)
        seen = sensors.as_dict()
        for gpu, account in zip(ready, accounts, strict=True):
            gpu["product"] = account.steps.get("product") or account.error
            gpu["sensors"] = seen.get(gpu["pci_address"])

    def _together(self, works: list[Data], seconds: float) -> list[Account]:
        with ThreadPoolExecutor(len(works)) as pool:
            accounts = list(pool.map(lambda work: self._host.watch(work, seconds, again=False), works))
        self._stuck |= any(account.stuck for account in accounts)
        return accounts

    # -- between GPUs ---------------------------------------------------------------------------------------------

    def _each_pair(self, sound: set[str]) -> Iterator[Data]:
        """Test the pairs one after the other; a GPU that can't tell right from wrong has nothing to say here."""
        for number, pair in enumerate(self._pairs):
            self._host.say("transfers between GPUs", len(self._request.gpus) + 1 + number, self._total)
            ends = dict(zip("ab", pair, strict=True))
            if self._stuck or not set(pair) <= sound:
                yield {**ends, "setup": {"outcome": NOT_TRIED}, "transfers": []}
                continue
            account = self._one("pair", pair=list(pair))
            transfers = []
            for name, data in account.steps.items():
                way, source, target = name.split(" ")
                transfers.append({"way": way, "from": source, "to": target, **data})
            yield {**ends, **_setup(account), "transfers": transfers}

    def _all_reduce(self, pairs: list[Data]) -> Data:
        """Reduce without peer access, and with it where all direct transfers were right: the plan chooses."""
        self._host.say("all-reduce", self._total - 1, self._total)
        direct = [Pair.from_result(pair).direct for pair in pairs]
        ways = {"without_peer": False}
        if any(direct) and False not in direct:
            ways["with_peer"] = True
        return {way: self._reduced(self._request.environment_for(peer)) for way, peer in ways.items()}

    def _reduced(self, environment: Mapping[str, str]) -> Data:
        if self._stuck:
            return {"outcome": NOT_TRIED}
        with tempfile.TemporaryDirectory(prefix="llmhost-proof-") as folder:
            common = {"id_file": os.path.join(folder, "id"), "environment": dict(environment)}
            works = [
                self._request.work("rank", gpu=address, rank=rank, **common)
                for rank, address in enumerate(self._request.gpus)
            ]
            accounts = self._together(works, self._request.step_seconds)
        ranks = [_outcome_of(account) for account in accounts]
        worst = max(ranks, key=lambda rank: _WORSE.index(rank["outcome"]))
        joined = accounts[0].steps.get("join", {})
        return {**worst, "nccl_version": joined.get("version"), "environment": dict(environment)}


_SHOWN = "See whether CUDA_VISIBLE_DEVICES hides it, then the kernel log (dmesg | grep -i nvrm)."
_WORSE = (OK, NOT_TRIED, WRONG, ERROR, HANG)


def _setup(account: Account) -> Data:
    """Return why a process did not even begin, where that is so."""
    return {"setup": account.error} if account.names is None else {}


def _believable(steps: dict[str, Data]) -> dict[str, Data]:
    """Return the steps of a GPU; those that rest on its comparison only where that is sound."""
    sound = steps.get("checker", {}).get("outcome") == OK
    return steps if sound else {name: data for name, data in steps.items() if name == "checker"}


def _outcome_of(account: Account) -> Data:
    """Return the last thing that a rank did."""
    for name in ("all_reduce", "join"):
        step = account.steps.get(name, {"outcome": NOT_TRIED})
        if step["outcome"] != NOT_TRIED and (name == "all_reduce" or step["outcome"] != OK):
            return {**step, "step": name}
    return account.error or {"outcome": ERROR, "message": "it did not begin"}
