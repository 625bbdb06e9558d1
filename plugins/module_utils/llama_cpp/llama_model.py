"""A model as llama.cpp loads it: what each choice of settings allocates, and how layers are spread over GPUs."""

from __future__ import annotations

from itertools import accumulate
from typing import NamedTuple

from ansible_collections.llmhost.core.plugins.module_utils.llama_cpp import llama_cpp
from ansible_collections.llmhost.core.plugins.module_utils.shape.shape import Shape
from ansible_collections.llmhost.core.plugins.module_utils.sizing.allocation import Allocation
from ansible_collections.llmhost.core.plugins.module_utils.sizing.fit import Fit
from ansible_collections.llmhost.core.plugins.module_utils.weights.weights import Weights

MICRO_BATCH = 512
"""``--ubatch-size``: tokens computed at once."""
# A search asks for the same few hundred choices again and again; the bound is for a process that plans for days.
_REMEMBERED = 20_000


class Choice(NamedTuple):
    """The settings that the search varies; ``gpu_layers`` of None is all of them."""

    context: int
    parallel: int
    cache_type: str
    gpus: int
    gpu_layers: int | None = None
    cpu_expert_layers: int = 0
    split: tuple[int, ...] = ()
    load_path: str = "mmap"


class LlamaModel:
    """A model as llama.cpp loads it; remembers what it has computed."""

    def __init__(self, shape: Shape, weights: Weights, flash_attention: bool = True) -> None:
        """Size a model of that shape and those weights."""
        self.shape = shape
        self.weights = weights
        self.flash_attention = flash_attention
        layers = (*weights.layers, *weights.draft_layers)
        self.layer_bytes = [layer.total_bytes for layer in layers]
        self.expert_bytes = [layer.expert_bytes for layer in layers]
        self.places = max(len(layers), len(shape.layers) + len(shape.draft_layers)) + 1
        # Searches of llama_fit that are the same for every host with the same GPUs.
        self.whole: dict[object, Fit | None] = {}
        self.offloaded: dict[object, Choice | None] = {}
        self._allocations: dict[Choice, Allocation] = {}
        self._balanced: dict[tuple[Choice, tuple[int, ...]], Choice] = {}

    def allocation(self, choice: Choice) -> Allocation:
        """Return what llama.cpp allocates with these settings."""
        found = self._allocations.get(choice)
        if found is None:
            found = llama_cpp.allocate(self.shape, self.weights, self.settings(choice), choice.gpus)
            if len(self._allocations) >= _REMEMBERED:
                self._allocations.clear()
            self._allocations[choice] = found
        return found

    def settings(self, choice: Choice) -> llama_cpp.LlamaSettings:
        """Return the engine's own form of a choice."""
        return llama_cpp.LlamaSettings(
            context=choice.context,
            parallel=choice.parallel,
            cell_type_k=choice.cache_type,
            cell_type_v=choice.cache_type,
            micro_batch=MICRO_BATCH,
            flash_attention=self.flash_attention,
            gpu_layers=choice.gpu_layers,
            cpu_expert_layers=choice.cpu_expert_layers,
            tensor_split=choice.split,
            load_path=choice.load_path,
        )

    def balanced(self, choice: Choice, usable: tuple[int, ...]) -> Choice:
        """Return the choice with its layers spread over the GPUs so that each holds its part, if that can be."""
        if choice.gpus < 2:
            return choice
        key = (choice, usable)
        found = self._balanced.get(key)
        if found is None:
            found = self._balance(choice, usable)
            if len(self._balanced) >= _REMEMBERED:
                self._balanced.clear()
            self._balanced[key] = found
        return found

    def _balance(self, choice: Choice, usable: tuple[int, ...]) -> Choice:
        """Start where bytes are spread as the rooms are, and move places from the fullest to the emptiest GPU."""
        best = choice._replace(split=self._by_bytes(choice, usable))
        worst, seen = self._fullest(best, usable), {best.split}
        while worst > 1 and len(seen) <= 2 * self.places:
            counts = list(best.split)
            fill = self._fill(best, usable)
            source, target = fill.index(max(fill)), fill.index(min(fill))
            if not counts[source] or source == target:
                break
            counts[source] -= 1
            counts[target] += 1
            moved = best._replace(split=tuple(counts))
            fullest = self._fullest(moved, usable)
            if moved.split in seen or fullest >= worst:
                break
            best, worst = moved, fullest
            seen.add(moved.split)
        return best

    def _fullest(self, choice: Choice, usable: tuple[int, ...]) -> float:
        return max(self._fill(choice, usable))

    def _fill(self, choice: Choice, usable: tuple[int, ...]) -> list[float]:
        gpus = self.allocation(choice).gpus
        return [gpu.total_bytes / max(1, room) for gpu, room in zip(gpus, usable, strict=True)]

    def _by_bytes(self, choice: Choice, usable: tuple[int, ...]) -> tuple[int, ...]:
        """Return how many places each GPU gets when bytes are spread as the GPUs' rooms are."""
        places = self.places if choice.gpu_layers is None else min(choice.gpu_layers, self.places)
        alone = self.allocation(choice._replace(gpus=1, split=())).gpus[0]
        cache = (alone.kv_cache_bytes + alone.recurrent_bytes) // max(1, places)
        # Each GPU has its own buffers beside what is spread.
        usable = tuple(max(1, room - alone.compute_bytes - alone.overhead_bytes) for room in usable)
        first = self.places - places
        sizes = [
            self.layer_bytes[at] - (self.expert_bytes[at] if at < choice.cpu_expert_layers else 0) + cache
            for at in range(first, len(self.layer_bytes))
        ]
        sizes.append(self.weights.output_bytes or self.weights.token_embedding_bytes)
        upto = list(accumulate(sizes))
        total, room = upto[-1] or 1, sum(usable) or 1
        ends = [sum(size * room <= total * share for size in upto) for share in accumulate(usable)]
        ends[-1] = len(sizes)
        counts = [end - begin for begin, end in zip([0, *ends], ends, strict=False)]
        # Places that the weights do not know (a header that lies) go to the last GPU.
        counts[-1] += places - sum(counts)
        return tuple(max(0, count) for count in counts)
