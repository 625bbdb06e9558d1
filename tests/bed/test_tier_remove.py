"""The tier taken away and set up again: what was left is used again, and what llmhost made goes when it is asked to."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.bed.tier import DISK, STORAGE, Tier, started

# What a user would call a trace. Locks and the mount points of systemd's credentials go with the next boot; the user of
# the models stays, as it may own files elsewhere.
OURS = """
find /etc /opt /var/cache /run -xdev -iname '*llmhost*' -not -path '/run/lock/*' -not -path '/run/systemd/*' -print
grep llmhost /etc/fstab /etc/sysctl.d/* || true
getent passwd llmhost-inference || true
systemctl list-units --all --no-legend 'llmhost*'
"""


@pytest.fixture(scope="module")
def tier(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tier]:
    with started(f"llmhost-tier-remove-{os.getpid()}", tmp_path_factory.mktemp("remove")) as host:
        host.converge()
        yield host


def uuid(tier: Tier) -> str:
    return tier.shell(f"blkid -p -s UUID -o value {DISK} || true")


def bytes_fetched(tier: Tier) -> int:
    requests = tier.requests()["requests"]
    return sum(entry["sent"] for entry in requests if not entry["agent"].startswith("llmhost"))


def test_removal_leaves_the_models_and_a_run_takes_them_into_use_again(tier: Tier) -> None:
    plan, filesystem = tier.plan(), uuid(tier)
    assert tier.converge(playbook="remove").changed > 0
    assert tier.shell(OURS) == ""
    assert tier.converge(playbook="remove").changed == 0
    assert uuid(tier) == filesystem

    tier.forget_requests()
    tier.converge()
    assert bytes_fetched(tier) == 0
    assert (tier.plan(), uuid(tier)) == (plan, filesystem)
    tier.assert_serves()
    assert tier.converge().changed == 0


def test_removal_with_the_models_leaves_nothing(tier: Tier) -> None:
    assert tier.converge(playbook="remove", llmhost_remove_models=True).changed > 0
    assert tier.shell(OURS) == ""
    assert uuid(tier) == ""
    assert tier.shell(f"ls -d {STORAGE} 2>/dev/null || echo gone") == "gone"
    assert tier.converge(playbook="remove", llmhost_remove_models=True).changed == 0
    tier.converge()
    tier.assert_serves()
