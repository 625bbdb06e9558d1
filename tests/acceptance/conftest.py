"""Finds the hosts, gives each check its target, and writes the report.

Run it as ``pytest tests/acceptance --hosts=ansible://NAME`` with ``ANSIBLE_INVENTORY`` set, or by
``playbooks/acceptance.yml``.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Generator, Iterable, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
import testinfra
from ansible_collections.llmhost.core.plugins.module_utils.proof.verdict import Verdict
from ansible_collections.llmhost.core.plugins.module_utils.sizing.plan_check import Row

from tests.acceptance.expectation import Figure
from tests.acceptance.report import Check, Measure, Proved, Report
from tests.acceptance.sudo import SudoPassword, inherited_password, resolved
from tests.acceptance.target import NoPlanError, Target
from tests.acceptance.tunnel import Tunnel, relay_command

# Checks that fail in these files are about the service, so its journal belongs to the story.
ABOUT_THE_SERVICE = {"test_service", "test_api", "test_memory"}

_targets = pytest.StashKey[list[Target]]()
_checks = pytest.StashKey[dict[str, Check]]()
_memory = pytest.StashKey[list[Row]]()
_proofs = pytest.StashKey[list[Verdict]]()
_journal_shown = pytest.StashKey[bool]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add what the suite needs to know beyond the hosts."""
    group = parser.getgroup("llmhost")
    group.addoption("--report-dir", type=Path, help="leave report.json and report.txt in this directory")
    group.addoption(
        "--hash-limit-bytes",
        type=int,
        default=4 << 30,
        help="read and hash model files up to this size; larger ones are compared with the hash kept at download",
    )
    group.addoption("--exposure-limit", type=float, default=2.0, help="highest score of systemd-analyze security")


def pytest_configure(config: pytest.Config) -> None:
    """Name the markers, and read the plan of every host: the checks are made from it."""
    config.addinivalue_line("markers", "applied(step): only where the plan applies this step")
    config.addinivalue_line("markers", "left_out(step): only where the plan skips this step")
    config.addinivalue_line("markers", "each(items): once for each item that the function finds in the plan")
    config.stash[_checks] = {}
    config.stash[_memory] = []
    config.stash[_proofs] = []
    # testinfra calls ansible-inventory by name; it lies beside this Python, which need not be on the path.
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    option = config.option
    try:
        hosts = testinfra.get_hosts(
            option.hosts.split(",") if option.hosts else [None],
            connection=option.connection,
            ssh_config=option.ssh_config,
            ssh_identity_file=option.ssh_identity_file,
            sudo=option.sudo,
            sudo_user=option.sudo_user,
            ansible_inventory=option.ansible_inventory,
        )
        password = inherited_password()
        if password:
            for backend in filter(None, (resolved(host.backend) for host in hosts)):
                SudoPassword(backend, password)
        config.stash[_targets] = [Target.from_host(host) for host in hosts]
    except (NoPlanError, RuntimeError, AssertionError) as failure:  # testinfra asserts that its commands work
        raise pytest.UsageError(str(failure)) from failure
    if not config.stash[_targets]:
        raise pytest.UsageError("no host to check: name one with --hosts, or give an inventory that has one.")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make each check once for every host, and once for every item of the plan that it is about."""
    if "target" not in metafunc.fixturenames:
        return
    targets = metafunc.config.stash[_targets]
    each = metafunc.definition.get_closest_marker("each")
    if each is None:
        metafunc.parametrize("target", targets, ids=[target.name for target in targets], scope="session")
        return
    pairs = [(target, item) for target in targets for item in each.args[0](target.plan)]
    metafunc.parametrize(("target", "item"), pairs, ids=[f"{target.name}-{_label(item)}" for target, item in pairs])


def _label(item: Any) -> str:
    return str(item.get("name", item)) if isinstance(item, dict) else str(item)


@pytest.fixture(autouse=True)
def _as_planned(request: pytest.FixtureRequest) -> None:
    """Leave out a check whose step the plan treats otherwise, with the plan's own reason."""
    if "target" not in request.fixturenames:
        return
    target: Target = request.getfixturevalue("target")
    for marker in request.node.iter_markers():
        step = str(marker.args[0]) if marker.name in ("applied", "left_out") else ""
        if marker.name == "applied" and target.action(step) != "apply":
            pytest.skip(f"the plan skips {step}: {target.reason(step)}")
        if marker.name == "left_out" and target.action(step) == "apply":
            pytest.skip(f"the plan applies {step}")


@pytest.fixture
def figure(record_property: Callable[[str, object], None]) -> Figure:
    """Return a function that puts a measured figure into the report."""

    def record(name: str, value: str) -> None:
        record_property(name, value)

    return record


@pytest.fixture
def measure(pytestconfig: pytest.Config) -> Measure:
    """Return a function that puts planned and seen memory into the report."""
    memory: list[Row] = pytestconfig.stash[_memory]

    def record(rows: Iterable[Row]) -> None:
        memory.extend(rows)

    return record


@pytest.fixture
def proved(pytestconfig: pytest.Config) -> Proved:
    """Return a function that puts what the proof of the GPUs found into the report."""
    return pytestconfig.stash[_proofs].append


@pytest.fixture(scope="session")
def base_url(target: Target) -> Iterator[str]:
    """Return the address of the service, as the controller reaches it; fail when nothing runs there."""
    assert target.main_pid
    runtime = target.slice("inference")
    address = "127.0.0.1" if runtime["host"] in ("0.0.0.0", "::", "localhost") else runtime["host"]
    with Tunnel(relay_command(target.host.backend, address, int(runtime["port"]))) as tunnel:
        yield f"http://127.0.0.1:{tunnel.port}/v1"


@pytest.fixture(scope="session")
def client(target: Target, base_url: str) -> Iterator[openai.OpenAI]:
    """Return the real client, with the key that the host made."""
    with openai.OpenAI(base_url=base_url, api_key=str(target.api_key), max_retries=0, timeout=120) as made:
        yield made


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Keep each check for the report; add the journal where a check of the service failed."""
    report = yield
    module = Path(str(item.path)).stem
    arguments = getattr(item, "funcargs", {})
    if report.failed and module in ABOUT_THE_SERVICE and "target" in arguments:
        if not item.config.stash.get(_journal_shown, False):
            report.sections.append(("journal of the service", arguments["target"].journal()))
        item.config.stash[_journal_shown] = True
    if report.when == "call" or report.outcome != "passed":
        item.config.stash[_checks][item.nodeid] = Check(
            group=module.removeprefix("test_"),
            name=_sentence(item),
            outcome=report.outcome,
            detail=_story(report),
            figures={name: str(value) for name, value in report.user_properties},
        )
    return report


def _sentence(item: pytest.Item) -> str:
    """Return the name of a check as words; what it is about, beside the host, stands in brackets."""
    words = str(getattr(item, "originalname", item.name)).removeprefix("test_").replace("_", " ")
    call = getattr(item, "callspec", None)
    target = call.params.get("target") if call else None
    about = f"-{call.id}-".replace(f"-{target.name}-", "-", 1).strip("-") if call and target else ""
    return f"{words} [{about}]" if about else words


def _story(report: pytest.TestReport) -> str:
    """Return why a check was left out, or how it failed."""
    if report.outcome == "passed":
        return ""
    if isinstance(report.longrepr, tuple):
        return str(report.longrepr[2]).removeprefix("Skipped: ")
    crash = getattr(report.longrepr, "reprcrash", None)
    message = str(crash.message if crash else report.longrepr).removeprefix("AssertionError: ")
    return "\n".join([message, *(f"{title}:\n{text}" for title, text in report.sections if "journal" in title)])


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the report; without any check the run has proved nothing, and pytest itself fails with its status 5."""
    directory: Path | None = session.config.option.report_dir
    if directory is None:
        return
    targets = session.config.stash[_targets]
    plan = targets[0].plan
    names = ", ".join(target.name for target in targets)
    checks = tuple(sorted(session.config.stash[_checks].values(), key=lambda check: check.group))
    memory: list[Row] = session.config.stash[_memory]
    model = plan["model"]["request"]["model"]
    proofs = session.config.stash[_proofs] or [Verdict({})]
    Report(names, plan["tier"], model, checks, tuple(memory), proofs[-1]).write(directory)
