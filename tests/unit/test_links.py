"""What carries data between GPUs, how fast it should, and how a model is divided for it."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.llmhost.core.plugins.module_utils.hardware.hardware import parse_hardware
from ansible_collections.llmhost.core.plugins.module_utils.plan.links import UNPROVEN, Links, Proven
from ansible_collections.llmhost.core.plugins.module_utils.plan.links_plan import multi_gpu
from ansible_collections.llmhost.core.plugins.module_utils.plan.links_split import (
    Use,
    custom_all_reduce,
    environment,
    order_of,
    tensor_limit,
)
from hypothesis import given
from hypothesis import strategies as st

from tests.unit import gpu_hosts as hosts
from tests.unit.gpu_hosts import RTX_3090, RTX_4090, address, alike, card, host, nvlinks, pair, seen

ALL = frozenset(frozenset((address(a), address(b))) for a in range(8) for b in range(a))
PROVED = Proven(True, good=ALL)
FAILED = Proven(True, bad=ALL)
REFUTED = Proven(True, good=ALL, refuted=True)


def of(facts: dict[str, Any]) -> Links:
    return Links.from_facts(facts)


def vllm(count: int, tensor: int | None = None) -> Use:
    tensor = max(1, count) if tensor is None else tensor
    return Use("vllm", tuple(range(count)), tensor, count // tensor)


def llama(count: int) -> Use:
    return Use("llama_cpp", tuple(range(count)))


def granted(level: str = "PHB", **fields: Any) -> Links:
    """Two cards with direct transfers over PCI Express, as the driver says."""
    return of(alike(2, {(0, 1): (level, "OK")}, **fields))


@pytest.mark.parametrize(
    ("facts", "kind", "gbs"),
    [
        (hosts.bridged(), "nvlink", 50.6),
        (hosts.switched(2), "switch", 382.5),
        (alike(2, {(0, 1): ("PHB", "OK")}), "pcie", 25.2),
        (alike(2, {(0, 1): ("SYS", "OK")}), "pcie", 10.0),
        (alike(2, {(0, 1): ("PHB", "CNS")}), "host", 10.1),
        # An NVLink that the driver refuses carries nothing.
        (alike(2, {(0, 1): ("NV4", "NS")}, nvlinks=nvlinks(4)), "host", 10.1),
        # One link of the bridge is down: three quarters.
        (alike(2, {(0, 1): ("NV3", "OK")}, nvlinks=nvlinks(3, [2])), "nvlink", 38.0),
        (host([card(0), card(1, lanes=4, generation=3)], [seen(0, 0), seen(1, 1)], [pair(0, 1)]), "host", 1.3),
        (host([card(0), card(1)], [], []), "host", 10.1),
        (parse_hardware("2x RTX 3090 NVLink"), "nvlink", 50.4),
        (parse_hardware("2x RTX 3090"), "host", 10.1),
        (parse_hardware("8x H100 SXM"), "switch", 405.0),
    ],
)
def test_the_way_between_two_cards(facts: dict[str, Any], kind: str, gbs: float) -> None:
    path = of(facts).paths[0]
    assert (path.kind, path.gbs) == (kind, gbs)


def test_the_drivers_numbers_need_not_be_those_of_the_bus() -> None:
    links = of(
        host(
            [card(0), card(1), card(2)],
            [seen(0, 2, nvlinks=nvlinks(4)), seen(1, 0, nvlinks=nvlinks(4)), seen(2, 1)],
            [pair(0, 1, "NV4", "OK"), pair(0, 2), pair(1, 2)],
        )
    )
    assert [(path.words, path.kind) for path in links.paths] == [
        ("GPU0 and GPU1", "host"),
        ("GPU0 and GPU2", "nvlink"),
        ("GPU1 and GPU2", "host"),
    ]


def test_an_unknown_width_expects_nothing() -> None:
    gpus = [card(number, pcie=None, bridges=None) for number in range(2)]
    shown = [seen(number, number, pcie={}) for number in range(2)]
    assert of(host(gpus, shown, [pair(0, 1)])).paths[0].gbs == 0.0


def test_the_drivers_own_limit_of_the_generation_counts() -> None:
    shown = [seen(number, number, pcie={"max_generation": 3}) for number in range(2)]
    assert of(host([card(0), card(1)], shown, [pair(0, 1, "PHB", "OK")])).paths[0].gbs == 12.6


@pytest.mark.parametrize(
    ("links", "proven", "settings"),
    [
        (of(hosts.bridged()), UNPROVEN, {}),
        (of(hosts.bridged()), PROVED, {}),
        (of(hosts.bridged()), FAILED, {"NCCL_P2P_DISABLE": "1"}),
        (of(hosts.bridged()), REFUTED, {"NCCL_P2P_DISABLE": "1"}),
        # The proof of something else says nothing against NVLinks.
        (of(hosts.bridged()), Proven(True), {}),
        (of(hosts.switched()), UNPROVEN, {}),
        (of(hosts.crossed()), UNPROVEN, {"NCCL_P2P_LEVEL": "NVL"}),
        # A grant of PCI Express counts once it is proved, and not when the proof fails.
        (granted(), UNPROVEN, {"NCCL_P2P_DISABLE": "1"}),
        (granted(), PROVED, {"NCCL_P2P_LEVEL": "PHB"}),
        (granted(), FAILED, {"NCCL_P2P_DISABLE": "1"}),
        (granted("NODE"), PROVED, {"NCCL_P2P_LEVEL": "PHB"}),
        (granted("PIX"), PROVED, {"NCCL_P2P_LEVEL": "PIX"}),
        (granted("SYS"), PROVED, {"NCCL_P2P_LEVEL": "SYS"}),
        # What the driver refuses stays off, whatever else was proved.
        (of(alike(2, {(0, 1): ("PHB", "CNS")}, kind=RTX_4090)), PROVED, {"NCCL_P2P_DISABLE": "1"}),
        (of(alike(2, {(0, 1): ("NV4", "NS")}, nvlinks=nvlinks(4))), UNPROVEN, {"NCCL_P2P_DISABLE": "1"}),
        # Before there is a driver, nothing is known to work.
        (of(host([card(0), card(1)], [], [])), UNPROVEN, {"NCCL_P2P_DISABLE": "1"}),
    ],
)
def test_how_far_nccl_may_go(links: Links, proven: Proven, settings: dict[str, str]) -> None:
    found = environment(links, vllm(len(links.cards)), proven)
    assert {key: value for key, value in found.items() if "P2P" in key} == settings
    assert (found["CUDA_DEVICE_ORDER"], found["NCCL_SOCKET_IFNAME"]) == ("PCI_BUS_ID", "=lo")


def test_a_near_pair_that_failed_takes_the_farther_ones_with_it() -> None:
    ok = ("PIX", "OK")
    links = of(alike(4, {(0, 1): ok, (2, 3): ok, (0, 2): ("PHB", "OK")}))
    pair_01 = frozenset((address(0), address(1)))
    bad = Proven(True, good=ALL - {pair_01}, bad=frozenset({pair_01}))
    assert environment(links, vllm(4), bad)["NCCL_P2P_DISABLE"] == "1"
    assert environment(links, vllm(4), PROVED)["NCCL_P2P_LEVEL"] == "PHB"


def test_one_broken_bridge_of_two_leaves_no_level_that_is_safe() -> None:
    bad = Proven(True, bad=frozenset({frozenset((address(0), address(2)))}))
    links = of(hosts.crossed())
    assert [bad.allows(path) for path in links.paths if path.kind == "nvlink"] == [False, True]
    assert environment(links, vllm(4), bad)["NCCL_P2P_DISABLE"] == "1"


def test_one_gpu_needs_no_settings() -> None:
    one = of(host([card(0)], [seen(0, 0)], []))
    assert environment(one, llama(1), UNPROVEN) == {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    assert environment(Links(), Use("llama_cpp", ()), UNPROVEN) == {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}


def test_llama_cpp_copies_directly_only_where_that_was_proved() -> None:
    assert "GGML_CUDA_P2P" not in environment(of(hosts.bridged()), llama(2), UNPROVEN)
    assert environment(of(hosts.bridged()), llama(2), PROVED)["GGML_CUDA_P2P"] == "1"
    assert environment(granted(), llama(2), PROVED)["GGML_CUDA_P2P"] == "1"
    for proven in (FAILED, REFUTED):
        assert "GGML_CUDA_P2P" not in environment(granted(), llama(2), proven)
    assert "GGML_CUDA_P2P" not in environment(granted(), vllm(2), PROVED)


def test_blocks_of_tensor_parallel_are_joined_by_bridges() -> None:
    links = of(hosts.crossed())
    assert order_of(links, (0, 1, 2, 3), 2) == (0, 2, 1, 3)
    assert order_of(links, (0, 1, 2, 3), 1) == (0, 1, 2, 3)
    assert order_of(links, (1, 3), 2) == (1, 3)
    assert environment(links, vllm(4, 2), UNPROVEN)["CUDA_VISIBLE_DEVICES"] == "0,2,1,3"
    # llama.cpp is told by its own arguments, and a natural order needs no words.
    assert "CUDA_VISIBLE_DEVICES" not in environment(links, llama(4), UNPROVEN)
    assert "CUDA_VISIBLE_DEVICES" not in environment(of(hosts.bridged()), vllm(2), UNPROVEN)


def test_vllm_on_some_cards_sees_no_others() -> None:
    assert environment(of(hosts.crossed()), Use("vllm", (1, 3), 2), UNPROVEN)["CUDA_VISIBLE_DEVICES"] == "1,3"


@pytest.mark.parametrize(
    ("links", "use", "proven", "on"),
    [
        (of(hosts.bridged()), vllm(2), UNPROVEN, True),
        (of(hosts.bridged()), vllm(2), FAILED, False),
        (of(hosts.bridged()), vllm(2), REFUTED, False),
        (of(hosts.bridged()), llama(2), UNPROVEN, False),
        (of(hosts.switched()), vllm(8), UNPROVEN, True),
        (of(hosts.crossed()), vllm(4), UNPROVEN, False),
        (of(hosts.crossed()), vllm(4, 2), UNPROVEN, True),
        (granted(), vllm(2), UNPROVEN, False),
        (granted(), vllm(2), PROVED, True),
        # More than two on PCI Express: vLLM itself refuses.
        (of(alike(4, {(a, b): ("PHB", "OK") for a in range(4) for b in range(a + 1, 4)})), vllm(4), PROVED, False),
        (of(hosts.switched(3)), vllm(3), UNPROVEN, False),
        (of(alike(2, {})), vllm(2), PROVED, False),
        (of(host([card(0)], [seen(0, 0)], [])), vllm(1), PROVED, False),
    ],
)
def test_custom_all_reduce(links: Links, use: Use, proven: Proven, on: bool) -> None:
    assert custom_all_reduce(links, use, proven) is on


def test_what_is_proved_hangs_neither_on_the_model_nor_on_the_result() -> None:
    links = of(alike(4, {(0, 1): ("PHB", "OK"), (2, 3): ("NV4", "OK")}, nvlinks=nvlinks(4)))
    uses = (vllm(4), vllm(4, 2), llama(4), Use("llama_cpp", (1,)), Use("vllm", (2, 3), 2))
    asked = [
        made["proof"]
        for use in uses
        for proven in (UNPROVEN, PROVED, FAILED, REFUTED)
        if (made := multi_gpu(links, use, proven, 580))
    ]
    assert len(asked) == 20
    assert [one for one in asked if one != asked[0]] == []
    assert asked[0]["environment"]["NCCL_P2P_LEVEL"] == "PHB"
    assert asked[0]["gpus"] == [address(number) for number in range(4)]


def riser(*lanes: int, joined: tuple[tuple[int, int], ...] = ()) -> Links:
    """Cards in slots of PCIe 3.0 with so many lanes; some of them joined by bridges."""
    gpus = [card(number, lanes=width, generation=3) for number, width in enumerate(lanes)]
    count = len(lanes)
    return of(
        host(
            gpus,
            [seen(number, number, nvlinks=nvlinks(4)) for number in range(count)],
            [
                pair(a, b, *(("NV4", "OK") if (a, b) in joined else ("PHB", "CNS")))
                for a in range(count)
                for b in range(a + 1, count)
            ],
        )
    )


@pytest.mark.parametrize(
    ("links", "limit"),
    [
        (Links(), 0),
        (of(host([card(0)], [seen(0, 0)], [])), 0),
        (of(hosts.bridged()), 0),
        (of(hosts.switched()), 0),
        (of(alike(2, {})), 0),
        (riser(16, 8), 0),
        (riser(16, 4), 1),
        (riser(16, 1), 1),
        # The bridge carries what the riser cannot.
        (riser(1, 1, joined=((0, 1),)), 0),
        (riser(1, 1, 1, 1, joined=((0, 2), (1, 3))), 2),
        (riser(1, 1, 1, 1, joined=((0, 2),)), 1),
        (of(host([card(0, pcie={}), card(1, pcie={})], [], [])), 0),
    ],
)
def test_how_many_gpus_tensor_parallel_may_span(links: Links, limit: int) -> None:
    assert tensor_limit(links) == limit


def test_the_section_of_a_bridged_pair() -> None:
    assert multi_gpu(of(hosts.bridged()), vllm(2), UNPROVEN, 580) == {
        "order": [address(0), address(1)],
        "split": "tensor",
        "why": "Every GPU reads a part of each layer, all at once.",
        "environment": {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "NCCL_SOCKET_IFNAME": "=lo"},
        "custom_all_reduce": True,
        "peers": "granted",
        "expected": [{"a": address(0), "b": address(1), "path": "nvlink", "gbs": 50.6}],
        "proof": {
            "gpus": [address(0), address(1)],
            "environment": {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "NCCL_SOCKET_IFNAME": "=lo"},
            "burn_in_seconds": 60,
            "nccl": "cu13",
        },
    }


@pytest.mark.parametrize(
    ("links", "use", "split", "why"),
    [
        (of(hosts.crossed()), llama(4), "layer", "by its memory"),
        (of(hosts.crossed()), vllm(4, 2), "tensor+pipeline", "heads"),
        (of(hosts.crossed()), Use("vllm", (0,)), "none", "One GPU computes."),
        (of(host([card(0)], [seen(0, 0)], [])), llama(1), "none", "There is one GPU."),
        (riser(16, 1), vllm(2, 1), "pipeline", "slower than 1.5 GB/s"),
    ],
)
def test_the_split_and_its_reason(links: Links, use: Use, split: str, why: str) -> None:
    made = multi_gpu(links, use, UNPROVEN, 580)
    assert made is not None
    assert made["split"] == split
    assert why in made["why"]


@pytest.mark.parametrize(
    ("links", "proven", "peers"),
    [
        (of(hosts.bridged()), UNPROVEN, "granted"),
        (of(hosts.bridged()), PROVED, "proved"),
        (granted(), FAILED, "failed"),
        (granted(), REFUTED, "failed"),
        (of(alike(2, {})), UNPROVEN, "none"),
        (of(host([card(0), card(1)], [], [])), UNPROVEN, "unknown"),
        (of(host([card(0)], [], [])), UNPROVEN, "none"),
    ],
)
def test_what_is_known_of_direct_transfers(links: Links, proven: Proven, peers: str) -> None:
    made = multi_gpu(links, llama(len(links.cards)), proven, 580)
    assert made is not None
    assert made["peers"] == peers


@pytest.mark.parametrize(("branch", "nccl"), [(0, "cu13"), (615, "cu13"), (580, "cu13"), (535, "cu12"), (470, None)])
def test_the_nccl_that_the_driver_can_run(branch: int, nccl: str | None) -> None:
    made = multi_gpu(of(hosts.bridged()), llama(2), UNPROVEN, branch)
    one = multi_gpu(of(host([card(0)], [seen(0, 0)], [])), llama(1), UNPROVEN, branch)
    assert made is not None
    assert one is not None
    assert (made["proof"]["nccl"], one["proof"]["nccl"]) == (nccl, None)


def test_a_host_without_gpus_has_no_section() -> None:
    assert multi_gpu(of({"gpus": [], "nvidia": None}), Use("llama_cpp", ()), UNPROVEN, 580) is None


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 20) | st.floats() | st.sampled_from(["", "OK", "NV4", "NVx", "SYS"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["link", "gbs", "active"]), inner),
    max_leaves=4,
)
CARDS = st.fixed_dictionaries(
    {"pci_address": st.sampled_from([address(0), address(1), "", "x"])},
    optional=dict.fromkeys(("index", "name", "pcie", "nvlinks", "mig", "vram_bytes", "bridges", "nvlink"), VALUES),
)
PAIRS = st.fixed_dictionaries({}, optional=dict.fromkeys(("a", "b", "level", "nvlinks", "read", "write"), VALUES))


@given(st.lists(CARDS, max_size=4), st.lists(CARDS, max_size=4), st.lists(PAIRS, max_size=4), VALUES)
def test_odd_facts_never_end_in_a_traceback(gpus: list[Any], shown: list[Any], pairs: list[Any], acs: Any) -> None:
    links = of({"gpus": gpus, "nvidia": {"gpus": shown, "pairs": pairs, "acs": acs}})
    for proven in (UNPROVEN, PROVED, FAILED):
        made = multi_gpu(links, vllm(len(gpus)), proven, 580)
        assert (made is None) == (not gpus)
    assert tensor_limit(links) <= len(gpus)


@given(st.integers(1, 8), st.integers(1, 8), st.data())
def test_an_order_holds_each_card_once(count: int, block: int, data: st.DataObject) -> None:
    joined = data.draw(st.sets(st.tuples(st.integers(0, 7), st.integers(0, 7))))
    links = of(alike(count, dict.fromkeys(joined, ("NV4", "OK")), kind=RTX_3090, nvlinks=nvlinks(4)))
    assert sorted(order_of(links, tuple(range(count)), block)) == list(range(count))
