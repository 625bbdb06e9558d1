"""The dated table of vLLM, and what follows from it alone: shared memory, graphs, layers of a pipeline."""

from __future__ import annotations

import itertools
import re

import pytest
from ansible_collections.llmhost.core.plugins.module_utils.size import GIB, MIB
from ansible_collections.llmhost.core.plugins.module_utils.vllm.vllm_constants import (
    CURRENT,
    VLLM_CONSTANTS,
    book,
    version,
)
from ansible_collections.llmhost.core.plugins.module_utils.vllm.vllm_graphs import graph_count
from ansible_collections.llmhost.core.plugins.module_utils.vllm.vllm_host import host_bytes, shared_memory_bytes
from ansible_collections.llmhost.core.plugins.module_utils.vllm.vllm_matrices import allocator_padding
from ansible_collections.llmhost.core.plugins.module_utils.vllm.vllm_parallel import (
    padded_vocabulary,
    pipeline_stages,
)
from ansible_collections.llmhost.core.plugins.module_utils.vllm.vllm_settings import VllmGpu, VllmSettings
from hypothesis import given, settings
from hypothesis import strategies as st

BY_NAME = {
    name: list(entries)
    for name, entries in itertools.groupby(
        sorted(VLLM_CONSTANTS, key=lambda entry: (entry.name, version(entry.since))), lambda entry: entry.name
    )
}


@pytest.mark.parametrize("name", sorted(BY_NAME))
def test_every_constant_is_known_from_the_first_version_on(name: str) -> None:
    entries = BY_NAME[name]
    assert version(entries[0].since) == (0, 0, 0)
    assert len({entry.since for entry in entries}) == len(entries)
    assert [entry.date for entry in entries] == sorted(entry.date for entry in entries)
    for entry in entries:
        assert entry.source
        assert re.fullmatch(r"20[2-9]\d-(0[1-9]|1[0-2])", entry.date)


def test_a_version_is_released_once() -> None:
    dates: dict[str, str] = {}
    for entry in VLLM_CONSTANTS:
        assert dates.setdefault(entry.since, entry.date) == entry.date


def test_versions_are_read_from_what_people_write() -> None:
    assert version("v0.11.0rc2") == (0, 11, 0)
    assert version("0.6.4.post1") == (0, 6, 4)
    assert version("0.20.2rc1.dev9+g01d4d1ad3") == (0, 20, 2)
    assert version("0.19") == (0, 19, 0)
    assert version("nightly") == version(CURRENT)


@given(st.text(max_size=40))
@settings(deadline=None)
def test_any_text_is_a_version(text: str) -> None:
    assert set(book(text)) == set(BY_NAME)


def test_defaults_changed_when_vllm_says() -> None:
    assert [book(number)["utilization_percent"] for number in ("0.6.4", "0.19.1", "0.20.0", "0.33.0")] == [
        90,
        90,
        92,
        92,
    ]
    assert [book(number)["sampler_bytes"] for number in ("0.16.0", "0.17.0")] == [38, 14]


def test_shared_memory_grows_with_the_ranks() -> None:
    assert shared_memory_bytes(VllmSettings(8192)) == 0
    two = shared_memory_bytes(VllmSettings(8192, tensor_parallel=2))
    # The queues of a boot with two GPUs: 16 MiB * 10, 4 MiB * 6, and 24 MiB * 10 from each worker.
    assert two == (160 + 24 + 2 * 240 + 2 * 33) * MIB
    assert shared_memory_bytes(VllmSettings(8192, tensor_parallel=2, pipeline_parallel=2)) > 2 * two
    # Before V1 each worker pinned 4 GiB for requests that are swapped out.
    assert host_bytes(VllmSettings(8192, version="0.6.4")) - host_bytes(VllmSettings(8192)) == 4 * GIB


def test_graphs_are_counted_as_the_log_counts_them() -> None:
    # PIECEWISE=51 (largest=512), FULL=35 (largest=256), 83 of gpt-oss to 1,024; 67 while the steps were 8 apart.
    assert [graph_count(tokens) for tokens in (256, 512, 1024)] == [35, 51, 83]
    assert graph_count(512, fine=True) == 67
    assert graph_count(0) == 0


def test_stages_take_all_layers_once() -> None:
    assert [len(stage) for stage in pipeline_stages(32, 4)] == [8, 8, 8, 8]
    assert [len(stage) for stage in pipeline_stages(61, 4)] == [15, 15, 16, 15]
    assert [len(stage) for stage in pipeline_stages(62, 4)] == [15, 16, 16, 15]
    for layers, stages in itertools.product(range(9), range(1, 9)):
        assert list(itertools.chain(*pipeline_stages(layers, stages))) == list(range(layers))


def test_padding() -> None:
    assert [padded_vocabulary(tokens) for tokens in (0, 1, 64, 32016, 49155, 151936)] == [
        0,
        64,
        64,
        32064,
        49216,
        151936,
    ]
    # Blocks under 10 MiB are cut exactly; over it, up to 1 MiB is left over (phi-4: 75 MiB takes 76, 350 takes 350).
    assert [allocator_padding(size * MIB) for size in (9, 75, 350)] == [0, MIB, 0]
    assert allocator_padding(int(40.5 * MIB)) == 0


def test_a_gpu_is_completed_by_its_name() -> None:
    assert VllmGpu(1, name="NVIDIA H200").completed().compute_capability == (9, 0)
    assert VllmGpu(1, name="NVIDIA H20").completed().processors == 78
    assert VllmGpu(1, name="NVIDIA L40S").completed().processors == 142
    assert VllmGpu(1, name="NVIDIA L4").completed().processors == 58
    assert VllmGpu(1, name="?", compute_capability=(7, 5)).completed().compute_capability == (7, 5)
    assert VllmGpu(1, name="NVIDIA GeForce RTX 2080 Ti").completed().compute_capability == (7, 5)
    assert VllmGpu(1, name="RTX 3060, 12 GiB").completed().compute_capability == (8, 6)
    assert VllmGpu(1).completed().compute_capability == (0, 0)
